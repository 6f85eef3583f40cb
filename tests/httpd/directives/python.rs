//! Directives and options about Python and processes: what workers make of them.

use testkit::{Httpd, UnderTest};

use super::telling;
use crate::{TELL, ask, told};

#[track_caller]
fn answers(conf: &str, questions: &[&str], expected: &[&str]) {
    let httpd = telling(conf).start();
    assert_eq!(told(httpd.get(&ask(questions))), expected, "{conf}");
}

#[test]
fn python_is_set_up() {
    let set = "WSGIPythonOptimize 1\nWSGIDontWriteBytecode On\nWSGIPythonHashSeed 7\n\
               WSGISwitchInterval 0.02\nWSGIPythonWarnings ignore::ResourceWarning\n\
               WSGIPythonWarnings error::UserWarning\nWSGIRestrictStdin On\nWSGIRestrictSignal Off";
    let questions = [
        "sys.flags.optimize",
        "sys.dont_write_bytecode",
        "sys.flags.hash_randomization",
        "sys.getswitchinterval()",
        "sys.warnoptions[-2:]",
        "type(sys.stdin).__name__.strip('_')",
        "'mod_wsgi' in __import__('signal').signal.__module__",
    ];
    let warnings = "['ignore::ResourceWarning', 'error::UserWarning']";
    answers(set, &questions, &["1", "True", "1", "0.02", warnings, "Restricted", "False"]);
    let unset = ["0", "False", "1", "0.005", "[]", "TextIOWrapper", "True"];
    answers("", &questions, &unset);
    // Each in its own line, as the seed's value cannot be asked for.
    let seeded = |conf: &str| told(telling(conf).start().get(&ask(&["hash('x')"])));
    assert_eq!(seeded("WSGIPythonHashSeed 7"), seeded("WSGIPythonHashSeed 7"));
    if !UnderTest::chosen().is_original() {
        assert_ne!(seeded("WSGIPythonHashSeed random"), seeded("WSGIPythonHashSeed random"));
    }
}

#[test]
fn levels_of_optimization() {
    for (value, level) in [("2", "2"), ("5", "5"), ("-1", "0"), ("x", "0"), ("1x", "1")] {
        let conf = format!("WSGIPythonOptimize {value}");
        let httpd = telling(&conf).expect_log("write the number alone").start();
        assert_eq!(told(httpd.get(&ask(&["sys.flags.optimize"]))), [level], "{conf}");
    }
}

#[test]
fn filters_that_are_none_are_left_to_python() {
    let conf = "WSGIPythonWarnings nonsense::x";
    let httpd = telling(conf).expect_log("Invalid -W option ignored").start();
    assert_eq!(told(httpd.get(&ask(&["'nonsense::x' in sys.warnoptions"]))), ["True"]);
}

#[test]
fn a_home_that_is_none_harms_nobody_who_has_another() {
    let venv = testkit::environment::venv().display().to_string();
    let serving = |group: &str| {
        Httpd::new()
            .app("app.wsgi", TELL)
            .conf("WSGIPythonHome /nowhere\nWSGIRestrictEmbedded On")
            .conf(&format!("WSGIDaemonProcess app python-home={venv}\n{group}"))
            .conf("WSGIProcessGroup app\nWSGIApplicationGroup %{GLOBAL}")
            .conf("WSGIScriptAlias / {apps}/app.wsgi")
            .expect_log("/nowhere")
    };
    let httpd = serving("").start();
    assert_eq!(told(httpd.get(&ask(&["sys.prefix"]))), [venv.as_str()]);
    if !UnderTest::chosen().is_original() {
        let checked = serving("WSGIDaemonProcess other").configtest();
        checked.accepts(&["Syntax OK", "'other'", "/nowhere", "No such file"]);
    }
}

