//! What HTTP and PEP 3333 promise, case by case: bytes in, responses out, each case a few lines.

mod alike;
mod hostile_applications;
mod hostile_clients;
mod smuggling;

use testkit::{Connection, Httpd, Response, Running, UnderTest};

use crate::delivery::{FILES, data};
use crate::input::READ;
use crate::output::CASES;
use crate::{HELLO, TELL, ask, serving};

/// What a well-behaved application does, under the eyes of `wsgiref.validate`.
pub const VALIDATED: &str = r#"
from wsgiref.validate import validator


def app(environ, start_response):
    path, stream = environ["PATH_INFO"], environ["wsgi.input"]
    headers = [("Content-Type", "text/plain")]
    if path == "/breaks" or path == "/breaks-with-length":
        length = [("Content-Length", "900000")] if "length" in path else []
        start_response("200 OK", headers + length)
        def body():
            yield b"begun" * 30000
            raise KeyError("too late")
        return body()
    if path == "/echo":
        body = [stream.read(int(environ.get("CONTENT_LENGTH") or -1))]
    elif path == "/lines":
        body = [b"|".join(stream.readlines())]
    elif path == "/unread":
        body = [b"unread"]
    elif path == "/many":
        body = (b"%d," % number for number in range(5))
        start_response("200 OK", headers)
        return body
    elif path == "/written":
        write = start_response("200 OK", headers)
        write(b"written ")
        return [b"returned"]
    elif path == "/empty":
        start_response("204 No Content", [])
        return [b""]
    else:
        body = [("%s %s" % (environ["REQUEST_METHOD"], path)).encode()]
    start_response("200 OK", headers)
    return body


checked = validator(app)


def application(environ, start_response):
    # What the validator returns is no list any more, and its length is not known beforehand.
    return (app if environ["PATH_INFO"] == "/list" else checked)(environ, start_response)
"#;

/// Sends bytes and reads the responses to requests of these methods.
#[track_caller]
fn exchange(httpd: &Running, bytes: &str, methods: &[&str]) -> (Connection, Vec<Response>) {
    let mut connection = httpd.connect();
    connection.send(bytes.as_bytes()).expect("httpd reads");
    let responses = methods.iter().map(|method| {
        let response = connection.read_response(method).expect("a response");
        check_form(&response);
        response
    });
    let responses = responses.collect();
    (connection, responses)
}

