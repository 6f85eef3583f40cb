//! `chroot=`: groups whose workers see one directory and nothing else.

pub mod jail;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use nix::unistd::{Group, User};
use testkit::{Httpd, Running, UnderTest, environment};

use crate::{HELLO, TELL, ask, told};
use jail::Jail;

/// Whether this test is left out because only root could run it.
pub fn needs_root() -> bool {
    let skips = !testkit::running_as_root();
    if skips {
        testkit::skipped("only root can confine processes to a directory");
    }
    skips
}

/// An httpd with a group `app` that is confined to the jail, and has these options as well.
fn confining(jail: &Jail, options: &str) -> Httpd {
    let root = jail.path().display();
    Httpd::new().conf(&format!(
        "<Directory {root}>\nRequire all granted\n</Directory>\n\
         WSGIDaemonProcess app user={{user}} group={{group}} home=/ chroot={root} {options}\n\
         WSGIApplicationGroup %{{GLOBAL}}\nWSGIProcessGroup app"
    ))
}

/// The same, with the jail's application at `/`.
pub fn serving(jail: &Jail, options: &str) -> Httpd {
    let alias = format!("WSGIScriptAlias / {}/app.wsgi", jail.path().display());
    confining(jail, options).conf(&alias)
}

#[track_caller]
fn answers(httpd: &Running, questions: &[&str]) -> Vec<String> {
    told(httpd.get(&ask(questions)))
}

#[test]
fn an_application_sees_its_root_and_nothing_else() {
    if needs_root() {
        return;
    }
    let jail = Jail::new();
    let httpd = serving(&jail, "").start();
    let conf = format!("os.path.exists('{}')", httpd.dir().join("httpd.conf").display());
    let questions = [
        "os.getcwd()",
        "sorted(os.listdir('/'))",
        "sorted(os.listdir('/../..'))",
        &conf,
        "__file__",
        "environ['SCRIPT_FILENAME']",
        "environ['PATH_INFO']",
        "(os.getresuid(), os.getresgid())",
    ];
    let mut names: Vec<_> = fs::read_dir(jail.path())
        .expect("the jail")
        .map(|entry| format!("'{}'", entry.expect("an entry").file_name().display()))
        .collect();
    names.sort();
    let names = format!("[{}]", names.join(", "));
    let (user, group) = testkit::app_user();
    let uid = User::from_name(&user).expect("users").expect("the user").uid;
    let gid = Group::from_name(&group).expect("groups").expect("the group").gid;
    let ids = format!("(({uid}, {uid}, {uid}), ({gid}, {gid}, {gid}))");
    let expected = ["/", &names, &names, "False", "/app.wsgi", "/app.wsgi", "/", &ids];
    assert_eq!(answers(&httpd, &questions), expected);
}

/// Tries what leads out of such a directory.
const ESCAPES: &str = r#"
import os


def denied(function, *arguments):
    try:
        function(*arguments)
    except PermissionError:
        return True
    return False


def directories():
    for descriptor in range(1024):
        try:
            os.listdir(descriptor)
        except OSError:
            continue
        yield descriptor


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    found = denied(os.chroot, "/usr"), denied(os.setuid, 0), list(directories()), os.getpid()
    return ["{} {} {} {}".format(*found).encode()]
"#;

#[test]
fn no_right_is_left_and_nothing_outside_is_open() {
    if needs_root() || !testkit::sees_into_processes() {
        return;
    }
    let jail = Jail::new();
    jail.write("app.wsgi", ESCAPES);
    let httpd = serving(&jail, "").start();
    let text = httpd.get("/").assert(200).text();
    let (found, pid) = text.rsplit_once(' ').expect("words");
    assert_eq!(found, "True True []");
    let process = Path::new("/proc").join(pid);
    assert_eq!(fs::read_link(process.join("root")).expect("it runs"), jail.path());
    if UnderTest::chosen().is_original() {
        return;
    }
    let status = fs::read_to_string(process.join("status")).expect("it runs");
    for (name, value) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
    ] {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert_eq!(line.split_whitespace().last(), Some(value), "{line}");
    }
    for descriptor in fs::read_dir(process.join("fd")).expect("it runs").flatten() {
        let is_directory = fs::metadata(descriptor.path()).is_ok_and(|it| it.is_dir());
        assert!(!is_directory, "{:?}", fs::read_link(descriptor.path()));
    }
}

