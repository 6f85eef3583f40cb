//! `WSGITelemetryService` and its like: what workers send of what they do, as mod_wsgi's receivers
//! read it.

mod receiver;

use std::fs;
use std::thread;

use testkit::Httpd;

use self::receiver::{
    COLLECTION, Datagram, GARBAGE, REQUESTS, Receiver, SLOW, STARTED, STOPPED, STOPPING, Value,
};

/// Does what the query string says.
const SCRIPT: &str = r#"
import gc, os, time

import mod_wsgi


def application(environ, start_response):
    what, _, name = environ["QUERY_STRING"].partition("=")
    if what == "wait":
        while not os.path.exists(name):
            time.sleep(0.01)
    elif what == "collect":
        gc.collect()
    elif what == "read":
        environ["wsgi.input"].read()
    elif what == "fail":
        raise ValueError("for this test")
    elif what == "metrics":
        mod_wsgi.start_recording_metrics()
        seen = [mod_wsgi.request_metrics(), mod_wsgi.process_metrics()]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(seen).encode()]
    status = "404 Not Found" if what == "missing" else "200 OK"
    start_response(status, [("Content-Type", "text/plain")])
    return [b"hello"]
"#;

/// The script in the group `app`, which has three threads.
fn httpd(conf: &str) -> Httpd {
    Httpd::new().app("app.wsgi", SCRIPT).conf(conf).conf(
        "WSGIDaemonProcess app user={user} group={group} threads=3\n\
         WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
    )
}

/// The sum of a field over all reports of requests.
fn sum(seen: &[Datagram], field: u16) -> u64 {
    seen.iter().filter(|it| it.kind == REQUESTS).map(|it| it.count(field)).sum()
}

