//! Process groups and application groups: who shares a process with whom, and who runs as whom.

use testkit::{Httpd, Running};

use crate::{TELL, ask, told};

/// An expression that is true in a process's main interpreter, whatever the version calls the
/// module that knows.
const IS_MAIN: &str = "(lambda module: module.get_current() == module.get_main())\
                       (__import__('_interpreters' if sys.version_info >= (3, 13) \
                       else '_xxsubinterpreters'))";

#[track_caller]
fn asked(httpd: &Running, host: &str, questions: &[&str]) -> Vec<String> {
    told(httpd.get_from(host, &ask(questions)))
}

#[test]
fn the_same_application_group_in_two_process_groups() {
    let host = |name: &str| {
        format!(
            "<VirtualHost *:{{port}}>\nServerName {name}.example\n\
             WSGIDaemonProcess {name} user={{user}} group={{group}}\n\
             WSGIScriptAlias / {{apps}}/app.wsgi process-group={name} application-group=same\n\
             </VirtualHost>"
        )
    };
    let httpd = Httpd::new().app("app.wsgi", TELL).conf(&host("one")).conf(&host("two")).start();
    let questions = [
        "environ['mod_wsgi.process_group']",
        "environ['mod_wsgi.application_group']",
        "os.environ.get('MARK')",
        "os.environ.update(MARK=environ['mod_wsgi.process_group'])",
        "count",
    ];
    assert_eq!(asked(&httpd, "one.example", &questions), ["one", "same", "None", "None", "1"]);
    assert_eq!(asked(&httpd, "two.example", &questions), ["two", "same", "None", "None", "1"]);
    assert_eq!(asked(&httpd, "one.example", &questions), ["one", "same", "one", "None", "2"]);
    let pid = |host: &str| asked(&httpd, host, &["os.getpid()"]);
    assert_ne!(pid("one.example"), pid("two.example"));
}

#[test]
fn an_application_group_is_a_process_with_a_main_interpreter() {
    if testkit::ours_only("application groups of mod_wsgi are sub-interpreters") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf(
            "WSGIDaemonProcess app user={user} group={group}\n\
             WSGIScriptAlias /one {apps}/app.wsgi process-group=app application-group=one\n\
             WSGIScriptAlias /two {apps}/app.wsgi process-group=app application-group=two\n\
             WSGIScriptAlias /also-one {apps}/app.wsgi process-group=app application-group=one",
        )
        .start();
    let questions = ask(&[IS_MAIN, "os.getpid()"]);
    let answers = |path: &str| told(httpd.get(&questions.replacen('/', path, 1)));
    let (one, two, also_one) = (answers("/one"), answers("/two"), answers("/also-one"));
    assert_eq!([&one[0], &two[0]], ["True", "True"]);
    assert_ne!(one[1], two[1]);
    assert_eq!(one[1], also_one[1]);
}

#[test]
fn users() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf(
            "WSGIDaemonProcess app user={user} group={group}\n\
             WSGIScriptAlias /group {apps}/app.wsgi process-group=app\n\
             WSGIScriptAlias /default {apps}/app.wsgi\n\
             WSGIScriptAlias /global {apps}/app.wsgi process-group=%{GLOBAL}",
        )
        .start();
    let questions =
        ask(&["user()", "os.getuid() == os.geteuid()", "environ['mod_wsgi.process_group']"]);
    for (path, (user, _), group) in [
        ("/group", testkit::app_user(), "app"),
        ("/default", testkit::httpd_user(), ""),
        ("/global", testkit::httpd_user(), ""),
    ] {
        let answers = told(httpd.get(&questions.replacen('/', path, 1)));
        assert_eq!(answers, [user.as_str(), "True", group], "{path}");
    }
}

#[test]
fn a_user_without_a_home() {
    if testkit::ours_only("daemons of mod_wsgi need a home that is there") {
        return;
    }
    // Service users often have a home in the user database that nobody ever made.
    let user = if testkit::running_as_root() { "user=nobody" } else { "" };
    let conf = format!("WSGIDaemonProcess app {user}\nWSGIProcessGroup app");
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf(&conf)
        .conf("WSGIScriptAlias / {apps}/app.wsgi")
        .start();
    let answers =
        asked(&httpd, "localhost", &["os.environ['HOME'] == pwd.getpwuid(os.geteuid()).pw_dir"]);
    assert_eq!(answers, ["True"]);
}

#[test]
fn the_default_group_can_be_configured() {
    if testkit::ours_only("mod_wsgi has no default group") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf(
            "WSGIDaemonProcess %{GLOBAL} threads=1 home={apps}\nWSGIScriptAlias / {apps}/app.wsgi",
        )
        .start();
    let questions =
        ["environ['wsgi.multithread']", "os.getcwd()", "environ['mod_wsgi.process_group']"];
    let apps = httpd.dir().join("apps").display().to_string();
    assert_eq!(asked(&httpd, "localhost", &questions), ["False", &apps, ""]);
}

