//! Files of two releases in one folder: whichever do not belong together refuse each other, in a sentence
//! that names both versions of the protocol, and serve again when they have been put right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Httpd, Running, environment, until};

use crate::broken_workers::Programs;
use crate::chroot::jail::Jail;
use crate::chroot::{needs_root, serving};
use crate::reliability::nothing_is_lost;
use crate::{HELLO, ask};

/// How the names of files begin that are replaced together.
type Part = &'static [&'static str];

const MODULE: Part = &["mod_wsgi_rs.so", "libmod_wsgi_rs-"];
const SUPERVISOR: Part = &["wsgi-supervisor"];
const WORKER: Part = &["wsgi_worker."];
/// What loads a worker where there is no interpreter to do so.
const EMBEDDING: Part = &["wsgi-worker"];
const ALL: Part = &[
    "mod_wsgi_rs",
    "libmod_wsgi_rs-",
    "wsgi-supervisor",
    "wsgi_worker.",
    "wsgi-worker",
    "wsgictl",
];

/// A build of another version, if there is one. Ours has not been made by it.
fn another_release() -> Option<PathBuf> {
    if testkit::ours_only("ours is made of several programs") {
        return None;
    }
    let other = environment::other_release();
    if other.is_none() {
        testkit::skipped("no other release has been built");
    }
    other
}

/// Puts a part of a release into a folder, as package managers do: a new file takes the name.
fn install(folder: &Path, release: &Path, part: Part) {
    for entry in fs::read_dir(release).expect("a release").flatten() {
        let name = entry.file_name().into_string().expect("ours");
        if part.iter().any(|beginning| name.starts_with(beginning)) {
            let fresh = folder.join("fresh");
            // By another program: see `write_program`.
            let copied = Command::new("cp").arg(entry.path()).arg(&fresh).status();
            assert!(copied.expect("cp can be run").success());
            fs::rename(fresh, folder.join(name)).expect("the folder is ours");
        }
    }
}

/// The version of the protocol that a release speaks, as its supervisor says.
fn version(release: &Path) -> String {
    let output = Command::new(release.join("wsgi-supervisor")).arg("--version").output();
    let text = String::from_utf8(output.expect("it can be run").stdout).expect("text");
    let version = text.split("protocol ").nth(1).and_then(|rest| rest.split(';').next());
    version.unwrap_or_else(|| panic!("no version: {text}")).to_owned()
}

