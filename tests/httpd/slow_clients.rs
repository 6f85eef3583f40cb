//! Clients that are slow to receive or to send: they hold no thread of Python.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use testkit::{Connection, Httpd, Mpm, Running, until};

/// Answers with 4 MiB, in the way that the path names, or tells how many requests are running.
const APP: &str = r#"
import mod_wsgi

BODY = bytes(range(251)) * 16711
PLAIN = [("Content-Type", "application/octet-stream")]


def pieces(size, breaks=False):
    yield from (BODY[start:start + size] for start in range(0, len(BODY), size))
    if breaks:
        raise KeyError("too late")


def application(environ, start_response):
    path, length = environ["PATH_INFO"], [("Content-Length", str(len(BODY) + 1))]
    if path == "/breaks/announced":
        start_response("200 OK", PLAIN + length)
        return pieces(50_000, breaks=True)
    start_response("200 OK", PLAIN)
    if path == "/whole":
        return [BODY]
    if path == "/pieces":
        return pieces(1000)
    if path == "/breaks":
        return pieces(50_000, breaks=True)
    return [b"%d" % len(mod_wsgi.active_requests)]
"#;

/// What the application answers.
fn body() -> Vec<u8> {
    let all: Vec<u8> = (0..251).collect();
    all.repeat(16711)
}

/// So little of a response is with the kernel on its way to a client that reads nothing.
const SMALL_BUFFERS: &str = "SendBufferSize 65536";

fn site(mpm: Mpm) -> Httpd {
    Httpd::new().mpm(mpm).app("app.wsgi", APP).conf(SMALL_BUFFERS).conf(
        "WSGIDaemonProcess app user={user} group={group} threads=2 listen-backlog=200\n\
         WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
    )
}

/// Asks, and does not read the answer.
fn ask(httpd: &Running, path: &str) -> Connection {
    let mut client = httpd.connect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.send(request.as_bytes()).expect("httpd reads");
    client
}

/// Waits until no request runs but the one that asks.
#[track_caller]
fn wait_for_free_threads(httpd: &Running) {
    let alone = || (httpd.get("/active").assert(200).text() == "1").then_some(());
    assert!(until(alone).is_some(), "slow clients hold threads");
}

#[track_caller]
fn check_slow_readers(mpm: Mpm, clients: usize) {
    let httpd = site(mpm).start();
    for path in ["/whole", "/pieces"] {
        let mut slow = Vec::new();
        while slow.len() < clients {
            // So few at a time that none is turned away for those that wait to be begun.
            slow.extend((0..10).map(|_| ask(&httpd, path)));
            wait_for_free_threads(&httpd);
        }
        for mut client in slow {
            let response = client.read_response("GET").expect("a response").assert(200);
            assert!(response.body == body(), "{path}: {} bytes", response.body.len());
        }
    }
}

#[test]
fn more_slow_readers_than_httpd_has_threads() {
    check_slow_readers(Mpm::Event, 100);
}

#[test]
fn slow_readers_where_httpd_has_a_thread_for_each() {
    check_slow_readers(Mpm::Worker, 20);
}

#[test]
fn slow_readers_where_httpd_has_a_process_for_each() {
    check_slow_readers(Mpm::Prefork, 10);
}

#[test]
fn a_response_that_breaks_off_is_passed_as_far_as_it_goes() {
    for mpm in Mpm::ALL {
        let httpd = site(mpm).expect_log("[wsgi:error]").start();
        for (path, version) in
            [("/breaks", "1.1"), ("/breaks/announced", "1.1"), ("/breaks", "1.0")]
        {
            let mut client = httpd.connect();
            let request = format!("GET {path} HTTP/{version}\r\nHost: localhost\r\n\r\n");
            client.send(request.as_bytes()).expect("httpd reads");
            wait_for_free_threads(&httpd);
            let response = client.read_response("GET").expect("a response");
            assert_eq!((response.status, response.complete), (200, false), "{path} {version}");
            let whole = body();
            let len = response.body.len();
            assert!(response.body == whole[..len], "{path} {version}: {len} bytes");
            // A reset may overtake what is on its way.
            assert!(len == whole.len() || version == "1.0", "{path} {version}: {len} bytes");
        }
    }
}

#[test]
fn a_worker_that_dies_behind_a_slow_client_is_seen_to() {
    const DIES: &str = r#"
import os


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    def body():
        yield bytes(4 << 20)
        while not os.path.exists(environ["QUERY_STRING"]):
            yield b""
        os._exit(7)
    return body() if environ["QUERY_STRING"] else [b"alive"]
"#;
    let httpd = site(Mpm::Event).app("app.wsgi", DIES).expect_log("exit status 7").start();
    let gate = httpd.dir().join("gate");
    let mut client = ask(&httpd, &format!("/?{}", gate.display()));
    assert_eq!(client.read_head().expect("a response").status, 200);
    std::fs::write(&gate, "").expect("the folder is ours");
    httpd.wait_for_log(&["while it ran 'GET"]);
    let mut received = 0;
    while let Ok(Some(chunk)) = client.read_chunk() {
        received += chunk.len();
    }
    assert_eq!(received, 4 << 20);
    assert!(client.is_closed().expect("an end"));
    assert_eq!(httpd.get("/").assert(200).text(), "alive");
}

#[test]
fn without_a_place_for_files_memory_takes_what_slow_clients_do_not() {
    let httpd = site(Mpm::Event)
        .env("TMPDIR", "/nonexistent")
        .expect_log("can be made in /nonexistent: No such file")
        .start();
    let mut slow = [ask(&httpd, "/whole"), ask(&httpd, "/pieces")];
    wait_for_free_threads(&httpd);
    let log = httpd.wait_for_log(&["wsgi:warn", "No file for responses to slow clients"]);
    let warnings = log.matches("No file for responses").count();
    let children = httpd.children().len();
    assert!(warnings <= children, "{warnings} warnings of {children} children");
    for client in &mut slow {
        let response = client.read_response("GET").expect("a response").assert(200);
        assert!(response.body == body(), "{} bytes", response.body.len());
    }
}

