//! `slow-request=`: a request that takes long is told of while it runs, with what it does.

use testkit::{Httpd, Running, until};

use super::{limited, lines_with, with};

/// Both logs tell the id of a request.
fn watched(httpd: Httpd) -> Httpd {
    httpd
        .conf("CustomLog logs/ids.log \"%U %L\"")
        .conf("<Location /metrics>\nSetHandler wsgi-metrics\n</Location>")
        .expect_log("slow request")
}

/// The line about the request with this path.
#[track_caller]
fn line_about(httpd: &Running, path: &str) -> String {
    let start = format!("slow request: GET {path}, ");
    let log = httpd.wait_for_log(&[&start]);
    log.lines().find(|line| line.contains(&start)).expect("it is there").to_owned()
}

/// What stands in front of these words.
fn before<'l>(line: &'l str, words: &str) -> &'l str {
    let (rest, _) = line.split_once(words).expect("the words are there");
    rest.rsplit(' ').next().expect("a word")
}

#[test]
fn a_slow_request_is_told_of_once() {
    // Of two settings the last one counts.
    let options = "threads=1 slow-request=9 slow-request=100ms";
    let httpd = watched(limited(options)).expect_log("waiting").start();
    let file = httpd.dir().join("go");
    let on = httpd.dir().join("on");
    let wait = format!("wait_for('{}')", file.display());
    let next_path = format!("/next?wait_for('{}')", on.display());
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| httpd.get(&format!("/slow/path?{wait}")));
        let line = line_about(&httpd, "/slow/path");
        for part in [
            "[wsgi:warn]",
            "process group 'app'",
            "in the queue",
            "0.000 s sending",
            "(thread wsgi-1, request ",
            "stack, innermost first: File",
            "in wait_for; File",
            "in application",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(!line.contains("path?") && !line.contains("lock is held"), "{line}");
        let seconds: f64 = before(&line, " s in the application").parse().expect("a number");
        assert!(seconds >= 0.1, "{line}");
        let next = scope.spawn(|| httpd.get(&next_path));
        let is_waiting = || {
            let metrics = httpd.get("/metrics").text();
            let line = metrics.lines().find(|line| line.starts_with("wsgi_requests_waiting{"));
            line.is_some_and(|line| line.ends_with(" 1")).then_some(())
        };
        assert!(until(is_waiting).is_some(), "the next one waits");
        std::fs::write(&file, "").expect("the folder is ours");
        slow.join().expect("a response").assert(200);
        let line = line_about(&httpd, "/next");
        assert_ne!(before(&line, " s in the queue"), "0.000", "{line}");
        std::fs::write(&on, "").expect("the folder is ours");
        next.join().expect("a response").assert(200);
        let id = line.split("wsgi-1, request ").nth(1).and_then(|id| id.split(')').next());
        httpd.wait_for_log_in("ids.log", &[&format!("/next {}", id.expect("an id"))]);
    });
    httpd.get("/").assert(200);
    assert_eq!(lines_with(&httpd, "slow request"), 2);
}

#[test]
fn what_holds_the_lock_in_c_is_told_and_told_again_before_it_is_ended() {
    let options = "threads=2 slow-request=0.2 request-timeout=1 shutdown-timeout=1 \
                   graceful-timeout=1";
    let httpd = watched(limited(options))
        .expect_log("stack of")
        .expect_log("is over")
        .expect_log("exit status 255")
        .expect_log("Python's lock is held")
        .start();
    httpd.get("/").assert(200);
    httpd.get("/stuck?hold_the_lock()").assert(504);
    let line = line_about(&httpd, "/stuck");
    for part in ["Python's lock is held by thread wsgi-", "in hold_the_lock; File"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let id = line.split(", request ").nth(1).and_then(|rest| rest.split(')').next());
    let again = format!("request {})", id.expect("an id"));
    httpd.wait_for_log(&["request-timeout=1", "is over for GET /stuck?hold_the_lock()"]);
    let log = httpd.wait_for_log(&["stack of GET /stuck?hold_the_lock()"]);
    let stack = log.lines().find(|line| line.contains("stack of GET /stuck"));
    assert!(stack.is_some_and(|line| line.contains(&again)), "{stack:?}");
}

#[test]
fn a_response_that_goes_on_is_being_sent() {
    let source = r#"
import os, time


def application(environ, start_response):
    start_response("200 OK", [])
    yield b"begun"
    while not os.path.exists(environ["QUERY_STRING"]):
        time.sleep(0.01)
"#;
    let httpd = watched(with(source, "threads=1 slow-request=0.1s")).start();
    let file = httpd.dir().join("go");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| httpd.get(&format!("/stream?{}", file.display())));
        let line = line_about(&httpd, "/stream");
        assert_ne!(before(&line, " s sending"), "0.000", "{line}");
        std::fs::write(&file, "").expect("the folder is ours");
        slow.join().expect("a response").assert(200);
    });
}
