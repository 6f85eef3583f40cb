//! Directives: what they accept, where they stand, and what their options do.

mod cases;
mod coverage;
mod htaccess;
mod python;
mod requests;
mod table;

use testkit::{Httpd, Mpm};

use crate::{HELLO, TELL, ask, serving, told};

#[track_caller]
fn refused(conf: &str, texts: &[&str]) {
    Httpd::new().app("app.wsgi", HELLO).conf(conf).configtest().refuses(texts);
}

#[track_caller]
fn accepted(conf: &str) {
    accepted_with(conf, &["Syntax OK"]);
}

#[track_caller]
fn accepted_with(conf: &str, texts: &[&str]) {
    Httpd::new().app("app.wsgi", HELLO).conf(conf).configtest().accepts(texts);
}

/// An httpd with [`TELL`] in the main interpreter of the group `app`, and this configuration.
fn telling(conf: &str) -> Httpd {
    Httpd::new()
        .app("app.wsgi", TELL)
        .conf("WSGIDaemonProcess app user={user} group={group}\nWSGIProcessGroup app")
        .conf("WSGIApplicationGroup %{GLOBAL}\nWSGIScriptAlias / {apps}/app.wsgi")
        .conf(conf)
}

#[test]
fn mistakes_in_wsgi_script_alias() {
    let name = "WSGIScriptAlias";
    refused("WSGIScriptAlias /", &[name]);
    refused("WSGIScriptAlias \"\" {apps}/app.wsgi", &[name, "at least two arguments"]);
    refused("WSGIScriptAlias / \"\"", &[name, "at least two arguments"]);
    refused("WSGIScriptAlias / {apps}/app.wsgi nonsense=1", &[name, "nonsense"]);
    refused("WSGIScriptAlias / {apps}/app.wsgi nonsense", &[name, "nonsense"]);
    refused("WSGIScriptAlias / {apps}/app.wsgi process-group=", &[name, "process-group"]);
    refused("WSGIScriptAlias / {apps}/app.wsgi application-group=", &[name, "application-group"]);
    refused("WSGIScriptAlias / {apps}/app.wsgi callable-object=", &[name, "callable-object"]);
}

#[test]
fn mistakes_in_wsgi_daemon_process() {
    let name = "WSGI daemon process";
    refused("WSGIDaemonProcess", &[name]);
    refused("WSGIDaemonProcess a\nWSGIDaemonProcess a", &["duplicates", "'a'"]);
    for option in [
        "nonsense=1",
        "nonsense",
        "user=nobody-of-this-name",
        "user=",
        "group=no-group-of-this-name",
        "processes=0",
        "processes=x",
        "threads=-1",
        "threads=65534",
        "umask=9",
        "umask=-1",
        "user=#-1",
        "script-group=#4294967293",
        "home=relative/path",
    ] {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        refused(&format!("WSGIDaemonProcess a {option}"), &[name, key, value]);
    }
    if testkit::running_as_root() {
        refused("WSGIDaemonProcess a user=root", &["user", "root"]);
    }
}

