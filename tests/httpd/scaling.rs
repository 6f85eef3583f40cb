//! How many workers there are: as many as the load needs, and without any `WSGIDaemonProcess` as many
//! requests at a time as httpd itself would run.

use std::fs;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::thread;

use testkit::{Httpd, Mpm, Running, environment, ours_only, until};

use crate::reliability::nothing_is_lost;

/// Waits until there is a file with the name in the query string, and then tells what the process is
/// told of the others, and how many requests it has run at a time.
const GATED: &str = r#"
import os, threading, time

import mod_wsgi

lock = threading.Lock()
running = most = 0


def application(environ, start_response):
    global running, most
    with lock:
        running += 1
        most = max(most, running)
    print("begun", file=environ["wsgi.errors"])
    while environ["QUERY_STRING"] and not os.path.exists(environ["QUERY_STRING"]):
        time.sleep(0.01)
    with lock:
        running -= 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    flags = environ["wsgi.multithread"], environ["wsgi.multiprocess"]
    return [f"{flags} {mod_wsgi.maximum_processes} {mod_wsgi.threads_per_process} {most}".encode()]
"#;

/// Takes a moment without computing.
const SLOW: &str = r#"
import time


def application(environ, start_response):
    time.sleep(0.05)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"#;

fn site(mpm: Mpm, conf: &str) -> Running {
    Httpd::new()
        .mpm(mpm)
        .app("app.wsgi", GATED)
        .expect_log("begun")
        // Of a look once a second at how many threads are left.
        .expect_log("MaxRequestWorkers")
        .conf(conf)
        .start()
}

/// Sends so many requests at once, and lets them go on when all of them have been begun. Returns the
/// answers.
#[track_caller]
fn at_once(httpd: &Running, requests: usize) -> Vec<String> {
    let gate = httpd.dir().join("gate");
    let path = format!("/?{}", gate.display());
    let begun = || httpd.error_log().matches("begun").count();
    let before = begun();
    let answers = Mutex::new(Vec::new());
    let all_begun = thread::scope(|scope| {
        for _ in 0..requests {
            scope.spawn(|| {
                let response = httpd.connect().get(&path).expect("an answer");
                answers.lock().expect("no panic").push(response.assert(200).text());
            });
        }
        let all_begun = until(|| (begun() >= before + requests).then_some(()));
        fs::write(&gate, "").expect("the folder is ours");
        all_begun
    });
    fs::remove_file(&gate).expect("it was there");
    assert!(all_begun.is_some(), "{} of {requests} requests were begun", begun() - before);
    let answers = answers.into_inner().expect("no panic");
    assert_eq!(answers.len(), requests);
    answers
}

/// Waits until there are so many workers.
#[track_caller]
fn wait_for_workers(httpd: &Running, count: usize) {
    let there = until(|| (httpd.workers().len() == count).then_some(()));
    assert!(there.is_some(), "there are {} workers, not {count}", httpd.workers().len());
}

#[test]
fn without_a_group_as_many_requests_run_at_once_as_httpd_has_threads() {
    // As the tests' httpd is configured: 4 children with 16 threads.
    for mpm in [Mpm::Event, Mpm::Worker] {
        let httpd = site(mpm, "WSGIScriptAlias / {apps}/app.wsgi");
        // The first ones meet a server without any worker.
        let answers = at_once(&httpd, 64);
        assert!(
            answers.iter().all(|answer| answer.starts_with("(True, True) 4 16 ")),
            "{answers:?}"
        );
        if !ours_only("workers") {
            wait_for_workers(&httpd, 4);
        }
    }
}

#[test]
fn with_prefork_a_process_runs_one_request_at_a_time() {
    for conf in [
        "WSGIScriptAlias / {apps}/app.wsgi",
        "WSGIDaemonProcess %{GLOBAL} home=/\nWSGIScriptAlias / {apps}/app.wsgi",
    ] {
        if conf.contains("GLOBAL") && ours_only("a default group with a line of its own") {
            continue;
        }
        let httpd = site(Mpm::Prefork, conf);
        let answers = at_once(&httpd, 12);
        assert!(
            answers
                .iter()
                .all(|answer| { answer.starts_with("(False, True) ") && answer.ends_with(" 1 1") }),
            "{answers:?}"
        );
    }
}

#[test]
fn what_is_written_of_the_default_group_counts() {
    if ours_only("a default group with a line of its own") {
        return;
    }
    for (options, expected) in [
        ("threads=3", "(True, False) 1 3 1"),
        ("processes=2-3 threads=1", "(False, True) 3 1 1"),
        ("processes=2", "(True, True) 2 16 1"),
    ] {
        let conf =
            format!("WSGIDaemonProcess %{{GLOBAL}} {options}\nWSGIScriptAlias / {{apps}}/app.wsgi");
        let httpd = site(Mpm::Event, &conf);
        assert_eq!(httpd.get("/").assert(200).text(), expected, "{options}");
    }
}

/// A group whose number of workers follows the load.
fn range(options: &str) -> Running {
    site(
        Mpm::Event,
        &format!(
            "WSGIDaemonProcess app user={{user}} group={{group}} {options}\n\
             WSGIScriptAlias / {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}"
        ),
    )
}

