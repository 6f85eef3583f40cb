//! `wsgictl`: one group is reloaded without httpd, workers are listed, and strangers are refused.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use nix::unistd::User;
use testkit::{Httpd, Running, environment, httpd_user, ours_only, running_as_root, until};

use crate::reliability::nothing_is_lost;

/// Answers with the process that it is, after a moment in which others can come.
const PID: &str = r#"
import os, time


def application(environ, start_response):
    time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"#;

fn site() -> Running {
    Httpd::new()
        .app("app.wsgi", PID)
        .conf(
            "WSGIDaemonProcess one user={user} group={group} threads=5\n\
             WSGIDaemonProcess two user={user} group={group} threads=5\n\
             WSGIScriptAlias /two {apps}/app.wsgi process-group=two application-group=%{GLOBAL}\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=one application-group=shop",
        )
        .start()
}

/// `wsgictl`, for the supervisor of this httpd.
pub fn wsgictl(httpd: &Running, words: &[&str]) -> Command {
    let mut command = Command::new(environment::dist().join("wsgictl"));
    command.arg("--prefix").arg(httpd.dir().join("run/wsgi")).args(words);
    command
}

/// What it prints when it succeeds.
#[track_caller]
pub fn run(httpd: &Running, words: &[&str]) -> String {
    let Output { status, stdout, stderr } = wsgictl(httpd, words).output().expect("it starts");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// The process ids of the workers of both groups.
fn pids(httpd: &Running) -> [String; 2] {
    ["/", "/two"].map(|path| httpd.get(path).assert(200).text())
}

#[test]
fn a_reload_of_one_group_loses_nothing_and_leaves_the_other_alone() {
    if ours_only("wsgictl") {
        return;
    }
    let httpd = site();
    let [_, two] = pids(&httpd);
    nothing_is_lost(&httpd, || {
        let [before, _] = pids(&httpd);
        assert_eq!(run(&httpd, &["reload", "one"]), "1 worker has been replaced\n");
        assert_ne!(pids(&httpd)[0], before, "it is still there");
    });
    assert_eq!(pids(&httpd)[1], two);
    assert_eq!(run(&httpd, &["reload", "--no-wait"]), "");
    assert!(until(|| (pids(&httpd)[1] != two).then_some(())).is_some());
}

#[test]
fn the_workers_are_listed() {
    if ours_only("wsgictl") {
        return;
    }
    let httpd = site();
    let [one, two] = pids(&httpd);
    let status = run(&httpd, &["status"]);
    let (groups, workers) = status.split_once("\n\n").expect("two tables");
    let words = |text: &str| -> Vec<Vec<String>> {
        let words = |line: &str| line.split_ascii_whitespace().map(str::to_owned).collect();
        text.lines().map(words).collect()
    };
    let (groups, workers) = (words(groups), words(workers));
    assert_eq!(groups[0][..5], ["GROUP", "APPLICATION", "WORKERS", "BUSY", "WAITING"]);
    assert_eq!(groups[1][..5], ["one", "shop", "1", "0/5", "0"]);
    assert_eq!(groups[2][..5], ["two", "%{GLOBAL}", "1", "0/5", "0"]);
    assert_eq!(groups.len(), 3, "{status}");
    let head = ["GROUP", "APPLICATION", "PID", "STATE", "AGE", "BUSY", "MEMORY", "CPU", "PYTHON"];
    assert_eq!(workers[0], head);
    assert_eq!(workers[1][..4], ["one", "shop", &one, "serving"]);
    assert_eq!(workers[2][..4], ["two", "%{GLOBAL}", &two, "serving"]);
    assert_eq!(workers.len(), 3, "{status}");
    for line in &workers[1..] {
        let memory = line[line.len() - 5].parse::<u64>();
        assert!(memory.is_ok_and(|memory| memory > 0), "{status}");
        assert!(line[line.len() - 1].starts_with("3."), "{status}");
    }
    let of_two = run(&httpd, &["status", "two"]);
    assert!(of_two.contains(&two) && !of_two.contains("shop"), "{of_two}");

    let json = run(&httpd, &["status", "--json", "one"]);
    for part in [
        "\"version\": 1",
        "\"process_group\": \"one\"",
        "\"application_group\": \"shop\"",
        &format!("\"pid\": {one}"),
        "\"state\": \"serving\"",
        "\"threads\": 5",
        "\"requests_waiting\": 0",
        "\"resident_bytes\": ",
        "\"python\": \"3.",
    ] {
        assert!(json.contains(part), "no {part} in {json}");
    }
    assert!(run(&httpd, &["--version"]).starts_with("wsgictl "));
}

#[test]
fn a_reload_of_code_that_cannot_be_loaded_is_told_with_its_traceback() {
    if ours_only("wsgictl") {
        return;
    }
    for (reload, status) in [("off", 500), ("keep", 200)] {
        let httpd = Httpd::new()
            .app("app.wsgi", PID)
            .conf(&format!(
                "WSGIDaemonProcess app user={{user}} group={{group}} reload={reload}\n\
                 WSGIScriptAlias / {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}"
            ))
            .expect_log("[wsgi:error]")
            .start();
        httpd.get("/").assert(200);
        httpd.replace_app("app.wsgi", "import no_such_module\n");
        let Output { status: exit, stdout, stderr } =
            wsgictl(&httpd, &["reload"]).output().expect("it starts");
        let (said, told) = (String::from_utf8_lossy(&stderr), String::from_utf8_lossy(&stdout));
        assert_eq!(exit.code(), Some(1), "{reload}: {said}{told}");
        for part in ["Traceback (most", "import no_such_module", "ModuleNotFoundError"] {
            assert!(said.contains(part), "{reload}: no '{part}' in {said}");
            httpd.wait_for_log(&["[wsgi:error]", part]);
        }
        assert!(told.contains("new code could not be loaded"), "{reload}: {told}");
        httpd.get("/").assert(status);
    }
}

#[track_caller]
fn check_refused(mut command: Command, texts: &[&str]) {
    let Output { status, stderr, .. } = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(texts.iter().all(|text| said.contains(text)), "{said}");
}

#[test]
fn what_does_not_exist_is_an_error_and_strangers_are_refused() {
    if ours_only("wsgictl") {
        return;
    }
    let httpd = site();
    let [one, _] = pids(&httpd);
    check_refused(wsgictl(&httpd, &["reload", "three"]), &["'three'", "one, two"]);
    check_refused(wsgictl(&httpd, &["dance"]), &["--help"]);
    let mut elsewhere = Command::new(environment::dist().join("wsgictl"));
    elsewhere.arg("status").arg("--prefix").arg(httpd.dir().join("elsewhere"));
    check_refused(elsewhere, &["no supervisor at", "WSGISocketPrefix"]);
    if running_as_root() {
        // Not even httpd's children, which may enter the directory.
        let (name, _) = httpd_user();
        let user = User::from_name(&name).expect("the user database").expect("that user");
        let mut stranger = wsgictl(&httpd, &["reload"]);
        stranger.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        check_refused(stranger, &["admin.sock", "only root and the user who started httpd"]);
    }
    assert_eq!(pids(&httpd)[0], one);
}
