//! The package for pip: what `cargo xtask wheel` makes installs without a compiler, and serves from where
//! pip puts it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, process};

use testkit::{Apache, Httpd, Mpm, environment};

use crate::{HELLO, TELL, ask, told};

/// A virtual environment with the package, until it is dropped.
struct Environment(PathBuf);

impl Environment {
    /// Makes one as users do, with the Python of another one.
    fn new(name: &str, other: &Path) -> Environment {
        let home = env::temp_dir().join(format!("mwrs-{name}-{}", process::id()));
        let made = Environment(home.clone());
        run(Command::new(other.join("bin/python")).args(["-m", "venv"]).arg(&home));
        fs::set_permissions(&home, Permissions::from_mode(0o755)).expect("it is ours");
        let wheel = environment::wheel().expect("a wheel");
        run(made.command("pip").args(["-q", "install", "--no-index"]).arg(wheel));
        made
    }

    /// A command of the environment.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.0.join("bin").join(name));
        // Of the system alone: neither a compiler's settings nor apxs.
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command
    }

    /// Where pip has put the module.
    fn module(&self) -> PathBuf {
        let location = text(&run(self.command("mod_wsgi-rs").arg("module-location")));
        PathBuf::from(location.trim())
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it can be run");
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    output
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// Whether there is nothing to test.
fn skips() -> bool {
    let skips = environment::wheel().is_none();
    if skips {
        testkit::skipped("no wheel was built: `cargo xtask test` and `cargo xtask test wheel` do");
    }
    skips || testkit::ours_only("it is our wheel")
}

#[test]
fn serves_from_where_pip_puts_it_in_every_python() {
    if skips() {
        return;
    }
    let others = environment::other_venvs();
    for other in [environment::venv()].iter().chain(&others) {
        if other.join("bin/python").exists() && (is_free_threaded(other) || !has_pip(other)) {
            continue;
        }
        let home = Environment::new("wheel", other);
        let module = home.module();
        assert!(module.starts_with(&home.0), "{}", module.display());
        let lines = text(&run(home.command("mod_wsgi-rs").arg("module-config")));
        assert!(
            lines.contains(&format!("LoadModule wsgi_module \"{}\"", module.display())),
            "{lines}"
        );
        assert!(lines.contains(&format!("WSGIPythonHome \"{}\"", home.0.display())), "{lines}");
        run(home.command("wsgictl").arg("--help"));
        run(home.command("python").args(["-m", "mod_wsgi_rs", "--version"]));
        let folder = module.parent().expect("a folder");
        let httpd = Httpd::new()
            .dist(folder)
            .app("app.wsgi", TELL)
            .conf(
                "WSGIDaemonProcess app threads=2\n\
                 WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
            )
            .start();
        let answer = told(httpd.get(&ask(&["sys.prefix"])));
        assert_eq!(answer, [home.0.display().to_string()]);
    }
}

/// Whether `python -m venv` gives an environment of this Python pip: not every Python comes with it.
fn has_pip(home: &Path) -> bool {
    let asked = Command::new(home.join("bin/python")).args(["-c", "import ensurepip"]).output();
    asked.is_ok_and(|answer| answer.status.success())
}

/// Whether an environment is of a Python for which the wheel has no worker.
fn is_free_threaded(home: &Path) -> bool {
    let question = "import sys; print(getattr(sys, '_is_gil_enabled', lambda: True)())";
    let answer = run(Command::new(home.join("bin/python")).args(["-c", question]));
    text(&answer).trim() == "False"
}

#[test]
fn what_mod_wsgi_is_outside_of_a_server_stays() {
    if skips() {
        return;
    }
    let home = Environment::new("beside", &environment::venv());
    let says = |code: &str| home.command("python").args(["-c", code]).output().expect("it runs");
    let missing = says("import mod_wsgi");
    assert!(!missing.status.success());
    assert!(text(&missing).contains("ModuleNotFoundError: No module named 'mod_wsgi'"));
    // As if the original's package were installed here, too.
    let of = |home: &Path| {
        let code = "import sysconfig; print(sysconfig.get_paths()['purelib'])";
        text(&run(Command::new(home.join("bin/python")).args(["-c", code]))).trim().to_owned()
    };
    let original = of(&environment::original_venv());
    fs::write(Path::new(&of(&home.0)).join("original.pth"), &original).expect("it is ours");
    let found = says("import mod_wsgi.express, mod_wsgi_rs; print(mod_wsgi.express.__file__)");
    assert!(text(&found).starts_with(&original), "{}", text(&found));
    let module = home.module();
    assert!(module.starts_with(&home.0), "{}", module.display());
    let httpd = Httpd::new()
        .dist(module.parent().expect("a folder"))
        .app("app.wsgi", TELL)
        .conf(
            "WSGIDaemonProcess app\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .conf(&format!("WSGIPythonHome {}", home.0.display()))
        .start();
    let answer = told(httpd.get(&ask(&[
        "__import__('mod_wsgi').process_group",
        "__import__('mod_wsgi.express').express.__file__",
    ])));
    assert_eq!(answer[0], "app");
    assert!(answer[1].starts_with(&original), "{answer:?}");
}

#[test]
fn an_installed_copy_outlives_the_environment() {
    if skips() {
        return;
    }
    if !testkit::running_as_root() {
        testkit::skipped("only root installs modules");
        return;
    }
    let home = Environment::new("outlived", &environment::venv());
    let copy = env::temp_dir().join(format!("mwrs-copy-{}", process::id()));
    let mut install = home.command("mod_wsgi-rs");
    install.args(["install-module", "--no-enable", "--modules-directory"]).arg(&copy);
    let told = text(&run(&mut install));
    let python_home = format!("WSGIPythonHome \"{}\"", home.0.display());
    assert!(told.contains(&python_home), "{told}");
    let site = |home: &str| {
        Httpd::new()
            .dist(&copy)
            .app("app.wsgi", HELLO)
            .file("htdocs/a.txt", "static")
            .conf(home)
            .conf("WSGIScriptAlias /app {apps}/app.wsgi")
            .expect_log("[wsgi:")
    };
    let httpd = site(&python_home).start();
    httpd.get("/app").assert(200);
    drop(home);
    httpd.graceful();
    httpd.get("/a.txt").assert(200);
    httpd.get("/app").assert(503);
    httpd.wait_for_log(&["mwrs-outlived-", "No such file"]);
    drop(httpd);
    let httpd = site(&python_home).start();
    httpd.get("/a.txt").assert(200);
    httpd.get("/app").assert(503);
    fs::remove_dir_all(&copy).expect("it is ours");
}

/// Uses what httpd got only later: the scoreboard, the client's host, bodies, files and a child's end.
#[test]
fn one_module_serves_older_httpds() {
    let httpds = environment::httpds();
    if skips() {
        return;
    }
    if httpds.is_empty() {
        testkit::skipped("no older httpd was built");
        return;
    }
    let home = Environment::new("older", &environment::venv());
    let module = home.module();
    for prefix in httpds {
        let apache = Apache::installed_to(&prefix).expect("it runs");
        for mpm in Mpm::ALL {
            let httpd = Httpd::new()
                .apache(apache.clone())
                .mpm(mpm)
                .dist(module.parent().expect("a folder"))
                .app("app.wsgi", OLDER)
                .file("htdocs/a.txt", "static")
                .conf(
                    "WSGIDaemonProcess app user={user} group={group} threads=5 server-metrics=On\n\
                     WSGIScriptAlias /app {apps}/app.wsgi process-group=app \
                     application-group=%{GLOBAL}",
                )
                // Of a stop just after a graceful restart, by httpd's parent of its own children.
                .expect_log("AH00045")
                .start();
            let answer = httpd.get("/app").assert(200).text();
            let version = answer.lines().next().expect("a line").to_owned();
            assert!(version.starts_with("(2, 4, "), "{answer}");
            assert!(answer.contains("127.0.0.1"), "{answer}");
            assert!(answer.contains("threads: "), "{answer}");
            let echoed = httpd.request("POST", "/app", &[], &[b'x'; 300_000]).assert(200);
            assert!(echoed.text().contains("read: 300000"), "{}", echoed.text());
            assert_eq!(httpd.get("/app?file").assert(200).text().len(), 100_000);
            httpd.graceful();
            httpd.get("/app").assert(200);
            assert_eq!(httpd.get("/a.txt").assert(200).text(), "static");
        }
    }
}

const OLDER: &str = r#"
import mod_wsgi, tempfile


def application(environ, start_response):
    if environ["QUERY_STRING"] == "file":
        file = tempfile.TemporaryFile()
        file.write(b"x" * 100_000)
        file.flush()
        file.seek(0)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return environ["wsgi.file_wrapper"](file)
    read = len(environ["wsgi.input"].read())
    metrics = mod_wsgi.server_metrics()
    threads = sum(len(process["workers"]) for process in metrics["processes"])
    lines = [environ["apache.version"], environ["REMOTE_ADDR"], f"threads: {threads}", f"read: {read}"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\n".join(map(str, lines)).encode()]
"#;
