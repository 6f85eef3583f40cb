//! No request is lost: under load, whatever happens to workers and supervisor.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, Process, Running, ours_only, until};

/// Takes a moment, so that there is always a request running.
const SLOW: &str = r#"
import time


def application(environ, start_response):
    time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"#;

fn site() -> Httpd {
    Httpd::new().app("app.wsgi", SLOW).conf(
        "LogLevel wsgi:info\n\
         WSGIDaemonProcess app user={user} group={group} processes=2 threads=5\n\
         WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
    )
}

/// Does `what` again and again while requests come, each of which must be answered. Between two
/// times, some requests are.
#[track_caller]
pub fn nothing_is_lost(httpd: &Running, what: impl Fn()) {
    const TIMES: usize = 5;
    httpd.get("/").assert(200);
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = || {
        let mut lost = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            match httpd.connect().request("GET", "/", &[], b"") {
                Ok(response) if response.status == 200 => {}
                Ok(response) => lost.push(response.status.to_string()),
                Err(error) => lost.push(format!("{error:#}")),
            }
            served.fetch_add(1, Ordering::Relaxed);
        }
        lost
    };
    let lost: Vec<String> = std::thread::scope(|scope| {
        let clients = [0; 4].map(|_| scope.spawn(load));
        for _ in 0..TIMES {
            let before = served.load(Ordering::Relaxed);
            let goes_on = until(|| (served.load(Ordering::Relaxed) > before + 20).then_some(()));
            if goes_on.is_some() {
                what();
            }
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    assert_eq!(lost, [""; 0]);
    assert!(served.load(Ordering::Relaxed) > 20 * TIMES);
}

fn send(signal: Signal, process: Option<Process>) {
    // A process that has just gone needs no signal.
    let _ = process.map(|process| kill(Pid::from_raw(process.pid), signal));
}

/// Ends a worker and waits until another one serves in its place: a request is sent to another
/// worker once, not to one after the other that is about to die.
fn replace_worker(httpd: &Running, signal: Signal) {
    let serving = || httpd.error_log().matches(": serving").count();
    let before = serving();
    send(signal, httpd.workers().pop());
    assert!(until(|| (serving() > before).then_some(())).is_some(), "nobody takes its place");
}

#[test]
fn a_supervisor_that_is_told_to_reload() {
    if ours_only("SIGHUP to the supervisor") {
        return;
    }
    let httpd = site().start();
    httpd.get("/").assert(200);
    let all_serve = || (httpd.error_log().matches(": serving").count() == 2).then_some(());
    assert!(until(all_serve).is_some());
    nothing_is_lost(&httpd, || {
        let before = httpd.workers();
        send(Signal::SIGHUP, httpd.supervisor());
        let replaced = until(|| {
            let after = httpd.workers();
            (after.len() == 2 && !after.iter().any(|one| before.contains(one))).then_some(())
        });
        assert!(replaced.is_some(), "{before:?} became {:?}", httpd.workers());
    });
    // Two workers, five times.
    let line = "a reload was ordered; a new worker takes over";
    assert_eq!(httpd.error_log().matches(line).count(), 2 * 5);
}

#[test]
fn graceful() {
    let httpd = site().start();
    nothing_is_lost(&httpd, || httpd.graceful());
}

#[test]
fn workers_that_are_asked_to_end() {
    let httpd = site().start();
    nothing_is_lost(&httpd, || replace_worker(&httpd, Signal::SIGTERM));
}

#[test]
fn workers_that_are_killed() {
    let httpd = site().expect_log("another worker").expect_log("SIGKILL").start();
    nothing_is_lost(&httpd, || replace_worker(&httpd, Signal::SIGKILL));
    httpd.wait_for_log(&["[wsgi:error]", "process group 'app'", "SIGKILL"]);
}

#[test]
fn a_supervisor_that_is_killed() {
    let httpd = site()
        .expect_log("wsgi-supervisor")
        // Children that still know the old workers' secret ask again.
        .expect_log("turned away")
        .start();
    nothing_is_lost(&httpd, || send(Signal::SIGKILL, httpd.supervisor()));
    httpd.wait_for_log(&["[wsgi:error]", "wsgi-supervisor", "SIGKILL"]);
}
