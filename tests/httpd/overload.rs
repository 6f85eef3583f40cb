//! More requests than threads: so many wait, others are told at once, nobody else is concerned.

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use testkit::{Httpd, Mpm, Running, until};

/// Waits until there is a file with the name in the query string.
const GATED: &str = r#"
import os, time


def application(environ, start_response):
    if environ["QUERY_STRING"]:
        print("waiting", file=environ["wsgi.errors"])
        while not os.path.exists(environ["QUERY_STRING"]):
            time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"x" * 2000]
"#;

fn site(options: &str) -> Running {
    Httpd::new()
        .app("app.wsgi", GATED)
        .file("htdocs/a.txt", "static")
        .expect_log("waiting")
        .expect_log("requests wait")
        .expect_log("for another request to wait")
        .expect_log("queue-timeout")
        .expect_log("socket-timeout")
        // Of a look once a second at how many threads are left.
        .expect_log("MaxRequestWorkers")
        .conf(&format!(
            "WSGIDaemonProcess app user={{user}} group={{group}} {options}\n\
             WSGIScriptAlias /app {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}"
        ))
        .start()
}

/// Sends so many requests that wait for each other's end. When all but `served` have been turned
/// away, lets those go on.
#[track_caller]
fn flood(httpd: &Running, workers: usize, requests: usize, served: usize) {
    let serving = || httpd.error_log().matches(": serving").count();
    assert!(until(|| (serving() == workers).then_some(())).is_some(), "all workers serve");
    httpd.get("/app").assert(200);
    let gate = httpd.dir().join("gate");
    let path = format!("/app?{}", gate.display());
    let statuses = Mutex::new(Vec::new());
    let ended = || statuses.lock().expect("no panic").len();
    let turned_away = thread::scope(|scope| {
        for _ in 0..requests {
            scope.spawn(|| {
                let response = httpd.connect().get(&path).expect("an answer");
                assert_eq!(response.header("Retry-After").is_some(), response.status == 503);
                statuses.lock().expect("no panic").push(response.status);
            });
        }
        let turned_away = until(|| (ended() >= requests - served).then_some(()));
        let others = httpd.get("/a.txt");
        fs::write(&gate, "").expect("the folder is ours");
        others.assert(200);
        turned_away
    });
    assert!(turned_away.is_some(), "everybody waits");
    let statuses = statuses.into_inner().expect("no panic");
    let of = |status| statuses.iter().filter(|other| **other == status).count();
    assert_eq!((of(200), of(503)), (served, requests - served), "{statuses:?}");
    httpd.get("/app").assert(200);
}

#[test]
fn a_queue_of_one_worker_is_bounded() {
    flood(&site("threads=1 listen-backlog=2"), 1, 10, 3);
}

#[test]
fn a_queue_of_several_workers_is_bounded() {
    // The kernel lets one more wait than it is told (net/unix/af_unix.c, `unix_recvq_full`).
    // So long they may take to accept what they can run, on a machine with much else to do.
    flood(&site("processes=2 threads=1 listen-backlog=2 connect-timeout=3"), 2, 12, 5);
}

#[test]
fn a_group_that_is_stuck_leaves_threads_of_httpd_to_another_one() {
    let httpd = Httpd::new()
        .app("app.wsgi", GATED)
        .file("htdocs/a.txt", "static")
        .expect_log("waiting")
        .expect_log("for another request to wait")
        .expect_log("MaxRequestWorkers")
        .conf(
            "WSGIDaemonProcess app user={user} group={group} threads=5\n\
             WSGIDaemonProcess other user={user} group={group}\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}\n\
             WSGIScriptAlias /other {apps}/app.wsgi process-group=other application-group=%{GLOBAL}",
        )
        .start();
    httpd.get("/app").assert(200);
    let gate = httpd.dir().join("gate");
    let path = format!("/app?{}", gate.display());
    let statuses = Mutex::new(Vec::new());
    let ended = || statuses.lock().expect("no panic").len();
    thread::scope(|scope| {
        for _ in 0..80 {
            scope.spawn(|| {
                let response = httpd.connect().get(&path).expect("an answer");
                statuses.lock().expect("no panic").push(response.status);
            });
        }
        // The tests' httpd has 64 threads, of which at least one is left.
        let turned_away = until(|| (ended() >= 80 - 63).then_some(()));
        let others = ["/a.txt", "/other"].map(|path| httpd.connect().get(path));
        fs::write(&gate, "").expect("the folder is ours");
        assert!(turned_away.is_some(), "everybody waits");
        for other in others {
            other.expect("an answer").assert(200);
        }
    });
    let statuses = statuses.into_inner().expect("no panic");
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!(served >= 48, "most of the threads are for those that need them: {statuses:?}");
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
}

