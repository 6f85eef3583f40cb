//! Workers that cannot start: the log says why, clients get 503, and httpd stays up.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, process};

use testkit::{Httpd, environment, until};

use crate::HELLO;

/// A copy of the programs, with one thing put in the place of the interpreter that workers run in.
pub struct Programs(pub PathBuf);

impl Programs {
    /// `replace` may make another file at the path of the interpreter, where there is none yet.
    pub fn with(name: &str, replace: impl Fn(&Path)) -> Programs {
        let folder = env::temp_dir().join(format!("mwrs-{name}-{}", process::id()));
        fs::create_dir(&folder).expect("a new folder");
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("the folder is ours");
        for entry in fs::read_dir(environment::dist()).expect("the programs").flatten() {
            let copy = folder.join(entry.file_name());
            if let Ok(target) = fs::read_link(entry.path()) {
                replace(&copy);
                if !copy.exists() {
                    symlink(target, &copy).expect("a link");
                }
            } else {
                let copied = Command::new("cp").arg(entry.path()).arg(&copy).status();
                assert!(copied.expect("cp can be run").success());
            }
        }
        Programs(folder)
    }

    /// Puts the real interpreter in its place again.
    fn repair(&self) {
        let link = self.0.join("python");
        fs::remove_file(&link).expect("it is ours");
        let target = fs::read_link(environment::dist().join("python")).expect("a link");
        symlink(target, &link).expect("the folder is ours");
    }
}

/// Makes a file a script that can be executed. Another program writes it, as it does copies: a process
/// that another test is just starting would have our descriptor for a moment, and as long as somebody
/// has one to write with, the kernel executes no file (ETXTBSY).
pub fn write_program(path: &Path, text: &str) {
    let mut tee = Command::new("tee")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("tee can be run");
    let mut stdin = tee.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("tee reads");
    drop(stdin);
    assert!(tee.wait().expect("tee ends").success());
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("the file is ours");
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn check(programs: &Programs, cause: &str) {
    let mut httpd = Httpd::new()
        .dist(&programs.0)
        .app("app.wsgi", HELLO)
        .file("htdocs/a.txt", "static")
        .conf("WSGIDaemonProcess app user={user} group={group}\nWSGIScriptAlias /app {apps}/app.wsgi process-group=app")
        .expect_log("wsgi")
        .expect_log(cause)
        .start();
    httpd.get("/app").assert(503);
    httpd.wait_for_log(&[cause]);
    httpd.get("/app").assert(503);
    assert_eq!(httpd.get("/a.txt").assert(200).text(), "static");
    httpd.graceful();
    httpd.get("/app").assert(503);
    httpd.stop();
}

#[test]
fn a_worker_that_ends_at_once() {
    if testkit::ours_only("it has no worker programs") {
        return;
    }
    let programs = Programs::with("ends", |worker| {
        let script =
            "#!/bin/sh\necho 'error while loading shared libraries: libpython' >&2\nexit 127\n";
        write_program(worker, script);
    });
    check(&programs, "error while loading shared libraries");
}

#[test]
fn a_worker_that_is_repaired() {
    let programs = Programs::with("repaired", |worker| {
        write_program(worker, "#!/bin/sh\necho 'no libpython' >&2\nexit 127\n");
    });
    let httpd = Httpd::new()
        .dist(&programs.0)
        .app("app.wsgi", HELLO)
        .conf("WSGIScriptAlias /app {apps}/app.wsgi")
        .expect_log("wsgi")
        .start();
    for _ in 0..10 {
        let response = httpd.get("/app").assert(503);
        let seconds: u32 =
            response.header("Retry-After").expect("a time").parse().expect("seconds");
        assert!((1..=30).contains(&seconds));
    }
    let log = httpd.error_log();
    // Besides the lines about requests: two for each of the first failures.
    let complaints = log
        .lines()
        .filter(|line| !line.contains("[client "))
        .filter(|line| line.contains("no libpython"));
    assert!((2..=8).contains(&complaints.count()), "{log}");
    programs.repair();
    let served = until(|| (httpd.get("/app").status == 200).then_some(()));
    assert!(served.is_some(), "nothing has to be done but the repair");
}

#[test]
fn a_worker_that_never_gets_ready_is_not_waited_for_beyond_connect_timeout() {
    let programs = Programs::with("sleeps", |worker| {
        write_program(worker, "#!/bin/sh\nexec sleep 600\n");
    });
    let httpd = Httpd::new()
        .dist(&programs.0)
        .app("app.wsgi", HELLO)
        .conf(
            "WSGIDaemonProcess app user={user} group={group} connect-timeout=1\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app",
        )
        .expect_log("no workers have started within")
        .start();
    // It is killed, and counts as failed, only after a minute.
    httpd.get("/app").assert(503);
    httpd.wait_for_log(&["Process group 'app'", "no workers have started within"]);
}

#[test]
fn a_worker_that_may_not_be_run() {
    if testkit::ours_only("it has no worker programs") {
        return;
    }
    let programs = Programs::with("forbidden", |worker| {
        write_program(worker, "#!/bin/sh\n");
        fs::set_permissions(worker, Permissions::from_mode(0o644)).expect("the file is ours");
    });
    check(&programs, "ermission denied");
}