#[test]
fn nothing_inside_runs_before_the_root_is_changed() {
    if needs_root() || testkit::ours_only("mod_wsgi has one Python, which httpd has loaded") {
        return;
    }
    let jail = Jail::new();
    jail.environment("venv", "");
    // Who may write here would be outside once with a worker or a library of his own.
    let version = jail.version().to_owned();
    let program =
        format!("venv/lib/python{version}/site-packages/mod_wsgi_rs/wsgi-worker-{version}");
    jail.write(program, "#!/bin/sh\nexit 1\n");
    let multiarch = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    for folder in ["lib", "lib64", &multiarch] {
        let library = format!("libpython{version}.so.1.0");
        jail.write(jail.prefix().join(folder).join(library), "no library");
    }
    let httpd = serving(&jail, "python-home=/venv").start();
    assert_eq!(answers(&httpd, &["sys.prefix"]), ["/venv"]);
}

#[test]
fn a_root_that_its_user_could_not_reach() {
    if needs_root() {
        return;
    }
    let jail = Jail::new();
    let (_, group) = testkit::httpd_user();
    let group = Group::from_name(&group).expect("groups").expect("the group").gid;
    chown(jail.outer(), None, Some(group.as_raw())).expect("we are root");
    fs::set_permissions(jail.outer(), Permissions::from_mode(0o710)).expect("it is ours");
    let httpd = serving(&jail, "supplementary-groups={group}").start();
    assert_eq!(answers(&httpd, &["os.getcwd()"]), ["/"]);
}

#[test]
fn python_is_the_one_inside() {
    if needs_root() {
        return;
    }
    let jail = Jail::new();
    jail.environment("venv", "value = 7");
    jail.environment("other", "value = 8");
    jail.write("lib/mwrs_path.py", "value = 9");
    jail.write("home/mwrs_home.py", "value = 10");
    let alias = format!("WSGIScriptAlias / {}/app.wsgi", jail.path().display());
    let httpd =
        confining(&jail, "home=/home python-path=/lib python-home=/venv").conf(&alias).start();
    let values = [
        "__import__('mwrs_inside').value",
        "sys.prefix",
        "__import__('mwrs_path').value",
        "__import__('mwrs_home').value",
        "os.getcwd()",
        "os.__file__",
    ];
    let os = jail.prefix().join(format!("lib/python{}/os.py", jail.version()));
    let os = os.display().to_string();
    assert_eq!(answers(&httpd, &values), ["7", "/venv", "9", "10", "/home", &os]);
    if UnderTest::chosen().is_original() {
        return;
    }
    // The directive's is looked for inside, too, wherever it is written.
    let outside = environment::venv();
    jail.environment(&outside.display().to_string(), "value = 11");
    let httpd = serving(&jail, "").conf("WSGIPythonHome {venv}").start();
    let home = outside.display().to_string();
    assert_eq!(answers(&httpd, &["__import__('mwrs_inside').value", "sys.prefix"]), ["11", &home]);
}

#[test]
fn a_touched_script_is_loaded_again() {
    if needs_root() {
        return;
    }
    for options in ["", "reload=keep"] {
        if UnderTest::chosen().is_original() && !options.is_empty() {
            return;
        }
        let jail = Jail::new();
        let source = |text: &str| HELLO.replace("hello", text);
        jail.write("app.wsgi", &source("old"));
        let httpd = serving(&jail, options).expect_log("keeps serving").start();
        assert_eq!(httpd.get("/").assert(200).text(), "old");
        jail.write("app.wsgi", &source("newer"));
        assert_eq!(httpd.get("/").assert(200).text(), "newer");
    }
}

