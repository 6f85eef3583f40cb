//! A table of observations: what a request meets where a directive or option is set, and where one
//! setting meets another. Many cases share an httpd; `theirs` tells where mod_wsgi differs.

mod hosts;
mod main_server;
mod options;

use std::fmt::Write;

use testkit::{Httpd, Response, Running, UnderTest};

use crate::{HELLO, ask};

/// Which of a directive's tests a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It stands alone.
    Sets,
    /// It meets another setting of the same: one of an outer section, or an earlier one.
    Merges,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Probe {
    /// The value of a Python expression, in the process group of the case.
    Ask(&'static str),
    /// The same for a client that sends this header.
    Header(&'static str, &'static str),
    /// Another path, for a client that sends this header.
    HeaderAt(&'static str, &'static str),
    /// The same in the default group, which is mod_wsgi's embedded mode.
    Embedded(&'static str),
    /// The same by HEAD.
    Head(&'static str),
    /// The same with a chunked body of `ab`.
    Chunked(&'static str),
    /// Another path.
    Get(&'static str),
}

use Probe::{Ask, Chunked, Embedded, Get, Head, Header};

/// One observation.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The directive or option, as `docs/compatibility.md` names it.
    pub name: &'static str,
    pub kind: Kind,
    conf: &'static str,
    probe: Probe,
    /// The answer, or the status where that is not 200.
    outcome: &'static str,
    theirs: Option<&'static str>,
}

impl Case {
    const fn sets(
        name: &'static str,
        conf: &'static str,
        probe: Probe,
        outcome: &'static str,
    ) -> Case {
        Case { name, kind: Kind::Sets, conf, probe, outcome, theirs: None }
    }

    const fn merges(
        name: &'static str,
        conf: &'static str,
        probe: Probe,
        outcome: &'static str,
    ) -> Case {
        Case { name, kind: Kind::Merges, conf, probe, outcome, theirs: None }
    }

    /// What mod_wsgi answers, where it is something else.
    const fn theirs(self, outcome: &'static str) -> Case {
        Case { theirs: Some(outcome), ..self }
    }

    /// Compares. Gives what is wrong, so that a test tells of all its cases.
    fn check(&self, httpd: &Running, host: &str) -> Result<(), String> {
        let theirs = self.theirs.filter(|_| UnderTest::chosen().is_original());
        let expected = filled_in(theirs.unwrap_or(self.outcome), httpd, host);
        let got = self.probe.send(httpd, host);
        if got == expected {
            return Ok(());
        }
        Err(format!(
            "{} ({:?}): {:?} is {got:?}, not {expected:?}",
            self.conf, self.kind, self.probe
        ))
    }
}

impl Probe {
    /// Sends the request, and gives the answer, or the status where that is not 200.
    fn send(self, httpd: &Running, host: &str) -> String {
        let get = |path: &str| httpd.get_from(host, path);
        let with_header = |path: &str, header: &str| {
            let (name, value) = header.split_once(": ").unwrap_or((header, ""));
            httpd.request("GET", path, &[("Host", host), (name, value)], b"")
        };
        let response = match self {
            Ask(question) => get(&ask(&[question])),
            Embedded(question) => get(&ask(&[question]).replacen('/', "/embedded", 1)),
            Get(path) => get(path),
            Header(header, question) => with_header(&ask(&[question]), header),
            Probe::HeaderAt(header, path) => with_header(path, header),
            Head(question) => httpd.request("HEAD", &ask(&[question]), &[("Host", host)], b""),
            Chunked(question) => {
                let head = format!("POST {} HTTP/1.1\r\nHost: {host}\r\n", ask(&[question]));
                let body = "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
                let mut connection = httpd.connect();
                connection.send((head + body).as_bytes()).expect("httpd reads");
                connection.read_response("POST").expect("httpd answers")
            }
        };
        outcome(&response)
    }
}

fn outcome(response: &Response) -> String {
    match (response.status, response.header("x-answer")) {
        (200, Some(answer)) => answer.to_owned(),
        (200, None) => response.text(),
        (status, _) => status.to_string(),
    }
}

/// An outcome, with the words in braces filled in.
fn filled_in(outcome: &str, httpd: &Running, host: &str) -> String {
    outcome
        .replace("{dir}", &httpd.dir().display().to_string())
        .replace("{venv}", &testkit::environment::venv().display().to_string())
        .replace("{user}", &testkit::app_user().0)
        .replace("{httpds group}", &testkit::httpd_user().1)
        .replace("{port}", &httpd.port().to_string())
        .replace("{host}", host)
}

/// Answers one question, in a header and in the body.
const ASK: &str = r#"
import ctypes, os, pwd, sys, resource, signal
from urllib.parse import unquote


def user():
    return pwd.getpwuid(os.geteuid()).pw_name


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return oct(mask)


def stack():
    libc = ctypes.CDLL(None)
    libc.pthread_self.restype = ctypes.c_ulong
    attributes, size = ctypes.create_string_buffer(64), ctypes.c_size_t()
    libc.pthread_getattr_np(ctypes.c_ulong(libc.pthread_self()), attributes)
    libc.pthread_attr_getstacksize(attributes, ctypes.byref(size))
    return size.value


def application(environ, start_response):
    answer = str(eval(unquote(environ["QUERY_STRING"]), {**globals(), "environ": environ}))
    if answer == "FILE":
        lib = os.path.join(os.path.dirname(os.path.dirname(__file__)), "lib", "mwrs_module.py")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return environ["wsgi.file_wrapper"](open(lib, "rb"))
    status = "404 Not Found" if "MISSING" in answer else "200 OK"
    start_response(status, [("Content-Type", "text/plain"), ("X-Answer", answer)])
    return [answer.encode()]


def another(environ, start_response):
    start_response("200 OK", [("X-Answer", "another")])
    return [b"another"]
"#;

/// Names itself.
const HANDLER: &str = r#"
def handle_request(environ, start_response):
    name = environ["mod_wsgi.handler_script"].rpartition("/")[2]
    start_response("200 OK", [("X-Answer", name)])
    return [name.encode()]
"#;

/// Every kind of hook, and all of them content.
const HOOKS: &str = r#"
def process_group(environ):
    return "other"


def allow_access(environ, host):
    return True


def check_password(environ, user, password):
    return True


def groups_for_user(environ, user):
    return ["mine"]
"#;

/// An httpd for cases: the group `app` for most, the default group at `/embedded`.
fn httpd() -> Httpd {
    Httpd::new()
        .app("app.wsgi", ASK)
        .app("hello.wsgi", HELLO)
        .app("hooks.py", HOOKS)
        .app("mine.py", HANDLER)
        .app("outer.py", HANDLER)
        .app("asked.py", &format!("{ASK}\nhandle_request = application\n"))
        .file("htdocs/plain.txt", "plain")
        .file("lib/mwrs_module.py", "value = 7")
        .file("lib2/mwrs_module.py", "value = 8")
        .expect_log("")
        .conf("WSGIDaemonProcess app user={user} group={group} threads=3")
        .conf("WSGIApplicationGroup %{GLOBAL}")
}

/// Runs cases whose settings belong to the main server, all of them in one httpd.
#[track_caller]
fn check_together(cases: &[Case]) {
    let lines: Vec<_> = cases.iter().map(|case| case.conf).collect();
    let httpd = httpd()
        .conf(&lines.join("\n"))
        .conf("WSGIScriptAlias /embedded {apps}/app.wsgi application-group=%{GLOBAL}")
        .conf("WSGIScriptAlias / {apps}/app.wsgi process-group=app")
        .start();
    report(cases.iter().map(|case| case.check(&httpd, "localhost")));
}

/// Runs cases each of which has a virtual host, made by `host`, in one httpd. `server` is for all.
#[track_caller]
fn check_hosts(cases: &[Case], server: &str, host: impl Fn(usize, &Case) -> String) {
    let mut conf = server.to_owned();
    for (number, case) in cases.iter().enumerate() {
        let inside = host(number, case);
        let _ = writeln!(
            conf,
            "<VirtualHost *:{{port}}>\nServerName case{number}.example\n{inside}\n</VirtualHost>"
        );
    }
    let httpd = httpd().conf(&conf).start();
    let checks = cases.iter().enumerate();
    report(checks.map(|(number, case)| case.check(&httpd, &format!("case{number}.example"))));
}

/// Fails with all that is wrong.
#[track_caller]
fn report(checks: impl Iterator<Item = Result<(), String>>) {
    let wrong: Vec<_> = checks.filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All cases, for the report on what they cover.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [main_server::SETS, main_server::REPEATED, hosts::CASES, options::CASES].into_iter().flatten()
}
