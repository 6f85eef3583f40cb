//! Environments of Python that are not what they should be: each costs its own group alone, which says
//! why, and serves by itself once the cause is gone.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use nix::sys::stat::Mode;
use testkit::{Httpd, Running, environment, until};

use crate::{HELLO, TELL, ask, told};

/// What is wrong with an environment, and what the log says of it.
struct Fault {
    name: &'static str,
    /// Makes it so, in an environment that was right.
    make: fn(&Path),
    said: &'static [&'static str],
}

const FAULTS: [Fault; 9] = [
    Fault {
        name: "gone",
        make: |home| fs::remove_dir_all(home).expect("it is ours"),
        said: &["No such file"],
    },
    Fault {
        name: "a file",
        make: |home| {
            fs::remove_dir_all(home).expect("it is ours");
            fs::write(home, "").expect("it is ours");
        },
        said: &["is no directory"],
    },
    Fault {
        name: "empty",
        make: |home| {
            fs::remove_dir_all(home).expect("it is ours");
            fs::create_dir(home).expect("it is ours");
        },
        said: &["is no Python environment"],
    },
    Fault {
        name: "of a Python that has been removed",
        make: |home| replace(&home.join("bin/python"), |at| symlink("/nowhere/python3.8", at)),
        said: &[
            "bin/python leads to /nowhere/python3.8, which is not there",
            "install it (python3.8)",
        ],
    },
    Fault {
        name: "closed to its user",
        make: |home| {
            fs::set_permissions(home, Permissions::from_mode(0o700)).expect("it is ours");
        },
        said: &["the user may not enter", "give the user execute permission"],
    },
    Fault {
        name: "with a description closed to its user",
        make: |home| {
            let description = home.join("pyvenv.cfg");
            fs::set_permissions(description, Permissions::from_mode(0o600)).expect("it is ours");
        },
        said: &["Permission denied: '", "pyvenv.cfg"],
    },
    Fault {
        name: "with a program that is no program",
        make: |home| {
            replace(&home.join("bin/python"), |at| {
                fs::write(at, "no program")?;
                fs::set_permissions(at, Permissions::from_mode(0o755))
            });
        },
        said: &["cannot execute", "Exec format error"],
    },
    Fault {
        name: "with a pipe in the place of its program",
        make: |home| {
            replace(&home.join("bin/python"), |at| Ok(nix::unistd::mkfifo(at, Mode::S_IRWXU)?));
        },
        said: &["bin/python is no regular file"],
    },
    Fault {
        name: "with a pipe in the place of its description",
        make: |home| {
            let description = home.join("pyvenv.cfg");
            replace(&description, |at| Ok(nix::unistd::mkfifo(at, Mode::S_IRWXU)?));
        },
        said: &["pyvenv.cfg is no regular file"],
    },
];

fn replace(path: &Path, make: impl Fn(&Path) -> std::io::Result<()>) {
    fs::remove_file(path).expect("it is there");
    make(path).expect("the folder is ours");
}

/// An environment without packages.
fn make_environment(home: &Path) {
    let python = fs::canonicalize(environment::venv().join("bin/python")).expect("a program");
    let made = Command::new(python)
        .args(["-I", "-m", "venv", "--without-pip", "--symlinks"])
        .arg(home)
        .status();
    assert!(made.expect("it can be run").success());
}

fn site() -> Httpd {
    Httpd::new()
        .app("app.wsgi", HELLO)
        .app("tell.wsgi", TELL)
        .file("htdocs/a.txt", "static")
        .conf(
            "Timeout 5\nWSGIDaemonProcess neighbour\n\
             WSGIDaemonProcess tenant user={user} group={group} python-home={dir}/venv\n\
             WSGIScriptAlias /neighbour {apps}/app.wsgi process-group=neighbour\n\
             WSGIScriptAlias /tenant {apps}/tell.wsgi process-group=tenant",
        )
        .expect_log("[wsgi:")
}

/// The neighbour and static files are served whatever the tenant has done.
#[track_caller]
fn others_are_served(httpd: &Running) {
    assert_eq!(httpd.get("/neighbour").assert(200).text(), "hello");
    assert_eq!(httpd.get("/a.txt").assert(200).text(), "static");
}

/// The tenant is, as soon as there is an environment.
#[track_caller]
fn is_served(httpd: &Running, home: &Path) {
    let url = format!("/tenant{}", ask(&["sys.prefix"]));
    let answer = until(|| {
        let response = httpd.get(&url);
        (response.status == 200).then(|| told(response))
    });
    assert_eq!(answer, Some(vec![home.display().to_string()]));
}

