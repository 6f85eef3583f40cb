//! Services: groups with `threads=0`, whose import script is all that they run.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, Running, UnderTest};

/// Waits for signals until it is told to end.
const SERVICE: &str = r#"
import atexit, os, pwd, signal, threading

assert threading.current_thread() is threading.main_thread()
signal.signal(signal.SIGUSR2, lambda number, frame: print("got the signal"))
atexit.register(print, "exit handlers run")
print("service runs as", pwd.getpwuid(os.geteuid()).pw_name, "in process", os.getpid())
try:
    while True:
        signal.pause()
except SystemExit:
    print("told to end")
    raise
"#;

fn serving(source: &str) -> Httpd {
    Httpd::new()
        .app("service.py", source)
        .conf("WSGIDaemonProcess service threads=0 user={user} group={group}")
        .conf(
            "WSGIImportScript {apps}/service.py process-group=service application-group=%{GLOBAL}",
        )
}

#[track_caller]
fn wait_for(httpd: &Running, text: &str, count: usize) {
    let done =
        testkit::until(|| (httpd.log("error.log").matches(text).count() >= count).then_some(()));
    assert!(done.is_some(), "{text:?} is not {count} times in the log");
}

/// The process that the last line about it names.
fn pid(line: &str) -> Pid {
    let number = line.rsplit(' ').next().and_then(|number| number.parse().ok());
    Pid::from_raw(number.expect("the line ends with a number"))
}

#[test]
fn a_service_has_the_main_thread_and_signals() {
    let mut httpd = serving(SERVICE).start();
    let (user, _) = testkit::app_user();
    let line = httpd.wait_for_log(&[&format!("service runs as {user} in process")]);
    kill(pid(&line), Signal::SIGUSR2).expect("the service runs");
    httpd.wait_for_log(&["got the signal"]);
    httpd.stop();
    let log = httpd.log("error.log");
    for text in ["told to end", "exit handlers run"] {
        assert_eq!(log.matches(text).count(), 1, "{text}: {log}");
    }
    assert!(!log.contains("SystemExit"), "{log}");
}

#[test]
fn sigterm_ends_it_and_another_one_is_started() {
    let httpd = serving(SERVICE).start();
    let line = httpd.wait_for_log(&["service runs as"]);
    kill(pid(&line), Signal::SIGTERM).expect("the service runs");
    httpd.wait_for_log(&["told to end"]);
    wait_for(&httpd, "service runs as", 2);
}

#[test]
fn a_restart_ends_it_and_starts_another_one() {
    let httpd = serving(SERVICE).start();
    httpd.wait_for_log(&["service runs as"]);
    httpd.graceful();
    wait_for(&httpd, "service runs as", 2);
    wait_for(&httpd, "told to end", 1);
}

#[test]
fn a_service_that_returns_is_run_again_and_not_in_a_loop() {
    let httpd = serving("print('ran')").start();
    if UnderTest::chosen().is_original() {
        // It has a new process each second.
        return wait_for(&httpd, "ran\n", 2);
    }
    wait_for(&httpd, "it is run again in", 1);
    assert!(httpd.log("error.log").matches("ran\n").count() >= 2);
}

#[test]
fn a_service_that_fails_is_run_again() {
    let httpd = serving("raise OSError('no work')")
        .expect_log("service.py")
        .expect_log("Traceback")
        .expect_log("no work")
        .start();
    wait_for(&httpd, "OSError: no work", 2);
}

#[test]
fn application_groups_of_a_service_run_side_by_side() {
    if testkit::ours_only("mod_wsgi runs all scripts in one process, one after the other") {
        return;
    }
    let httpd = serving(SERVICE)
        .conf("WSGIImportScript {apps}/service.py process-group=service application-group=other")
        .start();
    wait_for(&httpd, "service runs as", 2);
}

#[test]
fn requests_for_a_service_are_told_at_once() {
    if testkit::ours_only("with mod_wsgi such requests wait until they time out") {
        return;
    }
    let httpd = serving(SERVICE)
        .conf("WSGIScriptAlias / {apps}/service.py process-group=service")
        .expect_log("takes no requests")
        .start();
    httpd.get("/").assert(500);
    httpd.wait_for_log(&["'service' takes no requests", "threads=0"]);
}
