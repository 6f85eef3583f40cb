//! Scripts that cannot be run: the client learns little, the ErrorLog of the site the cause.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use testkit::{Httpd, Running, UnderTest};

use crate::{HELLO, TELL};

/// A site with this script and a log of its own.
fn site(source: &str) -> Running {
    Httpd::new()
        .app("bad.wsgi", source)
        .app("good.wsgi", HELLO)
        .conf(
            "WSGIDaemonProcess app user={user} group={group}\n\
             <VirtualHost *:{port}>\n\
             ErrorLog logs/site-error.log\n\
             WSGIProcessGroup app\nWSGIApplicationGroup %{GLOBAL}\n\
             WSGIScriptAlias /missing {apps}/missing.wsgi\n\
             WSGIScriptAlias /good {apps}/good.wsgi\n\
             WSGIScriptAlias / {apps}/bad.wsgi\n\
             </VirtualHost>",
        )
        .expect_log("[wsgi:error]")
        .expect_log("missing.wsgi, which is named at")
        .expect_log("may be read by nobody")
        .start()
}

/// The script gets 500, now and again, and the log holds the texts; its neighbour is served.
#[track_caller]
fn check(httpd: &Running, texts: &[&str]) {
    httpd.get("/").assert(500);
    httpd.wait_for_log_in("site-error.log", &["[wsgi:error]", "bad.wsgi"]);
    // An original logs no traceback with Python before 3.12.
    for text in texts.iter().filter(|_| !UnderTest::chosen().is_original()) {
        httpd.wait_for_log_in("site-error.log", &["[wsgi:error]", text]);
    }
    httpd.get("/").assert(500);
    assert_eq!(httpd.get("/good").assert(200).text(), "hello");
}

#[test]
fn missing() {
    let httpd = site(HELLO);
    httpd.get("/missing").assert(404);
    httpd.wait_for_log_in("site-error.log", &["missing.wsgi"]);
}

#[test]
fn unreadable() {
    let httpd = site(HELLO);
    let script = httpd.dir().join("apps/bad.wsgi");
    fs::set_permissions(script, Permissions::from_mode(0o000)).expect("the file is ours");
    check(&httpd, &["ermission denied"]);
}

#[test]
fn syntax_error() {
    check(&site("import os\ndef broken(:\n    pass\n"), &["line 2", "SyntaxError", "def broken(:"]);
}

#[test]
fn not_even_text() {
    check(&site("\0"), &["bad.wsgi"]);
}

#[test]
fn raises_at_import() {
    let source = "def load():\n    raise LookupError('at import')\n\nload()\n";
    check(&site(source), &["line 4", "line 2", "in load", "LookupError: at import"]);
}

#[test]
fn exits_at_import() {
    check(&site("import sys\nsys.exit('leaving')\n"), &["line 2", "SystemExit"]);
}

#[test]
fn without_application() {
    check(&site("app = None\n"), &["application"]);
}

#[test]
fn application_is_not_callable() {
    check(&site("application = 7\n"), &["application"]);
}

#[test]
fn a_corrected_script_is_served() {
    let httpd = site("raise LookupError\n");
    check(&httpd, &["LookupError"]);
    httpd.replace_app("bad.wsgi", TELL);
    assert_eq!(httpd.get("/?count").assert(200).text(), "1\n");
}
