//! `WSGIAccessScript`: `allow_access(environ, host)`.

use testkit::{Certificate, Httpd, UnderTest};

use super::{Case, case, check_cases, get_as, serving_cases};
use crate::{TELL, ask, told};

const CASES: [Case; 12] = [
    case("def allow_access(environ, host): return True", 200, ""),
    case("def allow_access(environ, host): return False", 403, "Client denied by server"),
    case("def allow_access(environ, host): return None", 200, ""),
    case("def allow_access(environ, host): return 1", 403, "returned int, not True, False or None"),
    case("def allow_access(environ, host): return 0", 403, "/3.py"),
    case("def allow_access(environ, host): return ''", 403, "returned an empty str"),
    case("def allow_access(environ, host): return 1/0", 403, "ZeroDivisionError: division by zero"),
    case("def allow_access(environ, host): raise SystemExit", 403, "allow_access() failed in"),
    case("def other(environ, host): return True", 403, "has no 'allow_access'"),
    case("def allow_access(environ): return True", 403, "takes 1 positional argument"),
    case("raise OSError('it cannot be loaded')", 403, "OSError: it cannot be loaded"),
    case("def allow_access(", 403, "syntax error in WSGI script"),
];

const SCRIPT: &str = "WSGIAccessScript {script}";

#[test]
fn what_becomes_of_each_result() {
    let httpd = serving_cases(&CASES, SCRIPT).expect_log("[wsgi:error]").start();
    check_cases(&httpd, &CASES, &[]);
    // Hooks are asked anew each time, also those that cannot be loaded.
    check_cases(&httpd, &CASES, &[]);
}

#[test]
fn a_script_that_is_not_there_denies() {
    if testkit::ours_only("the text of the log") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf("WSGIScriptAlias / {apps}/app.wsgi")
        .conf("<Location />\nWSGIAccessScript {apps}/none.py\n</Location>")
        .expect_log("none.py")
        .expect_log("Client denied")
        .start();
    httpd.get("/?1").assert(403);
    httpd.wait_for_log(&["none.py", "No such file"]);
}

#[test]
fn require_and_the_hook_both_have_to_allow() {
    let allow = "def allow_access(environ, host): return True";
    let conf = "WSGIAccessScript {script}\nRequire all denied";
    let httpd = serving_cases(&[case(allow, 403, "")], conf)
        .expect_log("AH01630: client denied by server configuration")
        .start();
    httpd.get("/0?1").assert(403);
}

/// What the hook was given: it answers the questions that it finds in a header.
const CURIOUS: &str = r#"
import json, sys

def allow_access(environ, host):
    names = {"environ": environ, "host": host, "sys": sys}
    answers = [str(eval(question, names)) for question in json.loads(environ["HTTP_X_QUESTIONS"])]
    print("answers", *answers, sep="|", file=environ["wsgi.errors"])
    return True
"#;