/// Clients in Python: each sends a request over TLS, and reads when it is told to.
const OVER_TLS: &str = r#"
import ssl, sys, socket

port, count = int(sys.argv[1]), int(sys.argv[2])
context = ssl._create_unverified_context()
body = bytes(range(251)) * 16711
clients = []
for number in range(count):
    client = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
    client.sendall(b"GET /whole HTTP/1.0\r\n\r\n")
    clients.append(client)
print("sent", flush=True)
sys.stdin.readline()
for client in clients:
    with client.makefile("rb") as file:
        assert file.read().partition(b"\r\n\r\n")[2] == body
print("read")
"#;

/// With a virtual host for TLS and HTTP/2, and its port.
fn secure() -> Option<(Running, u16)> {
    let (httpd, port) = site(Mpm::Event).secure("")?;
    Some((httpd.start(), port))
}

#[test]
fn slow_readers_over_tls() {
    let Some((httpd, port)) = secure() else {
        return;
    };
    let mut clients = Command::new(testkit::environment::venv().join("bin/python"))
        .args(["-c", OVER_TLS, &port.to_string(), "20"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python runs");
    let mut said = std::io::BufReader::new(clients.stdout.take().expect("a pipe"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).expect("a line");
    assert_eq!(line, "sent\n");
    wait_for_free_threads(&httpd);
    clients.stdin.take().expect("a pipe").write_all(b"\n").expect("Python reads");
    assert!(clients.wait().expect("it ends").success());
}

/// Stops a program at the end of a test.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn slow_readers_of_http2() {
    if !testkit::Curl::is_there() {
        return;
    }
    let Some((httpd, port)) = secure() else {
        return;
    };
    let url = format!("https://127.0.0.1:{port}/whole");
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sk", "--http2", "-w", "%{stderr}%{http_version}"]).args(arguments);
        command.arg(&url).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let whole = curl(&[]).output().expect("curl runs");
    if whole.stderr != b"2" {
        testkit::skipped("curl has no HTTP/2");
        return;
    }
    assert!(whole.stdout == body(), "{} bytes", whole.stdout.len());
    let slow = (0..8).map(|_| Stopped(curl(&["--limit-rate", "1k"]).spawn().expect("curl runs")));
    let mut slow: Vec<_> = slow.collect();
    wait_for_free_threads(&httpd);
    let sent = || httpd.log("access.log").matches("GET /whole").count();
    // httpd writes the line when it is done with the stream.
    let first = until(|| Some(sent()).filter(|count| *count > 0));
    assert_eq!(first, Some(1), "the others are still being sent");
    assert!(slow.iter_mut().all(|one| matches!(one.0.try_wait(), Ok(None))));
}

/// Waits until the log has as many lines about requests that the application has begun.
#[track_caller]
fn wait_for_begun(httpd: &Running, count: usize) {
    let begun = || (httpd.error_log().matches("begun").count() == count).then_some(());
    assert!(until(begun).is_some(), "{}", httpd.error_log());
}

#[test]
fn slow_senders_hold_no_thread_before_the_beginning_of_the_body_is_here() {
    const READS: &str = r#"
import mod_wsgi


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["REQUEST_METHOD"] == "GET":
        return [b"%d" % len(mod_wsgi.active_requests)]
    print("begun", file=environ["wsgi.errors"])
    return [b"%d" % len(environ["wsgi.input"].read())]
"#;
    for mpm in Mpm::ALL {
        let httpd = site(mpm).app("app.wsgi", READS).expect_log("begun").start();
        let lengths = [1, 100, 131_072, 1 << 20];
        let begin = |length: usize| {
            let mut client = httpd.connect();
            let head =
                format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
            client.send(head.as_bytes()).expect("httpd reads");
            client
        };
        let mut slow: Vec<_> = lengths.iter().map(|length| (begin(*length), *length)).collect();
        let body = vec![b'x'; 1 << 20];
        for (client, length) in &mut slow {
            // All but the last byte that is awaited.
            client.send(&body[1..(*length).min(131_072)]).expect("httpd reads");
        }
        for _ in 0..10 {
            assert_eq!(httpd.get("/").assert(200).text(), "1");
        }
        assert!(!httpd.error_log().contains("begun"), "{mpm:?}");
        for (number, (client, length)) in slow.iter_mut().enumerate() {
            client.send(b"x").expect("httpd reads");
            // The rest is pulled as the application reads.
            wait_for_begun(&httpd, number + 1);
            client.send(&body[(*length).min(131_072)..*length]).expect("httpd reads");
            let response = client.read_response("POST").expect("a response").assert(200);
            assert_eq!(response.text(), length.to_string());
        }
    }
}

#[test]
fn time_that_the_client_takes_to_send_is_none_in_the_queue() {
    let httpd = Httpd::new()
        .app("app.wsgi", "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [environ['wsgi.input'].read()]\n")
        .conf(
            "WSGIDaemonProcess app user={user} group={group} queue-timeout=1\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    let mut slow = httpd.connect();
    slow.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na")
        .expect("httpd reads");
    let begin = std::time::Instant::now();
    assert!(until(|| (begin.elapsed().as_millis() > 1500).then_some(())).is_some());
    slow.send(b"b").expect("httpd reads");
    assert_eq!(slow.read_response("POST").expect("a response").assert(200).text(), "ab");
}