#[test]
fn mistakes_in_directives_about_python_and_telemetry() {
    refused("WSGIPythonHashSeed +5", &["WSGIPythonHashSeed", "in range", "'+5'"]);
    refused("WSGITelemetryOptions", &["WSGITelemetryOptions", "at least one flag"]);
    let seed = "must be \"random\" or an integer in range [0; 4294967295]";
    let interval = "WSGISwitchInterval must be a positive number of seconds";
    let own_word = "second argument must be 'interval=N'";
    let proxy = "Unable to parse trusted proxy IP address/subnet of";
    for (line, said) in [
        ("WSGIPythonHashSeed 4294967296", seed),
        ("WSGIPythonHashSeed Random", seed),
        ("WSGISwitchInterval x", interval),
        ("WSGISwitchInterval -1", interval),
        ("WSGISwitchInterval 1x", interval),
        ("WSGITelemetryService unix:/t 5", own_word),
        ("WSGITelemetryService unix:/t Interval=5", own_word),
        ("WSGITelemetryService unix:/t interval=0.4", "interval must be at least 0.5 seconds"),
        ("WSGITelemetryService unix:/t interval=5 6", "takes 1-2 arguments"),
        ("WSGITelemetryOptions +CaptureUserAgent All", "cannot mix +/- form with absolute names"),
        ("WSGITelemetryOptions +All", "'All' may not have a +/- prefix"),
        ("WSGITelemetryOptions -None", "'None' may not have a +/- prefix"),
        ("WSGISlowRequests -1x", "must be non-negative"),
        ("WSGITrustedProxies 10.0.0.0/99", proxy),
        ("WSGITrustedProxies 10.0.0.0/x", proxy),
        ("WSGITrustedProxies 10.0.0.1 localhost", proxy),
        (
            "<WSGIInterpreterOptions process-group=a\n</WSGIInterpreterOptions>",
            "directive missing closing '>'",
        ),
        ("<WSGIInterpreterOptions x>\n</WSGIInterpreterOptions>", "not of the form key=value"),
        (
            "<WSGIInterpreterOptions process-group=a process-group=b>\n</WSGIInterpreterOptions>",
            "process-group given more than once",
        ),
        (
            "<WSGIInterpreterOptions application-group=a application-group=a>\n\
             </WSGIInterpreterOptions>",
            "application-group given more than once",
        ),
    ] {
        refused(line, &[said]);
    }
    let prefix = format!("WSGISocketPrefix /{}", "x".repeat(5000));
    refused(&prefix, &["Invalid WSGISocketPrefix"]);
}

#[test]
fn mistakes_in_scripts_and_their_options() {
    for (what, line) in [
        ("handler script", "WSGIHandlerScript h"),
        ("dispatch script", "WSGIDispatchScript"),
        ("access script", "WSGIAccessScript"),
        ("auth user script", "WSGIAuthUserScript"),
        ("auth group script", "WSGIAuthGroupScript"),
    ] {
        let lines = [
            (String::new(), format!("Location of {what} not supplied.")),
            ("/s word".to_owned(), format!("Invalid option to WSGI {what} definition.")),
            ("/s a=b".to_owned(), format!("Invalid option to WSGI {what} definition.")),
            ("/s Application-Group=a".to_owned(), format!("Invalid option to WSGI {what}")),
            ("/s application-group =a".to_owned(), format!("Invalid option to WSGI {what}")),
            ("/s application-group=".to_owned(), "Invalid name for WSGI application group.".into()),
        ];
        for (arguments, said) in lines {
            refused(&format!("<Location />\n{line} {arguments}\n</Location>"), &[&said]);
        }
    }
    for (line, said) in [
        ("WSGIHandlerScript", "Name for handler script not supplied."),
        ("WSGIHandlerScript h /s process-group=", "Invalid name for WSGI process group."),
        ("WSGIHandlerScript h /s pass-authorization=x", "Invalid value for authorization flag."),
        ("WSGIScriptAliasMatch ^/", "requires at least two arguments"),
        ("WSGIScriptAlias / /s callable-object=", "Invalid name for WSGI callable object."),
        ("WSGIScriptAlias / /s pass-authorization=x", "Invalid value for authorization flag."),
        ("WSGIScriptAlias / /s Process-Group=x", "Invalid option to WSGI script alias definition."),
        ("WSGIDaemonProcess a Threads=2", "Invalid option to WSGI daemon process definition."),
        ("WSGIDaemonProcess a threads =2", "Invalid option to WSGI daemon process definition."),
        ("WSGIDaemonProcess a user=#54321", "user"),
        ("WSGIDaemonProcess a group=", "Invalid group for WSGI daemon process."),
    ] {
        refused(line, &[said]);
    }
}

#[test]
fn options_without_a_value() {
    let may_be_empty = [
        "supplementary-groups=",
        "lang=",
        "locale=",
        "python-home=",
        "python-path=",
        "python-eggs=",
        "display-name=",
    ];
    for option in table::options() {
        let conf = format!("WSGIDaemonProcess a {option}");
        if may_be_empty.contains(&option) {
            accepted(&conf);
        } else {
            refused(&conf, &["WSGI daemon process"]);
        }
    }
}

