//! Programs that an application has started, and that have left the session of their worker: they go
//! on whatever becomes of the worker, and what they write is read on.

use std::fs;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use testkit::{Httpd, Process, Running, until};

/// Starts a program for each path: one that says something when it is told to, until it is told to end.
/// It notes what kills it, and what keeps it from speaking.
const SCRIPT: &str = r#"
import os, subprocess
from urllib.parse import unquote

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "open")
PROGRAM = """
trap 'echo SIGPIPE >> {name}.died; exit' PIPE
trap 'echo SIGTERM >> {name}.died; exit' TERM
echo $$ > {name}.pid.new
mv {name}.pid.new {name}.pid
n=1
while [ ! -e {name}.end ]; do
    if [ -e say-$n ]; then
        echo "{name} says $n" >&2 || echo failed >> {name}.died
        echo "{name} prints $n" || echo failed >> {name}.died
        n=$((n + 1))
    fi
    sleep 0.05
done
echo > {name}.ended
"""


def double_fork(program):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv("/bin/sh", ["sh", "-c", program])
        os._exit(0)
    os.wait()


def application(environ, start_response):
    name = environ["PATH_INFO"][1:]
    program = PROGRAM.replace("{name}", name)
    if name == "session":
        subprocess.Popen(["/bin/sh", "-c", program], cwd=FOLDER, start_new_session=True)
    elif name == "daemon":
        os.chdir(FOLDER)
        double_fork(program)
    elif name == "setsid":
        subprocess.Popen(["setsid", "sh", "-c", program], cwd=FOLDER)
    elif name == "nohup":
        subprocess.Popen(["nohup", "sh", "-c", program], cwd=FOLDER)
    elif name == "bound":
        subprocess.Popen(["/bin/sh", "-c", program], cwd=FOLDER)
    elif name == "die":
        os.kill(os.getpid(), 9)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]
"#;

/// What leaves its worker's session, or does not mind its end.
const FREE: [&str; 4] = ["session", "daemon", "setsid", "nohup"];

fn site(options: &str) -> Httpd {
    Httpd::new()
        .app("app.wsgi", SCRIPT)
        .open_folder("open")
        .conf(&format!(
            "<VirtualHost *:{{port}}>\n\
             ErrorLog logs/site-error.log\n\
             WSGIDaemonProcess app threads=2 user={{user}} group={{group}} {options}\n\
             WSGIScriptAlias / {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}\n\
             </VirtualHost>"
        ))
        .expect_log("says")
        .expect_log("signal 9")
}

/// Programs that have been started, and will end with the test.
struct Programs<'h> {
    httpd: &'h Running,
    names: &'static [&'static str],
    said: u32,
}

impl<'h> Programs<'h> {
    #[track_caller]
    fn start(httpd: &'h Running, names: &'static [&'static str]) -> Self {
        for name in names {
            httpd.get(&format!("/{name}")).assert(200);
        }
        let programs = Self { httpd, names, said: 0 };
        names.iter().for_each(|name| programs.wait_for(name));
        programs
    }

    fn note(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.httpd.dir().join("open").join(name)).ok()
    }

    #[track_caller]
    fn wait_for(&self, name: &str) {
        let runs = until(|| self.note(&format!("{name}.pid")));
        assert!(runs.is_some(), "{name} does not start");
    }

    fn tell(&self, what: &str) {
        fs::write(self.httpd.dir().join("open").join(what), "").expect("the folder is ours");
    }

    /// Has all say something, and demands that it is in the log of their virtual host.
    #[track_caller]
    fn say(&mut self, when: &str) {
        self.said += 1;
        self.tell(&format!("say-{}", self.said));
        for name in self.names {
            for verb in ["says", "prints"] {
                let text = format!("{name} {verb} {}", self.said);
                let heard =
                    until(|| self.httpd.log("site-error.log").contains(&text).then_some(()));
                let died = self.note(&format!("{name}.died"));
                assert!(heard.is_some(), "{when}: {text} is not in the log; {died:?}");
            }
        }
    }

    /// Has all end, and demands that nothing has disturbed them.
    #[track_caller]
    fn end(&self) {
        for name in self.names {
            self.tell(&format!("{name}.end"));
            let ended = until(|| self.note(&format!("{name}.ended")));
            assert!(ended.is_some(), "{name} has not come to its end");
            assert_eq!(self.note(&format!("{name}.died")), None, "{name}");
        }
    }
}

/// The worker that answers.
fn worker(httpd: &Running) -> String {
    httpd.get("/").assert(200).text().clone()
}

/// Waits until another worker answers.
#[track_caller]
fn wait_for_another(httpd: &Running, than: &str) {
    let other = until(|| (worker(httpd) != than).then_some(()));
    assert!(other.is_some(), "worker {than} goes on");
}

