//! What a program of Python's own can do, an application can do in a request: it runs in the
//! interpreter of its environment.

use std::process::Command;

use testkit::{Httpd, Running, environment};

use crate::{TELL, ask, told};

/// Starts other processes in every way that the standard library has.
const WAYS: &str = r#"
import concurrent.futures, multiprocessing, os, subprocess, sys

import helper


def application(environ, start_response):
    way = environ["PATH_INFO"][1:]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if way == "subprocess":
        code = "import sys; print(sys.prefix, sys.flags.isolated)"
        text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    elif way == "pool":
        context = multiprocessing.get_context("forkserver")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            text = str(list(pool.map(helper.square, range(4))))
    else:
        context = multiprocessing.get_context(way)
        with context.Pool(2) as pool:
            text = str(pool.map(helper.square, range(4)))
    return [text.encode()]
"#;

/// What processes import that share nothing with the worker.
const HELPER: &str = "def square(number):\n    return number * number\n";

fn site(options: &str) -> Httpd {
    Httpd::new()
        .app("ways.wsgi", WAYS)
        .app("helper.py", HELPER)
        .app("tell.wsgi", TELL)
        .conf(&format!(
            "WSGIDaemonProcess app user={{user}} group={{group}} home={{apps}} {options}\n\
             WSGIScriptAlias /tell {{apps}}/tell.wsgi process-group=app application-group=%{{GLOBAL}}\n\
             WSGIScriptAlias / {{apps}}/ways.wsgi process-group=app application-group=%{{GLOBAL}}"
        ))
}

#[test]
fn other_processes_of_the_same_python() {
    if testkit::ours_only("mod_wsgi embeds Python, and sys.executable is another one") {
        return;
    }
    let venv = environment::venv();
    for venv in environment::other_venvs().into_iter().chain([venv]) {
        let venv = venv.display().to_string();
        let httpd = site(&format!("python-home={venv}")).start();
        let executable = told(httpd.get(&format!("/tell{}", ask(&["sys.executable"]))));
        assert_eq!(executable, [format!("{venv}/bin/python")]);
        assert_eq!(httpd.get("/subprocess").assert(200).text(), format!("{venv} 0\n"));
        for way in ["fork", "spawn", "forkserver", "pool"] {
            assert_eq!(httpd.get(&format!("/{way}")).assert(200).text(), "[0, 1, 4, 9]", "{way}");
        }
    }
}

#[test]
fn what_the_process_is() {
    if testkit::ours_only("mod_wsgi embeds Python") {
        return;
    }
    let httpd = site("display-name=%{GROUP} umask=027").start();
    let questions = [
        "sys.argv",
        "open('/proc/self/cmdline').read().rstrip(chr(0))",
        "open('/proc/self/comm').read().strip()",
        "sorted(vars(sys.modules['__main__']).keys() - {'__builtins__', '__doc__', '__file__', \
         '__loader__', '__name__', '__package__', '__spec__', '__annotations__'})",
        "oct(os.umask(0o27))",
        "os.getsid(0) == os.getpid() == os.getpgid(0)",
        // The name of no file that another user could have put there.
        "[p for p in sys.path if not p.startswith('/')]",
        "sorted(map(int, os.listdir('/proc/self/fd')))[:3]",
    ];
    let expected =
        ["['mod_wsgi']", "(wsgi:app)", "wsgi-worker", "[]", "0o27", "True", "[]", "[0, 1, 2]"];
    assert_eq!(told(httpd.get(&format!("/tell{}", ask(&questions)))), expected);
}

#[test]
fn a_profiler_sees_the_request() {
    let py_spy = environment::venv().join("bin/py-spy");
    if testkit::ours_only("mod_wsgi embeds Python") || !testkit::running_as_root() {
        return;
    }
    if !testkit::sees_into_processes() {
        return;
    }
    if !py_spy.exists() {
        return testkit::skipped("there is no py-spy in the environment");
    }
    let httpd = site("").start();
    let dump = |httpd: &Running| {
        let worker = httpd.workers().first().expect("it runs").pid.to_string();
        let output = Command::new(&py_spy).args(["dump", "--pid", &worker]).output();
        let output = output.expect("it can be executed");
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    };
    httpd.get(&format!("/tell{}", ask(&["1"]))).assert(200);
    let text = dump(&httpd);
    assert!(text.contains("Process") && text.contains("Python v3"), "{text}");
}

/// Another user's process, and one of the same user that is not root's, sees nothing of a worker.
#[test]
fn other_groups_of_the_same_user_see_nothing() {
    if testkit::ours_only("how mod_wsgi does it is its own affair") || !testkit::running_as_root() {
        return;
    }
    let httpd = Httpd::new()
        .app("tell.wsgi", TELL)
        .conf(
            "WSGIDaemonProcess one user={user} group={group}\n\
             WSGIDaemonProcess two user={user} group={group}\n\
             WSGIScriptAlias /one {apps}/tell.wsgi process-group=one\n\
             WSGIScriptAlias /two {apps}/tell.wsgi process-group=two",
        )
        .expect_log("[wsgi:error]")
        .start();
    let one = told(httpd.get(&format!("/one{}", ask(&["os.getpid()"])))).concat();
    for secret in ["environ", "mem", "maps", "fd", "cwd"] {
        let attempt = format!(
            "(lambda p: (os.listdir(p) if os.path.isdir(p) else open(p, 'rb').read(1)) and 'open')\
             ('/proc/{one}/{secret}')"
        );
        let response = httpd.get(&format!("/two{}", ask(&[&attempt])));
        assert_eq!(response.status, 500, "{secret}: {}", response.text());
    }
}

/// Forks, and ends the child at once, before Python has had a chance to see to it.
const ENDS_CHILDREN: &str = r#"
import os, signal


def application(environ, start_response):
    statuses = set()
    for _ in range(200):
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.kill(pid, signal.SIGTERM)
        statuses.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {statuses <= {0, -signal.SIGTERM}}".encode()]
"#;

#[test]
fn a_signal_for_a_process_just_forked_is_not_the_workers() {
    if testkit::ours_only("how mod_wsgi hears of signals is its own affair") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", ENDS_CHILDREN)
        .conf(
            "WSGIDaemonProcess app user={user} group={group}\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    let first = httpd.get("/").assert(200).text().to_owned();
    assert!(first.ends_with(" True"), "{first}");
    assert_eq!(httpd.get("/").assert(200).text(), first, "it is the same worker");
}
