//! A running httpd changes over to an original mod_wsgi, to no mod_wsgi at all, and back.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, Mpm, Process, Running, environment, until};

use crate::broken_workers::Programs;
use crate::{HELLO, TELL, ask, told};

/// How httpd is told of another configuration.
const RESTARTS: [fn(&Running); 2] = [Running::graceful, Running::restart];

/// A site that ours and an original's serve alike.
fn site() -> Httpd {
    let site = Httpd::new().app("app.wsgi", TELL).file("htdocs/a.txt", "static");
    // Those of an original are gone before httpd's children of their generation are.
    site.expect_log("Unable to connect to WSGI daemon process").conf(
        "<IfModule wsgi_module>\n\
             WSGISocketPrefix run/wsgi\n\
             WSGIDaemonProcess app user={user} group={group} threads=2\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}\n\
             </IfModule>",
    )
}

fn ours() -> PathBuf {
    environment::dist().join("mod_wsgi_rs.so")
}

/// Has the next restart load this module as `wsgi_module`, or none.
fn load(httpd: &Running, module: Option<&PathBuf>) {
    httpd.edit_conf(|line| match (line.contains("LoadModule wsgi_module"), module) {
        (true, Some(module)) => format!("LoadModule wsgi_module \"{}\"", module.display()),
        (true, None) => "# LoadModule wsgi_module".to_owned(),
        // httpd knows no level for a module that is not loaded.
        (false, _) => line.replace(" wsgi:info", ""),
    });
}

/// Waits until the application is served by a process of this program: for a moment after a graceful
/// restart, a child of the generation before may answer.
#[track_caller]
fn assert_served_by(httpd: &Running, program: &str) {
    let question = "/app".to_owned() + &ask(&["open('/proc/self/comm').read()"]);
    let served = until(|| {
        let response = httpd.get(&question);
        (response.status == 200).then(|| told(response)).filter(|told| told[0].contains(program))
    });
    assert!(served.is_some(), "{program} does not serve: {:?}", httpd.get(&question));
}

#[test]
fn to_an_original_and_back() {
    if testkit::ours_only("the change is between ours and an original") {
        return;
    }
    let original = environment::original_module();
    for mpm in Mpm::ALL {
        for restart in RESTARTS {
            let mut httpd = site().mpm(mpm).start();
            assert_served_by(&httpd, "wsgi-worker");
            for _ in 0..2 {
                load(&httpd, Some(&original));
                restart(&httpd);
                assert_served_by(&httpd, "apache2");
                load(&httpd, Some(&ours()));
                restart(&httpd);
                assert_served_by(&httpd, "wsgi-worker");
            }
            httpd.stop();
        }
    }
}

#[test]
fn to_nothing_and_back() {
    if testkit::ours_only("the change is between ours and none") {
        return;
    }
    for mpm in Mpm::ALL {
        for restart in RESTARTS {
            let mut httpd = site().mpm(mpm).start();
            assert_served_by(&httpd, "wsgi-worker");
            load(&httpd, None);
            restart(&httpd);
            // Nothing is left once the generation has come to its end, though httpd has let go of the
            // module: its parent still takes note of the supervisor's end.
            let left = || -> Vec<Process> {
                let processes = httpd.descendants().into_iter();
                processes.filter(|process| process.program.starts_with("wsgi-")).collect()
            };
            assert!(until(|| left().is_empty().then_some(())).is_some(), "{:?}", left());
            httpd.get("/app").assert(404);
            assert_eq!(httpd.get("/a.txt").assert(200).text(), "static");
            load(&httpd, Some(&ours()));
            restart(&httpd);
            assert_served_by(&httpd, "wsgi-worker");
            httpd.stop();
        }
    }
}

/// How often files are mapped into a process, by their names.
fn mapped_files(pid: i32) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("httpd runs");
    let mut files: Vec<_> = maps.lines().filter_map(|line| line.split('/').next_back()).collect();
    files.sort_unstable();
    files.into_iter().filter(|file| file.contains(".so")).map(str::to_owned).collect()
}

#[test]
fn fifty_changes_leave_nothing_behind() {
    if !testkit::sees_into_processes() {
        return;
    }
    if testkit::ours_only("the changes are between ours, an original and none") {
        return;
    }
    let original = environment::original_module();
    let mut httpd = site().start();
    let change = |module: Option<&PathBuf>, program: Option<&str>| {
        load(&httpd, module);
        httpd.graceful();
        match program {
            Some(program) => assert_served_by(&httpd, program),
            None => drop(httpd.get("/a.txt").assert(200)),
        }
    };
    let around = || {
        change(Some(&original), Some("apache2"));
        change(None, None);
        change(Some(&ours()), Some("wsgi-worker"));
    };
    around();
    let before = mapped_files(httpd.pid());
    for _ in 0..16 {
        around();
    }
    assert_eq!(mapped_files(httpd.pid()), before);
    httpd.stop();
    assert!(!httpd.error_log().contains("long lost child"), "{}", httpd.error_log());
}

/// The module's library in a folder of programs.
fn library(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).expect("the programs").flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| path.display().to_string().contains("/libmod_wsgi_rs-");
    let mut libraries: Vec<_> = entries.filter(named).collect();
    assert_eq!(libraries.len(), 1, "{libraries:?}");
    libraries.remove(0)
}