#[test]
fn it_goes_on_whatever_becomes_of_its_worker() {
    if testkit::ours_only("what mod_wsgi's processes print goes nowhere") {
        return;
    }
    let httpd = site("").expect_log("starting another one").start();
    let mut programs = Programs::start(&httpd, &FREE);
    programs.say("at first");

    let before = worker(&httpd);
    httpd.replace_app("app.wsgi", &(SCRIPT.to_owned() + "\n# touched\n"));
    wait_for_another(&httpd, &before);
    programs.say("after a reload");

    let before = worker(&httpd);
    httpd.request("POST", "/die", &[], b"").assert(502);
    wait_for_another(&httpd, &before);
    programs.say("after the death of a worker");

    for restart in [Running::graceful, Running::restart] {
        let (before, supervisor) = (worker(&httpd), httpd.supervisor().expect("there is one"));
        restart(&httpd);
        wait_for_another(&httpd, &before);
        let gone = until(|| (!supervisor.runs()).then_some(()));
        assert!(gone.is_some(), "the supervisor of the last generation has ended");
        programs.say("after a restart");
    }
    programs.end();
}

#[test]
fn it_goes_on_when_workers_are_replaced_as_planned() {
    if testkit::ours_only("what mod_wsgi's processes print goes nowhere") {
        return;
    }
    let httpd = site("maximum-requests=8").start();
    let first = worker(&httpd);
    let mut programs = Programs::start(&httpd, &FREE);
    wait_for_another(&httpd, &first);
    let gone = until(|| Process::find(first.parse().ok()?).is_none().then_some(()));
    assert!(gone.is_some(), "worker {first} has ended");
    programs.say("after enough requests");
    programs.end();
}

#[test]
fn what_has_not_left_the_session_ends_with_the_generation() {
    if testkit::ours_only("mod_wsgi leaves it alone") {
        return;
    }
    let httpd = site("").start();
    let programs = Programs::start(&httpd, &["bound"]);
    httpd.request("POST", "/die", &[], b"").assert(502);
    worker(&httpd);
    assert_eq!(programs.note("bound.died"), None, "not with its worker");
    httpd.graceful();
    let died = until(|| programs.note("bound.died").filter(|how| !how.is_empty()));
    assert_eq!(died.as_deref(), Some("SIGTERM\n"));
}

#[test]
fn it_goes_on_when_httpd_has_stopped() {
    if testkit::ours_only("what mod_wsgi's processes print goes nowhere") {
        return;
    }
    let mut httpd = site("").start();
    let parent = httpd.pid();
    let log = httpd.dir().join("logs/site-error.log");
    let open = httpd.dir().join("open");
    Programs::start(&httpd, &FREE);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let gone = until(|| kill(Pid::from_raw(parent), None).is_err().then_some(()));
            // httpd is waited for by `stop`, until which it may be there as a zombie.
            let heard = gone.and_then(|()| {
                fs::write(open.join("say-1"), "").ok()?;
                until(|| {
                    let log = fs::read_to_string(&log).ok()?;
                    FREE.iter().all(|name| log.contains(&format!("{name} says 1"))).then_some(())
                })
            });
            for name in FREE {
                let _ = fs::write(open.join(format!("{name}.end")), "");
            }
            assert!(heard.is_some(), "{}", fs::read_to_string(&log).unwrap_or_default());
        });
        httpd.stop();
    });
    for name in FREE {
        assert!(!open.join(format!("{name}.died")).exists(), "{name}");
    }
}

#[test]
fn a_log_that_is_a_program_is_found_again() {
    if testkit::ours_only("httpd ends the program that mod_wsgi's log leads to") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", SCRIPT)
        .open_folder("open")
        .conf(
            "<VirtualHost *:{port}>\n\
             ErrorLog \"|/usr/bin/tee -a {logs}/site-error.log\"\n\
             WSGIDaemonProcess app threads=2 user={user} group={group}\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}\n\
             </VirtualHost>",
        )
        .expect_log("says")
        .start();
    let mut programs = Programs::start(&httpd, &["session"]);
    for _ in 0..2 {
        let supervisor = httpd.supervisor().expect("there is one");
        httpd.graceful();
        let gone = until(|| (!supervisor.runs()).then_some(()));
        assert!(gone.is_some(), "the supervisor of the last generation has ended");
        programs.say("after a restart");
    }
    programs.end();
}

#[test]
fn the_process_that_reads_on_has_nothing_else_of_the_supervisor() {
    if testkit::ours_only("mod_wsgi has none") || !testkit::sees_into_processes() {
        return;
    }
    let httpd = site("").start();
    let programs = Programs::start(&httpd, &["session"]);
    let supervisor = httpd.supervisor().expect("there is one");
    httpd.graceful();
    let gone = until(|| (!supervisor.runs()).then_some(()));
    assert!(gone.is_some(), "the supervisor of the last generation has ended");
    let reader = until(|| {
        let readers = Process::holding(&httpd.dir().join("logs")).into_iter();
        let mut readers = readers.filter(|process| process.program == "wsgi-output");
        readers.next().filter(|_| readers.next().is_none())
    });
    let reader = reader.expect("one process reads on");
    let status = fs::read_to_string(format!("/proc/{}/status", reader.pid)).expect("it runs");
    let rights =
        status.lines().filter(|line| line.starts_with("CapPrm") || line.starts_with("CapEff"));
    assert!(rights.clone().all(|line| line.ends_with("\t0000000000000000")), "{status}");
    // Standard streams, what it waits with, two logs, the two pipes, and httpd's parent.
    assert_eq!(reader.descriptors(), 9);
    let pid = reader.pid;
    programs.end();
    let ended = until(|| kill(Pid::from_raw(pid), None).is_err().then_some(()));
    assert!(ended.is_some(), "it ends with what it reads");
}
