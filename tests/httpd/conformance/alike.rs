//! The same request is answered alike each time, over each version of HTTP: status, headers, framing,
//! body, and whether that is whole. Applications compute, sleep, or do neither between any two of
//! their steps, by chance.

use std::process::Command;
use std::{fmt, fs};

use testkit::{Curl, Httpd, Ports, Protocol, Response, Running, Transfer, transfer};

use super::{VALIDATED, check_form};
use crate::serving;

/// How often each request is sent.
const TIMES: usize = 20;

/// How a response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With all that belongs to it.
    Whole,
    /// So that the client sees that something is missing.
    Cut,
}

use End::{Cut, Whole};

/// A request, and what comes of it.
#[derive(Clone, Debug)]
struct Case<'a> {
    transfer: Transfer<'a>,
    status: u16,
    end: End,
    /// The body, where it is worth a look.
    body: Option<&'a str>,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Transfer { method, path, headers, .. } = self.transfer;
        write!(f, "{method} {path} {headers:?}")
    }
}

/// The site, reached by each version of HTTP.
fn everywhere(site: Httpd, secure: &str) -> Option<(Running, Ports)> {
    if !Curl::is_there() {
        return None;
    }
    let (site, secure) = site.secure(secure)?;
    let httpd = site.start();
    let ports = Ports { plain: httpd.port(), secure };
    Some((httpd, ports))
}

