//! Changed code: touching the script puts new code in service, and loses nothing.

use std::fs::{self, FileTimes};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, Running, until};

use crate::HELLO;
use crate::broken_workers::Programs;
use crate::changing_over::rebuild;

/// A wrapper whose application is a module of its own: running the wrapper again in the same
/// process would go on with the old one.
const WRAPPER: &str = r#"
import os, sys

sys.path.insert(0, os.path.dirname(__file__))

from site_code import application
"#;

fn code(word: &str) -> String {
    format!(
        "import os, time\n\ndef application(environ, start_response):\n    \
         time.sleep(0.01)\n    start_response('200 OK', [])\n    return [b'{word} %d' % os.getpid()]\n"
    )
}

fn site(processes: u32) -> Httpd {
    site_with(processes, "")
}

fn site_with(processes: u32, options: &str) -> Httpd {
    let conf = format!(
        "WSGIDaemonProcess app user={{user}} group={{group}} processes={processes} threads=5 {options}\n\
         WSGIScriptAlias / {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}"
    );
    Httpd::new().app("app.wsgi", WRAPPER).app("site_code.py", &code("old")).conf(&conf)
}

/// Puts new code in place, as somebody does who deploys: first the code, then a touch.
fn deploy(httpd: &Running, source: &str) {
    static SECONDS: AtomicUsize = AtomicUsize::new(1);
    let apps = httpd.dir().join("apps");
    httpd.replace_app("site_code.py", source);
    // CPython recognises changed modules by whole seconds and size; this is about scripts.
    let _ = fs::remove_dir_all(apps.join("__pycache__"));
    let later = Duration::from_secs(SECONDS.fetch_add(1, Ordering::Relaxed) as u64);
    touch(&apps.join("app.wsgi"), SystemTime::now() + later);
}

fn touch(path: &Path, time: SystemTime) {
    let file = fs::File::options().write(true).open(path).expect("the script");
    file.set_times(FileTimes::new().set_modified(time)).expect("the script is ours");
}

/// What the application says, and the process that says it.
fn answer(httpd: &Running) -> (String, String) {
    let text = httpd.get("/").assert(200).text().to_owned();
    let (word, pid) = text.split_once(' ').expect("two words");
    (word.to_owned(), pid.to_owned())
}

#[test]
fn the_request_after_a_touch_sees_new_code_in_a_new_process() {
    for processes in [1, 2] {
        let httpd = site(processes).start();
        let (word, before) = answer(&httpd);
        assert_eq!(word, "old");
        deploy(&httpd, &code("new"));
        let (word, after) = answer(&httpd);
        assert_eq!(word, "new");
        assert_ne!(before, after);
    }
}

#[test]
fn deploying_under_load_loses_nothing() {
    let httpd = site(2).start();
    let stop = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    let load = || {
        while !stop.load(Ordering::Relaxed) {
            httpd.get("/").assert(200);
            served.fetch_add(1, Ordering::Relaxed);
        }
    };
    // Requests that run meanwhile may still be served by old code; soon none is.
    let sees = |word: &str| until(|| (answer(&httpd).0 == word).then_some(())).is_some();
    let seen: Vec<bool> = std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(load);
        }
        let words = ["one", "two", "three", "four", "five"];
        let seen = words.map(|word| {
            deploy(&httpd, &code(word));
            sees(word)
        });
        stop.store(true, Ordering::Relaxed);
        seen.to_vec()
    });
    assert_eq!(seen, [true; 5]);
    assert!(served.load(Ordering::Relaxed) > 0);
}

#[test]
fn new_code_that_brings_its_worker_down_leaves_the_old_one_serving() {
    let httpd = site(1).expect_log("keeps serving").start();
    let before = answer(&httpd);
    deploy(&httpd, "import os\nos._exit(3)\n");
    assert_eq!(answer(&httpd), before);
    httpd.wait_for_log(&["[wsgi:error]", "exit status 3", "keeps serving"]);
    deploy(&httpd, &code("mended"));
    assert_eq!(answer(&httpd).0, "mended");
}

#[test]
fn new_code_that_cannot_be_loaded_is_an_error_until_it_is_mended() {
    let httpd = site(1)
        .expect_log("app.wsgi")
        .expect_log("site_code")
        .expect_log("Error")
        .expect_log("Traceback")
        .start();
    answer(&httpd);
    deploy(&httpd, "raise ImportError('half of it is missing')\n");
    httpd.get("/").assert(500);
    httpd.wait_for_log(&["[wsgi:error]", "half of it is missing"]);
    deploy(&httpd, &code("mended"));
    assert_eq!(answer(&httpd).0, "mended");
}

/// Lines of the error log at level error.
fn errors(httpd: &Running) -> Vec<String> {
    let log = httpd.error_log();
    log.lines().filter(|line| line.contains("wsgi:error")).map(str::to_owned).collect()
}

