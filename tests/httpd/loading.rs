//! The module loads, under every MPM, and keeps Python out of httpd.

use std::process::Command;

use testkit::{Httpd, Mpm, environment};

use crate::{HELLO, serving};

#[test]
fn serves_under_every_mpm() {
    for mpm in Mpm::ALL {
        let httpd = serving(HELLO).mpm(mpm).start();
        assert_eq!(httpd.get("/").assert(200).text(), "hello", "{mpm:?}");
    }
}

#[test]
fn both_names_of_the_module_hold() {
    for name in ["wsgi_module", "mod_wsgi.c"] {
        let inside = format!("<IfModule {name}>\nNonsense On\n</IfModule>");
        Httpd::new().conf(&inside).configtest().refuses(&["Nonsense"]);
        let inside = format!("<IfModule !{name}>\nNonsense On\n</IfModule>");
        Httpd::new().conf(&inside).configtest().accepts(&["Syntax OK"]);
    }
}

#[test]
fn httpd_can_look_at_a_configuration() {
    for mpm in Mpm::ALL {
        let httpd = || serving(HELLO).mpm(mpm);
        httpd().run(["-t"]).accepts(&["Syntax OK"]);
        httpd().run(["-M"]).accepts(&["wsgi_module (shared)"]);
        httpd().run(["-S"]).accepts(&["ServerRoot"]);
    }
}

#[test]
fn an_empty_site_starts_and_stops() {
    for mpm in Mpm::ALL {
        let httpd = Httpd::new().mpm(mpm).file("htdocs/a.txt", "static").start();
        assert_eq!(httpd.get("/a.txt").assert(200).text(), "static");
        httpd.graceful();
    }
}

#[test]
fn python_stays_out_of_httpd() {
    if testkit::ours_only("no Python in httpd") {
        return;
    }
    // The module's own library is among what mod_wsgi_rs.so needs, and what that one needs is told,
    // too.
    for program in ["mod_wsgi_rs.so", "wsgi-supervisor"] {
        let output = Command::new("ldd").arg(environment::dist().join(program)).output();
        let libraries = String::from_utf8(output.expect("ldd runs").stdout).expect("text");
        assert!(libraries.contains("libc."), "{libraries}");
        assert!(!libraries.contains("python"), "{libraries}");
    }
}

#[test]
fn no_python_runs_in_an_httpd_process_nor_as_root() {
    if !testkit::sees_into_processes() {
        return;
    }
    if testkit::ours_only("no Python in httpd") {
        return;
    }
    let httpd = serving(HELLO).start();
    httpd.get("/").assert(200);
    let maps = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    for process in httpd.children().iter().chain(httpd.supervisor().iter()) {
        assert!(!maps(process.pid).contains("python"), "{process:?}");
    }
    for worker in httpd.workers() {
        let root = testkit::running_as_root() && worker.uid() == Some(0);
        assert!(!root, "{worker:?}");
    }
}
