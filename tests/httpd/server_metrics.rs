//! `mod_wsgi.server_metrics()`: what httpd does, for those who may know.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, Mpm, Running, until};

use crate::{ask, told};

/// Tells what was known at different times, and of the thread that this very request has.
const SCRIPT: &str = r#"
import json, threading
from urllib.parse import unquote

import mod_wsgi

at_import = mod_wsgi.server_metrics()


def from_a_thread():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(mod_wsgi.server_metrics()))
    thread.start()
    thread.join()
    return seen[0]


def mine(environ):
    pid, metrics = int(environ["mod_wsgi.server_pid"]), mod_wsgi.server_metrics()
    process = next(process for process in metrics["processes"] if process["pid"] == pid)
    return next(worker for worker in process["workers"] if worker["status"] == "W")


def application(environ, start_response):
    names = {**globals(), "environ": environ, "metrics": mod_wsgi.server_metrics}
    questions = unquote(environ["QUERY_STRING"]).split("&")
    lines = [f"{eval(question, names)}\n" for question in questions]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return ["".join(lines).encode("utf-8", "replace")]
"#;

/// A permitted group at `/`, one that is not at `/closed`, and the default group at `/embedded`.
fn httpd() -> Httpd {
    Httpd::new().app("app.wsgi", SCRIPT).conf(
        "ExtendedStatus On\n\
         WSGIDaemonProcess open user={user} group={group} threads=2 server-metrics=On\n\
         WSGIDaemonProcess closed user={user} group={group} threads=2\n\
         WSGIApplicationGroup %{GLOBAL}\n\
         WSGIScriptAlias /embedded {apps}/app.wsgi\n\
         WSGIScriptAlias /closed {apps}/app.wsgi process-group=closed\n\
         WSGIScriptAlias / {apps}/app.wsgi process-group=open",
    )
}

#[track_caller]
fn answers(httpd: &Running, place: &str, questions: &[&str]) -> Vec<String> {
    told(httpd.get(&ask(questions).replacen('/', place, 1)))
}

#[test]
fn what_there_is_to_know() {
    for (mpm, limits) in [(Mpm::Event, "4, 16"), (Mpm::Prefork, "32, 1")] {
        let httpd = httpd().mpm(mpm).start();
        let places = "{(len(metrics()['processes']), len(p['workers'])) for p in \
                      metrics()['processes']}";
        let keys = [
            "sorted(metrics())",
            "sorted(metrics()['processes'][0])",
            "sorted(mine(environ))",
            places,
            "(metrics()['server_limit'], metrics()['thread_limit'])",
        ];
        let answers = answers(&httpd, "/", &keys);
        let expected = [
            "['current_time', 'processes', 'restart_time', 'running_generation', 'running_time', \
             'server_limit', 'thread_limit']",
            "['generation', 'pid', 'process_num', 'quiescing', 'workers']",
            "['access_count', 'bytes_served', 'client', 'generation', 'last_used', 'request', \
             'start_time', 'status', 'stop_time', 'thread_num', 'vhost']",
            &format!("{{({limits})}}"),
            &format!("({limits})"),
        ];
        assert_eq!(answers, expected, "{mpm:?}");
    }
}

#[test]
fn this_very_request_and_those_before() {
    let httpd = httpd().start();
    let questions = [
        "mine(environ)['request'][:4]",
        "mine(environ)['client']",
        "mine(environ)['vhost'].split(':')[0]",
        "0 < mine(environ)['start_time'] <= metrics()['current_time']",
        "metrics()['restart_time'] <= mine(environ)['start_time']",
        "type(metrics()['running_time']).__name__",
        "[p['pid'] for p in metrics()['processes']].count(int(environ['mod_wsgi.server_pid']))",
        "any(w['status'] == '_' for p in metrics()['processes'] for w in p['workers'])",
        "any(w['status'] == '.' for p in metrics()['processes'] for w in p['workers'])",
    ];
    let expected = ["GET ", "127.0.0.1", "localhost", "True", "True", "int", "1", "True", "True"];
    assert_eq!(answers(&httpd, "/", &questions), expected);
    let served = "sum(w['access_count'] for p in metrics()['processes'] for w in p['workers']) > 1";
    until(|| (answers(&httpd, "/", &[served]) == ["True"]).then_some(()))
        .expect("requests are counted");
}

#[test]
fn outside_of_a_request() {
    let httpd = httpd().start();
    let questions = ["at_import['thread_limit']", "from_a_thread()['thread_limit']"];
    assert_eq!(answers(&httpd, "/", &questions), ["16", "16"]);
}

#[test]
fn only_for_those_who_may_know() {
    let httpd = httpd().conf("WSGIServerMetrics On").start();
    assert_eq!(answers(&httpd, "/closed", &["metrics()", "at_import"]), ["None", "None"]);
    assert_eq!(answers(&httpd, "/embedded", &["metrics()['thread_limit']"]), ["16"]);
    let httpd = self::httpd().start();
    assert_eq!(answers(&httpd, "/embedded", &["metrics()"]), ["None"]);
}