#[test]
fn intervals_of_a_group_and_of_all() {
    let interval = |conf: &str, expected: &str| {
        let httpd = Httpd::new()
            .app("app.wsgi", TELL)
            .conf(conf)
            .conf("WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}")
            .start();
        let told = told(httpd.get(&ask(&["sys.getswitchinterval()"])));
        assert_eq!(told, [expected], "{conf}");
    };
    interval("WSGISwitchInterval 0.02\nWSGIDaemonProcess app switch-interval=0.04", "0.04");
    interval(
        "<WSGIInterpreterOptions process-group=app>\nWSGISwitchInterval 0.02\n\
         </WSGIInterpreterOptions>\nWSGIDaemonProcess app switch-interval=0.04",
        "0.04",
    );
}

#[test]
fn interpreter_options_are_in_front_of_what_the_group_has() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf("WSGIDaemonProcess app python-path=/usr:/srv\nWSGIPythonPath /opt")
        .conf("<WSGIInterpreterOptions>\nWSGIPythonPath /etc:/srv\n</WSGIInterpreterOptions>")
        .conf("WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}")
        .start();
    let path = "[path for path in sys.path if path in ('/usr', '/srv', '/etc', '/opt')]";
    assert_eq!(told(httpd.get(&ask(&[path]))), ["['/etc', '/usr', '/srv']"]);
}

#[test]
fn lines_among_interpreter_options_that_are_none() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf(
            "<WSGIInterpreterOptions process-group=app>\nWSGIDaemonProcess app\n\
             WSGIProcessGroup app\nWSGIPythonEggs /tmp/eggs\nWSGIPythonOptimize 1\n\
             WSGIScriptAlias /embedded {apps}/app.wsgi process-group=%{GLOBAL}\n\
             WSGIScriptAlias / {apps}/app.wsgi\n</WSGIInterpreterOptions>",
        )
        .start();
    let questions = ["environ['mod_wsgi.process_group']", "sys.flags.optimize"];
    assert_eq!(told(httpd.get(&ask(&questions))), ["app", "1"]);
    let questions = ["os.environ['PYTHON_EGG_CACHE']", "sys.flags.optimize"];
    let path = ask(&questions).replacen('/', "/embedded", 1);
    assert_eq!(told(httpd.get(&path)), ["/tmp/eggs", "1"]);
}

#[test]
fn homes_that_are_relative() {
    let venv = testkit::environment::venv();
    let from_root = venv.strip_prefix("/").expect("from the root").display();
    let (folder, name) = (venv.parent().expect("a folder"), venv.file_name().expect("a name"));
    let (folder, name) = (folder.display(), name.display());
    let question = ask(&["os.path.realpath(sys.prefix)"]);
    for conf in [
        // From the working directory of the group's processes, or of httpd.
        format!("WSGIDaemonProcess app home={folder} python-home={name}\nWSGIProcessGroup app"),
        format!("WSGIDaemonProcess app home=/ python-home={from_root}\nWSGIProcessGroup app"),
        format!("WSGIDaemonProcess app python-home={from_root}\nWSGIProcessGroup app"),
        format!("WSGIPythonHome {from_root}"),
    ] {
        let httpd = Httpd::new()
            .app("app.wsgi", TELL)
            .conf(&conf)
            .conf("WSGIApplicationGroup %{GLOBAL}\nWSGIScriptAlias / {apps}/app.wsgi");
        httpd.clone().configtest().accepts(&["Syntax OK", "is relative and counts as /"]);
        let httpd = httpd.expect_log("is relative").start();
        assert_eq!(told(httpd.get(&question)), [venv.display().to_string()], "{conf}");
    }
}

#[test]
fn interpreter_options_are_for_those_they_name() {
    let block = |group: &str| {
        format!(
            "<WSGIInterpreterOptions process-group={group}>\nWSGISwitchInterval 0.03\n\
             WSGIPythonPath /srv\n</WSGIInterpreterOptions>"
        )
    };
    let questions = ["sys.getswitchinterval()", "'/srv' in sys.path"];
    answers(&block("app"), &questions, &["0.03", "True"]);
    let other = format!("WSGIDaemonProcess other\n{}", block("other"));
    answers(&other, &questions, &["0.005", "False"]);
}