#[test]
fn what_the_hook_knows_of_the_request() {
    let httpd = serving_cases(&[case(CURIOUS, 200, "")], SCRIPT)
        .conf("SetEnv FROM_CONFIGURATION 1")
        .expect_log("answers")
        .start();
    for (question, expected) in [
        ("host", "127.0.0.1"),
        ("environ['REMOTE_ADDR']", "127.0.0.1"),
        ("environ['REMOTE_PORT'].isdigit()", "True"),
        ("environ['REQUEST_METHOD']", "GET"),
        ("environ['REQUEST_URI']", "/0/a//b?1"),
        ("environ['QUERY_STRING']", "1"),
        ("environ['SCRIPT_NAME']", ""),
        ("environ['PATH_INFO']", "/0/a/b"),
        ("environ['SERVER_PROTOCOL']", "HTTP/1.1"),
        ("environ['SERVER_NAME']", "localhost"),
        ("environ['SERVER_PORT']", "80"),
        ("environ['SERVER_ADDR']", "127.0.0.1"),
        ("'SERVER_SIGNATURE' in environ, 'SERVER_ADMIN' in environ", "(True, True)"),
        ("environ['SERVER_SOFTWARE'].split('/')[0]", "Apache"),
        ("environ['DOCUMENT_ROOT'].endswith('/htdocs')", "True"),
        ("environ['HTTP_HOST'], environ['HTTP_X_ONE']", "('localhost', '1')"),
        ("environ['CONTENT_TYPE']", "text/plain"),
        ("environ['mod_wsgi.process_group'], environ['mod_wsgi.application_group']", "('', '')"),
        ("environ['mod_wsgi.version'][0], environ['apache.version'][:2]", "(6, (2, 4))"),
        ("bool(environ['mod_ssl.is_https']())", "False"),
        ("environ['mod_ssl.var_lookup']('SSL_PROTOCOL')", "None"),
        ("type(environ) is dict", "True"),
        (
            "[name for name in ('FROM_CONFIGURATION', 'wsgi.input', 'wsgi.url_scheme', \
             'SCRIPT_FILENAME', 'REMOTE_USER', 'REMOTE_HOST') if name in environ]",
            "[]",
        ),
    ] {
        let questions = format!("[{question:?}]");
        let headers = [
            ("X-Questions", questions.as_str()),
            ("X-One", "1"),
            ("Content-Type", "text/plain"),
            ("Authorization", "Bearer x"),
        ];
        httpd.request("GET", "/0/a//b?1", &headers, b"").assert(200);
        httpd.wait_for_log(&["[wsgi:error]", &format!("answers|{expected}")]);
    }
}

#[test]
fn the_clients_name_where_httpd_looks_it_up() {
    let httpd = serving_cases(&[case(CURIOUS, 200, "")], SCRIPT)
        .conf("HostnameLookups On")
        .expect_log("answers")
        .start();
    let questions = r#"["host", "environ['REMOTE_HOST']", "environ['REMOTE_ADDR']"]"#;
    httpd.request("GET", "/0?1", &[("X-Questions", questions)], b"").assert(200);
    httpd.wait_for_log(&["[wsgi:error]", "answers|localhost|localhost|127.0.0.1"]);
}

#[test]
fn what_the_hook_knows_of_an_encrypted_connection() {
    let source = "def allow_access(environ, host):\n    \
                  look = environ['mod_ssl.var_lookup']\n    \
                  print('knows', bool(environ['mod_ssl.is_https']()), look('HTTPS'), \
                  look('SSL_SERVER_S_DN_CN'), look('SSL_PROTOCOL').startswith('TLS'))\n    \
                  return True\n";
    let Some(own) = Certificate::of("the-server") else {
        return;
    };
    let httpd = serving_cases(&[case(source, 200, "")], SCRIPT)
        .file("key.pem", &own.key)
        .file("cert.pem", &own.certificate)
        .conf(
            "LoadModule socache_shmcb_module {modules}/mod_socache_shmcb.so\n\
             LoadModule ssl_module {modules}/mod_ssl.so\n\
             SSLEngine On\nSSLCertificateFile {dir}/cert.pem\nSSLCertificateKeyFile {dir}/key.pem",
        )
        .expect_log("[ssl:warn]")
        .start();
    let program = "import ssl, sys, urllib.request\n\
                   print(urllib.request.urlopen(sys.argv[1], \
                   context=ssl._create_unverified_context()).status)";
    let url = format!("https://127.0.0.1:{}/0?1", httpd.port());
    let output = std::process::Command::new("python3").args(["-c", program, &url]).output();
    let output = output.expect("there is a Python");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200\n", "{output:?}");
    httpd.wait_for_log(&["knows True on the-server True"]);
}

