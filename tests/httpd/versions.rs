//! Every Python that has a worker, side by side in one httpd: each keeps the core of the contract.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use testkit::{Httpd, Running, environment};

use crate::broken_workers::Programs;
use crate::conformance::VALIDATED;
use crate::input::READ;
use crate::{TELL, ask, told};

/// Applications that misbehave, and ones that use what the worker brings along.
const CASES: &str = r#"
import io, logging, os, sys, warnings

import mod_wsgi

PLAIN = ("Content-Type", "text/plain")
logger = logging.getLogger("app")
logger.propagate = False
logger.addHandler(mod_wsgi.LogHandler())


class Body:
    closed = 0

    def __iter__(self):
        yield b"begun"
        raise KeyError("while iterating")

    def close(self):
        Body.closed += 1


def application(environ, start_response):
    case = environ["PATH_INFO"][1:]
    if case == "raises":
        raise ValueError("b\xf6se")
    if case == "exits":
        sys.exit(3)
    if case == "breaks":
        start_response("200 OK", [PLAIN])
        return Body()
    if case == "splits":
        start_response("200 OK", [("X-A", "b\r\nX-Injected: yes")])
        return [b""]
    if case == "tuple":
        start_response("200 OK", (PLAIN,))
    if case == "bytes":
        start_response(b"200 OK", [PLAIN])
    start_response("200 OK", [PLAIN])
    if case == "none":
        return None
    if case == "text":
        return ["text"]
    if case == "file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if case == "memory":
        return environ["wsgi.file_wrapper"](io.BytesIO(b"in memory"))
    if case == "closed":
        return [b"%d" % Body.closed]
    if case == "logs":
        print("printed \u20ac")
        warnings.warn("warned")
        logger.warning("through the handler")
        environ["wsgi.errors"].write("to wsgi.errors\n")
    if case == "again":
        try:
            raise KeyError
        except KeyError:
            start_response("500 Failed", [PLAIN], sys.exc_info())
    return [b"fine"]
"#;

/// Keeps Python's lock for good, in C code that lets nobody have it in between.
const HOG: &str = r#"
import ctypes, re, time

import mod_wsgi

def sleep():
    ctypes.PyDLL(None).sleep(1000)

def match():
    re.match(r"(a+)+$", "a" * 100 + "b")

def wait():
    while True:
        time.sleep(0.01)

def application(environ, start_response):
    case = environ["PATH_INFO"][1:]
    if case:
        print("begun", case, "in", mod_wsgi.process_group, file=environ["wsgi.errors"])
        globals()[case]()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"free"]
"#;

const BROKEN: &str = "def application(:\n";

/// The tag of each version and its environment.
fn versions() -> Vec<(String, PathBuf)> {
    let all = std::iter::once(environment::venv()).chain(environment::other_venvs());
    all.map(|venv| (tag(&venv), venv)).collect()
}

fn tag(venv: &Path) -> String {
    let name = venv.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.trim_start_matches("venv-").to_owned()
}

/// An httpd with a group for each version, and these applications in each.
fn every_version() -> Running {
    let mut httpd = Httpd::new()
        .app("validated.wsgi", VALIDATED)
        .app("tell.wsgi", TELL)
        .app("read.wsgi", READ)
        .app("cases.wsgi", CASES)
        .app("broken.wsgi", BROKEN)
        .expect_log("[wsgi:");
    for (tag, venv) in versions() {
        httpd = httpd.conf(&format!(
            "WSGIDaemonProcess {tag} user={{user}} group={{group}} threads=4 python-home={}",
            venv.display()
        ));
        for app in ["validated", "tell", "read", "cases", "broken"] {
            httpd = httpd.conf(&format!(
                "WSGIScriptAlias /{tag}/{app} {{apps}}/{app}.wsgi process-group={tag} \
                 application-group=%{{GLOBAL}}"
            ));
        }
    }
    httpd.start()
}