#[test]
fn broken_code_with_reload_keep_loses_nothing() {
    let httpd = with_traceback(site_with(1, "reload=keep")).start();
    answer(&httpd);
    for _ in 0..2 {
        deploy(&httpd, "raise ImportError('half of it is missing')\n");
        for _ in 0..20 {
            assert_eq!(answer(&httpd).0, "old");
        }
    }
    let line = httpd.wait_for_log(&["[wsgi:error]", "half of it is missing", "keeps serving"]);
    for part in ["app.wsgi'", "ImportError", "keeps serving the code that it has loaded"] {
        assert!(line.contains(part), "{line}");
    }
    deploy(&httpd, &code("mended"));
    let mended = until(|| (answer(&httpd).0 == "mended").then_some(()));
    assert!(mended.is_some());
    let errors = errors(&httpd);
    assert_eq!(errors.iter().filter(|error| **error == line).count(), 1);
    // The traceback, once, in front of that line.
    let tracebacks = errors.iter().filter(|error| error.contains("Traceback"));
    assert_eq!((tracebacks.count(), errors.last()), (1, Some(&line)));
}

/// A site whose code cannot be loaded for a while, of which the log has the traceback.
fn with_traceback(site: Httpd) -> Httpd {
    ["half of it is missing", "cannot load WSGI script", "Traceback", ", line "]
        .into_iter()
        .fold(site, |site, text| site.expect_log(text))
        .expect_log("from site_code import")
}

#[test]
fn a_worker_that_dies_while_the_code_is_broken_is_missed_until_it_is_mended() {
    // Whatever is said about the group meanwhile.
    let site = with_traceback(site_with(1, "reload=keep"));
    let httpd = site.expect_log("rocess group 'app'").start();
    answer(&httpd);
    deploy(&httpd, "raise ImportError('half of it is missing')\n");
    let pid = answer(&httpd).1.parse().expect("a process id");
    httpd.wait_for_log(&["[wsgi:error]", "keeps serving"]);
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    let answers = |status| until(|| (httpd.get("/").status == status).then_some(()));
    assert!(answers(503).is_some());
    httpd.wait_for_log(&["[wsgi:error]", "half of it is missing", "next try"]);
    deploy(&httpd, &code("mended"));
    assert!(answers(200).is_some());
    assert_eq!(answer(&httpd).0, "mended");
}

/// Three workers that load the script when a request asks for it, and another one before.
fn lazy_site(source: &str) -> Httpd {
    let other = format!("import sys\n\nprint('warm', file=sys.stderr, flush=True)\n{HELLO}");
    let site = Httpd::new().app("app.wsgi", WRAPPER).app("site_code.py", source);
    site.app("other.wsgi", &other).expect_log("warm").conf(
        "WSGIDaemonProcess app user={user} group={group} processes=3 threads=5 reload=keep\n\
         WSGIProcessGroup app\n\
         WSGIApplicationGroup %{GLOBAL}\n\
         WSGIScriptAlias /other {apps}/other.wsgi\n\
         WSGIScriptAlias / {apps}/app.wsgi",
    )
}

/// Waits until all three serve, and have loaded the other script.
fn warm_up(httpd: &Running) {
    httpd.get("/other").assert(200);
    let count = |text| httpd.error_log().matches(text).count();
    let warm = || (count("warm") == 3 && count(": serving") == 3).then_some(());
    assert!(until(warm).is_some(), "{}", httpd.error_log());
}

/// Code that nobody can load as long as the first process lives that has.
fn code_for_one(word: &str) -> String {
    format!(
        "import socket\n\nprint('tries')\nonce = socket.socket(socket.AF_UNIX)\n\
         once.bind('\\0' + __file__)\n{}",
        code(word)
    )
}

/// Sends so many requests at a time that all workers of a set have some of them. Each has to be
/// answered with this word.
fn all_workers_say(httpd: &Running, word: &str) {
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..8 {
                    let answer = httpd.connect().get("/").expect("an answer").assert(200);
                    assert!(answer.text().starts_with(word), "{answer}");
                }
            });
        }
    });
}

/// Waits until all workers of a set say this word.
fn wait_for_word_of_all(httpd: &Running, word: &str) {
    let mut said = 0;
    let all = until(|| {
        let right =
            httpd.connect().get("/").expect("an answer").assert(200).text().starts_with(word);
        said = if right { said + 1 } else { 0 };
        (said == 20).then_some(())
    });
    assert!(all.is_some(), "not all say {word}");
}

