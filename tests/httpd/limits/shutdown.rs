//! The end of a worker: the application hears of it, threads and exit handlers have their time, and
//! none of them can keep the process.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, Process, Running, until};

use super::{pid, with};

/// Writes down what happens at the end, in files of a folder that everybody may write to.
const NOTES: &str = r#"
import atexit, os, threading, time

import mod_wsgi

notes = os.path.join(os.path.dirname(__file__), "..", "notes")


def note(name, text=""):
    with open(os.path.join(notes, name), "w") as file:
        file.write(text)


def told(name, **event):
    note(name, event["shutdown_reason"])


def exits():
    note("atexit")
    if MODE == "atexit":
        time.sleep(1000)


def lingers():
    time.sleep(1000 if MODE == "thread" else 0.3)
    note("thread")


mod_wsgi.subscribe_shutdown(told)
atexit.register(exits)
# Threads inherit this from the thread that starts them, and those of requests do not count.
threading.Thread(target=lingers, daemon=False).start()
threading.Thread(target=lambda: time.sleep(1000), daemon=True).start()


def application(environ, start_response):
    start_response("200 OK", [])
    return [b"%d" % os.getpid()]
"#;

fn site(mode: &str, options: &str) -> Httpd {
    with(&NOTES.replace("MODE", &format!("{mode:?}")), options).open_folder("notes")
}

fn note(httpd: &Running, name: &str) -> Option<String> {
    std::fs::read_to_string(httpd.dir().join("notes").join(name)).ok()
}

/// Sends a signal to the worker, and waits until it has gone.
#[track_caller]
fn end(httpd: &Running, signal: Signal) {
    let worker: i32 = pid(httpd).parse().expect("a process id");
    kill(Pid::from_raw(worker), signal).expect("it runs");
    let proc = format!("/proc/{worker}");
    assert!(until(|| (!Path::new(&proc).exists()).then_some(())).is_some(), "it stays");
    assert!(Process::find(worker).is_none());
}

#[test]
fn callbacks_threads_and_exit_handlers_have_their_turn() {
    for (signal, options, reason) in [
        (Signal::SIGTERM, "", "shutdown_signal"),
        (Signal::SIGINT, "", "shutdown_signal"),
        (Signal::SIGUSR1, "", "graceful_signal"),
        (Signal::SIGUSR1, "eviction-timeout=9", "eviction_signal"),
    ] {
        let httpd = site("", options).start();
        end(&httpd, signal);
        assert_eq!(note(&httpd, "process_stopping").as_deref(), Some(reason));
        assert!(note(&httpd, "thread").is_some(), "it was not waited for");
        assert!(note(&httpd, "atexit").is_some(), "it was not run");
        httpd.wait_for_log(&["finished and exited"]);
    }
}

#[test]
fn exit_handlers_are_not_run_where_interpreters_stay() {
    let httpd = site("", "").conf("WSGIDestroyInterpreter Off").start();
    end(&httpd, Signal::SIGTERM);
    assert_eq!(note(&httpd, "process_stopping").as_deref(), Some("shutdown_signal"));
    assert_eq!(note(&httpd, "atexit"), None);
}

#[test]
fn the_reason_is_told() {
    for (options, reason) in [
        ("maximum-requests=1", "maximum_requests"),
        ("restart-interval=1", "restart_interval"),
        ("inactivity-timeout=1", "inactivity_timeout"),
        ("memory-max=1", "memory_max"),
    ] {
        let httpd = site("", options).start();
        pid(&httpd);
        let told = until(|| note(&httpd, "process_stopping").filter(|told| !told.is_empty()));
        assert_eq!(told.as_deref(), Some(reason));
    }
}

#[test]
fn neither_threads_nor_exit_handlers_keep_a_worker() {
    for mode in ["thread", "atexit"] {
        let httpd = site(mode, "shutdown-timeout=1")
            .expect_log("shutdown-timeout=1 is over")
            .expect_log("stack of")
            .expect_log("exit status 255")
            .start();
        end(&httpd, Signal::SIGTERM);
        httpd.wait_for_log(&["shutdown-timeout=1 is over", "Python has not ended"]);
        httpd.wait_for_log(&["stack of", if mode == "thread" { "in lingers" } else { "in exits" }]);
        assert_eq!(note(&httpd, "process_stopping").as_deref(), Some("shutdown_signal"));
        pid(&httpd);
    }
}
