//! What an application gives: status, headers, bodies in all shapes, and its mistakes.

use testkit::{Httpd, Response, Running, UnderTest};

use crate::serving;

/// A function for each case; the path names it.
pub const CASES: &str = r#"
import sys
import threading

PLAIN = [("Content-Type", "text/plain")]
go = threading.Event()


class Closing:
    def __init__(self, items, environ):
        self.items, self.environ = items, environ

    def __iter__(self):
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            yield item

    def close(self):
        print("the iterable is closed", file=self.environ["wsgi.errors"])


def application(environ, start_response):
    return globals()[environ["PATH_INFO"][1:]](environ, start_response)


def parts(environ, start_response):
    start_response("201 Made Up", PLAIN + [("X-A", "1"), ("Set-Cookie", "a"), ("Set-Cookie", "b")])
    return [b"a", b"", b"bc"]


def generator(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"a"
    yield b"b"


def late_start(environ, start_response):
    yield b""
    start_response("200 OK", PLAIN)
    yield b"late"


def write(environ, start_response):
    put = start_response("200 OK", PLAIN)
    put(b"written ")
    put(b"first, ")
    return [b"then returned"]


def empty(environ, start_response):
    start_response("200 OK", PLAIN + [("Content-Length", "0")])
    return []


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def stream(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"first"
    go.wait(50)
    yield b"second"


def release(environ, start_response):
    go.set()
    return parts(environ, start_response)


def closing(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing([b"a"], environ)


def replaced(environ, start_response):
    start_response("200 OK", PLAIN)
    try:
        raise ValueError("caught")
    except ValueError:
        start_response("503 Replaced", PLAIN, sys.exc_info())
    return [b"replaced"]


def logging(environ, start_response):
    environ["wsgi.errors"].write("to wsgi.errors, ")
    environ["wsgi.errors"].write("in two parts\n")
    print("a second line ä", file=environ["wsgi.errors"])
    print("to stderr", file=sys.stderr)
    print("to stdout")
    environ["wsgi.errors"].write("an unfinished line")
    return parts(environ, start_response)


def inner():
    raise KeyError("deep inside")


def raises(environ, start_response):
    inner()


def raises_while_iterating(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing([KeyError("before anything was sent")], environ)


def raises_too_late(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing([b"begun", KeyError("too late")], environ)


def breaks_off(environ, start_response):
    start_response("200 OK", PLAIN + [("Content-Length", "200000")])
    return Closing([b"a" * 100000, KeyError("when httpd has begun to send")], environ)


def exits(environ, start_response):
    raise SystemExit("leaving")


def too_short(environ, start_response):
    start_response("200 OK", PLAIN + [("Content-Length", "9")])
    return [b"abc"]


def stops_short_of_its_list(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"abc", 5]


def too_long(environ, start_response):
    start_response("200 OK", PLAIN + [("Content-Length", "3")])
    return [b"abcdef"]


def never_started(environ, start_response):
    return [b"a"]


def returns_none(environ, start_response):
    start_response("200 OK", PLAIN)


def yields_text(environ, start_response):
    start_response("200 OK", PLAIN)
    return ["text"]


def bad_status(environ, start_response):
    start_response("20 OK", PLAIN)
    return []


def bytes_status(environ, start_response):
    start_response(b"200 OK", PLAIN)
    return []


def header_not_tuple(environ, start_response):
    start_response("200 OK", [["X-A", "b"]])
    return []


def header_not_text(environ, start_response):
    start_response("200 OK", [("X-A", 1)])
    return []


def header_injection(environ, start_response):
    start_response("200 OK", [("X-A", "b\r\nX-Injected: c")])
    return []


def twice(environ, start_response):
    put = start_response("200 OK", PLAIN)
    put(b"a")
    start_response("200 OK", PLAIN)
    return []
"#;

/// The applications in a virtual host with logs of its own.
fn cases() -> Running {
    Httpd::new()
        .app("app.wsgi", CASES)
        .conf(
            "WSGIDaemonProcess app user={user} group={group} threads=5\n\
             <VirtualHost *:{port}>\n\
             ErrorLog logs/site-error.log\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}\n\
             </VirtualHost>",
        )
        .expect_log("[wsgi:error]")
        .start()
}

#[test]
fn bodies() {
    let httpd = serving(CASES).expect_log("longer than its Content-Length").start();
    for (path, status, expected) in [
        ("/parts", 201, "abc"),
        ("/generator", 200, "ab"),
        ("/late_start", 200, "late"),
        ("/write", 200, "written first, then returned"),
        ("/empty", 200, ""),
        ("/no_content", 204, ""),
        ("/replaced", 503, "replaced"),
        ("/too_long", 200, "abc"),
    ] {
        assert_eq!(httpd.get(path).assert(status).text(), expected, "{path}");
    }
}

#[test]
fn status_and_headers() {
    let response = serving(CASES).start().get("/parts").assert(201);
    assert_eq!(response.reason, "Made Up");
    assert_eq!(response.header("content-type"), Some("text/plain"));
    assert_eq!(response.header("x-a"), Some("1"));
    let cookies = |response: &Response| {
        let headers = response.headers.iter().filter(|(name, _)| name == "Set-Cookie");
        headers.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(cookies(&response), ["a", "b"]);
}

#[test]
fn head() {
    let httpd = serving(CASES).start();
    let response = httpd.request("HEAD", "/empty", &[], b"").assert(200);
    assert_eq!(response.text(), "");
    // The connection is in step: what follows is the next response, not a body.
    let mut connection = httpd.connect();
    for _ in 0..2 {
        let response = connection.request("HEAD", "/parts", &[], b"").expect("a response");
        assert_eq!(response.assert(201).header("x-a"), Some("1"));
    }
}

#[test]
fn an_answer_to_head_is_whole_however_its_application_ends() {
    let httpd = serving(CASES).expect_log("[wsgi:error]").start();
    let mut connection = httpd.connect();
    for _ in 0..2 {
        // A proxy sends its next request over this connection at once.
        let response = connection.request("HEAD", "/breaks_off", &[], b"").expect("a response");
        assert_eq!(response.assert(200).header("Content-Length"), Some("200000"));
    }
}

/// Answers with a body whatever the status is, and tells its length where the query wants it.
const BODY: &str = r#"
def application(environ, start_response):
    status, body = environ["PATH_INFO"][1:], b"HTTP/1.1 200 OK\r\n\r\n"
    length = [("Content-Length", str(len(body)))] if environ["QUERY_STRING"] else []
    start_response(status + " Status", [("Content-Type", "text/plain")] + length)
    return [body[:9], body[9:]]
"#;

#[test]
fn responses_that_have_no_body_send_none() {
    let httpd = serving(BODY).start();
    for (method, path) in [
        ("HEAD", "/200"),
        ("HEAD", "/404?length"),
        ("GET", "/204"),
        ("GET", "/204?length"),
        ("POST", "/204"),
        ("GET", "/205"),
        ("GET", "/205?length"),
        ("GET", "/304"),
        ("GET", "/304?length"),
    ] {
        let mut connection = httpd.connect();
        // What follows is the next response, not the rest of a body.
        for (method, path) in [(method, path), ("GET", "/200")] {
            let response = connection.request(method, path, &[], b"").expect("a response");
            let (_, status) = path.split_at(1);
            assert_eq!(response.status.to_string(), status[..3], "{method} {path}: {response}");
            let length = if (method, path) == ("GET", "/200") { 19 } else { 0 };
            assert!(response.complete, "{method} {path}: {response}");
            // mod_wsgi leaves the body of 205 there.
            if status.starts_with("205") && UnderTest::chosen().is_original() {
                continue;
            }
            assert_eq!(response.body.len(), length, "{method} {path}: {response}");
        }
    }
}

#[test]
fn what_was_yielded_is_sent_at_once() {
    let httpd = serving(CASES).start();
    let mut connection = httpd.connect();
    connection.send(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("httpd reads");
    assert_eq!(connection.read_head().expect("a response").status, 200);
    // The application waits for the other request before it goes on.
    assert_eq!(connection.read_chunk().expect("a chunk"), Some(b"first".to_vec()));
    httpd.get("/release").assert(201);
    assert_eq!(connection.read_chunk().expect("a chunk"), Some(b"second".to_vec()));
    assert_eq!(connection.read_chunk().expect("the end"), None);
}

#[test]
fn the_iterable_is_closed() {
    for (path, status) in [("/closing", 200), ("/raises_while_iterating", 500)] {
        let httpd = cases();
        httpd.get(path).assert(status);
        httpd.wait_for_log_in("site-error.log", &["the iterable is closed"]);
    }
}

#[test]
fn logs_of_a_request() {
    let httpd = cases();
    httpd.get("/logging").assert(201);
    for text in [
        "to wsgi.errors, in two parts",
        "a second line",
        "to stderr",
        "to stdout",
        "an unfinished line",
    ] {
        httpd.wait_for_log_in("site-error.log", &[text]);
    }
    assert!(!httpd.error_log().contains("in two parts"), "{}", httpd.error_log());
}

#[test]
fn mistakes() {
    let httpd = cases();
    for (path, texts) in [
        ("/raises", ["app.wsgi", "in raises", "in inner", "KeyError: 'deep inside'"]),
        ("/raises_while_iterating", ["app.wsgi", "in __iter__", "KeyError", "before anything"]),
        ("/exits", ["app.wsgi", "in exits", "SystemExit", "leaving"]),
        ("/never_started", ["app.wsgi", "start_response", "", ""]),
        ("/returns_none", ["app.wsgi", "NoneType", "", ""]),
        ("/yields_text", ["app.wsgi", "bytes", "str", ""]),
        ("/bad_status", ["app.wsgi", "status", "3 digit", ""]),
        ("/bytes_status", ["app.wsgi", "str", "bytes", ""]),
        ("/header_not_tuple", ["app.wsgi", "tuple", "list", ""]),
        ("/header_not_text", ["app.wsgi", "str", "int", ""]),
        ("/header_injection", ["app.wsgi", "header value", "", ""]),
        ("/no_such_function", ["app.wsgi", "KeyError", "no_such_function", ""]),
    ] {
        httpd.get(path).assert(500);
        // An original has its own words, and no traceback with Python before 3.12.
        if UnderTest::chosen().is_original() {
            continue;
        }
        for text in texts {
            httpd.wait_for_log_in("site-error.log", &["[wsgi:error]", text]);
        }
    }
    httpd.get("/parts").assert(201);
}

#[test]
fn a_list_that_fails_is_never_begun() {
    if testkit::ours_only("mod_wsgi sends the blocks of a list one by one") {
        return;
    }
    let httpd = cases();
    // Often, as it must not depend on how quickly httpd hears of the failure.
    for _ in 0..200 {
        httpd.get("/too_short").assert(500);
        httpd.get("/stops_short_of_its_list").assert(500);
    }
}

#[test]
fn a_response_that_breaks_off_is_seen_to() {
    let httpd = cases();
    let original = UnderTest::chosen().is_original();
    for path in ["/raises_too_late", "/too_short", "/twice"] {
        // Where nothing has been sent yet, a status of failure is better still.
        let response = httpd.get(path);
        let is_seen = response.status >= 500 || !response.complete;
        // Without a length, mod_wsgi makes it look whole.
        assert_eq!(is_seen, !original || path == "/too_short", "{path}: {response}");
    }
    httpd.wait_for_log_in("site-error.log", &["KeyError: 'too late'"]);
    httpd.get("/parts").assert(201);
}
