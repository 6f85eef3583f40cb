//! Stop, restart and graceful: no stray process, no zombie, nothing alarming in the log. That part
//! is checked at the end of every test; here httpd is moved about as much as possible.

use std::fs;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Mpm, until};

use crate::{HELLO, TELL, ask, serving, told};

/// Waits until a file appears whose name is in the query string.
const WAIT: &str = r#"
import os, time


def application(environ, start_response):
    print("waiting", file=environ["wsgi.errors"])
    while not os.path.exists(environ["QUERY_STRING"]):
        time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"#;

#[test]
fn start_and_stop_at_once() {
    for mpm in Mpm::ALL {
        serving(HELLO).mpm(mpm).start().stop();
    }
}

#[test]
fn restarts() {
    for mpm in Mpm::ALL {
        let mut httpd = serving(HELLO).mpm(mpm).start();
        for _ in 0..2 {
            httpd.get("/").assert(200);
            httpd.graceful();
            httpd.get("/").assert(200);
            httpd.restart();
        }
        httpd.get("/").assert(200);
        httpd.stop();
        httpd.check_logs().expect("a quiet log");
    }
}

#[test]
fn restarts_without_a_pause() {
    let httpd = serving(HELLO).start();
    for _ in 0..4 {
        httpd.graceful();
    }
    httpd.get("/").assert(200);
}

#[test]
fn old_generations_go() {
    let httpd = serving(HELLO).start();
    let count = || {
        let processes = httpd.descendants();
        let of = |name: &str| processes.iter().filter(|one| one.program.starts_with(name)).count();
        (of("wsgi-supervisor"), of("wsgi-worker"))
    };
    httpd.get("/").assert(200);
    let before = count();
    assert_eq!(before.0, 1);
    for _ in 0..3 {
        httpd.graceful();
        httpd.get("/").assert(200);
    }
    let settled = until(|| (count() == before).then_some(()));
    assert!(settled.is_some(), "{before:?} became {:?}", count());
}

#[test]
fn new_code_after_graceful() {
    let httpd = serving(TELL).start();
    let pid = || told(httpd.get(&ask(&["os.getpid()", "count"])));
    let before = pid();
    httpd.graceful();
    let after = until(|| Some(pid()).filter(|after| after[0] != before[0]));
    assert_eq!(after.expect("a new worker")[1], "1");
}

#[test]
fn a_request_in_flight_survives_graceful() {
    for mpm in Mpm::ALL {
        let httpd = serving(WAIT).mpm(mpm).expect_log("waiting").start();
        let file = httpd.dir().join("go");
        thread::scope(|scope| {
            let request = scope.spawn(|| httpd.get(&format!("/?{}", file.display())));
            httpd.wait_for_log(&["waiting"]);
            httpd.graceful();
            fs::write(&file, "").expect("the folder is ours");
            assert_eq!(request.join().expect("a response").assert(200).text(), "done");
        });
    }
}

#[test]
fn a_killed_worker_is_replaced() {
    let httpd = serving(TELL).expect_log("wsgi").start();
    let before = told(httpd.get(&ask(&["os.getpid()"])));
    let pid = Pid::from_raw(before[0].parse().expect("a process id"));
    kill(pid, Signal::SIGKILL).expect("the worker runs");
    let after =
        until(|| Some(httpd.get(&ask(&["os.getpid()"]))).filter(|response| response.status == 200));
    assert_ne!(told(after.expect("a new worker")), before);
}
