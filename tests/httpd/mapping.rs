//! WSGIScriptAlias: which script a URL leads to, and what is left of the path.

mod pairs;

use testkit::{Httpd, Running};

use crate::{HELLO, TELL, ask, told};

fn mounted(conf: &str) -> Running {
    Httpd::new().app("app.wsgi", TELL).app("hello.wsgi", HELLO).conf(conf).start()
}

/// Asks at `path` for SCRIPT_NAME and PATH_INFO.
#[track_caller]
fn check(httpd: &Running, path: &str, script_name: &str, path_info: &str) {
    let questions = ask(&["environ['SCRIPT_NAME']", "environ['PATH_INFO']"]);
    let answers = told(httpd.get(&questions.replacen('/', path, 1)));
    assert_eq!(answers.join("|"), format!("{script_name}|{path_info}"), "{path}");
}

#[test]
fn the_root() {
    let httpd = mounted("WSGIScriptAlias / {apps}/app.wsgi");
    check(&httpd, "/", "", "/");
    check(&httpd, "/a/b", "", "/a/b");
    check(&httpd, "/a%20b%C3%A4/", "", "/a bÃ¤/");
    check(&httpd, "//a///b", "", "/a/b");
}

#[test]
fn a_prefix_ends_where_a_part_of_the_path_ends() {
    let httpd = mounted("WSGIScriptAlias /app {apps}/app.wsgi");
    check(&httpd, "/app", "/app", "");
    check(&httpd, "/app/", "/app", "/");
    check(&httpd, "/app/x", "/app", "/x");
    check(&httpd, "//app///x", "/app", "/x");
    httpd.get("/application").assert(404);
    httpd.get("/").assert(404);
}

#[test]
fn a_mount_point_keeps_the_slash_that_it_is_written_with() {
    let httpd = mounted(
        "WSGIScriptAlias /app/ {apps}/app.wsgi application-group=%{GLOBAL}\n\
         WSGIScriptAlias /named/ {apps}/app.wsgi",
    );
    check(&httpd, "/app/", "/app/", "");
    check(&httpd, "/app//", "/app/", "");
    httpd.get("/app").assert(404);
    let question = ask(&["environ['mod_wsgi.application_group'].partition('|')[2]"]);
    assert_eq!(told(httpd.get(&question.replacen('/', "/named/", 1))), ["/named/"]);
}

#[test]
fn the_first_match_wins() {
    let httpd = mounted(
        "WSGIScriptAlias /app/hello {apps}/hello.wsgi\nWSGIScriptAlias /app {apps}/app.wsgi\n\
         WSGIScriptAlias /app/never {apps}/hello.wsgi",
    );
    assert_eq!(httpd.get("/app/hello").assert(200).text(), "hello");
    check(&httpd, "/app/never", "/app", "/never");
}

#[test]
fn a_virtual_hosts_aliases_come_before_the_servers() {
    let httpd = mounted(
        "WSGIScriptAlias / {apps}/app.wsgi\n\
         <VirtualHost *:{port}>\nWSGIScriptAlias /hello {apps}/hello.wsgi\n</VirtualHost>",
    );
    assert_eq!(httpd.get("/hello").assert(200).text(), "hello");
    check(&httpd, "/other", "", "/other");
}

#[test]
fn a_folder_of_scripts() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf("WSGIScriptAlias /scripts {apps}")
        .expect_log("[wsgi:error]")
        .start();
    check(&httpd, "/scripts/app.wsgi", "/scripts/app.wsgi", "");
    check(&httpd, "/scripts/app.wsgi/x", "/scripts/app.wsgi", "/x");
    httpd.get("/scripts/none.wsgi").assert(404);
    httpd.get("/scripts/").assert(403);
}

#[test]
fn names_that_differ_in_case_alone() {
    for (conf, same) in [("WSGICaseSensitivity On", false), ("WSGICaseSensitivity Off", true)] {
        let httpd = mounted(&format!(
            "{conf}\nWSGIDaemonProcess app threads=1\n\
             WSGIScriptAlias /scripts {{apps}} process-group=app application-group=%{{GLOBAL}}"
        ));
        // As where the file system takes them for the same.
        let file = |name: &str| httpd.dir().join("apps").join(name);
        std::fs::hard_link(file("app.wsgi"), file("APP.wsgi")).expect("the folder is ours");
        let questions = ask(&["__name__", "count", "__file__"]);
        let see = |path: &str| told(httpd.get(&questions.replacen('/', path, 1)));
        let [one, other] = ["/scripts/app.wsgi", "/scripts/APP.wsgi"].map(see);
        assert_eq!(one[0] == other[0], same, "{conf}: {other:?}");
        assert_eq!(other[1], if same { "2" } else { "1" }, "{conf}: {other:?}");
        assert!(one[2].ends_with("/apps/app.wsgi"), "{one:?}");
    }
}

#[test]
fn access_control_is_httpds_own() {
    let httpd = Httpd::new()
        .file("elsewhere/app.wsgi", HELLO)
        .conf("WSGIScriptAlias / {dir}/elsewhere/app.wsgi")
        .expect_log("client denied by server configuration")
        .start();
    httpd.get("/").assert(403);
}

#[test]
fn another_callable() {
    let source = HELLO.replace("def application", "def greet");
    let httpd = Httpd::new()
        .app("app.wsgi", &source)
        .conf("WSGIScriptAlias / {apps}/app.wsgi callable-object=greet")
        .start();
    assert_eq!(httpd.get("/").assert(200).text(), "hello");
}