#[test]
fn a_group_that_is_alone_has_all_threads_of_httpd() {
    let httpd = Httpd::new()
        .app("app.wsgi", GATED)
        .expect_log("waiting")
        .expect_log("MaxRequestWorkers")
        .conf(
            "WSGIDaemonProcess app user={user} group={group} threads=5\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    httpd.get("/app").assert(200);
    let gate = httpd.dir().join("gate");
    let path = format!("/app?{}", gate.display());
    let worker = httpd.workers().first().map(|worker| worker.pid).expect("a worker");
    let accepted = || fs::read_dir(format!("/proc/{worker}/fd")).map_or(0, Iterator::count);
    let before = accepted();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..64).map(|_| scope.spawn(|| httpd.connect().get(&path))).collect();
        let all = until(|| (accepted() >= before + 60).then_some(()));
        fs::write(&gate, "").expect("the folder is ours");
        assert!(all.is_some(), "{} connections more", accepted() - before);
        for one in waiting {
            one.join().expect("no panic").expect("an answer").assert(200);
        }
    });
}

#[test]
fn streams_of_http2_hold_no_threads_of_httpd() {
    if !testkit::has_h2load() {
        return;
    }
    let Some((site, _)) = Httpd::new()
        .app("app.wsgi", crate::HELLO)
        .conf(
            "WSGIDaemonProcess app user={user} group={group} threads=5\n\
             WSGIDaemonProcess other user={user} group={group}\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .conf(ONE_CHILD)
        .secure("")
    else {
        return;
    };
    let httpd = site.start();
    for connections in ["1", "4"] {
        let output = Command::new("h2load")
            .args(["-c", connections, "-m", "100", "-n", "1000"])
            .arg(format!("http://127.0.0.1:{}/", httpd.port()))
            .output()
            .expect("h2load runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains("status codes: 1000 2xx"), "{told}");
    }
}

/// As many threads as in the other tests, but all in one child.
const ONE_CHILD: &str = "\
<IfModule !mpm_prefork_module>
    StartServers 1
    ServerLimit 1
    ThreadLimit 64
    ThreadsPerChild 64
</IfModule>
<IfModule mpm_prefork_module>
    ServerLimit 64
    MaxRequestWorkers 64
    StartServers 64
    MaxSpareServers 64
</IfModule>
";

#[test]
fn groups_that_are_stuck_leave_threads_of_httpd_to_one_that_is_not() {
    for mpm in Mpm::ALL {
        let mut httpd = Httpd::new()
            .mpm(mpm)
            .app("app.wsgi", GATED)
            .expect_log("waiting")
            .expect_log("for another request to wait")
            .expect_log("MaxRequestWorkers")
            .conf(ONE_CHILD);
        let groups =
            [("a", "threads=5"), ("b", "processes=2 threads=2"), ("c", "threads=1"), ("d", "")];
        for (name, options) in groups {
            httpd = httpd.conf(&format!(
                "WSGIDaemonProcess {name} user={{user}} group={{group}} {options}\n\
                 WSGIScriptAlias /{name} {{apps}}/app.wsgi process-group={name} \
                 application-group=%{{GLOBAL}}"
            ));
        }
        let httpd = httpd.start();
        groups.iter().for_each(|(name, _)| drop(httpd.get(&format!("/{name}")).assert(200)));
        let gate = httpd.dir().join("gate");
        let statuses = Mutex::new(Vec::new());
        let ended = || statuses.lock().expect("no panic").len();
        let (crowded, others) = thread::scope(|scope| {
            for name in ["a", "b", "c"].iter().cycle().take(90) {
                let path = format!("/{name}?{}", gate.display());
                let (statuses, httpd) = (&statuses, &httpd);
                scope.spawn(move || {
                    let response = httpd.connect().get(&path).expect("an answer");
                    statuses.lock().expect("no panic").push(response.status);
                });
            }
            // At least one thread is left, so that many cannot be waiting.
            let crowded = until(|| (ended() >= 90 - 63).then_some(()));
            let ask = || httpd.connect().get("/d").map(|response| response.status);
            let others: Vec<_> = (0..20).map(|_| ask()).collect();
            let held = 90 - ended();
            fs::write(&gate, "").expect("the folder is ours");
            assert!(held > 32, "the others hold only {held}");
            (crowded, others)
        });
        assert!(crowded.is_some(), "{mpm:?}: everybody waits");
        assert!(others.iter().all(|status| matches!(status, Ok(200))), "{mpm:?}: {others:?}");
        let statuses = statuses.into_inner().expect("no panic");
        assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    }
}

#[track_caller]
fn check_late(options: &str, threads: usize) {
    let httpd = site(&format!("{options} queue-timeout=1"));
    httpd.get("/app").assert(200);
    let gate = httpd.dir().join("gate");
    let path = format!("/app?{}", gate.display());
    thread::scope(|scope| {
        let running = (0..threads).map(|_| scope.spawn(|| httpd.get(&path))).collect::<Vec<_>>();
        let waiting = || httpd.error_log().matches("waiting").count();
        let busy = until(|| (waiting() == threads).then_some(()));
        // While the others still run.
        let late = httpd.get(&path);
        let begun = waiting();
        fs::write(&gate, "").expect("the folder is ours");
        assert!(busy.is_some());
        late.assert(504);
        assert_eq!(begun, threads, "the late one has not been begun");
        running.into_iter().for_each(|one| {
            one.join().expect("an answer").assert(200);
        });
    });
    httpd.wait_for_log(&["within queue-timeout=1"]);
    httpd.get("/app").assert(200);
}

#[test]
fn who_has_waited_for_too_long_is_told_when_that_is_so() {
    check_late("threads=1", 1);
}

#[test]
fn who_has_waited_for_too_long_for_several_workers_is_told_when_that_is_so() {
    check_late("processes=2 threads=1", 2);
}

#[test]
fn a_worker_that_says_nothing_is_given_up() {
    let httpd = site("threads=1 socket-timeout=1");
    let gate = httpd.dir().join("gate");
    httpd.get(&format!("/app?{}", gate.display())).assert(504);
    httpd.wait_for_log(&["said nothing for 1 s (Timeout or socket-timeout=), while it ran 'GET"]);
    fs::write(&gate, "").expect("the folder is ours");
    httpd.get("/app").assert(200);
}

#[test]
fn clients_that_do_not_read_small_responses_hold_no_thread() {
    let httpd = site("threads=2");
    let slow: Vec<_> = (0..40)
        .map(|_| {
            let mut client = httpd.connect();
            client.send(b"GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("httpd reads");
            client
        })
        .collect();
    httpd.get("/app").assert(200);
    for mut client in slow {
        assert_eq!(client.read_response("GET").expect("a response").body.len(), 2000);
    }
}

/// Sends more than any buffer holds, and notes when it is told that nobody wants the rest.
const ENDLESS: &str = r#"
import os


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        while True:
            yield b"x" * 65536
    finally:
        print("given up", file=environ["wsgi.errors"])
"#;

#[test]
fn a_client_that_does_not_receive_is_given_up() {
    let httpd = Httpd::new()
        .app("app.wsgi", ENDLESS)
        .expect_log("given up")
        .conf(
            "Timeout 600\n\
             WSGIDaemonProcess app user={user} group={group} response-socket-timeout=1\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    let mut client = httpd.connect();
    client.send(b"GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("httpd reads");
    httpd.wait_for_log(&["given up"]);
}
