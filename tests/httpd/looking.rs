//! `wsgictl`'s commands to look at what runs: they answer also while an application holds Python's lock.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Connection, Httpd, Running, environment, until};

use crate::admin::{run, wsgictl};

/// What the path says: waits in Python, waits in C code that keeps Python's lock, computes in C code that
/// does, or answers.
const APPLICATION: &str = r#"
import ctypes, time


def nap():
    time.sleep(600)


def hold():
    ctypes.PyDLL(None).sleep(600)


def application(environ, start_response):
    {"/nap": nap, "/hold": hold}.get(environ["PATH_INFO"], lambda: None)()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]
"#;

fn httpd(options: &str) -> Running {
    Httpd::new()
        .app("app.wsgi", APPLICATION)
        .expect_log("")
        .conf(&format!(
            "WSGIDaemonProcess app user={{user}} group={{group}} shutdown-timeout=1 \
             graceful-timeout=1 {options}\n\
             WSGIDaemonProcess other user={{user}} group={{group}} threads=1\n\
             WSGIScriptAlias /app {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}\n\
             WSGIScriptAlias /other {{apps}}/app.wsgi process-group=other \
             application-group=%{{GLOBAL}}\nLogLevel warn"
        ))
        .start()
}

/// Sends a request and does not wait for its answer.
fn send(httpd: &Running, path: &str) -> Connection {
    let mut connection = httpd.connect();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: crumb=1\r\nX-Secret: hush\r\n\r\n"
    );
    connection.send(request.as_bytes()).expect("it is sent");
    connection
}

/// The lines of `wsgictl requests` once there are so many, all of which a worker has.
#[track_caller]
fn requests(httpd: &Running, count: usize) -> Vec<String> {
    let look = || {
        let text = run(httpd, &["requests"]);
        let lines: Vec<_> = text.lines().skip(1).map(str::to_owned).collect();
        let is_there = |line: &String| !line.contains(" waiting ");
        Some(lines).filter(|lines| lines.len() == count && lines.iter().all(is_there))
    };
    until(look).unwrap_or_else(|| panic!("not {count}: {}", run(httpd, &["requests"])))
}

/// Ends what hangs, so that httpd can be stopped.
fn end(httpd: &Running) {
    for worker in httpd.workers() {
        let _ = kill(Pid::from_raw(worker.pid), Signal::SIGKILL);
    }
}

#[test]
fn requests_that_run_and_wait_are_told_while_the_lock_is_held() {
    let httpd = httpd("threads=1");
    httpd.get("/app").assert(200);
    assert_eq!(requests(&httpd, 0), [""; 0]);
    let worker = httpd.workers();
    let _held = send(&httpd, "/app/hold?token=secret");
    requests(&httpd, 1);
    let _waits = send(&httpd, "/app/%1b[31mlater");
    let lines = requests(&httpd, 2);
    for (line, path) in lines.iter().zip(["/app/hold", "/app/?[31mlater"]) {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        // Age and its unit come first.
        assert_eq!(words[2..5], ["accepted", "app", "%{GLOBAL}"], "{line}");
        assert_eq!(words[6..8], ["GET", path], "{line}");
        assert!(worker.iter().any(|worker| worker.pid.to_string() == words[5]), "{line}");
        assert!(words[8].len() > 8, "no id: {line}");
        assert!(!line.contains("secret") && !line.contains("crumb"), "{line}");
    }
    let json = run(&httpd, &["requests", "--json", "app"]);
    for part in ["\"version\": 1", "\"path\": \"/app/hold\"", "\"phase\": \"accepted\""] {
        assert!(json.contains(part), "no {part} in {json}");
    }
    assert_eq!(run(&httpd, &["requests", "other"]).lines().count(), 1);
    let Output { status, stderr, .. } = wsgictl(&httpd, &["requests", "none"]).output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(!status.success() && said.contains("'none', only %{GLOBAL}, app, other"), "{said}");
    // One runs, and the other one waits.
    let status = run(&httpd, &["status", "app"]);
    assert!(status.lines().nth(1).is_some_and(|line| line.contains(" 1/1 ")), "{status}");
    end(&httpd);
}