#[test]
fn interpreter_options_in_one_another() {
    let block = |group: &str, inside: &str| {
        format!(
            "<WSGIInterpreterOptions process-group={group}>\n{inside}\n</WSGIInterpreterOptions>"
        )
    };
    let set = |path: &str, interval: &str| {
        format!("WSGIPythonPath {path}\nWSGISwitchInterval {interval}")
    };
    let questions = ["sys.getswitchinterval()", "[path for path in sys.path if '/srv' in path]"];
    let check = |conf: &str, expected: &[&str]| {
        let groups = "WSGIDaemonProcess other\nWSGIPythonPath /srv";
        answers(&format!("{groups}\n{conf}"), &questions, expected);
    };
    let inner = |group: &str| block(group, &set("/srv/inner", "0.02"));
    let outer = |group: &str, of: &str| {
        block(group, &format!("{}\nWSGISwitchInterval 0.03\nWSGIPythonPath /srv/outer", inner(of)))
    };
    // Neither is for those of the other one; lines behind the inner one are the outer one's.
    check(&outer("other", "app"), &["0.02", "['/srv/inner']"]);
    check(&outer("app", "other"), &["0.03", "['/srv/outer']"]);
    // The one that begins later is the later one.
    check(&outer("app", "app"), &["0.02", "['/srv/inner', '/srv/outer']"]);
}

#[test]
fn interpreter_options_for_one_application_group() {
    if testkit::ours_only(
        "application groups of mod_wsgi share a process, and so its switch interval",
    ) {
        return;
    }
    let alias = |name: &str| {
        format!(
            "WSGIScriptAlias /{name} {{apps}}/app.wsgi process-group=app application-group={name}\n"
        )
    };
    let block = |selector: &str, inside: &str| {
        format!("<WSGIInterpreterOptions {selector}>\n{inside}\n</WSGIInterpreterOptions>\n")
    };
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf("WSGIDaemonProcess app user={user} group={group}\nWSGIRestrictStdin On")
        .conf(&(alias("one") + &alias("two") + &alias("three")))
        .conf(&block("application-group=one", "WSGISwitchInterval 0.02\nWSGIRestrictStdin Off"))
        .conf(&block(
            "process-group=app application-group=one",
            "WSGISwitchInterval 0.03\nWSGIPythonPath /srv\nWSGIRestrictSignal Off",
        ))
        .conf(&block("process-group=app", "WSGISwitchInterval 0.01\nWSGIPythonPath /usr"))
        .conf(&block("process-group=%{GLOBAL} application-group=two", "WSGIPythonPath /etc"))
        .conf(&block("application-group=three", "WSGIRestrictStdout On"))
        .start();
    let questions = [
        "sys.getswitchinterval()",
        "[entry for entry in sys.path if entry in ('/srv', '/usr', '/etc')]",
        "type(sys.stdin).__name__.strip('_')",
        "type(sys.stdout).__name__.strip('_')",
        "'mod_wsgi' in __import__('signal').signal.__module__",
    ];
    let in_group = |name: &str| told(httpd.get(&format!("/{name}{}", &ask(&questions)[1..])));
    let text = "TextIOWrapper";
    assert_eq!(in_group("one"), ["0.03", "['/srv', '/usr']", text, text, "False"]);
    assert_eq!(in_group("two"), ["0.01", "['/usr']", "Restricted", text, "True"]);
    assert_eq!(in_group("three"), ["0.01", "['/usr']", "Restricted", "Restricted", "True"]);
}

#[test]
fn restricted_stdout() {
    let httpd = telling("WSGIRestrictStdout On").expect_log("[wsgi:error]").start();
    httpd.get(&ask(&["print('x')"])).assert(500);
    httpd.wait_for_log(&["sys.stdout access restricted by mod_wsgi"]);
}

#[test]
fn restricted_stdin() {
    let httpd = telling("WSGIRestrictStdin On").expect_log("[wsgi:error]").start();
    httpd.get(&ask(&["sys.stdin.read()"])).assert(500);
    httpd.wait_for_log(&["sys.stdin access restricted by mod_wsgi"]);
}

