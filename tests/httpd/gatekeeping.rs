//! Which requests httpd or the module answers, so that no application sees them.

use testkit::Httpd;

use crate::HELLO;

#[test]
fn requests_that_reach_no_application() {
    let httpd = Httpd::new()
        .app("app.wsgi", HELLO)
        .conf(
            "WSGIScriptAlias /missing {apps}/missing.wsgi\n\
             WSGIScriptAlias /folder {apps}\n\
             <Location /strict>\nAcceptPathInfo Off\n</Location>\n\
             WSGIScriptAlias /strict {apps}/app.wsgi\n\
             <Location /unchunked>\nWSGIChunkedRequest Off\n</Location>\n\
             WSGIScriptAlias /unchunked {apps}/app.wsgi\n\
             <Location /small>\nLimitRequestBody 3\n</Location>\n\
             WSGIScriptAlias /small {apps}/app.wsgi\n\
             Alias /plain {apps}\n\
             <Location /plain>\nSetHandler wsgi-script\n</Location>\n\
             Alias /run {apps}\n\
             <Location /run>\nSetHandler wsgi-script\nOptions ExecCGI\n</Location>\n\
             WSGIChunkedRequest On\n\
             WSGIScriptAlias / {apps}/app.wsgi",
        )
        .expect_log("[wsgi:error]")
        .expect_log("[core:")
        .expect_log("missing.wsgi, which is named at")
        .start();
    let chunked = "Transfer-Encoding: chunked";
    for (method, path, header, status) in [
        // What does reach it, to begin with.
        ("GET", "/", "", 200),
        ("GET", "/strict", "", 200),
        ("GET", "/run/app.wsgi", "", 200),
        ("POST", "/small", "Content-Length: 3", 200),
        ("OPTIONS", "/", "", 200),
        ("FROB", "/", "", 200),
        ("POST", "/", chunked, 200),
        ("POST", "/", "Transfer-Encoding: CHUNKED", 200),
        // The gates, in the order in which the module keeps them.
        ("GET", "/plain/app.wsgi", "", 403),
        ("GET", "/missing", "", 404),
        ("GET", "/folder/", "", 403),
        ("GET", "/strict/more", "", 404),
        ("POST", "/unchunked", chunked, 411),
        ("POST", "/", "Content-Length: x", 400),
        ("POST", "/", "Content-Length: -1", 400),
        ("POST", "/small", "Content-Length: 4", 413),
        // httpd's own.
        ("POST", "/", "Transfer-Encoding: gzip", 400),
        ("POST", "/", "Transfer-Encoding: x", 400),
        ("TRACE", "/", "", 200),
        ("OPTIONS", "*", "", 200),
        ("GET", "/a%2Fb", "", 404),
    ] {
        let mut connection = httpd.connect();
        let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
        let body = if header.contains(": chunked") || header.contains("CHUNKED") {
            "3\r\nabc\r\n0\r\n\r\n"
        } else if header.contains(": 3") {
            "abc"
        } else {
            ""
        };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n{body}");
        connection.send(request.as_bytes()).expect("httpd reads");
        let response = connection.read_response(method).expect("a response");
        assert_eq!(response.status, status, "{method} {path} {header}: {response}");
        let own = method == "TRACE" || path == "*";
        assert_eq!(response.text() == "hello", status == 200 && !own, "{method} {path} {header}");
    }
}
