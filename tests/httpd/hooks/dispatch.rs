//! `WSGIDispatchScript`: `process_group(environ)`, `application_group(environ)` and
//! `callable_object(environ)`.

use testkit::Httpd;

use super::{Case, better, case, check_cases, serving_cases};
use crate::{TELL, ask, told};

const CONF: &str = "WSGIDispatchScript {script}";

const CASES: [Case; 14] = [
    case("", 200, ""),
    case("def process_group(environ): return None", 200, ""),
    case("def application_group(environ): return b'x'", 200, ""),
    case("def callable_object(environ): return 'application'", 200, ""),
    // As for any callable that is missing, mod_wsgi's daemons say 500 and embedded mode 404.
    better("def callable_object(environ): return 'missing'", 500, "has no 'missing'"),
    case("def process_group(environ): return 'nowhere'", 500, "'nowhere' is defined nowhere"),
    case("def process_group(environ): return 1", 500, "returned int, not None or a name"),
    case("def process_group(environ): return 1/0", 500, "process_group() failed in"),
    case("def application_group(environ): return True", 500, "returned bool"),
    case("def application_group(environ): return '\\u20ac'", 500, "TypeError"),
    case("def application_group(environ): raise SystemExit", 500, "SystemExit"),
    case("def callable_object(environ): return []", 500, "an empty list"),
    // What is configured holds.
    case("import no_such_module_here", 200, "no_such_module_here"),
    case("def process_group(", 200, "syntax error in WSGI script"),
];

#[test]
fn what_becomes_of_each_result() {
    let httpd = serving_cases(&CASES, CONF).expect_log("[wsgi:error]").start();
    check_cases(&httpd, &CASES, &[]);
}

/// Where a request runs that is dispatched by this script.
#[track_caller]
fn runs(source: &str, conf: &str, expected: [&str; 3]) {
    let httpd = Httpd::new()
        .app("app.wsgi", &format!("{TELL}\ndef other(*args): return application(*args)\n"))
        .app("hook.py", source)
        .conf("WSGIDaemonProcess one user={user} group={group}\nWSGIDaemonProcess two")
        .conf("WSGIScriptAlias / {apps}/app.wsgi")
        .conf("WSGIDispatchScript {apps}/hook.py")
        .conf(conf)
        .start();
    let questions = ask(&[
        "environ['mod_wsgi.process_group']",
        "environ['mod_wsgi.application_group']",
        "environ['mod_wsgi.callable_object']",
    ]);
    assert_eq!(told(httpd.get_from("host.example", &questions)), expected, "{source} with {conf}");
}

#[test]
fn results_win_and_are_expanded() {
    let group = |value: &str| format!("def process_group(environ): return {value}\n");
    let application = |value: &str| format!("def application_group(environ): return {value}\n");
    let callable = |value: &str| format!("def callable_object(environ): return {value}\n");
    let application_callable = "application";
    for (source, conf, expected) in [
        (group("'one'"), "", ["one", "localhost|", application_callable]),
        (group("'two'"), "WSGIProcessGroup one", ["two", "localhost|", "application"]),
        (group("'%{GLOBAL}'"), "WSGIProcessGroup one", ["", "localhost|", "application"]),
        (group("'%{ENV:G}'"), "SetEnv G one", ["one", "localhost|", "application"]),
        (group("None"), "WSGIProcessGroup one", ["one", "localhost|", "application"]),
        (application("'x'"), "WSGIApplicationGroup y", ["", "x", "application"]),
        (application("b'%{GLOBAL}'"), "", ["", "", "application"]),
        (application("'%{HOST}'"), "", ["", "host.example", "application"]),
        (application("'%{SERVER}'"), "", ["", "localhost", "application"]),
        (application("'%{RESOURCE}'"), "WSGIApplicationGroup y", ["", "localhost|", "application"]),
        (callable("'other'"), "WSGICallableObject missing", ["", "localhost|", "other"]),
        (callable("'%{ENV:C}'"), "SetEnv C other", ["", "localhost|", "other"]),
        (callable("'%{GLOBAL}'"), "", ["", "localhost|", "application"]),
        // By then the variables of CGI are there.
        (application("'%{ENV:HTTP_HOST}'"), "", ["", "host.example", "application"]),
        (group("'one'") + &application("'x'") + &callable("'other'"), "", ["one", "x", "other"]),
    ] {
        runs(&source, conf, expected);
    }
}

#[test]
fn the_hook_knows_the_variables_of_the_request() {
    let source = "def application_group(environ):\n    \
                  assert 'wsgi.input' not in environ\n    \
                  assert 'mod_wsgi.callable_object' not in environ\n    \
                  assert environ['mod_wsgi.application_group'] == 'hooks'\n    \
                  environ['wsgi.errors'].write('dispatched\\n')\n    \
                  return environ['WHERE'] + environ['SCRIPT_FILENAME'][-8:] + \
                  environ['HTTP_HOST']\n";
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .app("hook.py", source)
        .conf("WSGIScriptAlias / {apps}/app.wsgi\nSetEnv WHERE here")
        .conf("WSGIDispatchScript {apps}/hook.py application-group=hooks")
        .expect_log("dispatched")
        .start();
    let answers = told(httpd.get(&ask(&["environ['mod_wsgi.application_group']"])));
    assert_eq!(answers, ["hereapp.wsgilocalhost"]);
    httpd.wait_for_log(&["[client 127.0.0.1:", "dispatched"]);
}

#[test]
fn restrictions_hold_for_results() {
    let conf = "WSGIDispatchScript {script}\nWSGIRestrictProcess one";
    let cases = [
        case("def process_group(environ): return 'one'", 200, ""),
        case("def process_group(environ): return 'two'", 500, "WSGIRestrictProcess does not allow"),
    ];
    let httpd = serving_cases(&cases, conf)
        .conf("WSGIDaemonProcess one\nWSGIDaemonProcess two")
        .expect_log("WSGIRestrictProcess does not allow")
        .start();
    check_cases(&httpd, &cases, &[]);
}