#[test]
fn the_hook_sees_the_authorization_header() {
    if testkit::ours_only("mod_wsgi keeps the header to itself, so that tokens cannot be checked") {
        return;
    }
    let httpd = serving_cases(&[case(CURIOUS, 200, "")], SCRIPT).expect_log("answers").start();
    let questions = r#"["environ['HTTP_AUTHORIZATION']"]"#;
    let headers = [("X-Questions", questions), ("Authorization", "Bearer x")];
    httpd.request("GET", "/0?1", &headers, b"").assert(200);
    httpd.wait_for_log(&["[wsgi:error]", "answers|Bearer x"]);
}

#[test]
fn what_the_hook_does_does_not_reach_the_application() {
    let source = "def allow_access(environ, host):\n    environ['REMOTE_USER'] = 'root'\n    \
                  environ['X'] = 1\n    environ['wsgi.errors'].write('hook wrote\\n')\n    \
                  print('hook printed')\n    return True\n";
    let httpd = serving_cases(&[case(source, 200, "")], SCRIPT).expect_log("hook wrote").start();
    let questions = ask(&["environ.get('REMOTE_USER')", "environ.get('X')"]);
    let answers = told(httpd.get(&questions.replacen('/', "/0", 1)));
    assert_eq!(answers, ["None", "None"]);
    httpd.wait_for_log(&["[client 127.0.0.1:", "hook wrote"]);
    // mod_wsgi does not know which request printed.
    let client = if UnderTest::chosen().is_original() { "" } else { "[client 127.0.0.1:" };
    httpd.wait_for_log(&[client, "hook printed"]);
}

#[test]
fn where_the_hook_runs() {
    if testkit::ours_only("hooks run as httpd's user in a worker") {
        return;
    }
    let source = "import os, pwd\ndef allow_access(environ, host):\n    \
                  group = environ['mod_wsgi.application_group']\n    \
                  user = pwd.getpwuid(os.geteuid()).pw_name\n    \
                  print('ran as', user, 'in', repr(group))\n    return True\n";
    let (user, _) = testkit::httpd_user();
    for (option, group) in [
        ("", ""),
        (" application-group=%{GLOBAL}", ""),
        (" application-group=other", "other"),
        (" application-group=%{SERVER}", "localhost"),
        (" application-group=%{HOST}", "host.example"),
        (" application-group=%{RESOURCE}", "%{RESOURCE}"),
        (" application-group=%{ENV:X}", "%{ENV:X}"),
    ] {
        let conf = format!("{SCRIPT}{option}\nSetEnv X blue");
        let httpd = serving_cases(&[case(source, 200, "")], &conf)
            .conf("WSGIDaemonProcess app user={user} group={group}\nWSGIProcessGroup app")
            .conf("WSGIRestrictEmbedded On")
            .start();
        httpd.get_from("host.example", "/0?1").assert(200);
        httpd.wait_for_log(&[&format!("ran as {user} in '{group}'")]);
    }
}

#[test]
fn satisfy_any() {
    let deny = "def allow_access(environ, host): return False\n\
                def check_password(environ, user, password): return password == 'secret'";
    let conf = "WSGIAccessScript {script}\nSatisfy Any\nAuthType Basic\nAuthName x\n\
                AuthBasicProvider wsgi\nWSGIAuthUserScript {script}\nRequire valid-user";
    let mut httpd =
        Httpd::new().conf("LoadModule access_compat_module {modules}/mod_access_compat.so");
    httpd = httpd.app("app.wsgi", TELL).app("0.py", deny).conf("WSGIScriptAlias / {apps}/app.wsgi");
    let conf = conf.replace("{script}", "{apps}/0.py");
    let mut httpd =
        httpd.conf(&format!("<Location />\n{conf}\n</Location>")).expect_log("AH01617").start();
    httpd.get("/?1").assert(401);
    get_as(&httpd, "user:wrong", "/?1").assert(401);
    get_as(&httpd, "user:secret", "/?1").assert(200);
    httpd.stop();
    assert!(
        !httpd.log("error.log").contains("Client denied"),
        "who may authenticate is not denied"
    );
}

