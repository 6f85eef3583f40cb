//! Requests that do not end: they are interrupted, or another worker takes over. Whose request it
//! was gets 504, others lose nothing.

use testkit::{Httpd, Running, until};

use super::{limited, pid, with};

/// What a stuck request leaves in the log.
fn expected(site: Httpd) -> Httpd {
    let texts = ["stack of", "is over", "exit status 255", "app.wsgi", "Python's lock is held"];
    texts.into_iter().fold(site, Httpd::expect_log)
}

/// One thread, which is interrupted after a second.
fn interrupting() -> Running {
    let options = "threads=1 request-timeout=1 interrupt-timeout=60";
    expected(limited(options)).expect_log("request data read").start()
}

#[test]
fn python_code_is_interrupted_and_its_worker_lives() {
    let httpd = interrupting();
    let before = pid(&httpd);
    httpd.get("/?spin()").assert(504);
    let line = httpd.wait_for_log(&["request-timeout=1 is over", "GET /?spin()", "thread wsgi-1"]);
    for part in
        ["[wsgi:error]", "process group 'app'", "application group %{GLOBAL}", "RequestTimeout"]
    {
        assert!(line.contains(part), "{line}");
    }
    httpd.wait_for_log(&["stack of GET /?spin()", "in spin", "in application"]);
    httpd.wait_for_log(&["Request interrupted by RequestTimeout; thread recovered."]);
    assert_eq!(pid(&httpd), before);
}

#[test]
fn applications_may_clean_up_and_answer_themselves() {
    let source = r#"
import mod_wsgi

def application(environ, start_response):
    try:
        while True:
            pass
    except mod_wsgi.RequestTimeout:
        start_response("200 OK", [])
        return [b"not quite"]
"#;
    let httpd = expected(with(source, "threads=1 request-timeout=1 interrupt-timeout=60")).start();
    for _ in 0..2 {
        assert_eq!(httpd.get("/").assert(200).text(), "not quite");
    }
}

#[test]
fn a_response_that_has_begun_breaks_off() {
    let source = r#"
def application(environ, start_response):
    start_response("200 OK", [])
    yield b"begun"
    while True:
        pass
"#;
    let httpd = expected(with(source, "threads=1 request-timeout=1 interrupt-timeout=60")).start();
    let response = httpd.get("/");
    assert_eq!((response.status, response.complete), (200, false));
}

#[test]
fn a_read_that_waits_for_the_client_is_interrupted() {
    let httpd = interrupting();
    let before = pid(&httpd);
    let mut slow = httpd.connect();
    slow.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n").expect("it listens");
    slow.send(&[b'x'; 150_000]).expect("it listens");
    httpd.wait_for_log(&["request-timeout=1 is over", "POST /"]);
    // The only thread is free again, although the client still has not sent the rest.
    assert_eq!(pid(&httpd), before);
    slow.send(&[b'x'; 50_000]).expect("it listens");
    slow.read_response("POST").expect("a response").assert(504);
    assert_eq!(pid(&httpd), before);
}

#[test]
fn a_write_that_waits_for_the_client_is_interrupted() {
    let source = r#"
import os

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"x" * (128 << 20) if environ["QUERY_STRING"] else b"%d" % os.getpid()]
"#;
    let site = with(source, "threads=1 request-timeout=1 interrupt-timeout=60");
    // Where responses cannot be spooled, or not any further, writes wait.
    let site = site.env("TMPDIR", "/nonexistent").expect_log("can be made in");
    let httpd = expected(site).expect_log("closed the connection").start();
    let before = pid(&httpd);
    let mut slow = httpd.connect();
    slow.send(b"GET /?much HTTP/1.1\r\nHost: a\r\n\r\n").expect("it listens");
    httpd.wait_for_log(&["request-timeout=1 is over", "GET /?much"]);
    assert_eq!(pid(&httpd), before);
    let response = slow.read_response("GET").expect("a head");
    assert!(!response.complete, "it cannot be whole");
}

#[test]
fn what_cannot_be_interrupted_costs_the_worker_and_nobody_else_anything() {
    for options in ["request-timeout=1", "request-timeout=1 interrupt-timeout=1"] {
        let options = format!("threads=2 {options} graceful-timeout=60 shutdown-timeout=1");
        let httpd = expected(limited(&options)).start();
        let before = pid(&httpd);
        let file = httpd.dir().join("go");
        std::thread::scope(|scope| {
            let stuck = scope.spawn(|| httpd.get("/?nap()"));
            httpd.wait_for_log(&["is over", "GET /?nap()", "a new worker takes over"]);
            let after = until(|| Some(pid(&httpd)).filter(|now| *now != before));
            assert!(after.is_some(), "no other worker comes");
            std::fs::write(&file, "").expect("the folder is ours");
            stuck.join().expect("a response").assert(504);
        });
        httpd.wait_for_log(&["stack of GET /?nap()", "in nap"]);
        httpd.wait_for_log(&["shutdown-timeout=1 is over", "still running: GET /?nap()"]);
    }
}