#[test]
fn mistakes_with_which_mod_wsgi_would_serve() {
    for (conf, warnings) in [
        ("WSGIDaemonProcess a processes=2x", &["processes='2x'", "is read as 2"][..]),
        ("WSGIDaemonProcess a processes=99999", &["processes='99999'", "counts as 10000"]),
        ("WSGIDaemonProcess a processes=4294967298", &["is more than can be"]),
        ("WSGIDaemonProcess a threads=4294967298", &["is beyond 32 bits and counts as 2"]),
        ("WSGIDaemonProcess a threads=many", &["threads='many'", "0 makes a service"]),
        ("WSGIDaemonProcess a threads=\"'5\"", &["threads=''5'", "0 makes a service"]),
        ("WSGIDaemonProcess a threads=1 threads=x", &["threads='x'", "0 makes a service"]),
        ("WSGIDaemonProcess a threads= 5", &[]),
        ("WSGIDaemonProcess a lang= threads=5", &["lang='threads=5'", "is the next option"]),
        ("WSGIDaemonProcess a switch-interval=nan", &["'nan' is no number"]),
        ("WSGIDaemonProcess a switch-interval=inf", &["'inf' is too long"]),
        ("WSGIDaemonProcess a switch-interval=1e-9", &["'1e-9' is too short"]),
        ("WSGIDaemonProcess a group=#1x", &["group='#1x' is read as 1"]),
        ("WSGIDaemonProcess a group=#-1", &["group='#-1'", "counts as httpd's Group"]),
        ("WSGIDaemonProcess a group=#-2", &["group='#-2'", "counts as 4294967294"]),
        ("WSGIDaemonProcess a supplementary-groups=#1,,#2,", &["has a comma too many"]),
        ("WSGIDaemonProcess a cpu-priority=-2147483648", &["counts as the nearest"]),
        ("WSGIScriptAlias / {apps}/app.wsgi process-group= %{GLOBAL}", &[]),
        ("WSGISwitchInterval nan", &["'nan' is no number"]),
        ("WSGISwitchInterval 0x1p-4", &[]),
        ("WSGITelemetryService unix:/x interval=5x", &["'5x' is no number of seconds"]),
        ("WSGISlowRequests 1x", &["'1x' is no number of seconds"]),
        ("WSGISlowRequests -0", &[]),
        ("WSGIPythonHashSeed \" 5\"", &[]),
    ] {
        accepted_with(conf, &[&["Syntax OK"], warnings].concat());
    }
}

#[test]
fn arguments_of_the_group_directives() {
    refused("WSGIProcessGroup", &["WSGIProcessGroup"]);
    refused("WSGIProcessGroup a b", &["WSGIProcessGroup"]);
    refused("WSGIApplicationGroup", &["WSGIApplicationGroup"]);
}

/// Wraps a directive in each section, from the outermost inwards.
const CONTEXTS: [(&str, &str); 5] = [
    ("", ""),
    ("<VirtualHost *:{port}>", "</VirtualHost>"),
    ("<Directory {apps}>", "</Directory>"),
    ("<Location /x>", "</Location>"),
    ("<Files x>", "</Files>"),
];

#[test]
fn contexts() {
    for (directive, allowed_in) in [
        ("WSGIScriptAlias / {apps}/app.wsgi", 2),
        ("WSGIDaemonProcess b", 2),
        ("WSGIProcessGroup a", 5),
        ("WSGIApplicationGroup a", 5),
    ] {
        for (number, (open, close)) in CONTEXTS.iter().enumerate() {
            let conf = format!("WSGIDaemonProcess a\n{open}\n{directive}\n{close}");
            if number < allowed_in {
                accepted(&conf);
            } else {
                let name = directive.split(' ').next().unwrap_or_default();
                refused(&conf, &[name, "not allowed"]);
            }
        }
    }
}