#[test]
fn over_a_restart() {
    let httpd = httpd().start();
    let generation = |httpd: &Running| answers(httpd, "/", &["metrics()['running_generation']"]);
    assert_eq!(generation(&httpd), ["0"]);
    httpd.graceful();
    assert_eq!(generation(&httpd), ["1"]);
    httpd.restart();
    assert_eq!(generation(&httpd), ["2"]);
}

/// Process ids of the copies of httpd's parent that read the scoreboard.
fn readers(httpd: &Running) -> Vec<i32> {
    let descendants = httpd.descendants().into_iter().map(|process| process.pid);
    let name = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    descendants.filter(|pid| name(*pid).trim_end() == "wsgi-scoreboard").collect()
}

#[test]
fn the_process_that_reads_has_nothing_else_of_httpd() {
    if testkit::ours_only("mod_wsgi's processes are all copies of httpd") {
        return;
    }
    let httpd = httpd().start();
    let reader = until(|| readers(&httpd).first().copied()).expect("there is one");
    let of_child = httpd.children().into_iter().find(|child| child.pid != reader);
    let reader = testkit::Process::find(reader).expect("it runs");
    assert_eq!(reader.uid(), of_child.expect("httpd has children").uid());
    // Standard streams, the socket, and what tells of the supervisor's end.
    assert_eq!(reader.descriptors(), 5);
    answers(&httpd, "/", &["metrics()"]);
    // It may be about to close the connection over which it has answered.
    let as_before = until(|| (reader.descriptors() == 5).then_some(()));
    as_before.expect("nothing else stays open");
}

#[test]
fn none_without_somebody_who_may_ask() {
    if testkit::ours_only("mod_wsgi has no such process") {
        return;
    }
    let httpd = crate::serving(SCRIPT).start();
    assert_eq!(answers(&httpd, "/", &["metrics()"]), ["None"]);
    assert_eq!(readers(&httpd), [0; 0]);
}

#[test]
fn after_the_death_of_the_reader_and_of_the_supervisor() {
    if testkit::ours_only("mod_wsgi has neither") {
        return;
    }
    let httpd = httpd().expect_log("starting another one").start();
    let works = || {
        until(|| (answers(&httpd, "/", &["bool(metrics())"]) == ["True"]).then_some(()))
            .expect("there is another one");
    };
    works();
    let end = |pid: i32| kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    let supervisor = httpd.supervisor().expect("there is one").pid;
    end(supervisor);
    httpd.wait_for_log(&["starting another one"]);
    works();
    // Whoever was there before has gone.
    let gone = until(|| (readers(&httpd).len() == 1).then_some(()));
    gone.expect("one is enough");
    works();
}

#[test]
fn strangers_hear_nothing() {
    if testkit::ours_only("mod_wsgi's daemons share httpd's memory") {
        return;
    }
    if !testkit::running_as_root() {
        return;
    }
    let httpd = httpd().start();
    answers(&httpd, "/", &["metrics()"]);
    let streams = connections();
    assert!(!streams.is_empty(), "httpd listens");
    for mut stream in streams {
        let mut told = Vec::new();
        let _ = stream.read_to_end(&mut told);
        assert_eq!(told, b"");
    }
}

#[test]
fn strangers_keep_nobody_waiting() {
    if testkit::ours_only("mod_wsgi's daemons share httpd's memory") {
        return;
    }
    let httpd = httpd().start();
    answers(&httpd, "/", &["metrics()"]);
    let [reader] = readers(&httpd)[..] else { panic!("{:?}", httpd.descendants()) };
    let signal = |signal| kill(Pid::from_raw(reader), signal).expect("it runs");
    // So that all is there before it looks.
    signal(Signal::SIGSTOP);
    // More than the process keeps before another one takes its place.
    for _ in 0..80 {
        connections().iter().for_each(testkit::send_lingering);
    }
    signal(Signal::SIGCONT);
    until(|| (answers(&httpd, "/", &["bool(metrics())"]) == ["True"]).then_some(()))
        .expect("the process that reads answers");
}

/// Connections with all that tell of a scoreboard: others run tests at the same time.
fn connections() -> Vec<UnixStream> {
    let sockets = fs::read_to_string("/proc/net/unix").expect("there are sockets");
    // Each of their connections bears the name as well.
    let names: BTreeSet<_> =
        sockets.lines().filter_map(|line| Some(line.split_once('@')?.1)).collect();
    names
        .into_iter()
        .filter(|name| name.starts_with("mod_wsgi_rs-scoreboard-"))
        .filter_map(|name| {
            let address = SocketAddr::from_abstract_name(name).expect("a name");
            UnixStream::connect_addr(&address).ok()
        })
        .collect()
}