#[test]
fn names_of_application_groups() {
    if testkit::ours_only("mod_wsgi makes a group of each port that a client names") {
        return;
    }
    for (setting, path, host, expected) in [
        ("WSGIApplicationGroup fixed", "/", "localhost", "fixed"),
        ("WSGIApplicationGroup %{GLOBAL}", "/", "localhost", ""),
        ("WSGIApplicationGroup %{SERVER}", "/", "other.example", "localhost"),
        ("WSGIApplicationGroup %{SERVER}", "/", "localhost:9999", "localhost:{port}"),
        ("WSGIApplicationGroup %{HOST}", "/", "Other.Example", "other.example"),
        ("WSGIApplicationGroup %{RESOURCE}", "/", "localhost", "localhost|"),
        ("WSGIApplicationGroup %{RESOURCE}", "/app", "localhost", "localhost|/app"),
        ("", "/app", "localhost", "localhost|/app"),
        // A client must not be able to make groups by inventing ports.
        ("", "/app", "localhost:9999", "localhost:{port}|/app"),
        // That of ServerName is no invention.
        (
            "ServerName named.example:8443\nUseCanonicalName On\nWSGIApplicationGroup %{SERVER}",
            "/",
            "localhost",
            "named.example:8443",
        ),
        ("SetEnv GROUP from-env\nWSGIApplicationGroup %{ENV:GROUP}", "/", "localhost", "from-env"),
        ("SetEnv GROUP %{GLOBAL}\nWSGIApplicationGroup %{ENV:GROUP}", "/", "localhost", ""),
        (
            "SetEnv X %{RESOURCE}\nWSGIApplicationGroup %{ENV:X}",
            "/app",
            "localhost",
            "localhost|/app",
        ),
        // Only once, and only what there is.
        ("SetEnv X %{ENV:Y}\nWSGIApplicationGroup %{ENV:X}", "/", "localhost", "%{ENV:Y}"),
        ("WSGIApplicationGroup %{ENV:NONE}", "/", "localhost", "%{ENV:NONE}"),
        // What httpd knows, not what CGI makes of it.
        ("WSGIApplicationGroup %{ENV:HTTP_HOST}", "/", "localhost", "%{ENV:HTTP_HOST}"),
        ("WSGIApplicationGroup %{OTHER}", "/", "localhost", "%{OTHER}"),
        ("WSGIApplicationGroup a%{GLOBAL}", "/", "localhost", "a%{GLOBAL}"),
    ] {
        let conf = format!("{setting}\nWSGIScriptAlias {path} {{apps}}/app.wsgi");
        let httpd = Httpd::new().app("app.wsgi", TELL).conf(&conf).start();
        let question = ask(&["environ['mod_wsgi.application_group']"]).replacen('/', path, 1);
        let response = httpd.get_from(host, &question).assert(200);
        let expected = expected.replace("{port}", &httpd.port().to_string());
        assert_eq!(response.text().trim_end(), expected, "{conf} {host}");
    }
}

#[test]
fn names_of_process_groups() {
    for (name, expected) in [
        ("%{GLOBAL}", ""),
        ("%{SERVER}", "localhost"),
        ("%{HOST}", "host.example"),
        ("%{RESOURCE}", "localhost|/app"),
        ("%{ENV:GROUP}", "from-env"),
        ("%{ENV:TOKEN}", "host.example"),
        ("%{ENV:OF_HTTPD}", "from-httpd"),
        ("%{ENV:FROM_A_RULE}", "from-a-rule"),
    ] {
        let groups = ["localhost", "host.example", "\"localhost|/app\"", "from-env", "from-httpd"];
        let groups = groups.map(|name| format!("WSGIDaemonProcess {name}\n")).concat();
        for setting in [
            format!("WSGIProcessGroup {name}\nWSGIScriptAlias /app {{apps}}/app.wsgi"),
            format!("WSGIScriptAlias /app {{apps}}/app.wsgi process-group={name}"),
        ] {
            let httpd = Httpd::new()
                .app("app.wsgi", TELL)
                .env("OF_HTTPD", "from-httpd")
                .conf(&groups)
                .conf("WSGIDaemonProcess from-a-rule\nSetEnv GROUP from-env\nSetEnv TOKEN %{HOST}")
                .conf("RewriteEngine On\nRewriteRule .* - [E=FROM_A_RULE:from-a-rule]")
                .conf(&setting)
                .start();
            let question = ask(&["environ['mod_wsgi.process_group']"]).replacen('/', "/app", 1);
            let response = httpd.get_from("host.example", &question).assert(200);
            assert_eq!(response.text().trim_end(), expected, "{setting}");
        }
    }
}