#[test]
fn from_htaccess() {
    let deny = "def allow_access(environ, host): return False";
    for (grant, status) in [("AuthConfig", 403), ("FileInfo", 500)] {
        let httpd = Httpd::new()
            .app("app.wsgi", TELL)
            .app("deny.py", deny)
            .conf("WSGIScriptAlias / {apps}/app.wsgi")
            .conf(&format!("<Directory {{apps}}>\nAllowOverride {grant}\n</Directory>"))
            .expect_log("Client denied")
            .expect_log("not allowed here")
            .start();
        let line = format!("WSGIAccessScript {}/apps/deny.py\n", httpd.dir().display());
        std::fs::write(httpd.dir().join("apps/.htaccess"), line).expect("it is ours");
        httpd.get("/?1").assert(status);
    }
}

#[test]
fn from_htaccess_where_nothing_may_run_as_httpds_user() {
    if testkit::ours_only("there, hooks run in httpd all the same") {
        return;
    }
    for (restricted, status) in [("Off", 200), ("On", 403)] {
        let httpd = Httpd::new()
            .app("app.wsgi", TELL)
            .app("allow.py", "def allow_access(environ, host): return True")
            .conf("WSGIDaemonProcess app user={user} group={group}\nWSGIProcessGroup app")
            .conf("WSGIScriptAlias / {apps}/app.wsgi")
            .conf(&format!("WSGIRestrictEmbedded {restricted}"))
            .conf("<Directory {apps}>\nAllowOverride AuthConfig\n</Directory>")
            .expect_log("Client denied")
            .expect_log("WSGIRestrictEmbedded does not allow")
            .start();
        let line = format!("WSGIAccessScript {}/apps/allow.py\n", httpd.dir().display());
        std::fs::write(httpd.dir().join("apps/.htaccess"), line).expect("it is ours");
        httpd.get("/?1").assert(status);
    }
}

#[test]
fn the_inner_section_replaces_the_outer() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .app("deny.py", "def allow_access(environ, host): return False")
        .app("allow.py", "def allow_access(environ, host): return True")
        .conf(
            "WSGIScriptAlias / {apps}/app.wsgi\n\
             <Directory {apps}>\nWSGIAccessScript {apps}/deny.py\n</Directory>\n\
             <Location /in>\nWSGIAccessScript {apps}/allow.py\n</Location>",
        )
        .expect_log("Client denied")
        .start();
    httpd.get("/?1").assert(403);
    httpd.get("/in?1").assert(200);
}

#[test]
fn a_changed_script_is_loaded_again() {
    let source = |answer: &str| format!("def allow_access(environ, host): return {answer}");
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .app("hook.py", &source("True"))
        .conf("WSGIScriptAlias / {apps}/app.wsgi process-group=%{GLOBAL} application-group=a")
        .conf("<Location />\nWSGIAccessScript {apps}/hook.py\n</Location>")
        .expect_log("Client denied")
        .start();
    httpd.get("/?1").assert(200);
    httpd.replace_app("hook.py", &source("False"));
    httpd.get("/?1").assert(403);
}

#[test]
fn a_worker_that_is_lost_denies() {
    if testkit::ours_only("hooks run in workers") {
        return;
    }
    let source = "import os\ndef allow_access(environ, host): os._exit(1)";
    let httpd = serving_cases(&[case(source, 403, "")], SCRIPT)
        .expect_log("[wsgi:error]")
        .expect_log("[wsgi:warn]")
        .start();
    httpd.get("/0?1").assert(403);
    httpd.wait_for_log(&["There is no answer of", "/0.py"]);
}

#[test]
fn no_worker_denies() {
    if testkit::ours_only("hooks run in workers") {
        return;
    }
    let allow = "def allow_access(environ, host): return True";
    let httpd = serving_cases(&[case(allow, 403, "")], SCRIPT)
        .conf("WSGIDaemonProcess %{GLOBAL} memory-limit=1000")
        .expect_log("[wsgi:error]")
        .start();
    httpd.get("/0?1").assert(403);
    httpd.wait_for_log(&["Client denied"]);
}