#[test]
fn what_a_tenant_does_to_his_environment_costs_him_alone() {
    if testkit::ours_only("mod_wsgi tries such an environment again and again") {
        return;
    }
    for fault in FAULTS {
        if fault.name.ends_with("closed to its user") && !testkit::running_as_root() {
            continue;
        }
        let mut httpd = site().start();
        let home = httpd.dir().join("venv");
        make_environment(&home);
        is_served(&httpd, &home);

        (fault.make)(&home);
        for restart in [Running::graceful, Running::restart] {
            restart(&httpd);
            others_are_served(&httpd);
            assert_eq!(httpd.get("/tenant").status, 503, "{}", fault.name);
        }
        let line = httpd.wait_for_log(&[fault.said[0]]);
        fault.said.iter().for_each(|text| assert!(line.contains(text), "{}: {line}", fault.name));
        others_are_served(&httpd);

        if home.is_dir() {
            fs::set_permissions(&home, Permissions::from_mode(0o755)).expect("it is ours");
            fs::remove_dir_all(&home).expect("it is ours");
        } else if home.exists() {
            fs::remove_file(&home).expect("it is ours");
        }
        make_environment(&home);
        is_served(&httpd, &home);
        httpd.stop();
    }
}

#[test]
fn another_python_is_never_run_without_a_word() {
    if testkit::ours_only("mod_wsgi has one Python for all") {
        return;
    }
    let httpd = site().expect_log("is not used").start();
    let home = httpd.dir().join("venv");
    make_environment(&home);
    is_served(&httpd, &home);
    assert!(!httpd.error_log().contains("is not used"), "{}", httpd.error_log());
    fs::remove_file(home.join("pyvenv.cfg")).expect("it is ours");
    httpd.graceful();
    let line =
        httpd.wait_for_log(&["[wsgi:warn]", "is not used: Python runs with the packages in"]);
    assert!(line.contains(&format!("python-home={}", home.display())), "{line}");
}

#[test]
fn configtest_tells_of_it_and_accepts() {
    if testkit::ours_only("mod_wsgi says nothing at configtest") {
        return;
    }
    let checked = site().configtest();
    checked.accepts(&["Syntax OK", "process group 'tenant'", "/venv", "No such file", "503"]);
    Httpd::new()
        .conf("WSGIDaemonProcess a python-home={venv}")
        .configtest()
        .accepts(&["Syntax OK"]);
}

/// What a script begins with that wants a package, and how frameworks tell of it.
const WANTING: [&str; 2] = [
    "import package_of_that_name",
    "try:\n    import package_of_that_name\n\
     except ImportError as error:\n    raise RuntimeError('is it installed?') from error",
];

#[test]
fn a_missing_package_names_the_python_and_an_environment_that_lies_unused() {
    if testkit::ours_only("mod_wsgi logs the traceback alone") {
        return;
    }
    for (place, wanting) in [
        (".venv", WANTING[0]),
        ("venv", WANTING[1]),
        ("env", WANTING[0]),
        ("named-by-somebody", WANTING[0]),
        ("../.venv", WANTING[0]),
        ("../venv", WANTING[1]),
        ("../env", WANTING[0]),
    ] {
        let mut httpd = Httpd::new()
            .file("site/apps/app.wsgi", wanting)
            .conf(
                "WSGIDaemonProcess site user={user} group={group} python-home={venv}\n\
                 WSGIScriptAlias / {dir}/site/apps/app.wsgi process-group=site\n\
                 <Directory {dir}/site>\nRequire all granted\n</Directory>",
            )
            .expect_log("[wsgi:")
            .start();
        let apps = httpd.dir().join("site/apps");
        // The usual names are found in any crowd.
        let crowd = if place == "named-by-somebody" { 0 } else { 250 };
        for number in 0..crowd {
            fs::write(apps.join(format!("-{number}")), "").expect("the folder is ours");
        }
        let home = match place.strip_prefix("../") {
            Some(name) => apps.with_file_name(name),
            None => apps.join(place),
        };
        make_environment(&home);
        httpd.get("/").assert(500);
        let used = environment::venv();
        httpd.wait_for_log(&["This is Python 3.", &format!("packages are in {}", used.display())]);
        httpd.wait_for_log(&[
            "An environment that is not used lies beside the script",
            &format!("python-home={}", home.display()),
        ]);
        assert!(!httpd.error_log().contains(&format!("python-home={}", used.display())));
        httpd.stop();
    }
}

#[test]
fn the_guides_wrapper_with_an_environment_that_has_no_activate_this() {
    if testkit::ours_only("mod_wsgi logs the traceback alone") {
        return;
    }
    let wrapper = "activate_this = '{dir}/venv/bin/activate_this.py'\n\
                   execfile(activate_this, dict(__file__=activate_this))\n";
    let httpd = site().start();
    let home = httpd.dir().join("venv");
    make_environment(&home);
    is_served(&httpd, &home);
    let wrapper = wrapper.replace("{dir}", &httpd.dir().display().to_string());
    httpd.replace_app("tell.wsgi", &(wrapper + TELL));
    httpd.get("/tenant").assert(500);
    httpd.wait_for_log(&[
        "Only virtualenv makes a file activate_this.py",
        &format!("python-home={} in WSGIDaemonProcess", home.display()),
    ]);
    // What the line advises is there already, but for the script.
    httpd.replace_app("tell.wsgi", TELL);
    is_served(&httpd, &home);
}