#[test]
fn a_request_whose_response_has_begun_says_so() {
    let httpd = Httpd::new()
        .app(
            "app.wsgi",
            "import time\n\n\n\
             def application(environ, start_response):\n    \
                 start_response('200 OK', [])\n    \
                 yield b'begun'\n    \
                 time.sleep(600)\n",
        )
        .expect_log("")
        .conf(
            "WSGIDaemonProcess app user={user} group={group} threads=1 shutdown-timeout=1 \
             graceful-timeout=1\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    let _answered = send(&httpd, "/app");
    until(|| requests(&httpd, 1)[0].contains("answering").then_some(())).expect("it is told");
    end(&httpd);
}

#[test]
fn stacks_are_told_of_threads_that_wait() {
    let httpd = httpd("threads=2");
    let _naps = send(&httpd, "/app/nap?token=secret");
    let told = || Some(run(&httpd, &["stacks", "app"])).filter(|text| text.contains("in nap"));
    let text = until(told).unwrap_or_else(|| run(&httpd, &["stacks", "app"]));
    for part in ["  app  %{GLOBAL}  serving\n", ": GET /app/nap (", "app.wsgi\", line 6 in nap\n"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert!(text.contains(", waits"), "{text}");
    assert!(!text.contains("token") && !text.contains("lock"), "{text}");
    let json = run(&httpd, &["stacks", "app", "--json"]);
    for part in ["\"version\": 1", "\"request\": \"GET /app/nap\"", "in nap\"", "\"notes\": []"] {
        assert!(json.contains(part), "no {part} in {json}");
    }
    end(&httpd);
}

#[test]
fn stacks_are_told_while_c_code_holds_the_lock() {
    let httpd = httpd("threads=2");
    let _held = send(&httpd, "/app/hold");
    requests(&httpd, 1);
    let text = until(|| Some(run(&httpd, &["stacks"])).filter(|text| text.contains("in hold")));
    let text = text.unwrap_or_else(|| run(&httpd, &["stacks"]));
    for part in [
        "Python's lock is held by thread wsgi-",
        "No other thread has got it for at least ",
        ": GET /app/hold (",
        "app.wsgi\", line 10 in hold\n",
    ] {
        assert!(text.contains(part), "no '{part}' in {text}");
    }
    end(&httpd);
}

/// A worker that is stopped answers nothing, and keeps no other one's answer.
#[test]
fn a_worker_that_cannot_answer_is_told_of() {
    let httpd = httpd("threads=1");
    for path in ["/app", "/other"] {
        httpd.get(path).assert(200);
    }
    let json = run(&httpd, &["status", "--json", "app"]);
    let pid = json.split("\"pid\": ").nth(1).and_then(|rest| rest.split(',').next());
    let pid: i32 = pid.expect("a worker").parse().expect("a number");
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("it runs");
    let _naps = send(&httpd, "/other/nap");
    let text = until(|| Some(run(&httpd, &["stacks"])).filter(|text| text.contains("in nap")));
    let text = text.expect("the other one answers");
    assert!(text.contains("It does not answer: its process is stopped"), "{text}");
    end(&httpd);
}

#[test]
fn a_worker_that_loads_is_told_of() {
    let httpd = Httpd::new()
        .app("app.wsgi", "import time\ntime.sleep(600)\n")
        .expect_log("")
        .conf(
            "WSGIDaemonProcess app user={user} group={group} shutdown-timeout=1 graceful-timeout=1\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    let look = || Some(run(&httpd, &["stacks"])).filter(|text| text.contains(" loading\n"));
    let text = until(look).unwrap_or_else(|| panic!("{}", run(&httpd, &["stacks"])));
    assert!(text.contains("It is loading: it tells of its threads only while it"), "{text}");
    end(&httpd);
}

#[test]
fn top_shows_groups_and_requests() {
    let httpd = httpd("threads=2");
    let _naps = send(&httpd, "/app/nap");
    requests(&httpd, 1);
    let busy = "1 of 3 threads busy, 0 requests wait";
    let look = || Some(run(&httpd, &["top", "--count", "1"])).filter(|text| text.contains(busy));
    let text = until(look).unwrap_or_else(|| run(&httpd, &["top", "--count", "1"]));
    assert!(text.contains(busy), "{text}");
    assert!(text.contains("GET     /app/nap"), "{text}");
    end(&httpd);
}

/// On a terminal, which `script` of Debian's bsdutils makes.
#[test]
fn top_gives_the_terminal_back() {
    let httpd = httpd("threads=1");
    httpd.get("/app").assert(200);
    let top = wsgictl(&httpd, &["top", "--interval", "60"]);
    let words: Vec<_> = [top.get_program()].into_iter().chain(top.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_str().expect("text")).collect();
    let record = httpd.dir().join("screen");
    let mut script = Command::new("script");
    script.args(["--quiet", "--flush", "--return", "--command", &words.join(" ")]).arg(&record);
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("script");
    let shown = || fs::read_to_string(&record).ok().filter(|text| text.contains("q: quit"));
    let text = until(shown).expect("a screen");
    assert!(text.contains("\x1b[?1049h") && !text.contains("\x1b[?1049l"), "{text:?}");
    script.stdin.take().expect("a pipe").write_all(b"q").expect("it reads");
    assert!(script.wait().expect("it ends").success());
    let text = fs::read_to_string(&record).expect("a screen");
    assert!(text.contains("\x1b[?25h\x1b[?1049l"), "{text:?}");
}

/// Without a restart: what is left out by `LogLevel` is told, and then no more.
#[test]
fn the_level_of_our_own_lines_changes_while_httpd_runs() {
    let httpd = httpd("threads=1");
    let log = || httpd.log("error.log");
    httpd.get("/app").assert(200);
    run(&httpd, &["reload", "app"]);
    assert!(!log().contains("[wsgi:info]"), "{}", log());
    run(&httpd, &["log", "debug"]);
    run(&httpd, &["reload", "app"]);
    assert!(log().contains("[wsgi:info]"), "{}", log());
    run(&httpd, &["log", "configured"]);
    let lines = log().lines().count();
    run(&httpd, &["reload", "app"]);
    let rest: Vec<_> = log().lines().skip(lines).map(str::to_owned).collect();
    assert!(!rest.iter().any(|line| line.contains("[wsgi:info]")), "{rest:?}");
}

#[test]
fn completions_and_manual_pages_come_from_the_definition() {
    let wsgictl = || Command::new(environment::dist().join("wsgictl"));
    for shell in ["bash", "zsh", "fish"] {
        let output = wsgictl().args(["completions", shell]).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("requests"), "{shell}: {text}");
    }
    let folder = std::env::temp_dir().join(format!("mod_wsgi_rs-man-{}", std::process::id()));
    let output = wsgictl().arg("man").arg(&folder).output().expect("it starts");
    assert!(output.status.success());
    let page = fs::read_to_string(folder.join("wsgictl-stacks.1")).expect("a page");
    fs::remove_dir_all(&folder).expect("it is there");
    assert!(page.contains("holds Python"), "{page}");
}
