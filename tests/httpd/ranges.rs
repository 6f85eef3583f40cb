//! Parts of responses: the same request is answered alike each time, whatever the timing.

use testkit::{Response, Running};

use crate::serving;

/// A response as the path says: one block, a generator, or one that says what it thinks of ranges.
const APPLICATION: &str = r#"
def application(environ, start_response):
    how = environ["PATH_INFO"]
    print("done", environ["REQUEST_METHOD"], how, file=environ["wsgi.errors"])
    headers = [("Content-Type", "text/plain")]
    status = "404 Not Found" if how == "/status" else "200 OK"
    if how in ("/none", "/none/file"):
        headers.append(("Accept-Ranges", "none"))
    if how.startswith("/bytes"):
        headers.append(("Accept-Ranges", "bytes"))
    if how == "/bytes/announced":
        headers.append(("Content-Length", "20"))
    start_response(status, headers)
    if how.endswith("file"):
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if how in ("/generator", "/bytes/generator", "/bytes/announced"):
        return (b"%d\n" % number for number in range(10))
    return [b"0123456789"]
"#;

fn range(httpd: &Running, method: &str, path: &str, range: &str) -> Response {
    let body: &[u8] = if method == "POST" { b"a=b" } else { b"" };
    httpd.request(method, path, &[("Range", range)], body)
}

#[test]
fn what_is_no_file_is_whole() {
    let httpd = serving(APPLICATION).expect_log("done ").start();
    for method in ["GET", "POST", "PUT", "DELETE", "HEAD"] {
        for path in ["/", "/generator", "/none"] {
            for asked in ["bytes=0-1", "bytes=50-", "bytes=0-1,4-5"] {
                let response = range(&httpd, method, path, asked).assert(200);
                assert!(response.header("Content-Range").is_none(), "{method} {path} {asked}");
            }
        }
    }
    range(&httpd, "GET", "/status", "bytes=0-1").assert(404);
}

#[test]
fn files_are_for_get_alone() {
    if testkit::ours_only("it sends all of a file, whatever part is asked for") {
        return;
    }
    let httpd = serving(APPLICATION).expect_log("done ").start();
    assert_eq!(range(&httpd, "GET", "/file", "bytes=1-3").assert(206).text(), "def");
    range(&httpd, "GET", "/file", "bytes=9999999-").assert(416);
    for method in ["POST", "PUT", "HEAD"] {
        range(&httpd, method, "/file", "bytes=9999999-").assert(200);
    }
    range(&httpd, "GET", "/none/file", "bytes=1-3").assert(200);
}

#[test]
fn what_says_that_it_has_parts_has_them() {
    if testkit::ours_only("it knows no parts") {
        return;
    }
    let httpd = serving(APPLICATION).expect_log("done ").start();
    for path in ["/bytes", "/bytes/announced"] {
        for _ in 0..20 {
            assert_eq!(range(&httpd, "GET", path, "bytes=0-0").assert(206).text(), "0", "{path}");
            range(&httpd, "POST", path, "bytes=0-0").assert(200);
        }
    }
    // How long it is would be known too late.
    for _ in 0..20 {
        range(&httpd, "GET", "/bytes/generator", "bytes=0-0").assert(200);
    }
}

#[test]
fn the_same_response_has_the_same_framing_each_time() {
    let mut httpd = Vec::new();
    for conf in ["", "SetOutputFilter DEFLATE"] {
        httpd.push(serving(APPLICATION).conf(conf).expect_log("done ").start());
    }
    for httpd in httpd {
        for path in ["/", "/generator", "/bytes/announced"] {
            let framing = || {
                let headers = [("Accept-Encoding", "gzip")];
                let response = httpd.request("GET", path, &headers, b"").assert(200);
                let is_there = |name| response.header(name).is_some();
                ["Content-Length", "Transfer-Encoding"].map(is_there)
            };
            let first = framing();
            for _ in 0..100 {
                assert_eq!(framing(), first, "{path}");
            }
        }
    }
}