#[test]
fn a_worker_that_cannot_load_what_another_one_has_takes_no_requests() {
    let site = with_traceback(lazy_site(&code_for_one("first")));
    // Python 3.13 marks the place in the line.
    let httpd = site.expect_log("OSError").expect_log("once.bind").expect_log("~~~^^^").start();
    warm_up(&httpd);
    assert_eq!(answer(&httpd).0, "first");
    all_workers_say(&httpd, "first");
    httpd.wait_for_log(&["[wsgi:error]", "OSError", "others serve on"]);
    all_workers_say(&httpd, "first");
    deploy(&httpd, &code("mended"));
    wait_for_word_of_all(&httpd, "mended");
    let serving = || httpd.workers().len() == 3;
    assert!(until(|| serving().then_some(())).is_some(), "all are there again");
}

#[test]
fn workers_that_have_not_been_asked_yet_keep_what_one_has_loaded() {
    let told = "print('loaded', file=__import__('sys').stderr, flush=True)\n";
    let httpd = with_traceback(lazy_site(&format!("{told}{}", code("old"))))
        .expect_log("loaded")
        .expect_log(" died after ")
        .expect_log("another worker")
        .start();
    warm_up(&httpd);
    answer(&httpd);
    // One request, and all three have it.
    let loaded = || httpd.error_log().matches("loaded").count();
    assert!(until(|| (loaded() == 3).then_some(())).is_some(), "{}", loaded());
    deploy(&httpd, "raise ImportError('half of it is missing')\n");
    all_workers_say(&httpd, "old");
    httpd.wait_for_log(&["[wsgi:error]", "half of it is missing", "keeps serving the code"]);
    // One dies, whose place nobody can take.
    let pid = answer(&httpd).1.parse().expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    all_workers_say(&httpd, "old");
    httpd.wait_for_log(&["[wsgi:error]", "cannot start", "half of it is missing"]);
    all_workers_say(&httpd, "old");
    deploy(&httpd, &code("mended"));
    wait_for_word_of_all(&httpd, "mended");
}

#[test]
fn scripts_of_a_group_with_reload_off_are_not_looked_at() {
    let httpd = site_with(1, "reload=off").start();
    let before = answer(&httpd);
    deploy(&httpd, &code("new"));
    assert_eq!(answer(&httpd), before);
    httpd.graceful();
    let new = until(|| (answer(&httpd).0 == "new").then_some(()));
    assert!(new.is_some());
}

#[test]
fn the_last_reload_option_holds() {
    let httpd = site_with(1, "reload=off reload=on").start();
    answer(&httpd);
    deploy(&httpd, &code("new"));
    assert_eq!(answer(&httpd).0, "new");
}

/// Takes a name that exists once on the machine, and fails where it is taken.
const EXCLUSIVE: &str = r#"
import os, socket

listener = socket.socket(socket.AF_UNIX)
listener.bind("\0" + os.path.dirname(__file__))
NUMBER = 1


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d %d" % (NUMBER, os.getpid())]
"#;

#[test]
fn what_exists_once_is_handed_over_and_no_request_is_lost() {
    if testkit::ours_only("mod_wsgi has no such option") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", EXCLUSIVE)
        .conf(
            "WSGIDaemonProcess app threads=4 reload=stop-first\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    let ask = || {
        let text = httpd.get("/").assert(200).text().to_owned();
        let (number, pid) = text.split_once(' ').expect("two words");
        (number.to_owned(), pid.to_owned())
    };
    let before = ask();
    assert_eq!(before.0, "1");
    httpd.replace_app("app.wsgi", &EXCLUSIVE.replace("NUMBER = 1", "NUMBER = 2"));
    let after = until(|| Some(ask()).filter(|(number, _)| number == "2")).expect("new code");
    assert_ne!(before.1, after.1);
    httpd.graceful();
    let next = until(|| Some(ask()).filter(|(_, pid)| *pid != after.1));
    assert!(next.is_some(), "the next generation has it");
}

#[test]
fn what_exists_once_is_handed_over_to_a_new_build_and_no_request_is_lost() {
    if testkit::ours_only("mod_wsgi has no such option") {
        return;
    }
    let programs = Programs::with("stop-first", |_| ());
    let httpd = Httpd::new()
        .dist(&programs.0)
        .app("app.wsgi", EXCLUSIVE)
        .conf(
            "WSGIDaemonProcess app threads=4 reload=stop-first\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    // A second copy finds the name taken, and answers 500.
    let ask = || httpd.get("/").assert(200).text().clone();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let upgrades = scope.spawn(|| {
            let mut before = ask();
            for digest in ["0123456789abcdef", "fedcba9876543210"] {
                rebuild(&programs.0, digest);
                httpd.graceful();
                let next = until(|| Some(ask()).filter(|pid| *pid != before));
                before = next.expect("the next generation has it");
            }
        });
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    ask();
                }
            });
        }
        let outcome = upgrades.join();
        over.store(true, Ordering::Relaxed);
        outcome.expect("both upgrades are served");
    });
}