#[test]
fn requests_that_wait_behind_a_stuck_one_go_elsewhere() {
    let options = "threads=1 request-timeout=1 graceful-timeout=60 shutdown-timeout=1";
    let httpd = expected(limited(options)).start();
    let before = pid(&httpd);
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| httpd.get("/?os.write(1,b'stuck%5Cn')and(nap())"));
        httpd.wait_for_log(&["stuck"]);
        let waiting = scope.spawn(|| httpd.request("POST", "/", &[], b"a"));
        assert_ne!(waiting.join().expect("a response").assert(200).text(), before);
        stuck.join().expect("a response").assert(504);
    });
}

#[test]
fn a_lock_that_nobody_gets_costs_the_worker() {
    let httpd = expected(limited("threads=2 deadlock-timeout=1 shutdown-timeout=1")).start();
    let before = pid(&httpd);
    httpd.get("/?hold_the_lock()").assert(504);
    let line = httpd.wait_for_log(&["deadlock-timeout=1 is over", "a new worker takes over"]);
    assert!(
        line.contains("GET /?hold_the_lock()") && line.contains("process group 'app'"),
        "{line}"
    );
    httpd.wait_for_log(&["stack of GET /?hold_the_lock()", "in hold_the_lock"]);
    httpd.wait_for_log(&["Python's lock is held by", "GET /?hold_the_lock()"]);
    assert_ne!(pid(&httpd), before);
}

#[test]
fn code_that_blocks_without_the_lock_is_no_deadlock() {
    let httpd = limited("threads=2 deadlock-timeout=1").start();
    let before = pid(&httpd);
    assert_eq!(httpd.get("/?time.sleep(2.5)").assert(200).text(), before);
}

/// Does not load before a file is there.
const SLOW_TO_LOAD: &str = r#"
import os, time

place = os.path.join(os.path.dirname(__file__), "ready")
if not os.path.exists(place):
    time.sleep(1000)

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"loaded"]
"#;

#[test]
fn a_script_that_does_not_load_costs_the_worker() {
    // Its application group is not written with the alias: it is loaded by the first request.
    let site = Httpd::new().app("app.wsgi", SLOW_TO_LOAD).conf(
        "LogLevel wsgi:info\n\
         WSGIDaemonProcess app user={user} group={group} threads=2 startup-timeout=1 \
         shutdown-timeout=1\n\
         WSGIProcessGroup app\nWSGIApplicationGroup %{GLOBAL}\nWSGIScriptAlias / {apps}/app.wsgi",
    );
    let httpd = expected(site).start();
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| httpd.get("/"));
        httpd.wait_for_log(&["startup-timeout=1 is over", "a new worker takes over"]);
        std::fs::write(httpd.dir().join("apps/ready"), "").expect("the folder is ours");
        stuck.join().expect("a response").assert(504);
    });
    httpd.wait_for_log(&["stack of GET /", "app.wsgi"]);
    assert_eq!(httpd.get("/").assert(200).text(), "loaded");
}

#[test]
fn new_code_that_does_not_load_costs_the_worker_that_tries() {
    let loaded = "def application(environ, start_response):\n    \
                  start_response('200 OK', [])\n    return [b'old']\n";
    let site = Httpd::new().app("app.wsgi", loaded).conf(
        "LogLevel wsgi:info\n\
         WSGIDaemonProcess app user={user} group={group} threads=2 startup-timeout=1\n\
         WSGIProcessGroup app\nWSGIApplicationGroup %{GLOBAL}\nWSGIScriptAlias / {apps}/app.wsgi",
    );
    let httpd = expected(site).expect_log("startup-timeout=1").start();
    assert_eq!(httpd.get("/").assert(200).text(), "old");
    let script = httpd.dir().join("apps/app.wsgi");
    std::fs::write(&script, SLOW_TO_LOAD).expect("the folder is ours");
    assert_eq!(httpd.get("/").assert(200).text(), "old");
    httpd.wait_for_log(&["killed: startup-timeout=1 is over"]);
    std::fs::write(httpd.dir().join("apps/ready"), "").expect("the folder is ours");
    std::fs::write(&script, SLOW_TO_LOAD).expect("the folder is ours");
    assert_eq!(httpd.get("/").assert(200).text(), "loaded");
}