#[test]
fn handlers_of_signals_are_given_back() {
    let set = "__import__('signal').signal(12, print) is print";
    let handler = "__import__('signal').getsignal(12) is print";
    let httpd = telling("LogLevel wsgi:info").start();
    assert_eq!(told(httpd.get(&ask(&[set, handler]))), ["True", "False"]);
    httpd.wait_for_log(&["Ignoring Python signal handler registration for signal 12"]);
}

#[test]
fn limits_of_the_system() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf(
            "WSGIDaemonProcess app user={user} group={group} cpu-priority=5 cpu-time-limit=100 \
             memory-limit=4000000000 virtual-memory-limit=8000000000 python-eggs=/tmp/eggs \
             switch-interval=0.04 stack-size=1000000 supplementary-groups=#1 shutdown-timeout=7 \
             listen-backlog=3 send-buffer-size=4096 receive-buffer-size=4096",
        )
        .conf("WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}")
        .start();
    let questions = [
        "os.nice(0)",
        "__import__('resource').getrlimit(__import__('resource').RLIMIT_CPU)[0]",
        "__import__('resource').getrlimit(__import__('resource').RLIMIT_DATA)",
        "__import__('resource').getrlimit(__import__('resource').RLIMIT_AS)",
        "os.environ['PYTHON_EGG_CACHE']",
        "sys.getswitchinterval()",
        "1 in os.getgroups()",
    ];
    let expected = [
        "5",
        "100",
        "(4000000000, 4000000000)",
        "(8000000000, 8000000000)",
        "/tmp/eggs",
        "0.04",
        if testkit::running_as_root() { "True" } else { "False" },
    ];
    assert_eq!(told(httpd.get(&ask(&questions))), expected);
}

#[test]
fn the_default_group_has_directives_of_its_own() {
    let conf = "WSGIPythonPath {dir}/lib\nWSGIPythonEggs /tmp/eggs\n\
                WSGIScriptAlias / {apps}/app.wsgi application-group=%{GLOBAL}";
    let file = ("lib/mwrs_module.py", "value = 7");
    let httpd = Httpd::new().app("app.wsgi", TELL).file(file.0, file.1).conf(conf).start();
    let questions = ["__import__('mwrs_module').value", "os.environ['PYTHON_EGG_CACHE']"];
    assert_eq!(told(httpd.get(&ask(&questions))), ["7", "/tmp/eggs"]);
}

#[test]
fn sockets_are_where_the_prefix_says() {
    let httpd = telling("WSGISocketPrefix run/elsewhere").start();
    httpd.get("/?1").assert(200);
    let entries = std::fs::read_dir(httpd.dir().join("run")).expect("it is there");
    let names = entries.map(|entry| entry.expect("readable").file_name().into_string());
    let names: Vec<_> = names.flatten().collect();
    assert!(names.iter().any(|name| name.starts_with("elsewhere.")), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("wsgi.")), "{names:?}");
}

#[test]
fn a_prefix_that_is_long() {
    let prefix = format!("/tmp/{:x<85}", std::process::id());
    let httpd = telling(&format!("WSGISocketPrefix {prefix}"));
    if !UnderTest::chosen().is_original() {
        httpd.clone().configtest().accepts(&["Syntax OK", "no room for their names", "made in"]);
    }
    httpd.expect_log("no room for their names").start().get("/?1").assert(200);
}

#[test]
fn a_prefix_that_leads_nowhere_harms_nobody_where_no_group_is_defined() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf("WSGISocketPrefix /nowhere/wsgi\nWSGIScriptAlias / {apps}/app.wsgi")
        .expect_log("they are made in")
        .start();
    httpd.get("/?1").assert(200);
}

#[test]
fn a_worker_that_has_used_its_cpu_time_is_replaced() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf("WSGIDaemonProcess app user={user} group={group} cpu-time-limit=1")
        .conf("WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}")
        .start();
    let pid = || told(httpd.get(&ask(&["os.getpid()"])));
    let burn =
        "[pid for pid in [os.getpid()] if sum(number * number for number in range(20000000))][0]";
    let first = told(httpd.get(&ask(&[burn])));
    testkit::until(|| (pid() != first).then_some(())).expect("another worker serves");
}
