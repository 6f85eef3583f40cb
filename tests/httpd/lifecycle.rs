//! Stop, restart and graceful: no stray process, no zombie, nothing alarming in the log. That part
//! is checked at the end of every test; here httpd is moved about as much as possible.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Connection, Httpd, Mpm, Process, Running, until};

use crate::broken_workers::{Programs, write_program};
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
    if testkit::ours_only("there are no daemons of mod_wsgi for a moment") {
        return;
    }
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
fn the_end_of_a_child_wakes_httpds_parent_after_a_graceful_restart() {
    if testkit::ours_only("httpd's parent sleeps for up to a second with mod_wsgi") {
        return;
    }
    for mpm in Mpm::ALL {
        let httpd = serving(HELLO).mpm(mpm).start();
        httpd.graceful();
        httpd.get("/").assert(200);
        assert!(Process::handles(httpd.pid(), Signal::SIGCHLD), "{mpm:?}");
        // One that is new may not have come to it yet.
        let children = || httpd.children().into_iter().map(|child| child.pid);
        let left_alone =
            || children().all(|pid| !Process::handles(pid, Signal::SIGCHLD)).then_some(());
        assert!(until(left_alone).is_some(), "{mpm:?}");
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
    if testkit::ours_only("mod_wsgi has no supervisor") {
        return;
    }
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
    if testkit::ours_only("a graceful restart interrupts requests of mod_wsgi") {
        return;
    }
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
fn five_graceful_restarts_lose_no_child_and_leave_no_generation() {
    let mut httpd = serving(HELLO).start();
    for _ in 0..5 {
        httpd.get("/").assert(200);
        httpd.graceful();
        assert!(until(|| httpd.zombies().is_empty().then_some(())).is_some());
    }
    let settled = until(|| (generations(&httpd).len() == 1).then_some(()));
    assert!(settled.is_some(), "{:?}", generations(&httpd));
    httpd.stop();
    assert!(!httpd.error_log().contains("long lost child"));
}

/// The directories of generations.
fn generations(httpd: &Running) -> Vec<String> {
    let entries = fs::read_dir(httpd.dir().join("run")).expect("the folder is there");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with("wsgi")).collect()
}

/// Segments of shared memory that one of these processes made (`proc_sysvipc(5)`).
fn shared_memory(of: &[i32]) -> usize {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let creators = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(4));
    creators.filter(|creator| of.iter().any(|pid| pid.to_string() == *creator)).count()
}

/// httpd's parent process and all below it.
fn processes(httpd: &Running) -> Vec<i32> {
    let below = httpd.descendants().into_iter().map(|process| process.pid);
    below.chain([httpd.pid()]).collect()
}

#[test]
fn an_idle_httpd_that_stops_leaves_nothing() {
    for mpm in Mpm::ALL {
        let mut httpd = serving(HELLO).mpm(mpm).start();
        httpd.get("/").assert(200);
        assert_eq!(generations(&httpd).len(), 1);
        let processes = processes(&httpd);
        // That no process is left is part of it.
        httpd.stop();
        assert_eq!(generations(&httpd), [""; 0]);
        assert_eq!(shared_memory(&processes), 0);
    }
}

#[test]
fn when_httpds_parent_is_killed_its_children_are_served_and_then_all_ends() {
    if testkit::ours_only("mod_wsgi has no supervisor to clean up after httpd") {
        return;
    }
    let mut httpd = serving(HELLO).start();
    httpd.get("/").assert(200);
    let (all, children) = (processes(&httpd), httpd.children());
    httpd.signal(Signal::SIGKILL);
    httpd.get("/").assert(200);
    assert!(children.iter().all(Process::runs));
    for child in children {
        // As a service manager does for what is left, but for our processes.
        kill(Pid::from_raw(child.pid), Signal::SIGKILL).expect("it runs");
    }
    let status = httpd.wait_for_end().expect("an end of all processes");
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
    assert_eq!(generations(&httpd), [""; 0]);
    assert_eq!(shared_memory(&all), 0);
}

#[test]
fn a_graceful_stop_waits_for_requests() {
    for mpm in Mpm::ALL {
        let mut httpd = serving(WAIT).mpm(mpm).expect_log("waiting").start();
        let file = httpd.dir().join("go");
        thread::scope(|scope| {
            let request = scope.spawn(|| httpd.get(&format!("/?{}", file.display())));
            httpd.wait_for_log(&["waiting"]);
            httpd.signal(Signal::SIGWINCH);
            httpd.wait_for_log(&["SIGWINCH"]);
            fs::write(&file, "").expect("the folder is ours");
            assert_eq!(request.join().expect("a response").assert(200).text(), "done");
        });
        assert!(httpd.wait_for_end().expect("an end of all processes").success());
        assert_eq!(generations(&httpd), [""; 0]);
    }
}

