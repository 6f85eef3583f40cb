//! Workers that cannot start: the log says why, clients get 503, and httpd stays up.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::{env, process};

use testkit::{Httpd, environment};

use crate::HELLO;

/// A copy of the programs, with one thing put in the place of every worker.
struct Programs(PathBuf);

impl Programs {
    fn with(name: &str, break_worker: impl Fn(&Path)) -> Programs {
        let folder = env::temp_dir().join(format!("mwrs-{name}-{}", process::id()));
        fs::create_dir(&folder).expect("a new folder");
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("the folder is ours");
        for entry in fs::read_dir(environment::dist()).expect("the programs").flatten() {
            let copy = folder.join(entry.file_name());
            if let Ok(target) = fs::read_link(entry.path()) {
                symlink(target, &copy).expect("a link");
            } else {
                fs::copy(entry.path(), &copy).expect("a copy");
                if entry.file_name().to_string_lossy().starts_with("wsgi-worker") {
                    break_worker(&copy);
                }
            }
        }
        Programs(folder)
    }
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
        fs::write(worker, script).expect("the file is ours");
    });
    check(&programs, "error while loading shared libraries");
}

#[test]
fn a_worker_that_may_not_be_run() {
    if testkit::ours_only("it has no worker programs") {
        return;
    }
    let programs = Programs::with("forbidden", |worker| {
        fs::set_permissions(worker, Permissions::from_mode(0o644)).expect("the file is ours");
    });
    check(&programs, "ermission denied");
}
