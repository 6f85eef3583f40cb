//! What a worker may use before another one takes its place, and how it ends.

mod planned;
mod requests;
mod shutdown;
mod slow;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use testkit::{Httpd, Running, until};

/// Does what the query string says: a Python expression.
const DO: &str = r#"
import ctypes, os, threading, time
from urllib.parse import unquote

import mod_wsgi

kept = []


def spin():
    while True:
        pass


def nap():
    time.sleep(1000)


def hold_the_lock():
    ctypes.PyDLL(None).sleep(1000)


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def grow(megabytes):
    kept.append(b"x" * (megabytes << 20))


def wait_for(path):
    os.write(1, b"waiting\n")
    while not os.path.exists(path):
        time.sleep(0.01)


def application(environ, start_response):
    environ["wsgi.input"].read()
    query = unquote(environ["QUERY_STRING"])
    if query:
        eval(query)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]
"#;

/// An httpd with this application, in a group with these options.
fn limited(options: &str) -> Httpd {
    with(DO, options)
}

fn with(source: &str, options: &str) -> Httpd {
    Httpd::new().app("app.wsgi", source).conf(&format!(
        "LogLevel wsgi:info\n\
         WSGIDaemonProcess app user={{user}} group={{group}} {options}\n\
         WSGIScriptAlias / {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}"
    ))
}

/// The process that answers.
#[track_caller]
fn pid(httpd: &Running) -> String {
    httpd.get("/").assert(200).text()
}

/// Lets clients ask for `path` without a pause until `done`. Each request must be answered, without
/// being sent twice. Returns how many were.
#[track_caller]
fn under_load(httpd: &Running, path: &str, done: impl Fn() -> bool) -> usize {
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = || {
        let mut lost = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            match httpd.connect().get(path) {
                Ok(response) if response.status == 200 => {}
                Ok(response) => lost.push(response.status.to_string()),
                Err(error) => lost.push(format!("{error:#}")),
            }
            served.fetch_add(1, Ordering::Relaxed);
        }
        lost
    };
    let (came, lost): (bool, Vec<String>) = std::thread::scope(|scope| {
        let clients = [0; 4].map(|_| scope.spawn(load));
        let came = until(|| done().then_some(())).is_some();
        stop.store(true, Ordering::Relaxed);
        let lost = clients.into_iter().flat_map(|client| client.join().expect("no panic"));
        (came, lost.collect())
    });
    assert!(came, "it does not happen");
    assert_eq!(lost, [""; 0]);
    httpd.check_logs().expect("nothing was sent twice");
    served.load(Ordering::Relaxed)
}

/// How many lines of the log hold this text.
fn lines_with(httpd: &Running, text: &str) -> usize {
    httpd.error_log().lines().filter(|line| line.contains(text)).count()
}