/// Sends each request often, over all versions, and compares.
#[track_caller]
fn check(ports: Ports, cases: &[Case<'_>]) {
    let transfers: Vec<_> = cases.iter().map(|case| case.transfer.clone()).collect();
    let answers = std::thread::scope(|scope| {
        let all = Protocol::ALL.map(|protocol| {
            let transfers = &transfers;
            scope.spawn(move || (protocol, transfer(protocol, ports, transfers, TIMES)))
        });
        all.map(|one| one.join().expect("no panic"))
    });
    let mut wrong = Vec::new();
    for (protocol, answers) in &answers {
        for (case, answers) in cases.iter().zip(answers) {
            // Of a stream that is reset at once, mod_http2 may never have sent the head.
            let is_reset = protocol.is_http2() && case.end == Cut;
            let heard = answers.iter().filter(|it| !is_reset || it.complete || it.status != 0);
            let heard: Vec<_> = heard.cloned().collect();
            wrong.extend(problem(case, &heard).map(|it| format!("{protocol:?} {case}: {it}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with the answers to the same request.
fn problem(case: &Case<'_>, answers: &[Response]) -> Option<String> {
    let first = answers.first()?;
    let end = |response: &Response| if response.complete { Whole } else { Cut };
    let stray = answers.iter().find(|it| (it.status, end(it)) != (case.status, case.end));
    if let Some(stray) = stray {
        return Some(format!("{} and {:?} expected, not {stray}", case.status, case.end));
    }
    answers.iter().for_each(check_form);
    // Of what breaks off, more or less may have arrived; and what filters make of a body depends on
    // where it is flushed.
    let is_encoded = first.header("Content-Encoding").is_some();
    let body = |response: &Response| match case.end {
        Whole if !is_encoded => response.body.clone(),
        _ => Vec::new(),
    };
    if let Some(other) = answers.iter().find(|it| head(it) != head(first)) {
        return Some(format!("different heads: {:?} and {:?}", head(first), head(other)));
    }
    if answers.iter().any(|it| body(it) != body(first)) {
        return Some("different bodies".to_owned());
    }
    let wanted = case.body.filter(|wanted| first.text() != *wanted);
    wanted.map(|wanted| format!("{wanted:?} expected, not {:?}", first.text()))
}

/// The headers, but for the time, and what httpd tells of how much longer a connection is kept, and what
/// it could speak.
fn head(response: &Response) -> Vec<(String, String)> {
    let varies = ["date", "expires"];
    let mut headers: Vec<_> = response
        .headers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.replace("Upgrade, ", "")))
        // What httpd offers with the first response on each connection.
        .filter(|(name, value)| name != "upgrade" && value != "Upgrade")
        .collect();
    for (name, value) in &mut headers {
        if varies.contains(&&**name) {
            value.clear();
        }
    }
    headers.retain(|(name, _)| name != "keep-alive");
    // httpd's own come in another order where it has something more to say.
    headers.sort();
    headers
}

/// What an application may do, in steps between which it takes any time.
const STEPS: &str = r#"
import random, time

PLAIN = [("Content-Type", "text/plain")]
LARGE = b"0123456789abcdef" * 4096


def pause():
    how = random.randrange(10)
    if how == 0:
        time.sleep(0.025)
    elif how < 3:
        time.sleep(random.random() / 500)
    elif how < 5:
        sum(range(random.randrange(50_000)))


class Closing(list):
    def __iter__(self):
        for item in list.__iter__(self):
            pause()
            if isinstance(item, Exception):
                raise item
            yield item
        pause()

    def close(self):
        pause()
        if "raise" in self.then:
            raise KeyError("in close")


def announced(length):
    return ("Content-Length", str(length))


FAILURE = KeyError("as it is to be")
READ = object()
# By path: headers, blocks, and how they are returned.
ANSWERS = {
    "list": ([], [b"one"], list),
    "list-empty": ([], [], list),
    "list-nothing": ([announced(0)], [], list),
    "list-blank": ([], [b""], list),
    "list-two": ([], [b"one", b"two"], tuple),
    "list-announced": ([announced(6)], [b"one", b"two"], list),
    "list-large": ([], [LARGE * 2], list),
    "list-large-two": ([announced(2 * len(LARGE))], [LARGE, LARGE], list),
    "list-medium": ([], [LARGE[:9000]], list),
    "list-short": ([announced(7)], [b"one", b"two"], list),
    "list-large-short": ([announced(5 * len(LARGE))], [LARGE] * 4, list),
    "list-long": ([announced(5)], [b"one", b"two"], list),
    "list-text": ([], [b"one", "two"], list),
    "list-large-text": ([], [LARGE] * 4 + ["two"], list),
    "stream": ([], [b"one", b"two", b"three"], Closing),
    "stream-one": ([], [b"one"], Closing),
    "stream-empty": ([], [], Closing),
    "stream-nothing": ([announced(0)], [], Closing),
    "stream-blank": ([], [b"", b""], Closing),
    "stream-announced": ([announced(11)], [b"one", b"two", b"three"], Closing),
    "stream-large": ([], [LARGE, LARGE, LARGE], Closing),
    "stream-large-announced": ([announced(3 * len(LARGE))], [LARGE, LARGE, LARGE], Closing),
    "stream-parts": ([announced(6), ("Accept-Ranges", "bytes")], [b"one", b"two"], Closing),
    "fails-first": ([], [FAILURE], Closing),
    "fails-blank": ([], [b"", FAILURE], Closing),
    "fails-announced-first": ([announced(6)], [FAILURE], Closing),
    "fails": ([], [b"one", FAILURE], Closing),
    "fails-later": ([], [b"one", b"two", FAILURE], Closing),
    "fails-announced": ([announced(6)], [b"one", FAILURE], Closing),
    "fails-large": ([], [LARGE, LARGE, FAILURE], Closing),
    "fails-large-announced": ([announced(4 * len(LARGE))], [LARGE, LARGE, FAILURE], Closing),
    "fails-parts": ([announced(6), ("Accept-Ranges", "bytes")], [b"one", FAILURE], Closing),
    "fails-text": ([], [b"one", "two"], Closing),
    "fails-after-all": ([announced(6)], [b"one", b"two", FAILURE], Closing),
    "short": ([announced(7)], [b"one", b"two"], Closing),
    "short-nothing": ([announced(7)], [], Closing),
    "raises-in-close": ([], [b"one"], Closing),
    "reads": ([], [b"one", READ, b"two"], Closing),
    "reads-and-fails": ([], [b"one", READ, FAILURE], Closing),
    "fails-after-reading": ([], [READ, FAILURE], Closing),
    "writes": ([], [b"one"], "write"),
    "writes-and-fails": ([], [b"one", FAILURE], "write"),
    "file": ([], [], "file"),
}
for code in (204, 205, 304, 404):
    ANSWERS["status-%d" % code] = ([], [b"one", b"two"], Closing)
    ANSWERS["status-%d-empty" % code] = ([], [], Closing)
    ANSWERS["status-%d-fails" % code] = ([], [b"one", FAILURE], Closing)


def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/").split("/")[-1]
    headers, blocks, how = ANSWERS[name]
    status = name.split("-")[1] if name.startswith("status-") else "200"
    pause()
    put = start_response(status + " Status", PLAIN + headers)
    pause()
    if how == "file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if how == "write":
        for block in blocks:
            pause()
            if isinstance(block, Exception):
                raise block
            put(block)
        return [b"returned"]

    def read(block):
        return block if block is not READ else environ["wsgi.input"].read()

    if how is not Closing:
        return how(blocks)

    class Response(Closing):
        then = name

        def __iter__(self):
            for block in Closing.__iter__(self):
                yield read(block)

    return Response(blocks)
"#;

/// All that [`STEPS`] can do, with the status and the end that GET and POST see.
const OUTCOMES: [(&str, u16, End); 55] = [
    ("list", 200, Whole),
    ("list-empty", 200, Whole),
    ("list-nothing", 200, Whole),
    ("list-blank", 200, Whole),
    ("list-two", 200, Whole),
    ("list-announced", 200, Whole),
    ("list-large", 200, Whole),
    ("list-large-two", 200, Whole),
    ("list-medium", 200, Whole),
    ("list-short", 500, Whole),
    ("list-large-short", 500, Whole),
    ("list-long", 200, Whole),
    ("list-text", 500, Whole),
    ("list-large-text", 500, Whole),
    ("stream", 200, Whole),
    ("stream-one", 200, Whole),
    ("stream-empty", 200, Whole),
    ("stream-nothing", 200, Whole),
    ("stream-blank", 200, Whole),
    ("stream-announced", 200, Whole),
    ("stream-large", 200, Whole),
    ("stream-large-announced", 200, Whole),
    ("stream-parts", 200, Whole),
    ("fails-first", 500, Whole),
    ("fails-blank", 500, Whole),
    ("fails-announced-first", 500, Whole),
    ("fails", 200, Cut),
    ("fails-later", 200, Cut),
    ("fails-announced", 200, Cut),
    ("fails-large", 200, Cut),
    ("fails-large-announced", 200, Cut),
    ("fails-parts", 200, Cut),
    ("fails-text", 200, Cut),
    // What was announced has come: nothing is missing.
    ("fails-after-all", 200, Whole),
    ("short", 200, Cut),
    ("short-nothing", 500, Whole),
    ("raises-in-close", 200, Whole),
    ("reads", 200, Whole),
    ("reads-and-fails", 200, Cut),
    ("fails-after-reading", 500, Whole),
    ("writes", 200, Whole),
    ("writes-and-fails", 200, Cut),
    ("file", 200, Whole),
    ("status-204", 204, Whole),
    ("status-204-empty", 204, Whole),
    ("status-204-fails", 204, Whole),
    ("status-205", 205, Whole),
    ("status-205-empty", 205, Whole),
    ("status-205-fails", 205, Whole),
    ("status-304", 304, Whole),
    ("status-304-empty", 304, Whole),
    ("status-304-fails", 304, Whole),
    ("status-404", 404, Whole),
    ("status-404-empty", 404, Whole),
    ("status-404-fails", 404, Cut),
];

/// Of them, those that differ most from each other.
const FEW: [&str; 14] = [
    "list",
    "list-large",
    "list-short",
    "stream",
    "stream-announced",
    "stream-parts",
    "fails-first",
    "fails",
    "fails-announced",
    "reads",
    "reads-and-fails",
    "file",
    "status-204",
    "status-404-fails",
];

/// A request for each of [`OUTCOMES`] that is `wanted`.
fn cases<'a>(
    paths: &'a [String],
    transfer: &Transfer<'a>,
    wanted: impl Fn(&str) -> bool,
    end: impl Fn(&str, u16, End) -> (u16, End),
) -> Vec<Case<'a>> {
    let outcomes = OUTCOMES.iter().zip(paths).filter(|((name, ..), _)| wanted(name));
    let cases = outcomes.map(|((name, status, how), path)| {
        let (status, end) = end(name, *status, *how);
        Case { transfer: Transfer { path, ..transfer.clone() }, status, end, body: None }
    });
    cases.collect()
}

fn all(_: &str) -> bool {
    true
}

fn few(name: &str) -> bool {
    FEW.contains(&name)
}

fn as_it_stands(_: &str, status: u16, end: End) -> (u16, End) {
    (status, end)
}

/// An answer to HEAD is over with its head: of what is not sent, nothing can be missing.
fn for_head(name: &str, status: u16, _: End) -> (u16, End) {
    match name {
        "list-short" | "list-large-short" | "short-nothing" => (200, Whole),
        _ => (status, Whole),
    }
}

fn paths(prefix: &str) -> Vec<String> {
    OUTCOMES.iter().map(|(name, ..)| format!("{prefix}/{name}")).collect()
}

fn steps(conf: &str) -> Option<(Running, Ports)> {
    if testkit::ours_only("mod_wsgi hides what breaks off, and does not count what is short") {
        return None;
    }
    let site = Httpd::new()
        .app("app.wsgi", STEPS)
        .conf(
            "WSGIDaemonProcess app user={user} group={group} processes=2 threads=10\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .conf(conf)
        .expect_log("[wsgi:error]");
    everywhere(site, conf)
}

#[test]
fn whatever_an_application_does_in_whatever_time() {
    let Some((_httpd, ports)) = steps("") else {
        return;
    };
    let paths = paths("");
    let get = Transfer { method: "GET", ..Transfer::default() };
    let head = Transfer { method: "HEAD", ..Transfer::default() };
    let closing = Transfer { headers: &[("Connection", "close")], ..get.clone() };
    let part = Transfer { headers: &[("Range", "bytes=1-2")], ..get.clone() };
    let upload = Transfer { method: "POST", body: Some(b"some"), ..part.clone() };
    let mut requests = cases(&paths, &get, all, as_it_stands);
    requests.extend(cases(&paths, &head, all, for_head));
    requests.extend(cases(&paths, &closing, few, as_it_stands));
    requests.extend(cases(&paths, &upload, few, as_it_stands));
    requests.extend(cases(&paths, &part, few, |name, status, end| match name {
        "file" | "stream-parts" => (206, Whole),
        _ => (status, end),
    }));
    check(ports, &requests);
}

#[test]
fn whatever_filters_and_pages_make_of_it() {
    let conf = "SetOutputFilter DEFLATE\n\
                <Location /page>\n\
                ErrorDocument 500 /list\n\
                ErrorDocument 404 \"Not there\"\n\
                WSGIErrorOverride On\n\
                </Location>";
    let Some((_httpd, ports)) = steps(conf) else {
        return;
    };
    let (plain, pages) = (paths(""), paths("/page"));
    let headers = &[("Accept-Encoding", "gzip")];
    let get = Transfer { method: "GET", headers, ..Transfer::default() };
    let head = Transfer { method: "HEAD", ..get.clone() };
    let mut requests = cases(&plain, &get, all, as_it_stands);
    // The application sees GET (`WSGIMapHEADToGET`).
    requests.extend(cases(&plain, &head, few, |_, status, _| (status, Whole)));
    requests.extend(cases(&pages, &get, few, |name, status, end| match name {
        // What the application answers in place of the page has a status of its own.
        "list-short" | "fails-first" => (200, Whole),
        // httpd's page takes its place, whatever becomes of it.
        "status-404-fails" => (404, Whole),
        _ => (status, end),
    }));
    check(ports, &requests);
}

#[test]
fn well_behaved_applications() {
    let site = serving(VALIDATED)
        .conf("WSGIChunkedRequest On")
        .expect_log("REQUEST_METHOD: 'FROB'")
        .expect_log("warnings.warn(")
        .expect_log("[wsgi:error]");
    let Some((_httpd, ports)) = everywhere(site, "") else {
        return;
    };
    let case = |method, path, body: Option<&'static str>, unannounced, expected| Case {
        transfer: Transfer {
            method,
            path,
            body: body.map(str::as_bytes),
            unannounced,
            ..Transfer::default()
        },
        status: if path == "/empty" { 204 } else { 200 },
        end: Whole,
        body: Some(expected),
    };
    check(
        ports,
        &[
            case("GET", "/a", None, false, "GET /a"),
            case("GET", "/list", None, false, "GET /list"),
            case("HEAD", "/a", None, false, ""),
            case("POST", "/echo", Some("abc"), false, "abc"),
            case("POST", "/unread", Some("abc"), false, "unread"),
            case("POST", "/unread", Some("abc"), true, "unread"),
            case("GET", "/many", None, false, "0,1,2,3,4,"),
            case("GET", "/written", None, false, "written returned"),
            case("GET", "/empty", None, false, ""),
            case("DELETE", "/x", None, false, "DELETE /x"),
            case("PATCH", "/y", None, false, "PATCH /y"),
            case("OPTIONS", "/z", None, false, "OPTIONS /z"),
            case("FROB", "/x", None, false, "FROB /x"),
        ],
    );
}

/// Answers as the path says, and reads as much of the body first.
const UPLOADS: &str = r#"
def application(environ, start_response):
    how = environ["PATH_INFO"][1:]
    read = environ["wsgi.input"].read
    body = read() if how == "reads" else read(10) if how == "begins" else b""
    status = "413 Too Much" if how == "refuses" else "200 OK"
    start_response(status, [("Content-Type", "text/plain")])
    return [b"%d" % len(body)]
"#;

#[test]
fn uploads_of_which_anything_may_be_left() {
    let Some((_httpd, ports)) = everywhere(serving(UPLOADS), "") else {
        return;
    };
    let (small, large) = (vec![b'x'; 10], vec![b'x'; 300_000]);
    let expect: &[(&str, &str)] = &[("Expect", "100-continue")];
    let mut requests = Vec::new();
    for (path, status) in [("/refuses", 413), ("/ignores", 200), ("/begins", 200), ("/reads", 200)]
    {
        for body in [&small, &large] {
            for unannounced in [false, true] {
                for (headers, rate) in [(&[][..], None), (expect, None), (&[], Some(3_000_000))] {
                    // See the next test: curl drops the answer of a stream that is reset behind it.
                    if !headers.is_empty() && matches!(path, "/refuses" | "/ignores") {
                        continue;
                    }
                    let transfer = Transfer {
                        method: "POST",
                        path,
                        headers,
                        body: Some(body),
                        unannounced,
                        rate,
                    };
                    let body = match (path, body.len()) {
                        ("/begins", _) | ("/reads", 10) => "10",
                        ("/reads", _) => "300000",
                        _ => "0",
                    };
                    requests.push(Case { transfer, status, end: Whole, body: Some(body) });
                }
            }
        }
    }
    check(ports, &requests);
}

/// mod_http2 sends the whole answer, and then resets the stream without an error, as RFC 9113, section 8.1
/// wants it of a server that needs no more of the body. nghttp shows both.
#[test]
fn a_stream_that_waits_for_permission_gets_the_answer() {
    let program = Command::new("nghttp").arg("--version").output();
    if program.is_err() {
        testkit::skipped("nghttp is missing (Debian's nghttp2-client)");
        return;
    }
    let Some((httpd, _)) = everywhere(serving(UPLOADS), "") else {
        return;
    };
    let body = httpd.dir().join("body");
    for (size, path, status) in
        [(10, "/refuses", 413), (300_000, "/refuses", 413), (10, "/ignores", 200)]
    {
        fs::write(&body, vec![b'x'; size]).expect("the folder is ours");
        for _ in 0..TIMES {
            let mut asks = Command::new("nghttp");
            asks.args(["--verbose", "--header=expect: 100-continue"]).arg("--data").arg(&body);
            let said = asks.arg(format!("http://127.0.0.1:{}{path}", httpd.port())).output();
            let said = String::from_utf8_lossy(&said.expect("it is there").stdout).into_owned();
            assert!(said.contains(&format!(":status: {status}")), "{path}, {size} bytes: {said}");
            assert!(said.contains("END_STREAM"), "{path}, {size} bytes: {said}");
        }
    }
}