/// What holds for every response that httpd sends, whatever it was made of.
#[track_caller]
fn check_form(response: &Response) {
    let count =
        |name: &str| response.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count();
    assert!(count("Content-Length") + count("Transfer-Encoding") <= 1, "{response}");
    for (name, value) in &response.headers {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(!name.is_empty() && name.bytes().all(token), "{response}");
        assert!(!value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t'), "{response}");
        assert!(!name.eq_ignore_ascii_case("X-Injected"), "{response}");
    }
    assert!(response.status >= 200, "{response}");
}

/// Sends the bytes on a connection of their own, and wants these bodies in answer to GETs or POSTs.
#[track_caller]
fn answers(httpd: &Running, bytes: &str, bodies: &[&str]) -> Connection {
    let methods = vec!["GET"; bodies.len()];
    let (connection, responses) = exchange(httpd, bytes, &methods);
    let got: Vec<_> = responses.iter().map(|response| response.text()).collect();
    assert_eq!(got, bodies, "{bytes}");
    assert!(responses.iter().all(|response| response.complete), "{bytes}");
    connection
}

#[test]
fn requests_and_what_comes_of_them() {
    // The validator knows a few methods only.
    let httpd = serving(VALIDATED)
        // For an original; ours takes chunked bodies anyway.
        .conf("WSGIChunkedRequest On")
        .expect_log("REQUEST_METHOD: 'FROB'")
        .expect_log("warnings.warn(")
        .start();
    let h = "HTTP/1.1\r\nHost: localhost\r\n";
    for (bytes, bodies) in [
        (format!("GET /a {h}\r\n"), &["GET /a"][..]),
        (format!("GET /a {h}\r\nGET /b {h}\r\nGET /c {h}\r\n"), &["GET /a", "GET /b", "GET /c"]),
        (format!("POST /echo {h}Content-Length: 3\r\n\r\nabcGET /b {h}\r\n"), &["abc", "GET /b"]),
        (
            format!("POST /unread {h}Content-Length: 3\r\n\r\nabcGET /b {h}\r\n"),
            &["unread", "GET /b"],
        ),
        (
            format!(
                "POST /lines {h}Transfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n1;x=y\r\nc\r\n0\r\nX: y\r\n\r\nGET /b {h}\r\n"
            ),
            &["a\n|bc", "GET /b"],
        ),
        (
            format!(
                "POST /unread {h}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /b {h}\r\n"
            ),
            &["unread", "GET /b"],
        ),
        (format!("GET /many {h}\r\nGET /written {h}\r\n"), &["0,1,2,3,4,", "written returned"]),
        (
            format!("DELETE /x {h}\r\nPATCH /y {h}\r\nOPTIONS /z {h}\r\n"),
            &["DELETE /x", "PATCH /y", "OPTIONS /z"],
        ),
        (format!("FROB /x {h}\r\n"), &["FROB /x"]),
        ("GET http://localhost/a HTTP/1.1\r\nHost: other\r\n\r\n".to_owned(), &["GET /a"]),
    ] {
        answers(&httpd, &bytes, bodies);
    }
    let (_, responses) =
        exchange(&httpd, &format!("HEAD /a {h}\r\nGET /b {h}\r\n"), &["HEAD", "GET"]);
    assert_eq!(responses[1].text(), "GET /b");
    let (_, responses) =
        exchange(&httpd, &format!("GET /empty {h}\r\nGET /b {h}\r\n"), &["GET", "GET"]);
    assert_eq!((responses[0].status, responses[1].text().as_str()), (204, "GET /b"));
}

/// Puts any application under the validator.
const VALIDATOR: &str = "
from wsgiref.validate import validator

application = validator(application)
";

#[test]
fn applications_of_other_tests_under_the_validator() {
    let mut httpd = Httpd::new().file("apps/data", &data()).expect_log("[wsgi:error]");
    for (name, source) in
        [("hello", HELLO), ("tell", TELL), ("read", READ), ("cases", CASES), ("files", FILES)]
    {
        httpd = httpd
            .app(&format!("{name}.wsgi"), &format!("{source}{VALIDATOR}"))
            .conf(&format!("WSGIScriptAlias /{name} {{apps}}/{name}.wsgi"));
    }
    let httpd = httpd.start();
    let (whole, entries) = (data(), ask(&["len(environ) > 30"]));
    let text = "one\ntwo three\nlast";
    for (method, path, body, status, expected) in [
        ("GET", "/hello", "", 200, "hello"),
        ("HEAD", "/hello", "", 200, ""),
        ("GET", &format!("/tell{entries}"), "", 200, "True\n"),
        ("OPTIONS", &format!("/tell/a//b;c{}", entries.trim_start_matches('/')), "", 200, "True\n"),
        ("POST", "/read/parts", text, 200, "one\n|two |thre|e\nla|st"),
        ("POST", "/read/lines", text, 200, "one\n|two three\n|last"),
        ("PUT", "/read/iterate", text, 200, "one\n|two three\n|last"),
        ("POST", "/read/echo", text, 200, text),
        ("POST", "/read/none", text, 200, "nothing read"),
        ("GET", "/cases/parts", "", 201, "abc"),
        ("GET", "/cases/generator", "", 200, "ab"),
        ("GET", "/cases/write", "", 200, "written first, then returned"),
        ("GET", "/cases/empty", "", 200, ""),
        ("GET", "/cases/no_content", "", 204, ""),
        ("GET", "/cases/closing", "", 200, "a"),
        ("GET", "/cases/replaced", "", 503, "replaced"),
        ("GET", "/cases/logging", "", 201, "abc"),
        ("GET", "/cases/too_long", "", 200, "abc"),
        ("GET", "/files/whole", "", 200, &whole),
        ("GET", "/files/position", "", 200, &whole[100_000..]),
        ("GET", "/files/length", "", 200, &whole[5..105]),
        ("GET", "/files/memory", "", 200, "in memory"),
    ] {
        let response = httpd.request(method, path, &[], body.as_bytes());
        assert!(response.status == status && response.text() == expected, "{path}: {response}");
    }
    // It is the validator that looks: an application that returns text fails before httpd's check.
    httpd.get("/cases/bytes_status").assert(500);
    httpd.wait_for_log(&["AssertionError"]);
}

#[test]
fn http_1_0() {
    let httpd = serving(VALIDATED).start();
    let mut connection = answers(&httpd, "GET /a HTTP/1.0\r\n\r\n", &["GET /a"]);
    assert!(connection.is_closed().expect("an end"));
    let mut connection = answers(&httpd, "GET /many HTTP/1.0\r\n\r\n", &["0,1,2,3,4,"]);
    assert!(connection.is_closed().expect("an end"));
}

#[test]
fn http_1_0_keeps_a_connection_when_the_length_is_known() {
    let httpd = serving(VALIDATED).start();
    let keep = "GET /list HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".repeat(2);
    // mod_wsgi does not tell the length of a list of one block.
    let answered = if UnderTest::chosen().is_original() { 1 } else { 2 };
    let mut connection = answers(&httpd, &keep, &["GET /list"; 2][..answered]);
    assert!(answered == 2 || connection.is_closed().expect("an end"));
}

#[test]
fn a_response_that_breaks_off_is_visibly_incomplete() {
    let httpd = serving(VALIDATED).expect_log("[wsgi:error]").start();
    let original = UnderTest::chosen().is_original();
    for path in ["/breaks", "/breaks-with-length"] {
        for version in ["1.0", "1.1"] {
            let request = format!("GET {path} HTTP/{version}\r\nHost: localhost\r\n\r\n");
            let (_, responses) = exchange(&httpd, &request, &["GET"]);
            // mod_wsgi makes it look whole where no length tells otherwise.
            let looks_whole = original && path == "/breaks";
            assert_eq!(responses[0].complete, looks_whole, "{path} {version}");
        }
    }
}

/// Keeps everything that may be kept.
const CACHE: &str = "
LoadModule cache_module {modules}/mod_cache.so
LoadModule cache_disk_module {modules}/mod_cache_disk.so
CacheRoot {dir}/cache
CacheEnable disk /
CacheDefaultExpire 60
CacheIgnoreNoLastMod On
CacheHeader On
";

#[test]
fn a_response_that_breaks_off_is_kept_in_no_cache() {
    if testkit::ours_only("mod_wsgi makes it look whole") {
        return;
    }
    let httpd = serving(VALIDATED).open_folder("cache").conf(CACHE).expect_log("[wsgi:error]");
    let httpd = httpd.start();
    for (path, whole) in [("/many", true), ("/breaks", false), ("/breaks-with-length", false)] {
        assert_eq!(httpd.get(path).complete, whole, "{path}");
        let again = httpd.get(path);
        let kept = again.header("X-Cache").is_some_and(|said| said.starts_with("HIT"));
        assert_eq!((kept, again.complete), (whole, whole), "{path}: {:?}", again.headers);
    }
}
