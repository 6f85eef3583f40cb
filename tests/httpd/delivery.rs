//! What goes past the ordinary response: files sent by httpd itself, clients that go away, early
//! hints.

use std::io::Write;
use std::process::{Command, Stdio};

use testkit::{Curl, Httpd, Running, UnderTest};

use crate::serving;

/// Answers with the file `data` in the way that the path names.
pub const FILES: &str = r#"
import io, os, tempfile

DATA = os.path.join(os.path.dirname(__file__), "data")


def at(position, mode="rb"):
    file = open(DATA, mode)
    file.seek(position)
    return file


def unlinked():
    file = tempfile.TemporaryFile()
    file.write(b"unlinked" * 9999)
    file.seek(8)
    return file


def pipe():
    reading, writing = os.pipe()
    with open(writing, "wb") as end:
        end.write(b"through a pipe")
    return open(reading, "rb")


CASES = {
    "/pipe": lambda: (pipe(), []),
    "/whole": lambda: (at(0), []),
    "/position": lambda: (at(100_000), []),
    "/length": lambda: (at(5), [("Content-Length", "100")]),
    "/too_long": lambda: (at(5), [("Content-Length", "9999999")]),
    "/unlinked": lambda: (unlinked(), []),
    "/memory": lambda: (io.BytesIO(b"in memory"), []),
}


def application(environ, start_response):
    file, headers = CASES[environ["PATH_INFO"]]()
    start_response("200 OK", [("Content-Type", "text/plain"), ("ETag", '"x"')] + headers)
    return environ["wsgi.file_wrapper"](file)
"#;

/// What the files hold: 300 kB in which each place looks different.
pub fn data() -> String {
    (0..50_000).map(|number| format!("{number:05}\n")).collect()
}

fn files(conf: &str) -> Httpd {
    serving(FILES).file("apps/data", &data()).conf(conf)
}

#[test]
fn files_from_their_position_on_or_as_long_as_announced() {
    for conf in ["", "EnableSendfile On", "EnableSendfile Off", "EnableMMAP Off"] {
        let httpd = files(conf).expect_log("short of its Content-Length").start();
        let mut connection = httpd.connect();
        for (path, expected) in [
            ("/whole", data()),
            ("/position", data()[100_000..].to_owned()),
            ("/length", data()[5..105].to_owned()),
            ("/unlinked", "unlinked".repeat(9998)),
        ] {
            let response = connection.get(path).expect("a response").assert(200);
            assert!(response.text() == expected, "{path}");
            assert_eq!(response.header("Content-Length"), Some(&*expected.len().to_string()));
        }
        // What is no plain file is read by the worker.
        for (path, expected) in [("/memory", "in memory"), ("/pipe", "through a pipe")] {
            let response = connection.get(path).expect("a response").assert(200);
            assert_eq!(response.text(), expected, "{path}");
        }
        let response = connection.request("HEAD", "/whole", &[], b"").expect("a response");
        assert_eq!(response.assert(200).header("Content-Length"), Some("300000"));
        let response = httpd.get("/too_long");
        assert!(response.status >= 500 || !response.complete, "{response}");
    }
}

#[test]
fn files_in_parts() {
    let httpd = files("").start();
    let range = |range: &str| httpd.request("GET", "/whole", &[("Range", range)], b"");
    if UnderTest::chosen().is_original() {
        // It sends all of a file, whatever part is asked for.
        assert!(range("bytes=12-17").assert(200).text() == data());
        return;
    }
    let response = range("bytes=12-17").assert(206);
    assert_eq!(response.text(), "00002\n");
    assert_eq!(response.header("Content-Range"), Some("bytes 12-17/300000"));
    assert_eq!(range("bytes=-6").assert(206).text(), "49999\n");
    let several = range("bytes=0-5,600-605").assert(206).text();
    assert!(several.contains("00000\n") && several.contains("00100\n"), "{several}");
    range("bytes=300000-").assert(416);
    assert!(range("bytes=0-299999").assert(206).text() == data());
}