/// A site whose requests run for ever, which is told about when they are ended.
fn stuck() -> Httpd {
    Httpd::new().app("app.wsgi", WAIT).expect_log("wsgi").expect_log("waiting").conf(
        "GracefulShutdownTimeout 1\n\
         WSGIDaemonProcess app user={user} group={group} graceful-timeout=1 shutdown-timeout=1\n\
         WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
    )
}

/// Begins a request that runs for ever.
fn begin(httpd: &Running) -> Connection {
    let waiting = || httpd.error_log().matches("waiting").count();
    let before = waiting();
    let mut connection = httpd.connect();
    connection.send(b"GET /?/nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is taken");
    assert!(until(|| (waiting() > before).then_some(())).is_some());
    connection
}

#[test]
fn a_graceful_stop_waits_no_longer_than_its_timeout() {
    for mpm in Mpm::ALL {
        // With the first SIGTERM, which httpd sends when three seconds have passed in vain, a child
        // goes; a SIGKILL would be worth an alarm.
        let mut httpd = stuck().mpm(mpm).expect_log("did not exit, sending a SIGTERM").start();
        let connection = begin(&httpd);
        httpd.signal(Signal::SIGWINCH);
        assert!(httpd.wait_for_end().expect("an end of all processes").success());
        assert_eq!(generations(&httpd), [""; 0]);
        drop(connection);
    }
}

#[test]
fn requests_in_flight_keep_httpd_from_nothing() {
    for mpm in Mpm::ALL {
        let mut httpd = stuck().mpm(mpm).start();
        let first = begin(&httpd);
        // No child has to be told twice, which would be in the log.
        httpd.restart();
        let second = begin(&httpd);
        httpd.stop();
        if mpm != Mpm::Prefork {
            let line = httpd.wait_for_log(&["while it ran 'GET /?/nowhere"]);
            assert!(line.contains("httpd has told its child process to end"), "{line}");
        }
        drop((first, second));
    }
}

/// Whose requests wait less for a worker than it takes until httpd's parent looks whether something
/// is missing.
fn impatient() -> Httpd {
    Httpd::new().app("app.wsgi", HELLO).expect_log("wsgi").conf(
        "WSGIDaemonProcess app user={user} group={group} connect-timeout=6\n\
         WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
    )
}

#[test]
fn supervisors_that_die_early_are_replaced_at_once() {
    if testkit::ours_only("mod_wsgi has no supervisor") {
        return;
    }
    let httpd = impatient().start();
    httpd.get("/").assert(200);
    let workers = httpd.workers();
    let end = |pid| kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    let mut killed = Vec::new();
    for _ in 0..3 {
        let next = || httpd.supervisor().map(|next| next.pid).filter(|pid| !killed.contains(pid));
        let next = until(next).expect("another supervisor");
        end(next);
        killed.push(next);
    }
    // They would serve on.
    workers.iter().for_each(|worker| end(worker.pid));
    httpd.get("/").assert(200);
    httpd.wait_for_log(&["ended after", "starting another one"]);
}

#[test]
fn a_supervisor_that_does_not_answer_is_replaced() {
    if testkit::ours_only("mod_wsgi has no supervisor") {
        return;
    }
    // One child, which has found its worker before.
    let httpd =
        impatient().conf("StartServers 1\nServerLimit 1\nMaxRequestWorkers 16\nMaxSpareThreads 16");
    let httpd = httpd.expect_log("AH10159").start();
    httpd.get("/").assert(200);
    let supervisor = httpd.supervisor().expect("it runs").pid;
    kill(Pid::from_raw(supervisor), Signal::SIGSTOP).expect("it runs");
    let replaced = || {
        httpd.get("/").assert(200);
        httpd.supervisor().filter(|next| next.pid != supervisor)
    };
    until(replaced).expect("another supervisor");
    httpd.wait_for_log(&["has not answered"]);
    httpd.get("/").assert(200);
}

#[test]
fn a_supervisor_that_dies_before_it_has_listened_is_replaced_at_once() {
    if testkit::ours_only("mod_wsgi has no supervisor") {
        return;
    }
    let programs = Programs::with("dies-unheard", |_| {});
    let folder = programs.0.display();
    let httpd = impatient().dist(&programs.0).start();
    httpd.get("/").assert(200);
    let (supervisor, workers) = (httpd.supervisor().expect("it runs"), httpd.workers());
    let program = programs.0.join("wsgi-supervisor");
    fs::rename(&program, programs.0.join("real")).expect("it is ours");
    // The next one is gone before it has read anything, the one after it is a supervisor.
    let script = format!(
        "#!/bin/sh\n[ -e {folder}/died ] || {{ : > {folder}/died; exit 1; }}\nexec {folder}/real\n"
    );
    write_program(&program, &script);
    let end = |process: Process| kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    // The workers would serve on.
    workers.into_iter().chain([supervisor]).for_each(|process| end(process).expect("it runs"));
    httpd.get("/").assert(200);
    httpd.wait_for_log(&["does not listen: it has ended"]);
    assert!(programs.0.join("died").exists());
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