#[test]
fn a_script_outside_is_refused() {
    if needs_root() {
        return;
    }
    let jail = Jail::new();
    let outside = || {
        confining(&jail, "")
            .app("app.wsgi", HELLO)
            .conf("WSGIScriptAlias / {apps}/app.wsgi process-group=app")
            .expect_log("is not in chroot=")
    };
    let httpd = outside().start();
    if UnderTest::chosen().is_original() {
        httpd.get("/").assert(502);
        return;
    }
    httpd.get("/").assert(500);
    let root = jail.path().display().to_string();
    httpd.wait_for_log(&["[wsgi:error]", "client", "apps/app.wsgi", &root, "'app'"]);
    outside().configtest().accepts(&["Syntax OK", "apps/app.wsgi", "line ", &root, "status 500"]);
}

#[test]
fn scripts_that_are_named_by_their_paths_inside() {
    if needs_root() {
        return;
    }
    let jail = Jail::new();
    let root = jail.path().display().to_string();
    jail.write("handler.py", &format!("{TELL}\nhandle_request = application"));
    jail.write("imported.py", "print('loaded', __file__)");
    jail.write("files/a.txt", "a");
    let groups = "process-group=app application-group=%{GLOBAL}";
    let serving = |prefix: &str| {
        confining(&jail, "").conf(&format!(
            "WSGIImportScript {prefix}/imported.py {groups}\n\
             WSGIHandlerScript mine {prefix}/handler.py\n\
             WSGIScriptAlias /app {root}/app.wsgi {groups}\n\
             Alias /files {root}/files\n<Location /files>\nSetHandler mine\n</Location>"
        ))
    };
    for prefix in ["", root.as_str()] {
        if UnderTest::chosen().is_original() && !prefix.is_empty() {
            return;
        }
        let checked = serving(prefix).configtest();
        checked.accepts(&["Syntax OK"]);
        assert!(!checked.output.contains("warn"), "{}", checked.output);
        let httpd = serving(prefix).start();
        httpd.wait_for_log(&["loaded /imported.py"]);
        let questions = ask(&["__file__", "environ['SCRIPT_FILENAME']", "count"]);
        let asked = |path: &str| told(httpd.get(&questions.replacen('/', path, 1)));
        assert_eq!(asked("/files/a.txt"), ["/handler.py", "/files/a.txt", "1"]);
        assert_eq!(asked("/app"), ["/app.wsgi", "/app.wsgi", "1"]);
    }
}

const WITHOUT_PROC: &str = r#"
import mod_wsgi


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    mod_wsgi.start_recording_metrics()
    metrics = mod_wsgi.process_metrics()
    return [str(metrics["memory_rss"] > 1_000_000 and metrics["running_time"] >= 0).encode()]
"#;

#[test]
fn nothing_needs_the_file_systems_of_the_kernel() {
    if needs_root() {
        return;
    }
    if testkit::ours_only("mod_wsgi turns metrics on otherwise") {
        return;
    }
    let jail = Jail::new();
    jail.write("app.wsgi", WITHOUT_PROC);
    // Each worker has more than this, so that the first request is its last one.
    let httpd = serving(&jail, "memory-max=1000").start();
    assert_eq!(httpd.get("/file").assert(200).text(), WITHOUT_PROC);
    httpd.wait_for_log(&["memory-max=1000 is passed"]);
    assert_eq!(httpd.get("/metrics").assert(200).text(), "True");
}

