//! Status lines and headers, from the application to the client: what is passed on as it is, what is
//! left out, and what is refused before anything is sent.

use testkit::{Response, Running, UnderTest};

use crate::{ask, serving};

/// Answers with the status and the headers in the query string, and a body of four bytes.
const HEAD: &str = r#"
from urllib.parse import unquote


def application(environ, start_response):
    status, headers = eval(unquote(environ["QUERY_STRING"]))
    start_response(status, [("Content-Type", "text/plain")] + headers)
    return [b"bo", b"dy"]
"#;

fn serve() -> Running {
    serving(HEAD).conf("ErrorDocument 500 \"a page\"").expect_log("[wsgi:error]").start()
}

/// What the client gets of this status and these headers.
fn sent(httpd: &Running, head: &str) -> Response {
    httpd.get(&ask(&[head]))
}

/// The values of all headers of that name.
fn values<'r>(response: &'r Response, name: &str) -> Vec<&'r str> {
    let named = response.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn what_is_passed_on() {
    let httpd = serve();
    for (head, status, reason, name, expected) in [
        ("'404 Nope Custom', []", 404, "Nope Custom", "Content-Type", &["text/plain"][..]),
        ("'299 Odd', []", 299, "Odd", "Content-Type", &["text/plain"]),
        ("'999 Odder', []", 999, "Odder", "Content-Type", &["text/plain"]),
        ("'302 Found', [('Location', '/there')]", 302, "Found", "Location", &["/there"]),
        ("'301 Moved', [('Location', '?x')]", 301, "Moved", "Location", &["?x"]),
        ("'200 OK', [('Location', 'http://h/')]", 200, "OK", "Location", &["http://h/"]),
        (
            "'200 OK', [('Set-Cookie', 'a'), ('Set-Cookie', 'b')]",
            200,
            "OK",
            "Set-Cookie",
            &["a", "b"],
        ),
        (
            "'401 Who', [('WWW-Authenticate', 'a'), ('WWW-Authenticate', 'b')]",
            401,
            "Who",
            "WWW-Authenticate",
            &["a", "b"],
        ),
        ("'200 OK', [('Content-Length', '4')]", 200, "OK", "Content-Length", &["4"]),
        ("'200 OK', [('X-A', 'b  c\\td')]", 200, "OK", "X-A", &["b  c\td"]),
        ("'200 OK', [('ETag', 'W/\"x\"')]", 200, "OK", "ETag", &["W/\"x\""]),
        (
            "'200 OK', [('Last-Modified', 'Thu, 01 Jan 1970 00:00:09 GMT')]",
            200,
            "OK",
            "Last-Modified",
            &["Thu, 01 Jan 1970 00:00:09 GMT"],
        ),
        ("'200 OK', [('Allow', 'GET')]", 200, "OK", "Allow", &["GET"]),
    ] {
        let response = sent(&httpd, head);
        assert_eq!((response.status, &*response.reason), (status, reason), "{head}: {response}");
        assert_eq!(values(&response, name), expected, "{head}: {response}");
        assert!(response.complete && response.text() == "body", "{head}: {response}");
    }
    // An answer is never turned into 304, whatever the client has (the application knows better).
    let head = ask(&["'200 OK', [('ETag', '\"x\"')]"]);
    httpd.request("GET", &head, &[("If-None-Match", "\"x\"")], b"").assert(200);
}

#[test]
fn what_is_left_out_or_refused() {
    if testkit::ours_only("mod_wsgi passes such headers on") {
        return;
    }
    let httpd = serve();
    for name in [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "transfer-encoding",
    ] {
        let response = sent(&httpd, &format!("'200 OK', [('{name}', 'x-marked')]")).assert(200);
        assert!(!values(&response, name).contains(&"x-marked"), "{response}");
        assert_eq!(response.text(), "body", "{response}");
    }
    for (head, logged) in [
        ("'100 Weird', []", "the status 100 is none for a final response"),
        ("'199 Weird', []", "the status 199 is none for a final response"),
        ("'200 OK', [('a(', 'b')]", "the header name"),
        ("'200 OK', [('\\xe9', 'b')]", "the header name"),
        ("'200 OK', [('a', 'b\\x01')]", "has a control character"),
        ("'200 OK', [('a', 'b\\0c')]", "has a control character"),
        ("'200 OK', [('Content-Length', '4'), ('Content-Length', '5')]", "the Content-Length"),
    ] {
        let response = sent(&httpd, head).assert(500);
        assert_eq!(response.text(), "a page", "{head}");
        httpd.wait_for_log(&["[wsgi:error]", "The application's response cannot be sent", logged]);
    }
}

#[test]
fn a_head_that_is_too_long_for_any_client_is_an_error_of_the_application() {
    let httpd = serve();
    for head in ["'200 OK', [('a', 'b' * 1_100_000)]", "'200 ' + 'x' * 1_100_000, []"] {
        assert_eq!(sent(&httpd, head).assert(500).text(), "a page", "{head}");
    }
    if !UnderTest::chosen().is_original() {
        httpd.wait_for_log(&["[wsgi:error]", "ValueError: status and headers are 11000"]);
        // Headers of the size that httpd itself takes are no matter.
        let head = "'200 OK', [('a', 'b' * 8190)] * 100";
        assert_eq!(values(&sent(&httpd, head).assert(200), "a"), vec!["b".repeat(8190); 100]);
    }
}

#[test]
fn what_takes_the_place_of_a_failed_answer() {
    let httpd = serve();
    for head in [
        "1 / 0",
        "'20 OK', []",
        "'200 OK', [('a', 'b\\nc')]",
        "'200 OK', [('Content-Length', 'x')]",
    ] {
        let response = sent(&httpd, head).assert(500);
        assert_eq!(
            (response.text().as_str(), &*response.reason),
            ("a page", "Internal Server Error")
        );
    }
    if !UnderTest::chosen().is_original() {
        httpd.wait_for_log(&["[wsgi:error]", "ZeroDivisionError"]);
    }
}