#[test]
fn each_runs_what_its_group_names() {
    let httpd = every_version();
    for (tag, venv) in versions() {
        let target = format!(
            "/{tag}/tell{}",
            ask(&[
                "'%d.%d' % sys.version_info[:2]",
                "sys.prefix",
                "__import__('flask').__file__.startswith(sys.prefix)",
                "__import__('mod_wsgi').process_group",
                "{type(v) for k, v in environ.items() if k.isupper()} == {str}",
                "environ['SCRIPT_NAME'] + '|' + environ['PATH_INFO']",
                "type(environ['wsgi.input']).__name__",
                "[k for k in environ if k.startswith('wsgi.') and environ[k] is None]",
            ])
        );
        let expected = [
            tag.trim_end_matches('t'),
            &venv.display().to_string(),
            "True",
            &tag,
            "True",
            &format!("/{tag}/tell|/"),
            "Input",
            "[]",
        ];
        assert_eq!(told(httpd.get(&target)), expected);
    }
}

#[test]
fn each_keeps_the_contract() {
    let httpd = every_version();
    for (tag, _) in versions() {
        for (method, path, body, expected) in [
            ("GET", "/validated/a", "", "GET /a"),
            ("POST", "/validated/echo", "abc", "abc"),
            ("POST", "/validated/lines", "a\nb\nc", "a\n|b\n|c"),
            ("POST", "/validated/unread", "abc", "unread"),
            ("GET", "/validated/many", "", "0,1,2,3,4,"),
            ("GET", "/validated/written", "", "written returned"),
            ("GET", "/validated/list", "", "GET /list"),
            ("POST", "/read/all", "one\ntwo", "one\ntwo"),
            ("POST", "/read/parts", "one\ntwo three\nlast", "one\n|two |thre|e\nla|st"),
            ("POST", "/read/iterate", "one\ntwo", "one\n|two"),
            ("GET", "/cases/memory", "", "in memory"),
            ("GET", "/cases/file", "", CASES),
            ("GET", "/cases/logs", "", "fine"),
            ("GET", "/cases/fine", "", "fine"),
        ] {
            let path = format!("/{tag}{path}");
            let response = httpd.request(method, &path, &[], body.as_bytes()).assert(200);
            assert!(response.complete);
            assert_eq!(response.text(), expected, "{method} {path}");
        }
        let chunked = [("Transfer-Encoding", "chunked")];
        let path = format!("/{tag}/read/all");
        let response = httpd.request("POST", &path, &chunked, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(response.assert(200).text(), "abcde");
        for case in ["raises", "exits", "splits", "tuple", "bytes", "none", "text", "again"] {
            let response = httpd.get(&format!("/{tag}/cases/{case}")).assert(500);
            assert!(response.header("X-Injected").is_none());
        }
        httpd.get(&format!("/{tag}/broken")).assert(500);
        // A page takes its place if nothing of it has gone out yet.
        let response = httpd.get(&format!("/{tag}/cases/breaks"));
        assert!(response.status == 500 || !response.complete, "{response}");
        assert_eq!(httpd.get(&format!("/{tag}/cases/closed")).assert(200).text(), "1");
    }
    let log = httpd.error_log();
    for text in [
        "ValueError: b\\xc3\\xb6se",
        "KeyError: 'while iterating'",
        "SystemExit",
        "printed \\xe2\\x82\\xac",
        "UserWarning: warned",
        "through the handler",
        "to wsgi.errors",
        "syntax error in WSGI script",
    ] {
        assert!(log.matches(text).count() >= versions().len(), "{text}");
    }
}

#[test]
fn each_says_who_holds_its_lock() {
    let limits = [("deadlock", "deadlock-timeout=1"), ("request", "request-timeout=3")];
    // Free-threaded ones have no lock.
    let versions: Vec<_> = versions().into_iter().filter(|(tag, _)| !tag.ends_with('t')).collect();
    let mut httpd =
        Httpd::new().app("hog.wsgi", HOG).expect_log("[wsgi:").conf("LogLevel wsgi:info");
    for (tag, venv) in &versions {
        for (name, limit) in limits {
            httpd = httpd.conf(&format!(
                "WSGIDaemonProcess {tag}-{name} user={{user}} group={{group}} threads=3 \
                 shutdown-timeout=1 graceful-timeout=1 python-home={} {limit}\n\
                 WSGIScriptAlias /{tag}-{name} {{apps}}/hog.wsgi process-group={tag}-{name} \
                 application-group=%{{GLOBAL}}",
                venv.display()
            ));
        }
    }
    let httpd = httpd.start();
    let check = |tag: &str, name: &str, limit: &str, case: &str| {
        let (hog, other) = (format!("/{tag}-{name}/{case}"), format!("/{tag}-{name}/wait"));
        // What is not sent to the next worker as well.
        let post = |path: &str| httpd.connect().request("POST", path, &[], b"");
        httpd.get(&format!("/{tag}-{name}")).assert(200);
        std::thread::scope(|scope| {
            let begun =
                || httpd.error_log().matches(&format!("begun wait in {tag}-{name}")).count();
            let before = begun();
            let waits = scope.spawn(|| post(&other));
            assert!(testkit::until(|| (begun() > before).then_some(())).is_some());
            post(&hog).expect("an answer").assert(504);
            drop(waits.join());
        });
        let hog = format!("POST {hog} ");
        // For the request that began first, where it is one's that is over.
        httpd.wait_for_log(&[limit, "is over", &format!(" /{tag}-{name}/")]);
        httpd.wait_for_log(&["stack of ", &hog, &format!("in {case}"), "in application"]);
        httpd.wait_for_log(&["stack of ", &other, "in wait", "in application"]);
        let line = httpd.wait_for_log(&["Python's lock is held by", &hog]);
        assert!(!line.contains(&other), "{line}");
    };
    std::thread::scope(|scope| {
        for (tag, _) in &versions {
            scope.spawn(|| {
                for (name, limit) in limits {
                    ["sleep", "match"].iter().for_each(|case| check(tag, name, limit, case));
                }
            });
        }
    });
}

/// The free-threaded ones.
fn free_threaded() -> Vec<(String, PathBuf)> {
    let free: Vec<_> = versions().into_iter().filter(|(tag, _)| tag.ends_with('t')).collect();
    if free.is_empty() {
        testkit::skipped("there is no worker for a free-threaded Python");
    }
    free
}

/// Computes until another request has computed as well. It gives the lock to nobody, where there is one: see
/// `switch-interval=` below.
const MEET: &str = r#"
import time

seen = set()

def application(environ, start_response):
    path = environ["PATH_INFO"]
    seen.add(path)
    deadline = time.monotonic() + 20
    while len(seen) < 2 and time.monotonic() < deadline:
        pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"together" if len(seen) == 2 else b"alone"]
