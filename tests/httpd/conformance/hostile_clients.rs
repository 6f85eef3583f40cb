//! Requests that are malformed, or that two servers could take for different ones: whatever comes of
//! them, the connection stays in step, and nobody sees what is another's.

use std::collections::HashSet;

use testkit::{Connection, Response, Running};

use super::check_form;
use super::smuggling::{Case, cases};
use crate::serving;

/// Tells what it was asked, and remembers the paths.
const SEEN: &str = r#"
seen = []


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/seen":
        body = "\n".join(seen).encode("latin-1")
    else:
        seen.append(path)
        try:
            body = environ["wsgi.input"].read()
        except OSError:
            body = b"broken"
        body = (environ["REQUEST_METHOD"] + " " + path + " ").encode("latin-1") + body
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"#;

/// A request that somebody could take the body of another for, by its number.
fn smuggled(number: usize) -> String {
    format!("GET /smuggled-{number:03} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// Sends all of it, and reads all that comes: responses one after the other, and nothing else.
fn send(httpd: &Running, bytes: &[u8]) -> Vec<Response> {
    let mut connection: Connection = httpd.connect();
    // httpd may close while we send.
    let _ = connection.send(bytes).and_then(|()| connection.finish());
    let mut responses = Vec::new();
    while !connection.is_closed().expect("httpd answers or closes") {
        let Ok(response) = connection.read_response("GET") else {
            break;
        };
        check_form(&response);
        responses.push(response);
    }
    responses
}

/// Sends the case, what it could smuggle, and a last request; and looks at the responses.
#[track_caller]
fn check(httpd: &Running, number: usize, case: &Case) {
    let (text, name) = (&case.text, format!("case-{number:03}"));
    let marker =
        format!("GET /marker-{number:03} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let bytes = text.replace("CASE", &name) + &smuggled(number) + &marker;
    let responses = send(httpd, bytes.as_bytes());
    let shown: Vec<_> = responses.iter().map(|it| format!("{} {}", it.status, it.text())).collect();
    let shown = format!("{shown:#?} for {text:?}");
    if case.refused {
        assert!(responses.len() == 1 && responses[0].status >= 400, "{shown}");
    }
    let Some((last, others)) = responses.split_last() else { return };
    for response in &responses {
        let text = response.text();
        let tokens = ["case-", "smuggled-", "marker-"].into_iter();
        let mut numbers = tokens.flat_map(|token| text.split(token).skip(1)).map(|rest| &rest[..3]);
        assert!(numbers.all(|other| other == &name[5..]), "another request's data: {shown}");
    }
    // The last request is answered as what it is, or not at all.
    assert!(!others.iter().any(|response| response.text().contains("/marker-")), "{shown}");
    if last.text().contains("/marker-") {
        assert_eq!(last.text(), format!("GET /marker-{number:03} "), "{shown}");
    }
}

/// Whether what follows the head, and chunks that it announces, may be a request of its own: no line
/// speaks of a length, by any reading of the head.
fn follows(request: &str) -> bool {
    let (head, _) = request.split_once("\r\n\r\n").unwrap_or_default();
    // A line that begins with a blank goes on with the one before (RFC 9112, section 5.2).
    let unfolded = head.to_ascii_lowercase().replace("\r\n ", " ").replace("\r\n\t", " ");
    !unfolded.split(['\r', '\n']).any(|line| line.starts_with("content-length"))
}

#[test]
fn requests_that_are_not_what_they_seem() {
    let httpd = serving(SEEN)
        // For an original; ours takes chunked bodies anyway.
        .conf("WSGIChunkedRequest On")
        .expect_log("[wsgi:")
        .expect_log("[core:")
        .start();
    httpd.get("/a").assert(200);
    let children = |httpd: &Running| {
        let mut ids: Vec<_> = httpd.children().iter().map(|child| child.pid).collect();
        ids.sort_unstable();
        ids
    };
    let before = children(&httpd);
    let cases = cases(smuggled(0).len());
    let distinct: HashSet<_> = cases.iter().map(|case| &case.text).collect();
    assert!(distinct.len() >= 300 && cases.len() < 1000, "{} of {}", distinct.len(), cases.len());
    for (number, case) in cases.iter().enumerate() {
        check(&httpd, number, case);
    }
    let seen = httpd.get("/seen").assert(200).text();
    for (number, case) in cases.iter().enumerate() {
        let number = format!("-{number:03}");
        let seen: Vec<_> = seen.lines().filter(|path| path.contains(&number)).collect();
        let mut once = HashSet::new();
        assert!(seen.iter().all(|path| once.insert(path)), "{seen:?} for {:?}", case.text);
        assert!(seen.is_empty() || !case.refused, "{seen:?} for {:?}", case.text);
        // Where the head says clearly how long the body is, it is read, or the connection closed.
        let smuggled = seen.iter().any(|path| path.contains("smuggled"));
        assert!(!smuggled || follows(&case.text), "{seen:?} for {:?}", case.text);
    }
    assert_eq!(children(&httpd), before, "no child has died");
}