#[test]
fn a_client_that_names_no_host() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf("WSGIApplicationGroup %{HOST}\nWSGIScriptAlias / {apps}/app.wsgi")
        .start();
    let question = ask(&["environ['mod_wsgi.application_group']"]);
    let answer = httpd.raw(format!("GET {question} HTTP/1.0\r\n\r\n").as_bytes());
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.ends_with("\r\n\r\nlocalhost\n"), "{answer}");
}

#[test]
fn a_virtual_hosts_group_is_for_hosts_of_its_name() {
    let host = |inside: &str| {
        format!(
            "<VirtualHost *:{{port}}>\n{inside}\nWSGIScriptAlias / {{apps}}/app.wsgi\n\
             WSGIProcessGroup own\n</VirtualHost>"
        )
    };
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf(&host("ServerName a.example\nWSGIDaemonProcess own"))
        .conf(&host("ServerName a.example\nServerAlias same.example"))
        .conf(&host("ServerName b.example"))
        .expect_log("[wsgi:error]")
        .start();
    for host in ["a.example", "same.example"] {
        assert_eq!(asked(&httpd, host, &["environ['mod_wsgi.process_group']"]), ["own"], "{host}");
    }
    httpd.get_from("b.example", "/?1").assert(500);
}

/// httpd gives a virtual host in which no directive of ours stands the settings of the main server.
#[test]
fn hosts_that_say_nothing_use_what_the_main_server_has() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .app("early.wsgi", "print('loaded early')")
        .conf(
            "WSGIDaemonProcess app user={user} group={group}\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}\n\
             WSGIImportScript {apps}/early.wsgi process-group=app application-group=%{GLOBAL}\n\
             <VirtualHost *:{port}>\nServerName one.example\n</VirtualHost>\n\
             <VirtualHost *:{port}>\nServerName two.example\nErrorLog logs/two-error.log\n\
             </VirtualHost>",
        )
        .start();
    let questions = ["environ['mod_wsgi.process_group']", "os.getpid()"];
    let one = asked(&httpd, "one.example", &questions);
    assert_eq!(one[0], "app");
    assert_eq!(asked(&httpd, "two.example", &questions), one);
    assert_eq!(httpd.error_log().matches("loaded early").count(), 1, "{}", httpd.error_log());
    assert_eq!(httpd.log("two-error.log"), "");
}

#[test]
fn names_of_callables() {
    let source = format!("{TELL}\ndef other(*arguments): return application(*arguments)\n");
    for (setting, expected) in [
        ("", "application"),
        ("WSGICallableObject other", "other"),
        ("SetEnv X other\nWSGICallableObject %{ENV:X}", "other"),
        ("WSGICallableObject %{ENV:NONE}", "application"),
        ("WSGICallableObject %{GLOBAL}", "application"),
        ("WSGICallableObject %{RESOURCE}", "application"),
    ] {
        let httpd = Httpd::new()
            .app("app.wsgi", &source)
            .conf("WSGIScriptAlias / {apps}/app.wsgi")
            .conf(setting)
            .start();
        let answers = asked(&httpd, "localhost", &["environ['mod_wsgi.callable_object']"]);
        assert_eq!(answers, [expected], "{setting}");
    }
}

#[test]
fn a_process_group_from_a_variable() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf(
            "WSGIDaemonProcess one\nWSGIDaemonProcess two\n\
             SetEnvIf Host ^two GROUP=two\nSetEnvIf Host ^one GROUP=one\n\
             WSGIProcessGroup %{ENV:GROUP}\nWSGIScriptAlias / {apps}/app.wsgi",
        )
        .start();
    for name in ["one", "two"] {
        let host = format!("{name}.example");
        assert_eq!(asked(&httpd, &host, &["environ['mod_wsgi.process_group']"]), [name]);
    }
}

#[test]
fn a_group_that_nobody_defines() {
    let httpd = || {
        Httpd::new()
            .app("app.wsgi", TELL)
            .conf(
                "WSGIDaemonProcess app\nWSGIProcessGroup no-such-group\n\
                 WSGIScriptAlias /app {apps}/app.wsgi process-group=app\n\
                 WSGIScriptAlias / {apps}/app.wsgi",
            )
            .expect_log("no-such-group")
    };
    httpd().configtest().accepts(&["Syntax OK", "no-such-group"]);
    let httpd = httpd().start();
    told(httpd.get("/app?count"));
    httpd.get("/").assert(500);
    let line = httpd.wait_for_log(&["[wsgi:error]", "no-such-group"]);
    assert!(line.contains("client"), "the line belongs to the request: {line}");
    let lines = httpd.error_log();
    let errors = lines.lines().filter(|line| line.contains("[wsgi:error]"));
    assert_eq!(errors.count(), 1, "{lines}");
}
