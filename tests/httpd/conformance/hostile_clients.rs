//! Requests that are malformed, or that two servers could take for different ones.

use testkit::{Connection, Running};

use super::check_form;
use crate::serving;

/// Tells what it is asked, and remembers the paths.
const SEEN: &str = r#"
seen = []


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/seen":
        body = "\n".join(seen).encode()
        seen.clear()
    else:
        seen.append(path)
        try:
            body = b"%d" % len(environ["wsgi.input"].read())
        except OSError:
            body = b"broken"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"#;

/// What the requests carry as a body, for somebody to take it for a request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The requests. What they carry must never be seen by the application as a request of its own.
fn requests() -> Vec<Vec<u8>> {
    let length = SMUGGLED.len();
    let mut heads: Vec<String> = Vec::new();
    // Lengths that are none, or more than one.
    for value in [
        "x",
        "-1",
        "+5",
        "0x10",
        "1e1",
        "5,6",
        "5, 5",
        " ",
        "",
        "5 5",
        "99999999999999999999",
        "\u{0}",
        "5\u{b}",
        "5;",
        "５",
        "1_0",
        "--5",
        "5.0",
        "'5'",
    ] {
        heads.push(format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: {value}\r\n\r\n"));
    }
    for (one, other) in [("5", "6"), ("0", "47"), ("5", "x"), ("", "5")] {
        heads.push(format!(
            "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: {one}\r\nContent-Length: {other}\r\n\r\n"
        ));
    }
    // Transfer codings, alone and beside a length.
    for coding in [
        "chunked",
        "Chunked",
        " chunked ",
        "chunked, chunked",
        "identity",
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "xchunked",
        "chunkedx",
        "\"chunked\"",
        "chunked;q=1",
        "\u{b}chunked",
        "chunked\u{0}",
        "",
        ",",
        ",chunked",
        "chunked,",
        "c hunked",
    ] {
        for rest in [String::new(), format!("Content-Length: {length}\r\n")] {
            for version in ["1.1", "1.0"] {
                heads.push(format!(
                    "POST /a HTTP/{version}\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n{rest}\r\n0\r\n\r\n"
                ));
            }
        }
    }
    for line in [
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding:\r\n chunked",
        "X: y\r\n\tz",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        ": x",
        "no colon",
        "X\u{0}: y",
        "X: \u{0}",
        "\u{e4}: x",
        "Transfer_Encoding: chunked",
        "Content_Length: 5",
        "X(: y",
        "Host: other",
        "Expect: nonsense",
    ] {
        heads.push(format!(
            "POST /a HTTP/1.1\r\nHost: h\r\n{line}\r\nContent-Length: {length}\r\n\r\n"
        ));
    }
    // Chunks that are none.
    for chunk in [
        "x\r\n",
        "-1\r\n",
        "5\r\nab",
        "5\r\nabcdef\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "5 \r\nabcde\r\n0\r\n\r\n",
        "\r\n",
        "5;\u{0}\r\nabcde\r\n0\r\n\r\n",
        "5\nabcde\n0\n\n",
        "5\r\nabcde0\r\n\r\n",
        "ffffffff\r\nabc",
        "7fffffffffffffff\r\nabc",
    ] {
        heads.push(format!(
            "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
        ));
    }
    // Request lines.
    for line in [
        "GET",
        "GET /",
        "GET / HTTP/9.9",
        "GET / HTTP/1.1 x",
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET /\u{0} HTTP/1.1",
        "GET /%00 HTTP/1.1",
        "GET /%2e%2e/%2e%2e/etc HTTP/1.1",
        "GET /../../etc HTTP/1.1",
        "GET //a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET /a%zz HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET x HTTP/1.1",
        "PRI * HTTP/2.0",
        "GET /\u{e4} HTTP/1.1",
        "CONNECT h:80 HTTP/1.1",
        "TRACE / HTTP/1.1",
    ] {
        heads.push(format!("{line}\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"));
    }
    for name in ["", "Host: a\r\nHost: b\r\n", "Host: a b\r\n", "Host: \u{0}\r\n", "Host: [::1\r\n"]
    {
        heads.push(format!("POST /a HTTP/1.1\r\n{name}Content-Length: {length}\r\n\r\n"));
    }
    heads.push(format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(9000)));
    heads.push(format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(9000)));
    heads.push(format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(200)));
    heads.into_iter().map(|head| (head + SMUGGLED).into_bytes()).collect()
}

/// Sends all of it, and reads all that comes: responses one after the other, and nothing else.
fn send(httpd: &Running, bytes: &[u8]) -> Vec<u16> {
    let mut connection: Connection = httpd.connect();
    // httpd may close while we send.
    let _ = connection.send(bytes).and_then(|()| connection.finish());
    let mut statuses = Vec::new();
    while !connection.is_closed().expect("httpd answers or closes") {
        let Ok(response) = connection.read_response("GET") else {
            break;
        };
        check_form(&response);
        statuses.push(response.status);
    }
    statuses
}

#[test]
fn requests_that_are_not_what_they_seem() {
    let httpd = serving(SEEN).expect_log("[wsgi:").expect_log("[core:").start();
    httpd.get("/a").assert(200);
    let children = |httpd: &Running| {
        let mut ids: Vec<_> = httpd.children().iter().map(|child| child.pid).collect();
        ids.sort_unstable();
        ids
    };
    let before = children(&httpd);
    let requests = requests();
    assert!(requests.len() >= 150, "{}", requests.len());
    for request in &requests {
        let text = String::from_utf8_lossy(request);
        let statuses = send(&httpd, request);
        // Where the head says clearly how long the body is, it is read, or the connection closed.
        let smuggled = httpd.get("/seen").assert(200).text().contains("/smuggled");
        let may_follow = follows(&text);
        assert!(!smuggled || may_follow, "{statuses:?} for {text:?}");
    }
    assert_eq!(children(&httpd), before, "no child has died");
}

/// Whether what follows the head is a request of its own, by any reading of the head.
fn follows(request: &str) -> bool {
    let (head, _) = request.split_once("\r\n\r\n").unwrap_or_default();
    let lower = head.to_ascii_lowercase();
    let one_body =
        lower.contains("transfer-encoding: chunked\r\n") || !lower.contains("content-length");
    one_body && !(lower.contains("content-length") && lower.contains("transfer-encoding"))
}