#[test]
fn htaccess_may_not_choose_groups() {
    for directive in ["WSGIProcessGroup app", "WSGIApplicationGroup x"] {
        let httpd = serving(HELLO)
            .file("apps/.htaccess", directive)
            .conf("<Directory {apps}>\nAllowOverride All\n</Directory>")
            .expect_log("not allowed here")
            .start();
        httpd.get("/").assert(500);
        httpd.wait_for_log(&[".htaccess", "not allowed here"]);
    }
}

#[test]
fn options_of_a_group() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .file("lib/mwrs_module.py", "value = 7")
        .conf(
            "WSGIDaemonProcess app user={user} group={group} processes=2 threads=1 home={apps} \
             python-path={dir}/lib umask=027 lang=C.UTF-8 locale=C.UTF-8 display-name=%{GROUP}\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    let apps = httpd.dir().join("apps").display().to_string();
    let lib = httpd.dir().join("lib").display().to_string();
    let answers = told(httpd.get(&ask(&[
        "user()",
        "os.getcwd()",
        "sys.path[0]",
        "sys.path[1]",
        "__import__('mwrs_module').value",
        "umask()",
        "os.environ['LANG']",
        "os.environ['LC_ALL']",
        "environ['wsgi.multithread']",
        "environ['wsgi.multiprocess']",
    ])));
    let (user, _) = testkit::app_user();
    assert_eq!(
        answers,
        [&user, &apps, &apps, &lib, "7", "0o27", "C.UTF-8", "C.UTF-8", "False", "True"]
    );
    assert!(httpd.descendants().iter().any(|worker| worker.command().contains("(wsgi:app)")));
}

#[test]
fn defaults_of_a_group() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf("WSGIDaemonProcess app\nWSGIProcessGroup app\nWSGIScriptAlias / {apps}/app.wsgi")
        .start();
    let questions = ["user()", "environ['wsgi.multithread']", "environ['wsgi.multiprocess']"];
    let (user, _) = testkit::httpd_user();
    assert_eq!(told(httpd.get(&ask(&questions))), [user.as_str(), "True", "False"]);
}

/// The group in which a request to `/` runs, when this comes after the definition of the groups.
#[track_caller]
fn check_merge(conf: &str, expected: &str) {
    let conf = format!(
        "WSGIDaemonProcess one\nWSGIDaemonProcess two\nWSGIDaemonProcess three\n\
         WSGIApplicationGroup %{{GLOBAL}}\n{conf}"
    );
    let httpd = Httpd::new().mpm(Mpm::Worker).app("app.wsgi", TELL).conf(&conf).start();
    let answer = told(httpd.get(&ask(&["environ['mod_wsgi.process_group']"])));
    assert_eq!(answer, [expected], "{conf}");
}

const ALIAS: &str = "WSGIScriptAlias / {apps}/app.wsgi";

#[test]
fn inner_settings_win() {
    check_merge(&format!("WSGIProcessGroup one\n{ALIAS}"), "one");
    let host = |inside: &str| {
        format!("WSGIProcessGroup one\n<VirtualHost *:{{port}}>\n{inside}\n{ALIAS}\n</VirtualHost>")
    };
    check_merge(&host(""), "one");
    check_merge(&host("WSGIProcessGroup two"), "two");
    let directory = "<Directory {apps}>\nWSGIProcessGroup three\n</Directory>";
    check_merge(&host(&format!("WSGIProcessGroup two\n{directory}")), "three");
    let location = "<Location />\nWSGIProcessGroup two\n</Location>";
    check_merge(&host(&format!("{directory}\n{location}")), "two");
}

#[test]
fn an_option_of_the_alias_wins() {
    check_merge(&format!("WSGIProcessGroup one\n{ALIAS} process-group=two"), "two");
    let directory = "<Directory {apps}>\nWSGIProcessGroup three\n</Directory>";
    check_merge(&format!("{directory}\n{ALIAS} process-group=two"), "two");
}