#[test]
fn files_through_filters() {
    let conf = "SetOutputFilter DEFLATE";
    let httpd = files(conf).start();
    let headers = [("Accept-Encoding", "gzip")];
    let response = httpd.request("GET", "/whole", &headers, b"").assert(200);
    assert_eq!(response.header("Content-Encoding"), Some("gzip"));
    assert!(response.body.len() < 150_000, "{} bytes", response.body.len());
    assert!(httpd.get("/whole").assert(200).text() == data());
}

/// Answers with a large file, and cuts it short when asked to.
const LARGE: &str = r#"
import os, tempfile

LARGE, LENGTH = tempfile.NamedTemporaryFile(), 32 << 20
PLAIN = ("Content-Type", "text/plain")


def application(environ, start_response):
    if environ["PATH_INFO"] == "/cut":
        os.truncate(LARGE.name, 1000)
        start_response("200 OK", [PLAIN])
        return [b"cut"]
    start_response("200 OK", [PLAIN, ("Content-Length", str(LENGTH))])
    os.truncate(LARGE.name, LENGTH)
    return environ["wsgi.file_wrapper"](open(LARGE.name, "rb"))
"#;

#[test]
fn a_file_cut_short_while_it_is_sent_harms_its_own_response_only() {
    for conf in ["", "EnableSendfile On", "EnableSendfile Off"] {
        let httpd = serving(LARGE).conf(conf).start();
        let before = httpd.children();
        let mut client = httpd.connect();
        client.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("httpd reads");
        assert!(!client.is_closed().expect("the beginning comes"));
        assert_eq!(httpd.get("/cut").assert(200).text(), "cut");
        let response = client.read_response("GET").expect("a response");
        assert_eq!(response.status, 200, "{conf}");
        assert!(!response.complete, "{conf}: {} bytes", response.body.len());
        assert_eq!(httpd.get("/cut").assert(200).text(), "cut");
        let after = httpd.children();
        assert!(before.iter().all(|child| after.contains(child)), "{conf}: {before:?}, {after:?}");
    }
}

/// Answers about the clients of its requests, each of which has a name.
const CLIENTS: &str = r#"
import threading, time

events = {}


def event(name):
    return events.setdefault(name, threading.Event())


class Body:
    def __init__(self, name, blocks):
        self.name, self.blocks = name, blocks

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        event(self.name + " closed").set()


def age(environ):
    """Tell when a direction that is closed counts as the client's end: a second after the request."""
    def tell():
        while time.time() <= environ["mod_wsgi.request_start"] + 1:
            time.sleep(0.01)
        event(environ["QUERY_STRING"] + " aged").set()
    threading.Thread(target=tell).start()


def wait_for_end(environ):
    gone = environ["mod_wsgi.client_disconnected"]
    assert not gone()
    event(environ["QUERY_STRING"] + " runs").set()
    deadline = time.time() + 30
    while not gone() and time.time() < deadline:
        time.sleep(0.01)
    return gone()


def application(environ, start_response):
    path, name = environ["PATH_INFO"], environ["QUERY_STRING"]
    plain = [("Content-Type", "text/plain")]
    if name.endswith("-late"):
        age(environ)
    if path == "/await":
        arrived = event(name.replace("+", " ")).wait(30)
        start_response("200 OK" if arrived else "504 Late", plain)
        return [b""]
    if path == "/computes":
        if wait_for_end(environ):
            event(name + " noticed").set()
        start_response("200 OK", plain)
        return Body(name, [b"nobody", b"reads", b"this"])
    if path == "/writes":
        write = start_response("200 OK", plain)
        wait_for_end(environ)
        try:
            while True:
                write(b"x" * 1000)
        except OSError:
            event(name + " noticed").set()
            raise
    if path == "/streams":
        def stream():
            event(name + " runs").set()
            try:
                while True:
                    yield b"y" * 1000
            finally:
                event(name + " noticed").set()
        start_response("200 OK", plain)
        return Body(name, stream())
    if path == "/announces":
        start_response("200 OK", plain + [("Content-Length", "3")])
        return Body(name, [b"all"])
    if path == "/replies":
        event(name + " runs").set()
        try:
            environ["wsgi.input"].read()
        except OSError:
            start_response("400 Broken Off", plain)
            return Body(name, [b"for nobody"])
    if path == "/writes_and_reads":
        # More than the sockets take of a client that does not read: httpd waits for it.
        start_response("200 OK", plain)(b"z" * 20_000_000)
    if path in ("/reads", "/writes_and_reads"):
        event(name + " runs").set()
        try:
            environ["wsgi.input"].read()
        except OSError:
            event(name + " noticed").set()
            raise
    start_response("200 OK", plain)
    return [b"%r" % environ["mod_wsgi.client_disconnected"]()]
