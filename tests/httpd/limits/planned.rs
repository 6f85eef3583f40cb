//! Workers that are replaced in peace: no request is lost, and the log says why.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, until};

use super::{limited, lines_with, pid, under_load};

/// Under load, workers are replaced three times for the reason that this text tells.
#[track_caller]
fn replaced_in_peace(httpd: Httpd, path: &str, reason: &str) {
    let httpd = httpd.start();
    pid(&httpd);
    under_load(&httpd, path, || lines_with(&httpd, reason) >= 3);
    let line = httpd.wait_for_log(&[reason]);
    for part in ["[wsgi:info]", "process group 'app'", "application group %{GLOBAL}", "worker "] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn maximum_requests() {
    let site = limited("processes=2 threads=3 maximum-requests=50");
    replaced_in_peace(site, "/", "maximum-requests=50 is reached");
}

#[test]
fn restart_interval() {
    let site = limited("processes=2 threads=3 restart-interval=1");
    replaced_in_peace(site, "/", "restart-interval=1 is over");
}

#[test]
fn cpu_time_limit() {
    let site = limited("threads=3 cpu-time-limit=1");
    replaced_in_peace(site, "/?burn(0.05)", "cpu-time-limit=1 is used up");
}

#[test]
fn memory_max() {
    // Of two, the last one counts.
    let site = limited("threads=3 memory-max=1 memory-max=150000000");
    replaced_in_peace(site, "/?grow(1)", "memory-max=150000000 is passed");
}

#[test]
fn a_signal() {
    let httpd = limited("processes=2 threads=3").start();
    let mut before = pid(&httpd);
    for number in 1..4 {
        under_load(&httpd, "/", || {
            let worker = Pid::from_raw(before.parse().expect("a process id"));
            // Again and again: repeats are ignored.
            let _ = kill(worker, Signal::SIGUSR1);
            lines_with(&httpd, "finished and exited") >= number
        });
        before = pid(&httpd);
    }
    httpd.wait_for_log(&["SIGUSR1 came (graceful-timeout=15)"]);
}

#[test]
fn inactivity() {
    let site = limited("threads=2 inactivity-timeout=1")
        .conf("WSGIIgnoreActivity On\n<Location /counts>\nWSGIIgnoreActivity Off\n</Location>");
    let httpd = site.start();
    let before = httpd.get("/counts").assert(200).text();
    // What does not count does not keep it.
    let after = until(|| (pid(&httpd) != before).then_some(()));
    assert!(after.is_some(), "nothing happens");
    httpd.wait_for_log(&["inactivity-timeout=1 is over"]);
    httpd.wait_for_log(&["finished and exited"]);
}

#[test]
fn requests_that_run_have_their_time() {
    let httpd = limited("threads=2 graceful-timeout=60").start();
    let before = pid(&httpd);
    let file = httpd.dir().join("go");
    let path = format!("/?wait_for('{}')", file.display());
    std::thread::scope(|scope| {
        let request = scope.spawn(|| httpd.get(&path));
        httpd.wait_for_log(&["waiting"]);
        let worker = Pid::from_raw(before.parse().expect("a process id"));
        kill(worker, Signal::SIGUSR1).expect("it runs");
        let other = until(|| Some(pid(&httpd)).filter(|now| *now != before));
        assert!(other.is_some(), "no other worker comes");
        std::fs::write(&file, "").expect("the folder is ours");
        request.join().expect("a response").assert(200);
    });
    httpd.wait_for_log(&["finished and exited"]);
}

#[test]
fn requests_that_run_for_too_long_are_cut_and_idempotent_ones_begun_elsewhere() {
    let httpd = limited("threads=2 eviction-timeout=1 shutdown-timeout=1")
        .expect_log("shutdown-timeout=1 is over")
        .expect_log("stack of")
        .expect_log("exit status 255")
        .expect_log("another worker")
        .start();
    let before = pid(&httpd);
    let file = httpd.dir().join("go");
    let path = format!("/?wait_for('{}')", file.display());
    std::thread::scope(|scope| {
        let request = scope.spawn(|| httpd.get(&path));
        httpd.wait_for_log(&["waiting"]);
        let worker = Pid::from_raw(before.parse().expect("a process id"));
        kill(worker, Signal::SIGUSR1).expect("it runs");
        httpd.wait_for_log(&["SIGUSR1 came (eviction-timeout=1)"]);
        let line = httpd.wait_for_log(&["shutdown-timeout=1 is over", "still running: GET /?wait"]);
        assert!(line.contains("[wsgi:error]") && line.contains("process group 'app'"), "{line}");
        httpd.wait_for_log(&["stack of GET /?wait_for", "in wait_for"]);
        std::fs::write(&file, "").expect("the folder is ours");
        let after = request.join().expect("a response").assert(200).text();
        assert_ne!(after, before);
    });
}

#[test]
fn memory_that_the_system_refuses_is_an_exception() {
    for option in ["memory-limit", "virtual-memory-limit"] {
        let site = limited(&format!("threads=2 {option}=900000000"));
        // The traceback, with its request.
        let httpd = site.expect_log("[client ").start();
        let before = pid(&httpd);
        httpd.get("/?grow(2000)").assert(500);
        httpd.wait_for_log(&["[wsgi:error]", "MemoryError"]);
        assert_eq!(pid(&httpd), before);
    }
}