/// Makes the programs look like those of another build, whose library has this digest.
pub fn rebuild(folder: &Path, digest: &str) {
    let old = library(folder);
    let name = format!("libmod_wsgi_rs-{digest}.so");
    let old_name = old.file_name().expect("a file").as_encoded_bytes();
    let module = folder.join("mod_wsgi_rs.so");
    let mut loader = fs::read(&module).expect("the module");
    let places: Vec<_> = (0..loader.len() - old_name.len())
        .filter(|at| loader[*at..].starts_with(old_name))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        loader[at..at + name.len()].copy_from_slice(name.as_bytes());
    }
    // The running httpd has both mapped: they are replaced, not written to.
    fs::remove_file(&module).expect("the module");
    fs::write(&module, loader).expect("the folder is ours");
    fs::copy(&old, folder.join(name)).expect("the folder is ours");
    fs::remove_file(old).expect("the library");
}

#[test]
fn a_graceful_restart_takes_a_new_build() {
    if !testkit::sees_into_processes() {
        return;
    }
    if testkit::ours_only("ours is made of two files") {
        return;
    }
    let programs = Programs::with("new-build", |_| ());
    let serve = |httpd: &Running| assert_eq!(httpd.get("/").assert(200).text(), "hello");
    let httpd = Httpd::new()
        .dist(&programs.0)
        .app("app.wsgi", HELLO)
        .conf("WSGIScriptAlias / {apps}/app.wsgi")
        .start();
    serve(&httpd);
    for digest in ["0123456789abcdef", "fedcba9876543210"] {
        rebuild(&programs.0, digest);
        httpd.graceful();
        serve(&httpd);
        let children = || httpd.children().into_iter().map(|child| child.pid);
        let files: Vec<_> = [httpd.pid()].into_iter().chain(children()).map(mapped_files).collect();
        assert!(
            files.iter().any(|files| files.iter().any(|file| file.contains(digest))),
            "{files:?}"
        );
    }
}

#[test]
fn the_library_of_another_build_is_not_taken() {
    if testkit::ours_only("ours is made of two files") {
        return;
    }
    let programs = Programs::with("other-build", |_| ());
    let library = library(&programs.0);
    let name = library.file_name().expect("a file").to_string_lossy().into_owned();
    fs::rename(&library, programs.0.join("libmod_wsgi_rs-0123456789abcdef.so")).expect("ours");
    Httpd::new().dist(&programs.0).configtest().refuses(&[
        "httpd.conf",
        "mod_wsgi_rs.so into server",
        &format!("{name}: cannot open shared object file"),
    ]);
    fs::write(programs.0.join(&name), "no library").expect("ours");
    Httpd::new().dist(&programs.0).configtest().refuses(&["mod_wsgi_rs.so into server", &name]);
}

/// Writes files of another build over those of a running server.
#[test]
fn an_upgrade_in_place_leaves_the_running_server_its_own_files() {
    if testkit::ours_only("ours is made of several programs") {
        return;
    }
    let programs = Programs::with("upgraded", |_| ());
    let httpd = Httpd::new()
        .dist(&programs.0)
        .app("tell.wsgi", TELL)
        .conf(
            "WSGIDaemonProcess app\n\
             WSGIScriptAlias / {apps}/tell.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .expect_log("[wsgi:")
        .start();
    let pid = |httpd: &Running| told(httpd.get(&ask(&["os.getpid()"]))).concat();
    let before = pid(&httpd);
    // As package managers do: new files take the names, and the old ones are no more.
    for name in ["wsgi_worker.abi3.so", "wsgi-supervisor", "wsgi-worker"] {
        let (path, fresh) = (programs.0.join(name), programs.0.join("fresh"));
        fs::write(&fresh, "not of this build").expect("the folder is ours");
        fs::rename(&fresh, &path).expect("the folder is ours");
    }
    let worker: i32 = before.parse().expect("a process id");
    kill(Pid::from_raw(worker), Signal::SIGKILL).expect("it runs");
    let served = until(|| {
        let response = httpd.get(&ask(&["os.getpid()"]));
        (response.status == 200).then(|| told(response).concat()).filter(|pid| *pid != before)
    });
    assert!(served.is_some(), "the next worker is of the supervisor's build");
    // And once more, by the order to take fresh ones.
    let supervisor = httpd.supervisor().expect("it runs").pid;
    kill(Pid::from_raw(supervisor), Signal::SIGHUP).expect("it runs");
    let renewed = until(|| Some(pid(&httpd)).filter(|pid| Some(pid) != served.as_ref()));
    assert!(renewed.is_some());
}

#[test]
fn an_httpd_of_another_abi_refuses_and_names_both() {
    if testkit::ours_only("how theirs is compiled is not ours to know") {
        return;
    }
    let programs = Programs::with("other-abi", |_| ());
    let library = library(&programs.0);
    let mut bytes = fs::read(&library).expect("the library");
    // MODULE_MAGIC_NUMBER_MAJOR of httpd 2.4, and that of the branch which follows it.
    let (ours, others) = (20_120_211_u32, 20_211_221_u32);
    let places: Vec<_> =
        (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(&ours.to_le_bytes())).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + 4].copy_from_slice(&others.to_le_bytes());
    }
    fs::remove_file(&library).expect("ours");
    fs::write(&library, bytes).expect("ours");
    Httpd::new().dist(&programs.0).configtest().refuses(&[
        "not compatible with this version of Apache",
        &others.to_string(),
        &ours.to_string(),
    ]);
}