"#;

fn clients() -> Httpd {
    serving(CLIENTS).conf("LogLevel wsgi:info")
}

#[track_caller]
fn awaited(httpd: &Running, name: &str) {
    httpd.get(&format!("/await?{}", name.replace(' ', "+"))).assert(200);
}

#[test]
fn a_client_that_goes_away_is_known_at_once_and_is_no_matter_for_the_log() {
    if testkit::ours_only("mod_wsgi tells applications nothing of clients that go away") {
        return;
    }
    let mut httpd = clients().start();
    for (path, events) in [
        ("/computes", &["noticed", "closed"][..]),
        ("/writes", &["noticed"]),
        ("/streams", &["noticed", "closed"]),
        ("/reads", &["noticed"]),
        ("/writes_and_reads", &["noticed"]),
    ] {
        for name in ["early", "late"] {
            let name = format!("{}-{name}", &path[1..]);
            let mut connection = httpd.connect();
            // Of a body that no window holds, so much is awaited before the application runs.
            let (length, sent) =
                if path.ends_with("reads") { (2_000_000, 150_000) } else { (0, 0) };
            let head = format!(
                "POST {path}?{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
            );
            connection.send(head.as_bytes()).expect("httpd reads");
            connection.send(&vec![b'x'; sent]).expect("httpd reads");
            awaited(&httpd, &format!("{name} runs"));
            if name.ends_with("late") {
                awaited(&httpd, &format!("{name} aged"));
            }
            drop(connection);
            for event in events {
                awaited(&httpd, &format!("{name} {event}"));
            }
        }
    }
    httpd.stop();
    let log = httpd.error_log();
    // What belongs to a request names its client.
    assert!(!log.contains("[client"), "{log}");
    // They are counted, but perhaps those whose end looked until the last like a half of one. The
    // others are the requests that told what had happened.
    let counts = (8..=10).map(|count| format!(": {count} of 39 clients went away before"));
    let told = |count: String| log.lines().any(|l| l.contains("[wsgi:info]") && l.contains(&count));
    assert!(counts.into_iter().any(told), "{log}");
}

