//! `module-config`, `module-location` and `install-module`; and what is generated for shells and
//! manuals.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use testkit::{Apache, Workplace, environment, running_as_root};

use super::{WHERE, text};

#[test]
fn lines_for_an_httpd_of_ones_own() {
    let workplace = Workplace::new(&[]);
    let module = environment::dist().join("mod_wsgi_rs.so").display().to_string();
    let located = workplace.run(&["module-location"]);
    assert_eq!(String::from_utf8_lossy(&located.stdout), format!("{module}\n"));
    let venv = environment::venv().display().to_string();
    let interpreter = format!("--python={venv}/bin/python");
    let lines = workplace.run(&["module-config", &interpreter]);
    let expected = format!("LoadModule wsgi_module \"{module}\"\nWSGIPythonHome \"{venv}\"\n");
    assert_eq!(String::from_utf8_lossy(&lines.stdout), expected);
    let elsewhere =
        workplace.command(&["module-location"]).env("MOD_WSGI_RS_HOME", "/none").output();
    let elsewhere = elsewhere.expect("it can be run");
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(text(&elsewhere).contains("no mod_wsgi_rs.so in /none"), "{}", text(&elsewhere));
}

#[test]
fn a_python_package_has_the_module_and_names_its_environment() {
    let package = "env/lib/python3.11/site-packages/mod_wsgi_rs";
    let module = format!("{package}/mod_wsgi_rs.so");
    let workplace = Workplace::new(&[
        ("env/pyvenv.cfg", "home = /usr/bin\n"),
        ("env/bin/x", ""),
        (&module, ""),
    ]);
    let program = workplace.dir().join("env/bin/mod_wsgi-rs");
    fs::copy(environment::dist().join("mod_wsgi-rs"), &program).expect("it can be copied");
    let mut command = Command::new(program);
    workplace.prepare(&mut command, &["module-config"]);
    let lines =
        String::from_utf8_lossy(&command.output().expect("it can be run").stdout).into_owned();
    let folder = workplace.dir().display();
    let expected =
        format!("LoadModule wsgi_module \"{folder}/{module}\"\nWSGIPythonHome \"{folder}/env\"\n");
    assert_eq!(lines, expected);
}

#[test]
fn an_installed_copy_serves_and_what_others_can_change_is_refused() {
    if !running_as_root() {
        let output = Workplace::new(&[]).run(&["install-module", "--no-enable"]);
        assert!(text(&output).contains("run this as root"), "{}", text(&output));
        return;
    }
    let workplace = Workplace::new(&[("app.wsgi", WHERE), ("open/x", "")]);
    let install = |place: &str| {
        workplace.run(&["install-module", "--no-enable", "--modules-directory", place])
    };
    // The second one takes the first one's place.
    for _ in 0..2 {
        let output = install("{dir}/lib/module");
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("lib/module/mod_wsgi_rs.so\""), "{}", text(&output));
    }
    let open = workplace.dir().join("open");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("it is ours");
    let output = install("{dir}/open/module");
    assert_eq!(output.status.code(), Some(1));
    let refused = format!("{} can be written to by all", open.display());
    assert!(text(&output).contains(&refused), "{}", text(&output));
    assert!(!open.join("module").exists());

    let copy = workplace.dir().join("lib/module");
    let usual = workplace.usual();
    let words = ["start-server", "app.wsgi"].into_iter().chain(usual.iter().map(String::as_str));
    let words: Vec<&str> = words.collect();
    let mut command = Command::new(copy.join("mod_wsgi-rs"));
    workplace.prepare(&mut command, &words);
    let server = workplace.spawn(command);
    server.wait_for("/a", 200);
    let conf = server.workplace().dir().join("server/httpd.conf");
    let conf = fs::read_to_string(conf).expect("it has been written");
    assert!(conf.contains(&format!("\"{}/mod_wsgi_rs.so\"", copy.display())), "{conf}");
}

#[test]
fn without_httpd_the_command_says_what_installs_it() {
    // Only root can hide it, where that is permitted.
    let hides = Command::new("unshare").args(["--mount", "true"]).status();
    if !hides.is_ok_and(|status| status.success()) {
        testkit::skipped("httpd cannot be hidden here");
        return;
    }
    let workplace = Workplace::new(&[("app.wsgi", WHERE), ("empty/x", "")]);
    let httpd = Apache::find().expect("there is an httpd");
    let hidden = httpd.program.parent().expect("a folder").display();
    let program = environment::dist().join("mod_wsgi-rs");
    let line =
        format!("mount --bind empty {hidden} && exec {} start-server app.wsgi", program.display());
    let mut command = Command::new("unshare");
    workplace.prepare(&mut command, &["--mount", "sh", "-c", &line]);
    let output = command.output().expect("it can be run");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains("httpd is not installed") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_server_root_of_others_is_refused() {
    let workplace = Workplace::new(&[("app.wsgi", WHERE), ("server/x", "")]);
    let root = workplace.dir().join("server");
    fs::set_permissions(&root, Permissions::from_mode(0o777)).expect("it is ours");
    let output = workplace.run(&["setup-server", "app.wsgi", "--server-root={dir}/server"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("cannot be the server root"), "{}", text(&output));
    assert!(!root.join("httpd.conf").exists());
}

#[test]
fn shells_and_manuals_know_the_options() {
    let workplace = Workplace::new(&[]);
    for shell in ["bash", "zsh", "fish"] {
        let output = workplace.run(&["completions", shell]);
        assert!(text(&output).contains("reload-on-changes"), "{shell}");
    }
    assert!(workplace.run(&["man", "{dir}/man"]).status.success());
    let page = fs::read_to_string(workplace.dir().join("man/mod_wsgi-rs-start-server.1"));
    assert!(page.is_ok_and(|page| page.contains("url\\-alias")));
}