/// What `wsgictl` prints.
#[track_caller]
fn wsgictl(httpd: &Running, order: &str) -> String {
    let mut command = Command::new(environment::dist().join("wsgictl"));
    command.arg("--prefix").arg(httpd.dir().join("run/wsgi")).arg(order);
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

#[test]
fn workers_come_when_requests_wait_and_go_when_they_do_not() {
    if ours_only("a range of processes=") {
        return;
    }
    // Of two, the last one counts.
    let httpd = range("processes=1-6 threads=2 idle-timeout=600 idle-timeout=1");
    wait_for_workers(&httpd, 1);
    httpd.get("/").assert(200);
    let metrics = wsgictl(&httpd, "metrics");
    let most = metrics.lines().find(|line| {
        line.starts_with("wsgi_workers_most{") && line.contains("application_group=\"%{GLOBAL}\"")
    });
    assert!(most.is_some_and(|line| line.ends_with(" 6")), "{metrics}");
    let listed =
        || wsgictl(&httpd, "status").lines().filter(|line| line.contains("serving")).count();
    assert_eq!(listed(), 1);
    for _ in 0..2 {
        let answers = at_once(&httpd, 12);
        assert!(
            answers.iter().all(|answer| answer.starts_with("(True, True) 6 2 ")),
            "{answers:?}"
        );
        // All that came had requests, or there would have been fewer than twelve.
        wait_for_workers(&httpd, 1);
        httpd.wait_for_log(&["goes, as", "idle-timeout="]);
    }
    httpd.get("/").assert(200);
}

#[test]
fn no_request_is_lost_while_workers_come_and_go() {
    if ours_only("a range of processes=") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", SLOW)
        .conf(
            "WSGIDaemonProcess app user={user} group={group} processes=1-4 threads=1 idle-timeout=1\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    for _ in 0..2 {
        // Four clients have four requests at a time.
        nothing_is_lost(&httpd, || {
            let there = until(|| (httpd.workers().len() == 4).then_some(()));
            assert!(there.is_some(), "{} workers", httpd.workers().len());
        });
        wait_for_workers(&httpd, 1);
    }
}

#[test]
fn a_long_request_keeps_its_worker_and_no_other() {
    if ours_only("a range of processes=") {
        return;
    }
    let httpd =
        range("processes=1-3 threads=1 idle-timeout=1 graceful-timeout=1 shutdown-timeout=1");
    let gate = httpd.dir().join("long");
    let path = format!("/?{}", gate.display());
    thread::scope(|scope| {
        // It has the first worker, so that all others come after it.
        let long = scope.spawn(|| httpd.get(&path));
        httpd.wait_for_log(&["begun"]);
        at_once(&httpd, 2);
        let gone = until(|| (httpd.workers().len() == 1).then_some(()));
        fs::write(&gate, "").expect("the folder is ours");
        assert!(gone.is_some(), "{} workers", httpd.workers().len());
        long.join().expect("an answer").assert(200);
    });
}

#[test]
fn a_worker_that_is_added_has_loaded_the_script_before_it_takes_requests() {
    if ours_only("a range of processes=") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", &format!("print('loaded by', __import__('os').getpid())\n{GATED}"))
        .expect_log("begun")
        .conf(
            "WSGIDaemonProcess app user={user} group={group} processes=1-2 threads=1\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    at_once(&httpd, 2);
    let log = httpd.error_log();
    let of_second = |text: &str| log.match_indices(text).nth(1).map(|(at, _)| at);
    let (loaded, serving) = (of_second("loaded by"), of_second(": serving"));
    assert!(loaded.is_some() && loaded < serving, "{log}");
}

#[test]
fn a_reload_replaces_all_that_have_come() {
    if ours_only("a range of processes=") {
        return;
    }
    for reload in ["keep", "stop-first"] {
        let httpd = range(&format!("processes=1-3 threads=1 reload={reload}"));
        at_once(&httpd, 3);
        let before: Vec<_> = httpd.workers().iter().map(|worker| worker.pid).collect();
        assert_eq!(before.len(), 3);
        httpd.replace_app("app.wsgi", &GATED.replace("\"begun\"", "\"begun anew\""));
        let supervisor = httpd.supervisor().expect("there is one");
        let hang_up = nix::sys::signal::Signal::SIGHUP;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor.pid), hang_up).expect("ours");
        let replaced = until(|| {
            let workers = httpd.workers();
            let all_new = workers.iter().all(|worker| !before.contains(&worker.pid));
            (all_new && workers.len() == 3).then_some(())
        });
        assert!(replaced.is_some(), "{reload}: {:?}", httpd.workers());
        assert_eq!(at_once(&httpd, 3).len(), 3);
        assert!(httpd.error_log().contains("begun anew"));
    }
}

#[test]
fn a_range_that_is_none_is_refused() {
    if ours_only("a range of processes=") {
        return;
    }
    for (value, cure) in [
        ("6-1", "write 1-6"),
        ("0-3", "write 1 or more"),
        ("1-", "as in 1-6"),
        ("a-b", "as in 1-6"),
        ("1-2-3", "as in 1-6"),
        ("1-x", "as in 1-6"),
    ] {
        let checked = Httpd::new().conf(&format!("WSGIDaemonProcess app processes={value}"));
        checked.configtest().refuses(&[
            "WSGI daemon process",
            &format!("processes='{value}'"),
            cure,
        ]);
    }
}