#[test]
fn from_the_first_word_to_the_last() {
    let mut receiver = Receiver::new();
    let mut httpd =
        httpd(&receiver.line()).expect_log("ValueError").expect_log("wsgi:error").start();
    let started = receiver.wait_for(STARTED, |_| true);
    assert_eq!(started.count(7), httpd.pid() as u64);
    for (field, text) in [(1, "6."), (2, "3."), (3, "Apache/2.4"), (4, "event"), (6, "app")] {
        assert!(started.text(field).starts_with(text), "{started:?}");
    }
    assert_eq!(started.fields.len(), 8, "{started:?}");
    assert!(started.float(13) > 0.0 && started.sequence > 0);

    for query in ["", "", "", "missing", "fail"] {
        httpd.get(&format!("/a?{query}"));
    }
    httpd.request("POST", "/a?read", &[], b"12345").assert(200);
    receiver.until(|seen| (sum(seen, 20) == 6).then_some(()));
    let seen = receiver.seen();
    let classes = [120, 121, 122, 123, 124].map(|field| sum(seen, field));
    assert_eq!(classes, [0, 4, 0, 1, 1]);
    assert_eq!(sum(seen, 100), 5, "bytes that came in");
    assert!(sum(seen, 101) >= 1 && sum(seen, 102) >= 25 && sum(seen, 103) >= 5);
    check_reports(seen);

    let from = thread::spawn(move || {
        httpd.stop();
    });
    let stopping = receiver.wait_for(STOPPING, |_| true);
    assert_eq!((stopping.text(130), stopping.count(133)), ("shutdown_signal", 0));
    let stopped = receiver.wait_for(STOPPED, |_| true);
    from.join().expect("httpd stops");
    assert_eq!(stopped.text(130), "shutdown_signal");
    assert_eq!([132, 134, 135].map(|field| stopped.count(field)), [6, 0, 1]);
    assert!(stopped.float(131) > 0.0);
    // The original's processes of httpd tell of their garbage, too.
    let from_worker = || receiver.seen().iter().filter(|it| it.pid == started.pid);
    let numbers: Vec<_> = from_worker().map(|it| it.sequence).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let times: Vec<_> = from_worker().map(|it| it.time).collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// What holds for each report, and for all together.
#[track_caller]
fn check_reports(seen: &[Datagram]) {
    let mut completed = 0;
    for report in seen.iter().filter(|it| it.kind == REQUESTS) {
        let count = report.count(20);
        assert_eq!(report.counts(110).len(), 3, "a number for each thread");
        let of_threads: i32 = report.counts(110).iter().sum();
        assert_eq!(of_threads as u64, count);
        completed += of_threads;
        for field in [111, 112, 113, 114] {
            assert_eq!(report.floats(field).len(), 3, "{field}");
        }
        assert_eq!((report.float(11), report.count(50)), (0.5, 3));
        assert!((0.0..=1.0).contains(&report.float(22)), "{report:?}");
        assert!(report.count(40) > 1 << 20 && report.count(41) >= report.count(40) / 2);
        assert!(report.count(52) <= 3);
        for stage in [0, 3, 4, 5, 6, 7] {
            let histogram = report.counts(90 + stage);
            let counted: i32 = histogram.iter().sum();
            assert_eq!((histogram.len(), counted as u64), (65, count), "{stage}");
            assert!(report.float(60 + stage) >= 0.0);
        }
        if count > 0 {
            for stage in 0..8 {
                let [mean, least, most] = [60, 70, 80].map(|from| report.float(from + stage));
                assert!(least <= mean + 1e-6 && mean <= most + 1e-6, "{stage} of {report:?}");
            }
            // All of a request is longer than any part of it.
            assert!(report.float(84) + 1e-6 >= report.float(83), "{report:?}");
        } else {
            assert!(!report.fields.contains_key(&70) && !report.fields.contains_key(&61));
        }
    }
    assert_eq!(completed, 6);
}

#[test]
fn a_slow_request() {
    let mut receiver = Receiver::new();
    let conf =
        format!("WSGISlowRequests 0.3\nWSGITelemetryOptions CaptureUserAgent\n{}", receiver.line());
    let httpd = httpd(&conf).start();
    let file = httpd.dir().join("go");
    let path = format!("/sub/{}?wait={}", "x".repeat(600), file.display());
    let agent = "y".repeat(100);
    let (running, ended) = thread::scope(|scope| {
        let slow = scope.spawn(|| {
            httpd.request("GET", &path, &[("Host", "Site.Example:1"), ("User-Agent", &agent)], b"")
        });
        let running = receiver.wait_for(SLOW, |it| it.count(200) == 0);
        let report = receiver.wait_for(REQUESTS, |it| it.count(52) == 1);
        assert!(report.float(22) > 0.0 && report.floats(113).iter().any(|age| *age > 0.0));
        fs::write(&file, "").expect("the folder is ours");
        slow.join().expect("no panic").assert(200);
        (running, receiver.wait_for(SLOW, |it| it.count(200) == 1))
    });
    for report in [&running, &ended] {
        let texts = [210, 211, 212, 215, 216].map(|field| report.text(field));
        assert_eq!(texts, ["GET", "http", "site.example", "HTTP/1.1", "127.0.0.1"]);
        let path = report.text(214);
        assert_eq!(path.len(), 511);
        assert!(path.starts_with("/sub/xxx") && path.ends_with("xxx..."), "{path}");
        assert_eq!(report.text(217), agent);
        assert!(!report.fields.contains_key(&213), "there is no SCRIPT_NAME");
        assert_eq!(report.text(204), running.text(204), "the same request");
        assert_eq!(report.float(201), running.float(201));
        assert!(report.float(202) >= 0.3 && report.float(223) <= report.float(202) + 1e-3);
        assert!(httpd.children().iter().any(|child| child.pid as u64 == report.count(205)));
        assert!((1..=3).contains(&report.count(203)));
        assert_eq!((report.count(230), report.count(260)), (0, 1));
        assert!([220, 221, 222, 224].iter().all(|field| report.float(*field) >= 0.0));
    }
    assert_eq!([240, 232, 261].map(|field| running.count(field)), [0, 0, 0]);
    assert_eq!([240, 232, 261].map(|field| ended.count(field)), [200, 5, 1]);
    assert!(ended.float(202) >= running.float(202));
}

#[test]
fn others_are_not_slow_and_keep_their_user_agent_to_themselves() {
    let mut receiver = Receiver::new();
    let httpd = httpd(&format!("WSGISlowRequests 1000\n{}", receiver.line())).start();
    httpd.get("/a").assert(200);
    receiver.until(|seen| (sum(seen, 20) == 1).then_some(()));
    assert!(receiver.seen().iter().all(|it| it.kind != SLOW));
    drop(httpd);

    let mut receiver = Receiver::new();
    let httpd = self::httpd(&format!("WSGISlowRequests 0.0001\n{}", receiver.line())).start();
    let file = httpd.dir().join("go");
    fs::write(&file, "").expect("the folder is ours");
    httpd.request("GET", "/a?read", &[("User-Agent", "secret")], b"").assert(200);
    httpd.get("/a?collect").assert(200);
    let slow = receiver.wait_for(SLOW, |_| true);
    assert!(!slow.fields.contains_key(&217), "{slow:?}");
}

#[test]
fn the_last_line_counts() {
    let mut receiver = Receiver::new();
    let conf = format!(
        "WSGITelemetryService unix:/nowhere/at/all\n{}\n\
         WSGISlowRequests 1000\nWSGISlowRequests 0.0001\n\
         WSGITelemetryOptions None\nWSGITelemetryOptions +CaptureUserAgent",
        receiver.line()
    );
    let httpd = httpd(&conf).start();
    httpd.request("GET", "/a?collect", &[("User-Agent", "told")], b"").assert(200);
    assert_eq!(receiver.wait_for(SLOW, |_| true).text(217), "told");
    let conf = format!("{conf}\nWSGITelemetryOptions -CaptureUserAgent");
    drop(httpd);
    let httpd = self::httpd(&conf).start();
    httpd.request("GET", "/b?collect", &[("User-Agent", "not told")], b"").assert(200);
    let slow = receiver.wait_for(SLOW, |it| it.text(214) == "/b");
    assert!(!slow.fields.contains_key(&217), "{slow:?}");
}

#[test]
fn applications_have_no_metrics_meanwhile() {
    let receiver = Receiver::new();
    let httpd = httpd(&receiver.line()).start();
    assert_eq!(httpd.get("/?metrics").assert(200).text(), "[None, None]");
}

#[test]
fn the_garbage_collector() {
    let mut receiver = Receiver::new();
    let httpd = httpd(&receiver.line()).start();
    httpd.get("/?collect").assert(200);
    let of_two = |it: &Datagram| it.fields.get(&322) == Some(&Value::Count(2));
    let run = receiver.wait_for(COLLECTION, of_two);
    assert!(run.float(320) > 1e9 && run.float(321) >= 0.0);
    let fields: Vec<_> = run.fields.keys().copied().collect();
    assert_eq!(fields, [320, 321, 322, 323, 324]);
    let standing = receiver.wait_for(GARBAGE, |it| it.count(308) >= 1);
    let fields: Vec<_> = standing.fields.keys().copied().collect();
    assert_eq!(fields, (300..=317).collect::<Vec<_>>());
    // gc.get_threshold()[0], which is Python's own affair.
    assert!([700, 2000].contains(&standing.count(303)), "{}", standing.count(303));
    assert_eq!(standing.count(315), 1);
}

#[test]
fn why_a_worker_ends() {
    let mut receiver = Receiver::new();
    let httpd = Httpd::new()
        .app("app.wsgi", SCRIPT)
        .conf(&receiver.line())
        .conf("WSGIDaemonProcess app user={user} group={group} threads=1 maximum-requests=2")
        .conf("WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}")
        .start();
    httpd.get("/").assert(200);
    httpd.get("/").assert(200);
    let stopping = receiver.wait_for(STOPPING, |_| true);
    assert_eq!(stopping.text(130), "maximum_requests");
    let stopped = receiver.wait_for(STOPPED, |it| it.pid == stopping.pid);
    assert_eq!((stopped.count(132), stopped.count(135)), (2, 1));
    // And another one is there.
    receiver.wait_for(STARTED, |it| it.pid != stopping.pid);
}

#[test]
fn a_worker_that_is_ended_by_force_has_a_last_word() {
    let mut receiver = Receiver::new();
    let httpd = Httpd::new()
        .app("app.wsgi", SCRIPT)
        .conf(&receiver.line())
        .conf("WSGIDaemonProcess app user={user} group={group} threads=2 request-timeout=1")
        .conf("WSGIDaemonProcess other shutdown-timeout=1")
        .conf("WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}")
        .expect_log("")
        .start();
    let path = format!("/?wait={}", httpd.dir().join("never").display());
    httpd.get(&path);
    let stopping = receiver.wait_for(STOPPING, |_| true);
    assert_eq!((stopping.text(130), stopping.count(133)), ("request_timeout", 1));
    let stopped = receiver.wait_for(STOPPED, |_| true);
    assert_eq!([132, 134, 135].map(|field| stopped.count(field)), [0, 1, 0]);
}

#[test]
fn nobody_listens() {
    if testkit::ours_only("mod_wsgi says nothing of it") {
        return;
    }
    let conf = "WSGITelemetryService unix:{dir}/nobody.sock interval=0.5";
    let httpd = httpd(conf).expect_log("WSGITelemetryService").start();
    httpd.get("/").assert(200);
    let line = httpd.wait_for_log(&["no telemetry can be sent", "nobody.sock", "nobody listens"]);
    assert!(line.contains("wsgi:warn") && line.contains("process group 'app'"), "{line}");
    httpd.get("/").assert(200);
}

#[test]
fn a_socket_out_of_reach() {
    if testkit::ours_only("mod_wsgi says nothing of it") || !testkit::running_as_root() {
        return;
    }
    // That folder is root's alone.
    let conf = "WSGITelemetryService unix:/root/telemetry.sock interval=0.5";
    let httpd = httpd(conf).expect_log("WSGITelemetryService").start();
    httpd.get("/").assert(200);
    httpd.wait_for_log(&["/root/telemetry.sock", "Permission denied", "enter each directory"]);
}
