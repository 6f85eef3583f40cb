//! Scripts that are loaded when a worker starts: `WSGIImportScript`, and `WSGIScriptAlias` with both
//! groups.

use testkit::{Httpd, Running, UnderTest};

use crate::{HELLO, TELL, ask, told};

/// Says that it is loaded, and answers like [`TELL`].
fn loud(name: &str) -> String {
    format!("{TELL}\nprint('loaded {name}', threading.current_thread() is threading.main_thread())")
}

fn serving(conf: &str) -> Httpd {
    Httpd::new()
        .app("one.py", &loud("one"))
        .app("two.py", &loud("two"))
        .conf("WSGIDaemonProcess app user={user} group={group}")
        .conf(conf)
}

fn times(httpd: &Running, text: &str) -> usize {
    httpd.log("error.log").matches(text).count()
}

#[test]
fn in_order_on_the_main_thread_and_once() {
    let httpd = serving(
        "WSGIImportScript {apps}/two.py process-group=app application-group=x\n\
         WSGIScriptAlias / {apps}/one.py process-group=app application-group=x",
    )
    .start();
    httpd.wait_for_log(&["loaded one True"]);
    let log = httpd.log("error.log");
    assert!(log.find("loaded two True") < log.find("loaded one True"), "{log}");
    assert_eq!(told(httpd.get(&ask(&["count"]))), ["1"]);
    assert_eq!(times(&httpd, "loaded one"), 1);
}

#[test]
fn by_user_and_group() {
    let source = "import os, pwd, mod_wsgi\n\
                  print('loaded by', pwd.getpwuid(os.geteuid()).pw_name, 'in', \
                  repr((mod_wsgi.process_group, mod_wsgi.application_group)))";
    let ((httpd_user, _), (app_user, _)) = (testkit::httpd_user(), testkit::app_user());
    for (groups, user, expected) in [
        ("process-group=app application-group=%{GLOBAL}", &app_user, "('app', '')"),
        ("process-group=%{GLOBAL} application-group=%{GLOBAL}", &httpd_user, "('', '')"),
        ("process-group=%{GLOBAL} application-group=%{SERVER}", &httpd_user, "('', '%{SERVER}')"),
    ] {
        let httpd = serving(&format!("WSGIImportScript {{apps}}/who.py {groups}"))
            .app("who.py", source)
            .start();
        httpd.wait_for_log(&[&format!("loaded by {user} in {expected}")]);
    }
}

#[test]
fn those_of_the_main_server_and_of_virtual_hosts_add_up() {
    let groups = "process-group=app application-group=x";
    let host = "<VirtualHost *:{port}>\nServerName a.example\n";
    let httpd = serving(&format!(
        "{host}WSGIImportScript {{apps}}/two.py {groups}\n</VirtualHost>\n\
         WSGIImportScript {{apps}}/one.py {groups}\nWSGIImportScript {{apps}}/two.py {groups}"
    ))
    .start();
    httpd.wait_for_log(&["loaded one"]);
    let log = httpd.log("error.log");
    assert!(log.find("loaded two") < log.find("loaded one"), "{log}");
    assert_eq!(times(&httpd, "loaded two"), 1);
}

#[test]
fn in_every_process() {
    let httpd = Httpd::new()
        .app("one.py", &loud("one"))
        .conf("WSGIDaemonProcess app processes=3")
        .conf("WSGIImportScript {apps}/one.py process-group=app application-group=x")
        .start();
    let done = testkit::until(|| (times(&httpd, "loaded one") == 3).then_some(()));
    assert!(done.is_some(), "three processes load it");
}

#[test]
fn aliases_that_are_not_known_beforehand_are_loaded_by_their_first_request() {
    let httpd = serving(
        "WSGIScriptAlias /one {apps}/one.py process-group=app\n\
         WSGIScriptAlias /dir {apps} process-group=app application-group=x\n\
         WSGIScriptAliasMatch ^/two/(.*) {apps}/$1.py process-group=app application-group=y\n\
         WSGIScriptAlias /last {apps}/last.py process-group=app application-group=z",
    )
    .app("last.py", &loud("last"))
    .start();
    // All are started together, and the others would have nothing else to do.
    httpd.wait_for_log(&["loaded last"]);
    assert_eq!(times(&httpd, "loaded"), 1);
    httpd.get("/dir/one.py?1").assert(200);
    httpd.get("/two/two?1").assert(200);
    httpd.wait_for_log(&["loaded two"]);
}

#[test]
fn a_script_that_cannot_be_loaded_is_tried_again_by_the_next_request() {
    let source = format!(
        "import os\n{HELLO}\nif not os.path.exists(os.path.dirname(__file__) + '/ready'):\n    \
         raise OSError('it is not ready')\n"
    );
    let httpd = serving(
        "WSGIScriptAlias / {apps}/later.py process-group=app application-group=x\n\
         WSGIImportScript {apps}/exits.py process-group=app application-group=x\n\
         WSGIImportScript {apps}/one.py process-group=app application-group=x",
    )
    .app("later.py", &source)
    .app("exits.py", "raise SystemExit(3)")
    .expect_log("later.py")
    .expect_log("exits.py")
    .expect_log("it is not ready")
    .expect_log("SystemExit")
    .expect_log("Traceback")
    .start();
    httpd.wait_for_log(&["[wsgi:error]", "OSError: it is not ready"]);
    // What is wrong with one keeps nobody from loading the others.
    httpd.wait_for_log(&["loaded one"]);
    std::fs::write(httpd.dir().join("apps/ready"), "").expect("it is ours");
    assert_eq!(httpd.get("/").assert(200).text(), "hello");
}