#[test]
fn the_worker_connection_of_a_client_that_went_away_is_in_step() {
    if testkit::ours_only("mod_wsgi tells applications nothing of clients that go away") {
        return;
    }
    let httpd = clients().conf("WSGIDaemonProcess other threads=1").start();
    for round in 0..20 {
        let mut connection = httpd.connect();
        let head = format!("GET /computes?r{round} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.send(head.as_bytes()).expect("httpd reads");
        awaited(&httpd, &format!("r{round} runs"));
        drop(connection);
        assert_eq!(httpd.get("/").assert(200).text(), "False");
    }
}

#[test]
fn a_client_that_has_only_nothing_more_to_say_is_answered() {
    if testkit::ours_only("mod_wsgi tells applications nothing of clients that go away") {
        return;
    }
    let httpd = clients().start();
    // The next requests are no sign of an end, and neither is one's own direction closed.
    let mut connection = httpd.connect();
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    connection.send(request.repeat(3).as_bytes()).expect("httpd reads");
    for _ in 0..3 {
        let response = connection.read_response("GET").expect("a response").assert(200);
        assert_eq!(response.text(), "False");
    }
    let mut connection = httpd.connect();
    connection
        .send(b"GET /computes?half HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("httpd reads");
    awaited(&httpd, "half runs");
    connection.finish().expect("the connection is open");
    let response = connection.read_response("GET").expect("a response").assert(200);
    assert_eq!(response.text(), "nobodyreadsthis");
}

/// Sends hints, as many as the path says.
const HINTS: &str = r#"
def application(environ, start_response):
    hint = environ["wsgi.early_hints"]
    for number in range(int(environ["PATH_INFO"][1:])):
        hint([("Link", f"</{number}.css>; rel=preload; as=style")])
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Final", "yes")])
    return [b"body"]
"#;

#[test]
fn early_hints() {
    if testkit::ours_only("mod_wsgi sends none") {
        return;
    }
    let httpd = serving(HINTS).conf("Header set X-Set always").start();
    let mut connection = httpd.connect();
    connection.send(b"GET /2 HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("httpd reads");
    for number in 0..2 {
        let hint = connection.read_head().expect("an interim response");
        assert_eq!((hint.status, &*hint.reason), (103, "Early Hints"));
        let link = format!("</{number}.css>; rel=preload; as=style");
        assert_eq!(hint.headers, [("Link".to_owned(), link)]);
    }
    let response = connection.read_response("GET").expect("a response").assert(200);
    assert_eq!((response.header("Link"), response.header("X-Final")), (None, Some("yes")));
    assert_eq!(response.text(), "body");
    // Clients of old do not know interim responses.
    let answer = String::from_utf8(httpd.raw(b"GET /2 HTTP/1.0\r\n\r\n")).expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && !answer.contains("103"), "{answer}");
}

/// The application in a virtual host for TLS and HTTP/2, and its port.
fn secure(source: &str) -> Option<(Running, u16)> {
    if !Curl::is_there() {
        return None;
    }
    let httpd = serving(source).file("apps/data", &data());
    let (httpd, port) = httpd.secure("H2EarlyHints On\nSetOutputFilter DEFLATE")?;
    Some((httpd.start(), port))
}

/// What curl gets, and whether it found it whole.
fn curl(arguments: &[&str], url: &str) -> (bool, String) {
    let output = Command::new("curl").args(["-sk", "-m", "60"]).args(arguments).arg(url).output();
    let output = output.expect("curl runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until the access log has as many lines with this text: httpd writes them when it is done
/// with the requests.
#[track_caller]
fn wait_for_done(httpd: &Running, text: &str, count: usize) {
    let done = || httpd.log("access.log").matches(text).count();
    let all = testkit::until(|| (done() == count).then_some(()));
    assert!(all.is_some(), "{} of {count} {text}", done());
}

#[test]
fn clients_of_http2_that_leave_as_soon_as_they_have_all_hold_no_thread_of_httpd() {
    let Some((httpd, port)) = secure(CLIENTS) else {
        return;
    };
    // They have all that was announced before the application, which closes its iterable, has ended.
    for _ in 0..100 {
        let got = curl(&["--http2"], &format!("https://127.0.0.1:{port}/announces"));
        assert_eq!(got, (true, "all".to_owned()));
    }
    wait_for_done(&httpd, "GET /announces", 100);
}

/// Answers without a look at the body.
const REFUSES: &str = r#"
def application(environ, start_response):
    if environ["PATH_INFO"] == "/raises":
        raise KeyError("refused")
    start_response("403 Forbidden", [("Content-Type", "text/plain")])
    return [b"no"]
"#;

#[test]
fn uploads_over_http2_that_are_not_read_are_answered() {
    if !Curl::is_there() {
        return;
    }
    let site =
        serving(REFUSES).expect_log("refused").expect_log("Exception").expect_log("app.wsgi");
    let Some((site, port)) = site.expect_log("Traceback").secure("") else {
        return;
    };
    let httpd = site.start();
    let body = httpd.dir().join("body");
    std::fs::write(&body, vec![0; 5_000_000]).expect("it is ours");
    let file = body.to_str().expect("a name in ASCII");
    let data = format!("@{file}");
    for (path, status) in [("/", "403"), ("/raises", "500")] {
        for upload in [&["--data-binary", &data][..], &["-X", "POST", "-T", file]] {
            for _ in 0..5 {
                let got = Command::new("curl")
                    .args(["-sk", "--http2", "-o", "/dev/null", "-w", "%{http_code} %{exitcode}"])
                    .args(upload)
                    .arg(format!("https://127.0.0.1:{port}{path}"))
                    .output()
                    .expect("curl runs");
                let got = String::from_utf8_lossy(&got.stdout).into_owned();
                assert_eq!(got, format!("{status} 0"), "{path} {upload:?}");
            }
        }
    }
}

#[test]
fn uploads_over_http2_that_break_off_hold_no_thread_of_httpd() {
    if testkit::ours_only("mod_wsgi tells applications nothing of clients that go away") {
        return;
    }
    let Some((httpd, port)) = secure(CLIENTS) else {
        return;
    };
    for number in 1..=5 {
        let mut curl = Command::new("curl")
            .args(["-sk", "--http2", "-X", "POST", "-T", "-"])
            .arg(format!("https://127.0.0.1:{port}/replies?upload{number}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("curl runs");
        let mut body = curl.stdin.take().expect("it is a pipe");
        body.write_all(&[b'x'; 1000]).expect("curl reads");
        awaited(&httpd, &format!("upload{number} runs"));
        curl.kill().and_then(|()| curl.wait()).expect("it is ours");
        awaited(&httpd, &format!("upload{number} closed"));
        wait_for_done(&httpd, "POST /replies", number);
    }
}

#[test]
fn over_tls_and_http2() {
    const CASES: &str = r#"
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hints":
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/whole":
        return environ["wsgi.file_wrapper"](open(__file__.replace("app.wsgi", "data"), "rb"))
    if path == "/breaks":
        def body():
            yield b"begun" * 5000
            raise KeyError("too late")
        return body()
    if path == "/echo":
        return iter(lambda: environ["wsgi.input"].read(5000), b"")
    return [(environ["wsgi.url_scheme"] + environ["SERVER_PROTOCOL"]).encode()]
"#;
    let Some((mut httpd, port)) = secure(CASES) else {
        return;
    };
    let original = UnderTest::chosen().is_original();
    for (version, protocol) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        let url = |path: &str| format!("https://127.0.0.1:{port}{path}");
        let (whole, text) = curl(&[version], &url("/"));
        assert_eq!((whole, text), (true, format!("https{protocol}")));
        assert!(curl(&[version], &url("/whole")) == (true, data()), "{version}");
        assert!(curl(&[version, "--compressed"], &url("/whole")) == (true, data()), "{version}");
        let (_, raw) = curl(&[version, "-H", "Accept-Encoding: gzip"], &url("/whole"));
        assert!(raw.len() < 250_000, "{version}: mod_deflate makes {} bytes", raw.len());
        let sent = "z".repeat(50_000);
        assert!(curl(&[version, "-d", &sent], &url("/echo")) == (true, sent.clone()), "{version}");
        // It sends no parts of files and no hints, and hides what breaks off.
        if original {
            continue;
        }
        let (whole, part) = curl(&[version, "-r", "12-17"], &url("/whole"));
        assert_eq!((whole, &*part), (true, "00002\n"));
        let (whole, told) = curl(&[version, "-w", "%{exitcode}"], &url("/breaks"));
        // curl's CURLE_HTTP2_STREAM for RST_STREAM, and CURLE_PARTIAL_FILE or CURLE_RECV_ERROR.
        let codes = if version == "--http2" { &["92"][..] } else { &["18", "56"] };
        assert!(!whole && codes.iter().any(|code| told.ends_with(code)), "{version}: {told}");
        let (_, heads) = curl(&[version, "-D", "-", "-o", "/dev/null"], &url("/hints"));
        let hint = heads.split("\r\n\r\n").next().unwrap_or_default();
        assert!(hint.contains(" 103") && hint.contains("</a.css>"), "{version}: {heads}");
    }
    httpd.stop();
    let log = httpd.error_log();
    assert!(
        original || log.contains("KeyError: 'too late'") && !log.contains("exit signal"),
        "{log}"
    );
    httpd.abandon();
}
