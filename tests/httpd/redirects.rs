//! `WSGILocationRedirect`: status 200 with a Location on this server brings what is there.

use testkit::{Httpd, Response, Running};

const APPLICATION: &str = r#"
def application(environ, start_response):
    path = environ["PATH_INFO"]
    status = "201 Created" if path == "/created" else "200 OK"
    location = {
        "/elsewhere": "http://localhost/private/report.txt",
        "/again": "/app/last",
        "/missing": "/private/missing.txt",
    }.get(path, "/private/report.txt")
    headers = [("Content-Type", "text/html"), ("Set-Cookie", "a=b"), ("X-Own", "yes")]
    if path != "/last":
        headers.append(("Location", location))
    start_response(status, headers)
    return [b"own body ", environ["REQUEST_METHOD"].encode(), environ["wsgi.input"].read(0)]
"#;

fn site(conf: &str) -> Running {
    Httpd::new()
        .app("app.wsgi", APPLICATION)
        .file("htdocs/private/report.txt", "the report")
        .conf(
            "WSGIDaemonProcess app user={user} group={group}\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .conf(conf)
        .expect_log("WSGILocationRedirect")
        .start()
}

#[track_caller]
fn is_own(response: Response) {
    assert!(response.text().starts_with("own body"), "{response}");
    assert_eq!(response.header("X-Own"), Some("yes"));
}

#[test]
fn another_response_takes_the_place() {
    if testkit::ours_only("it redirects without being told") {
        return;
    }
    let httpd = site("WSGILocationRedirect On");
    let response = httpd.get("/app/").assert(200);
    assert_eq!(response.text(), "the report");
    assert_eq!(response.header("Set-Cookie"), Some("a=b"));
    assert_eq!(response.header("X-Own"), None);
    assert!(response.header("Location").is_none(), "{response}");
    httpd.request("HEAD", "/app/", &[], b"").assert(200);
    httpd.get("/app/missing").assert(404);
    // To an application again, as GET.
    let response = httpd.request("POST", "/app/again", &[], b"a body").assert(200);
    assert_eq!(response.text(), "own body GET");
    // None of these is meant.
    is_own(httpd.get("/app/elsewhere").assert(200));
    is_own(httpd.get("/app/created").assert(201));
}

#[test]
fn the_request_body_is_no_request() {
    if testkit::ours_only("it redirects without being told") {
        return;
    }
    let httpd = site("WSGILocationRedirect On");
    let smuggled = b"GET /private/report.txt HTTP/1.1\r\nHost: a\r\n\r\n";
    for framing in ["Content-Length", "Transfer-Encoding"] {
        let mut connection = httpd.connect();
        let body = match framing {
            "Content-Length" => format!("Content-Length: {}\r\n\r\n", smuggled.len()).into_bytes(),
            _ => format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", smuggled.len()).into_bytes(),
        };
        let end: &[u8] = if framing == "Content-Length" { b"" } else { b"\r\n0\r\n\r\n" };
        let head = b"POST /app/ HTTP/1.1\r\nHost: a\r\n";
        connection.send(&[head, &body[..], smuggled, end].concat()).expect("httpd reads");
        let response = connection.read_response("POST").expect("a response").assert(200);
        assert_eq!(response.text(), "the report", "{framing}");
        // The next response is that to the next request.
        is_own(connection.get("/app/created").expect("a response").assert(201));
    }
}

#[test]
fn otherwise_it_is_a_header_and_the_log_names_the_directive() {
    if testkit::ours_only("it redirects without being told") {
        return;
    }
    let httpd = site("");
    is_own(httpd.get("/app/").assert(200));
    httpd.wait_for_log(&[
        "wsgi:warn",
        "'Location: /private/report.txt'",
        "WSGILocationRedirect On",
    ]);
}

#[test]
fn an_inner_section_switches_it_off() {
    if testkit::ours_only("it redirects without being told") {
        return;
    }
    let httpd =
        site("WSGILocationRedirect On\n<Location /app/off>\nWSGILocationRedirect Off\n</Location>");
    is_own(httpd.get("/app/off").assert(200));
    assert_eq!(httpd.get("/app/on").assert(200).text(), "the report");
}