#[test]
fn hooks_of_a_default_group_in_a_chroot() {
    if needs_root() || testkit::ours_only("hooks of mod_wsgi run inside httpd") {
        return;
    }
    let jail = Jail::new();
    jail.write(
        "hooks/access.py",
        "import os\ndef allow_access(environ, host):\n    return os.path.exists('/app.wsgi')\n",
    );
    let root = jail.path().display();
    let httpd = Httpd::new()
        .conf(&format!(
            "<Directory {root}>\nRequire all granted\n</Directory>\n\
             WSGIDaemonProcess %{{GLOBAL}} chroot={root}\nWSGIScriptAlias / {root}/app.wsgi\n\
             <Location />\nWSGIAccessScript {root}/hooks/access.py\n</Location>\n\
             <Location /inside>\nWSGIAccessScript /hooks/access.py\n</Location>"
        ))
        .start();
    for path in ["/", "/inside"] {
        let question = ask(&["os.getcwd()"]).replacen('/', path, 1);
        assert_eq!(told(httpd.get(&question)), ["/"]);
    }
}

#[test]
fn the_last_chroot_holds() {
    if needs_root() {
        return;
    }
    let jail = Jail::new();
    let path = jail.path().display();
    // httpd takes paths as they are written; a slash at the end changes nothing.
    let slash = if UnderTest::chosen().is_original() { "" } else { "/" };
    let httpd = serving(&jail, &format!("chroot=/usr chroot={path}{slash}")).start();
    assert_eq!(answers(&httpd, &["os.path.exists('/app.wsgi')"]), ["True"]);
}

#[test]
fn a_root_without_python() {
    if needs_root() || testkit::ours_only("mod_wsgi tries again every twenty seconds") {
        return;
    }
    let httpd = Httpd::new()
        .file("empty/app.wsgi", HELLO)
        .conf(
            "WSGIDaemonProcess app home=/ chroot={dir}/empty\n\
             WSGIScriptAlias / {dir}/empty/app.wsgi process-group=app\n\
             <Directory {dir}/empty>\nRequire all granted\n</Directory>",
        )
        // Python says much about it, too.
        .expect_log("")
        .start();
    let root = format!("chroot={}/empty", httpd.dir().display());
    httpd.wait_for_log(&["process group 'app'", "cannot start", "standard library", &root]);
    httpd.get("/").assert(503);
}

#[test]
fn mistakes() {
    if needs_root() || testkit::ours_only("mod_wsgi looks at a chroot= when a process starts") {
        return;
    }
    let jail = Jail::new();
    let root = jail.path().display().to_string();
    let check =
        |options: &str| Httpd::new().conf(&format!("WSGIDaemonProcess a {options}")).configtest();
    let invalid = "Invalid chroot directory for WSGI daemon process";
    check("chroot=srv").refuses(&[invalid, "'srv'", "absolute"]);
    check("chroot=/nowhere").refuses(&[invalid, "'/nowhere'", "No such file"]);
    check(&format!("chroot={root}/app.wsgi")).refuses(&[invalid, "app.wsgi", "is no directory"]);
    check(&format!("python-path=/usr:/sbin chroot={root}"))
        .accepts(&["Syntax OK", "names /sbin, which is not there in chroot="]);
    let conf = format!("WSGIDaemonProcess a chroot={root}\nWSGIPythonHome {{venv}}");
    let directive = Httpd::new().conf(&conf).configtest();
    directive.accepts(&["Syntax OK", &root, "'a'", "No such file"]);
    let conf = format!(
        "WSGIDaemonProcess a chroot={root}\n\
         WSGIImportScript /none.py process-group=a application-group=x"
    );
    Httpd::new().conf(&conf).configtest().accepts(&[
        "/none.py",
        "does not exist in chroot=",
        &root,
    ]);
    // Without root's rights it could not be kept.
    let conf = format!("WSGIDaemonProcess a chroot={root}");
    let (user, _) = testkit::app_user();
    let wrapper = ["/usr/bin/setpriv", "--clear-groups", &format!("--reuid={user}")];
    let unprivileged = Httpd::new().conf(&conf).under(&wrapper).configtest();
    unprivileged.refuses(&["Cannot chroot WSGI daemon process when not root.", &root]);
}