#[test]
fn a_worker_with_new_code_loads_them_as_well() {
    let httpd = serving(
        "WSGIImportScript {apps}/two.py process-group=app application-group=x\n\
         WSGIScriptAlias / {apps}/one.py process-group=app application-group=x",
    )
    .start();
    httpd.get("/?1").assert(200);
    httpd.replace_app("one.py", &loud("new"));
    assert_eq!(told(httpd.get(&ask(&["count"]))), ["1"]);
    httpd.wait_for_log(&["loaded new"]);
    assert_eq!(times(&httpd, "loaded two"), 2);
}

#[test]
fn an_expression_whose_script_is_known_is_loaded_in_advance() {
    let line = "WSGIScriptAliasMatch ^/one/ {apps}/one.py process-group=app application-group=x";
    serving(line).start().wait_for_log(&["loaded one True"]);
}

#[test]
fn what_is_loaded_in_advance_may_take_longer_than_startup_timeout() {
    let source = loud("slow").replacen("import", "import time; time.sleep(2)\nimport", 1);
    for line in [
        "WSGIImportScript {apps}/slow.py process-group=app application-group=x",
        "WSGIScriptAlias / {apps}/slow.py process-group=app application-group=x",
    ] {
        let httpd = Httpd::new()
            .app("slow.py", &source)
            .conf("WSGIDaemonProcess app user={user} group={group} startup-timeout=1")
            .conf(line)
            .start();
        httpd.wait_for_log(&["loaded slow True"]);
    }
}

#[track_caller]
fn check(conf: &str, refused: Option<&str>) {
    let checked = Httpd::new().app("app.wsgi", HELLO).conf(conf).configtest();
    match refused {
        Some(text) => checked.refuses(&[text]),
        None => checked.accepts(&["Syntax OK"]),
    }
}

#[test]
fn groups_have_to_be_there_for_the_server() {
    if testkit::ours_only("mod_wsgi wants groups defined above the line that names them") {
        return;
    }
    let line = |name: &str| match name {
        "import" => "WSGIImportScript {apps}/app.wsgi process-group=g application-group=x",
        _ => "WSGIScriptAlias / {apps}/app.wsgi process-group=g application-group=x",
    };
    let host = |name: &str, inside: &str| {
        format!("<VirtualHost *:{{port}}>\nServerName {name}\n{inside}\n</VirtualHost>\n")
    };
    let group = "WSGIDaemonProcess g";
    for name in ["import", "alias"] {
        let line = line(name);
        check(line, Some("WSGI process group not yet configured"));
        check(&format!("{group}\n{line}"), None);
        // The group may come later, but not for mod_wsgi.
        let original = UnderTest::chosen().is_original();
        check(&format!("{line}\n{group}"), original.then_some("not yet configured"));
        check(&format!("{group}\n{}", host("a.example", line)), None);
        check(&host("a.example", &format!("{group}\n{line}")), None);
        let two = |other: &str| host("a.example", group) + &host(other, line);
        check(&two("a.example"), None);
        check(&two("b.example"), Some("WSGI process group not accessible"));
        check(&(host("a.example", group) + line), Some("WSGI process group not accessible"));
    }
    let variable = "WSGIImportScript {apps}/app.wsgi process-group=%{ENV:X} application-group=x";
    check(variable, Some("not yet configured"));
}

/// Answers with the collector's threshold.
const THRESHOLD: &str = r#"
import gc


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(gc.get_threshold()[0]).encode()]
"#;

#[test]
fn the_collector_is_left_as_it_was_or_as_the_script_wants_it() {
    let threshold = |script: &str| {
        let httpd = Httpd::new()
            .app("broken.py", "raise ImportError('not today')")
            .app("one.py", script)
            .conf(
                "WSGIDaemonProcess app user={user} group={group}\n\
                 WSGIImportScript {apps}/broken.py process-group=app application-group=x\n\
                 WSGIScriptAlias / {apps}/one.py process-group=app application-group=x",
            )
            .expect_log("broken.py")
            .expect_log("Traceback")
            .expect_log("not today")
            .start();
        httpd.get("/").assert(200).text().to_owned()
    };
    let usual: u32 = threshold(THRESHOLD).parse().expect("a number");
    assert!((1..10_000).contains(&usual), "{usual}");
    let own = format!("{THRESHOLD}\ngc.set_threshold(77_777)");
    assert_eq!(threshold(&own), "77777");
    let never = format!("{THRESHOLD}\ngc.set_threshold(0)");
    assert_eq!(threshold(&never), "0");
}

#[test]
fn mistakes() {
    for (line, said) in [
        ("WSGIImportScript", "Location of import script not supplied"),
        ("WSGIImportScript /a word", "Invalid option to WSGI import script definition"),
        ("WSGIImportScript /a x=y", "Invalid option to WSGI import script definition"),
        ("WSGIImportScript /a process-group=", "Invalid name for WSGI process group"),
        ("WSGIImportScript /a application-group=", "Invalid name for WSGI application group"),
        ("WSGIImportScript /a process-group=g", "Name of WSGI application group required"),
        ("WSGIImportScript /a application-group=g", "Name of WSGI process group required"),
    ] {
        check(line, Some(said));
    }
}
