//! Requests that die with their worker: one line in the log of their virtual host says why.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, Running, until};

/// Ends its process in the way that the query string says.
const DIE: &str = r#"
import ctypes, os, time
from urllib.parse import unquote


def application(environ, start_response):
    how = unquote(environ["QUERY_STRING"])
    if how.startswith("late "):
        start_response("200 OK", [("Content-Length", "10")])(b"begun")
        environ["wsgi.input"].read()
    exec(how.removeprefix("late "))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"#;

fn site() -> Httpd {
    Httpd::new().app("app.wsgi", DIE).expect_log("worker ").expect_log("Fatal Python error").conf(
        "<VirtualHost *:{port}>\n\
             ServerName site\n\
             ErrorLog logs/site.log\n\
             WSGIDaemonProcess app user={user} group={group} threads=5\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}\n\
             </VirtualHost>",
    )
}

/// Sends a GET, and a POST, which is never sent twice, over the same connection: to a child of httpd
/// that knows the workers by then. Returns the line about the end of the POST.
#[track_caller]
fn lost(httpd: &Running, how: &str, before_it: impl FnOnce()) -> String {
    let mut connection = httpd.connect();
    connection.get("/?pass").expect("a response").assert(200);
    before_it();
    let before = httpd.log("site.log").matches("while it ran").count();
    let path = format!("/?{}", how.replace(' ', "%20"));
    connection.request("POST", &path, &[], b"").expect("a response").assert(502);
    httpd.wait_for_log_in("site.log", &["while it ran"]);
    let log = httpd.log("site.log");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("while it ran")).collect();
    assert_eq!(lines.len(), before + 1, "one line for each: {lines:#?}");
    let line = lines[before];
    for part in [
        "[wsgi:error]",
        "Process group 'app', application group '%{GLOBAL}': worker ",
        &format!("while it ran 'POST {path} HTTP/1.1', received "),
        " s ago.",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    line.to_owned()
}

#[track_caller]
fn check(how: &str, cause: &str) {
    let httpd = site().start();
    let line = lost(&httpd, how, || ());
    assert!(line.contains(cause), "no {cause:?} in {line}");
    httpd.get("/?pass").assert(200);
}

#[test]
fn a_signal() {
    check("ctypes.string_at(0)", " was killed with signal 11 (SIGSEGV)");
}

#[test]
fn a_kill_from_outside() {
    let cause = " was killed with signal 9 (SIGKILL), which the supervisor did not send,";
    check("os.kill(os.getpid(),9);time.sleep(60)", cause);
}

#[test]
fn an_application_that_ends_its_process() {
    check("os._exit(7)", " ended itself with exit status 7, as os._exit()");
}

#[test]
fn a_response_that_has_begun_is_broken_off() {
    let httpd = site().start();
    let mut connection = httpd.connect();
    let head = "POST /?late%20os._exit(7) HTTP/1.1\r\nHost: site\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    connection.send(head.as_bytes()).expect("httpd reads");
    connection.read_head().expect("a head").assert(200);
    connection.send(b"1\r\n.\r\n0\r\n\r\n").expect("httpd reads");
    httpd.wait_for_log_in("site.log", &["ended itself with exit status 7", "while it ran 'POST"]);
}

#[test]
fn a_safe_request_is_sent_to_one_other_worker() {
    let httpd = site().start();
    httpd.get("/?os._exit(7)").assert(502);
    httpd.wait_for_log_in("site.log", &["ended itself", "while it ran 'GET"]);
    let log = httpd.log("site.log");
    assert_eq!(log.matches("the request is sent to another worker").count(), 1, "{log}");
    let served = until(|| (httpd.get("/?pass").status == 200).then_some(()));
    assert!(served.is_some(), "others are served again");
    // What it has logged before is no part of a response.
    httpd.get("/?print(1);os._exit(7)").assert(502);
    let log = httpd.log("site.log");
    assert_eq!(log.matches("the request is sent to another worker").count(), 2, "{log}");
}

#[test]
fn a_supervisor_that_cannot_tell() {
    let httpd = site().start();
    let supervisor = Pid::from_raw(httpd.supervisor().expect("it runs").pid);
    let stop = || kill(supervisor, Signal::SIGSTOP).expect("it runs");
    let line = lost(&httpd, "os._exit(7)", stop);
    kill(supervisor, Signal::SIGCONT).expect("it is there");
    let cause = " closed the connection (the supervisor does not tell why: no message within";
    assert!(line.contains(cause), "{line}");
}