fn site(programs: &Programs) -> Httpd {
    Httpd::new()
        .dist(&programs.0)
        .app("app.wsgi", HELLO)
        .file("htdocs/a.txt", "static")
        .conf(
            "WSGIDaemonProcess app user={user} group={group} threads=2\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .expect_log("[wsgi:")
}

/// Waits for a status: children of the generation before may answer for a moment.
#[track_caller]
fn assert_answers(httpd: &Running, status: u16) {
    let answers = until(|| (httpd.get("/app").status == status).then_some(()));
    assert!(answers.is_some(), "{}\n{}", httpd.get("/app"), httpd.error_log());
    assert_eq!(httpd.get("/a.txt").assert(200).text(), "static");
}

#[test]
fn module_and_supervisor() {
    let (ours, Some(other)) = (environment::dist(), another_release()) else { return };
    let [our_version, other_version] = [&ours, &other].map(|release| version(release));
    assert_ne!(our_version, other_version);
    for (part, module, supervisor) in
        [(MODULE, &other_version, &our_version), (SUPERVISOR, &our_version, &other_version)]
    {
        let programs = Programs::with("mixed-supervisor", |_| ());
        let sentence = format!(
            "mod_wsgi_rs.so speaks version {module} of the protocol and wsgi-supervisor version {supervisor}"
        );
        install(&programs.0, &other, part);
        site(&programs).configtest().accepts(&[&sentence]);
        let refused = site(&programs).try_start().map(drop).expect_err("a start is refused");
        assert!(refused.to_string().contains(&sentence), "{refused}");

        install(&programs.0, &ours, part);
        let httpd = site(&programs).start();
        assert_answers(&httpd, 200);
        install(&programs.0, &other, part);
        httpd.graceful();
        assert_answers(&httpd, 503);
        httpd.wait_for_log(&[&sentence]);
        install(&programs.0, &ours, part);
        httpd.graceful();
        assert_answers(&httpd, 200);
    }
}

#[test]
fn supervisor_and_worker() {
    let (ours, Some(other)) = (environment::dist(), another_release()) else { return };
    // The worker is of another release than the rest, which is ours, or is not.
    for (worker, rest) in [(&other, &ours), (&ours, &other)] {
        let programs = Programs::with("mixed-worker", |_| ());
        install(&programs.0, rest, ALL);
        install(&programs.0, worker, WORKER);
        let sentence = format!(
            "it speaks version {} of the protocol, this is version {}",
            version(rest),
            version(worker)
        );
        site(&programs).configtest().accepts(&[&sentence]);
        let httpd = site(&programs).start();
        assert_answers(&httpd, 503);
        httpd.wait_for_log(&[&sentence]);
        install(&programs.0, rest, WORKER);
        httpd.graceful();
        assert_answers(&httpd, 200);
    }
}

#[test]
fn worker_and_what_loads_it_for_a_chroot() {
    let (ours, Some(other)) = (environment::dist(), another_release()) else { return };
    if needs_root() {
        return;
    }
    let jail = Jail::new();
    for (embedding, rest) in [(&other, &ours), (&ours, &other)] {
        let programs = Programs::with("mixed-embedding", |_| ());
        install(&programs.0, rest, ALL);
        install(&programs.0, embedding, EMBEDDING);
        let httpd = serving(&jail, "").dist(&programs.0).expect_log("[wsgi:").start();
        httpd.get("/").assert(503);
        httpd.wait_for_log(&[
            &format!("wsgi-worker speaks version {} of the protocol", version(embedding)),
            &format!("its wsgi_worker.TAG.so version {};", version(rest)),
        ]);
        install(&programs.0, rest, EMBEDDING);
        httpd.graceful();
        let serves = until(|| (httpd.get(&ask(&["1"])).status == 200).then_some(()));
        assert!(serves.is_some(), "{}", httpd.error_log());
    }
}

#[test]
fn supervisor_and_wsgictl() {
    let (ours, Some(other)) = (environment::dist(), another_release()) else { return };
    for (running, asking) in [(&ours, &other), (&other, &ours)] {
        let programs = Programs::with("mixed-wsgictl", |_| ());
        install(&programs.0, running, ALL);
        let httpd = site(&programs).start();
        assert_answers(&httpd, 200);
        let wsgictl = |release: &Path, words: &[&str]| {
            let mut command = Command::new(release.join("wsgictl"));
            command.arg("--prefix").arg(httpd.dir().join("run/wsgi")).args(words);
            command.output().expect("it can be run")
        };
        let sentence = format!(
            "the supervisor speaks version {} of the protocol, this is {}",
            version(running),
            version(asking)
        );
        for words in [&["status"][..], &["reload", "app"], &["reload", "--no-wait"], &["metrics"]] {
            let refused = wsgictl(asking, words);
            let said = String::from_utf8_lossy(&refused.stderr);
            assert!(!refused.status.success() && said.contains(&sentence), "{words:?}: {said}");
            assert!(refused.stdout.is_empty());
            assert!(wsgictl(running, words).status.success(), "{words:?}");
        }
        assert_answers(&httpd, 200);
    }
}

#[test]
fn from_one_release_to_the_other_and_back_no_request_is_lost() {
    let (ours, Some(other)) = (environment::dist(), another_release()) else { return };
    let programs = Programs::with("mixed-releases", |_| ());
    let httpd = Httpd::new()
        .dist(&programs.0)
        .app("app.wsgi", HELLO)
        .conf(
            "WSGIDaemonProcess app threads=5\nWSGIScriptAlias / {apps}/app.wsgi process-group=app",
        )
        .start();
    let next = std::cell::Cell::new((&other, &ours));
    nothing_is_lost(&httpd, || {
        let (release, before) = next.get();
        next.set((before, release));
        install(&programs.0, release, ALL);
        httpd.graceful();
    });
    // What serves is of the release that has come last.
    let (_, last) = next.get();
    let status = || {
        let mut command = Command::new(last.join("wsgictl"));
        command.arg("--prefix").arg(httpd.dir().join("run/wsgi")).arg("status");
        command.output().is_ok_and(|output| output.status.success()).then_some(())
    };
    assert!(until(status).is_some());
}
