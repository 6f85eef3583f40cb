//! Applications that take their time to load: a request waits as long as httpd's own Timeout.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use testkit::{Httpd, Running, until};

/// Loads for longer than any limit of the module's own.
const SLOW: &str = r#"
import time

time.sleep(17)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"loaded"]
"#;

/// Does not get ready while httpd runs.
const STUCK: &str = "import threading\nthreading.Event().wait()\n";

fn site(source: &str, options: &str) -> Httpd {
    Httpd::new().app("app.wsgi", source).expect_log("wsgi").file("htdocs/a.txt", "static").conf(
        &format!(
            "WSGIDaemonProcess app user={{user}} group={{group}} {options}\n\
             WSGIScriptAlias /app {{apps}}/app.wsgi process-group=app \
             application-group=%{{GLOBAL}}"
        ),
    )
}

#[test]
fn a_request_waits_until_the_application_is_loaded() {
    let httpd = site(SLOW, "").start();
    assert_eq!(httpd.get("/app").assert(200).text(), "loaded");
    httpd.graceful();
    assert_eq!(httpd.get("/app").assert(200).text(), "loaded");
}

/// How a request ends whose application does not load.
#[track_caller]
fn check(httpd: &Running, status: u16, expected: &str) {
    httpd.get("/app").assert(status);
    httpd.wait_for_log(&[expected]);
    assert_eq!(httpd.get("/a.txt").assert(200).text(), "static");
}

#[test]
fn no_longer_than_timeout_says() {
    if testkit::ours_only("the words in the log are ours") {
        return;
    }
    check(&site(STUCK, "").conf("Timeout 2").start(), 503, "no workers have started within 2 s");
}

#[test]
fn no_longer_than_connect_timeout_says() {
    if testkit::ours_only("the words in the log are ours") {
        return;
    }
    check(&site(STUCK, "connect-timeout=1").start(), 503, "no workers have started within 1 s");
}

#[test]
fn no_longer_than_queue_timeout_says() {
    check(&site(STUCK, "queue-timeout=1").start(), 504, "within queue-timeout=1");
}

#[test]
fn a_client_that_goes_away_is_not_waited_for() {
    if testkit::ours_only("the words in the log are ours") {
        return;
    }
    let httpd = site(STUCK, "").conf("LogLevel wsgi:debug").start();
    let mut client = TcpStream::connect(("127.0.0.1", httpd.port())).expect("httpd listens");
    client.write_all(b"GET /app HTTP/1.1\r\nHost: site\r\n\r\n").expect("httpd reads");
    until(|| (!httpd.workers().is_empty()).then_some(())).expect("a worker that loads");
    // A reset: an orderly end so soon could be one of a client that waits for its answer.
    set_socket_linger(&client, Some(Duration::ZERO)).expect("a socket");
    drop(client);
    httpd.wait_for_log(&["No worker has begun the request: the client has gone"]);
}
