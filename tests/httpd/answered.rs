//! Workers that end when they have answered: the answer is complete, and counts.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Connection, Httpd, Response, Running, until};

/// Ends its process, in the way that the path says, when all of its response has been given.
const ENDS: &str = r#"
import os, signal


def end():
    os.kill(os.getpid(), signal.SIGKILL)


class Body:
    def __init__(self, blocks, how=end):
        self.blocks, self.how = blocks, how

    def __iter__(self):
        yield from self.blocks

    def close(self):
        self.how()


def generator():
    yield b"half"
    yield b"half"
    end()


def application(environ, start_response):
    how = environ["PATH_INFO"]
    print("ran", environ["REQUEST_METHOD"], how, file=environ["wsgi.errors"])
    headers = [("Content-Type", "text/plain"), ("Content-Length", "8")]
    if how == "/fine":
        start_response("200 OK", headers)
        return [b"halfhalf"]
    if how == "/before":
        end()
    if how == "/nothing":
        start_response("204 No Content", [])
        return Body([])
    if how == "/empty":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return Body([])
    write = start_response("200 OK", headers)
    if how == "/write":
        write(b"half")
        write(b"half")
        end()
    if how == "/generator":
        return generator()
    if how == "/exit":
        return Body([b"halfhalf"], lambda: os._exit(3))
    return Body([b"half", b"half"])
"#;

/// One thread and one process: a group that waits after a failure has nobody else to ask.
fn site() -> Httpd {
    Httpd::new().app("app.wsgi", ENDS).expect_log("ran ").expect_log("worker ").conf(
        "WSGIDaemonProcess app user={user} group={group} threads=1\n\
         WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
    )
}

fn send(httpd: &Running, method: &str, path: &str) -> Response {
    httpd.request(method, path, &[], b"")
}

#[track_caller]
fn check(path: &str, status: u16, body: &str) {
    let httpd = site().start();
    let methods = ["GET", "HEAD", "POST"];
    // The first one of a worker, and in the end more than are forgiven in a row.
    for method in methods.repeat(2) {
        let response = send(&httpd, method, path).assert(status);
        let expected = if method == "HEAD" { "" } else { body };
        assert_eq!(response.text(), expected, "{method} {path}");
    }
    httpd.get("/fine").assert(200);
    let log = httpd.error_log();
    for method in methods {
        let ran = log.matches(&format!("ran {method} {path}")).count();
        assert_eq!(ran, 2, "{method} {path} ran so often:\n{log}");
    }
    assert!(!log.contains("next try in"), "{log}");
}

#[test]
fn killed_while_the_iterable_is_closed() {
    check("/close", 200, "halfhalf");
}

#[test]
fn ended_while_the_iterable_is_closed() {
    check("/exit", 200, "halfhalf");
}

#[test]
fn killed_when_all_is_written() {
    check("/write", 200, "halfhalf");
}

#[test]
fn killed_behind_the_last_block() {
    check("/generator", 200, "halfhalf");
}

#[test]
fn killed_after_a_response_without_a_body() {
    check("/nothing", 204, "");
}

#[test]
fn killed_after_a_body_of_no_bytes() {
    check("/empty", 200, "");
}

/// Forks a process that keeps all descriptors of its worker, then brings down the worker.
const FORKS: &str = r#"
import os, signal


def application(environ, start_response):
    body = b"fine"
    if environ["PATH_INFO"] == "/fork":
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        body = str(pid).encode()
    if environ["PATH_INFO"] == "/die":
        os.kill(os.getpid(), signal.SIGKILL)
    if environ["PATH_INFO"] == "/late":
        start_response("200 OK", [])(b"begun")
        os.kill(os.getpid(), signal.SIGKILL)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"#;

fn forking() -> Httpd {
    Httpd::new().app("app.wsgi", FORKS).expect_log("worker ").conf(
        "WSGIDaemonProcess app user={user} group={group} threads=1\n\
         WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
    )
}

/// The process that `/fork` has forked.
fn forked(connection: &mut Connection) -> Pid {
    let response = connection.get("/fork").expect("a response").assert(200);
    Pid::from_raw(response.text().parse().expect("a process id"))
}

#[test]
fn a_forked_process_does_not_keep_the_client_of_a_dead_worker_waiting() {
    let httpd = forking().start();
    let mut connection = httpd.connect();
    let child = forked(&mut connection);
    // Over the connection to the worker that the forked process has as well.
    connection.request("POST", "/die", &[], b"").expect("a response").assert(502);
    kill(child, Signal::SIGKILL).expect("it is still there");
    httpd.get("/fine").assert(200);
}

#[test]
fn a_forked_process_does_not_hold_up_the_end_of_a_response() {
    let httpd = forking().start();
    let mut connection = httpd.connect();
    let child = forked(&mut connection);
    let response = connection.request("POST", "/late", &[], b"").expect("a response");
    assert!(response.status == 200 && !response.complete, "{response}");
    let log = httpd.wait_for_log(&["while it ran 'POST /late"]);
    assert!(log.contains("was killed with signal 9"), "{log}");
    kill(child, Signal::SIGKILL).expect("it is still there");
}

#[test]
fn a_connection_of_a_dead_worker_is_not_used_again() {
    let httpd = forking().start();
    let mut connection = httpd.connect();
    let child = forked(&mut connection);
    let worker = httpd.workers()[0].pid;
    kill(Pid::from_raw(worker), Signal::SIGKILL).expect("it runs");
    until(|| httpd.workers().iter().all(|it| it.pid != worker).then_some(())).expect("it ends");
    // Never sent twice, and so never sent to the dead one.
    connection.request("POST", "/fine", &[], b"").expect("a response").assert(200);
    kill(child, Signal::SIGKILL).expect("it is still there");
}

#[test]
fn a_request_is_sent_once_where_that_is_asked_for() {
    let site = |option: &str| {
        Httpd::new().app("app.wsgi", ENDS).expect_log("ran ").expect_log("worker ").conf(&format!(
            "WSGIDaemonProcess app user={{user}} group={{group}} {option}\n\
             WSGIScriptAlias / {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}"
        ))
    };
    for (option, expected) in [("", 2), ("retry=Off", 1), ("retry=Off retry=On", 2)] {
        let httpd = site(option).start();
        httpd.get("/fine").assert(200);
        httpd.get("/before").assert(502);
        let ran = httpd.error_log().matches("ran GET /before").count();
        assert_eq!(ran, expected, "{option:?}");
    }
}