"#;

#[test]
fn threads_of_a_free_threaded_python_compute_side_by_side() {
    for (tag, venv) in free_threaded() {
        let httpd = Httpd::new()
            .app("app.wsgi", MEET)
            .conf(&format!(
                "WSGIDaemonProcess app threads=2 switch-interval=1000 python-home={}\n\
                 WSGIScriptAlias / {{apps}}/app.wsgi process-group=app",
                venv.display()
            ))
            .start();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| httpd.get("/one").assert(200).text());
            assert_eq!(httpd.get("/two").assert(200).text(), "together", "{tag}");
            assert_eq!(first.join().expect("an answer"), "together", "{tag}");
        });
    }
}

#[test]
fn a_free_threaded_python_has_its_lock_where_it_is_told_to() {
    for (tag, venv) in free_threaded() {
        // Named by its environment, and as what the link to the default one leads to.
        let programs = Programs::with(&format!("free-threaded-{tag}"), |_| ());
        let link = programs.0.join("python");
        fs::remove_file(&link).expect("there is a default one");
        symlink(venv.join("bin/python"), &link).expect("the folder is ours");
        let home = format!("python-home={}", venv.display());
        for (line, locked) in
            [("", "False"), ("WSGIFreeThreading On", "False"), ("WSGIFreeThreading Off", "True")]
        {
            for option in ["", &home] {
                let httpd = Httpd::new()
                    .dist(&programs.0)
                    .app("app.wsgi", TELL)
                    .conf(line)
                    .conf(&format!("WSGIDaemonProcess app {option}"))
                    .conf("WSGIScriptAlias / {apps}/app.wsgi process-group=app")
                    .start();
                let told = told(httpd.get(&ask(&["sys._is_gil_enabled()"])));
                assert_eq!(told, [locked], "{line} {option}");
            }
        }
    }
}
