//! Other modules of httpd in front of an application, behind it and around it.

use testkit::{Httpd, Running, UnderTest};

use crate::serving;

/// A function for each last part of the path; those in front of it say which modules take part.
const APP: &str = r#"
import os

TEXT, HTML = [("Content-Type", "text/plain")], [("Content-Type", "text/html")]


def application(environ, start_response):
    return globals()[environ["PATH_INFO"].split("/")[-1]](environ, start_response)


def text(environ, start_response):
    start_response("200 OK", TEXT + [("X-A", "one")])
    return [b"some text"]


def stream(environ, start_response):
    start_response("200 OK", TEXT)
    return (b"text %d," % number for number in range(3))


def file(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](open(os.path.join(os.path.dirname(__file__), "data"), "rb"))


def echo(environ, start_response):
    start_response("200 OK", TEXT)
    about = [environ.get(name, "") for name in ("REQUEST_METHOD", "PATH_INFO", "REDIRECT_STATUS")]
    return [" ".join(about).encode() + b" " + environ["wsgi.input"].read()]


def page(environ, start_response):
    start_response("200 OK", HTML)
    return [b'[<!--#include virtual="/text" -->|<!--#include virtual="/stream" -->]']


def unchanged(environ, start_response):
    start_response("304 Not Modified", TEXT + [("Content-Length", "9"), ("ETag", '"x"')])
    return [b"some text"]


def fails(environ, start_response):
    raise KeyError("fails")


def partly(environ, start_response):
    environ["wsgi.input"].read(5)
    raise KeyError("partly")


def breaks(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"text " * 30000
    raise KeyError("breaks")
"#;

const CONF: &str = r#"
LoadModule include_module {modules}/mod_include.so
LoadModule ext_filter_module {modules}/mod_ext_filter.so
LoadModule substitute_module {modules}/mod_substitute.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
ExtFilterDefine upper mode=output cmd="/usr/bin/tr a-z A-Z"
<Location /upper>
SetOutputFilter upper
</Location>
<Location /deflated>
SetOutputFilter DEFLATE
</Location>
<Location /substituted>
SetOutputFilter SUBSTITUTE
Substitute s/text/word/
</Location>
<Location /included>
SetOutputFilter INCLUDES
</Location>
<Directory {apps}>
Options +Includes
</Directory>
<Directory {dir}/htdocs>
Options +Includes
SetOutputFilter INCLUDES
</Directory>
Alias /pages {dir}/htdocs
Header edit X-A one two
RewriteEngine On
RewriteRule ^/proxied/(.*)$ http://127.0.0.1:{port}/$1 [P]
RewriteRule ^/passed/(.*)$ /$1 [PT]
RewriteRule ^/moved/(.*)$ /$1 [R=302]
WSGIChunkedRequest On
ErrorDocument 404 /documents/echo
ErrorDocument 500 /documents/echo
"#;

fn neighbours() -> Running {
    let httpd: Httpd = serving(APP).file("apps/data", "text in a file");
    httpd
        .file("htdocs/page.html", "(<!--#include virtual=\"/text\" -->)")
        .file("htdocs/broken.html", "(<!--#include virtual=\"/breaks\" -->)")
        .conf(CONF)
        .expect_log("[wsgi:error]")
        .expect_log("[proxy")
        .start()
}

#[test]
fn they_take_what_applications_answer() {
    let httpd = neighbours();
    for (method, path, body, status, expected) in [
        ("GET", "/included/page", "", 200, "[some text|text 0,text 1,text 2,]"),
        ("GET", "/pages/page.html", "", 200, "(some text)"),
        ("GET", "/substituted/text", "", 200, "some word"),
        ("GET", "/substituted/stream", "", 200, "word 0,word 1,word 2,"),
        ("GET", "/substituted/file", "", 200, "word in a file"),
        ("GET", "/upper/text", "", 200, "SOME TEXT"),
        ("GET", "/upper/stream", "", 200, "TEXT 0,TEXT 1,TEXT 2,"),
        ("GET", "/upper/file", "", 200, "TEXT IN A FILE"),
        ("HEAD", "/upper/file", "", 200, ""),
        ("POST", "/passed/echo", "body", 200, "POST /echo  body"),
        ("POST", "/proxied/echo", "body", 200, "POST /echo  body"),
        ("GET", "/proxied/stream", "", 200, "text 0,text 1,text 2,"),
        ("GET", "/proxied/upper/file", "", 200, "TEXT IN A FILE"),
        // Error documents are asked for by GET, whatever failed.
        ("GET", "/pages/none", "", 200, "GET /documents/echo 404 "),
        ("GET", "/fails", "", 200, "GET /documents/echo 500 "),
        ("POST", "/fails", "", 200, "GET /documents/echo 500 "),
        ("GET", "/deflated/unchanged", "", 304, ""),
    ] {
        let mut connection = httpd.connect();
        let headers = [("Accept-Encoding", "gzip")];
        let headers = if path.starts_with("/deflated") { &headers[..] } else { &[] };
        let response = connection.request(method, path, headers, body.as_bytes());
        let response = response.unwrap_or_else(|error| panic!("{method} {path}: {error:#}"));
        assert_eq!((response.status, &*response.text()), (status, expected), "{method} {path}");
        assert!(response.complete, "{method} {path}: {response}");
    }
    assert_eq!(httpd.get("/text").header("X-A"), Some("two"));
    let moved = httpd.get("/moved/text").assert(302);
    assert!(moved.header("Location").is_some_and(|place| place.ends_with("/text")), "{moved}");
}

#[test]
fn documents_for_errors_have_nothing_of_the_body_that_led_to_them() {
    let httpd = neighbours();
    for path in ["/partly", "/fails"] {
        for length in [10, 500_000] {
            let body = vec![b'x'; length];
            let chunk = format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length));
            let chunked = [("Transfer-Encoding", "chunked")];
            for (headers, body) in [(&[][..], &body[..]), (&chunked, chunk.as_bytes())] {
                let text = httpd.request("POST", path, headers, body).assert(200).text();
                assert_eq!(text, "GET /documents/echo 500 ", "{path}, {length}, {headers:?}");
            }
        }
    }
}

#[test]
fn they_hide_no_response_that_breaks_off() {
    let httpd = neighbours();
    let original = UnderTest::chosen().is_original();
    for path in [
        "/breaks",
        "/upper/breaks",
        "/substituted/breaks",
        "/deflated/breaks",
        "/proxied/breaks",
        "/pages/broken.html",
    ] {
        // mod_proxy itself tells clients of HTTP/1.0 nothing.
        let versions = if path.starts_with("/proxied") { &["1.1"][..] } else { &["1.0", "1.1"] };
        for version in versions {
            let mut connection = httpd.connect();
            let head = format!(
                "GET {path} HTTP/{version}\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
            );
            connection.send(head.as_bytes()).expect("httpd reads");
            let response = match connection.read_response("GET") {
                Ok(response) => response,
                // Where nothing frames a response, a reset may overtake it.
                Err(_) if *version == "1.0" && !original => continue,
                Err(error) => panic!("{path} {version}: {error:#}"),
            };
            // mod_wsgi makes it look whole.
            let is_seen = response.status >= 500 || !response.complete;
            assert!(is_seen || original, "{path} {version}: {:?}", response.headers);
        }
    }
}
