//! What workers write outside of requests is in the log of the virtual host that defines their group,
//! whatever that log is: while a script is loaded, by other threads, by C libraries, and at the end.

use testkit::{Httpd, Running, until};

/// Speaks up everywhere but in a request.
const SCRIPT: &str = r#"
import atexit, ctypes, os, signal, sys, threading

print("line-loading", file=sys.stderr)
print("line-printed")


@atexit.register
def at_exit():
    # More than is read at a time.
    for number in range(300):
        print(f"line-{number}-at-exit", "x" * 50, file=sys.stderr)


def tell():
    print("line-of-a-thread", file=sys.stderr)
    print("line-printed-by-a-thread")


def application(environ, start_response):
    if environ["PATH_INFO"] == "/crash":
        os.write(2, b"line-before-the-crash\n" * 300)
        os.kill(os.getpid(), signal.SIGKILL)
    thread = threading.Thread(target=tell)
    thread.start()
    thread.join()
    ctypes.CDLL(None).write(2, b"line-of-a-library\n", 18)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"#;

/// What is to be there after a request.
const EARLY: [&str; 4] = ["line-loading", "line-printed", "line-of-a-thread", "line-of-a-library"];

/// What is to be there when a worker has ended.
const LATE: &str = "line-299-at-exit";

/// A log of a virtual host, and the file in `{logs}` where its lines come to.
struct Kind {
    conf: &'static str,
    file: &'static str,
    /// What stands in front of and behind each text.
    around: (&'static str, &'static str),
}

const JSON: Kind = Kind {
    conf: "ErrorLog logs/site.log\n\
           ErrorLogFormat \"{\\\"time\\\":\\\"%{cu}t\\\",\\\"host\\\":\\\"%v\\\",\\\"pid\\\":%P,\
           \\\"level\\\":\\\"%m:%l\\\",\\\"client\\\":\\\"%-a\\\",\\\"message\\\":\\\"%M\\\"}\"",
    file: "site.log",
    around: ("\",\"client\":\"-\",\"message\":\"", "\"}"),
};

const KINDS: [Kind; 5] = [
    Kind { conf: "ErrorLog logs/site-error.log", file: "site-error.log", around: ("] ", "") },
    Kind {
        conf: "ErrorLog \"|/usr/bin/tee -a {logs}/site-error.log\"",
        file: "site-error.log",
        around: ("] ", ""),
    },
    Kind {
        conf: "ErrorLog \"||/usr/bin/tee -a {logs}/site-error.log\"",
        file: "site-error.log",
        around: ("] ", ""),
    },
    Kind {
        conf: "ErrorLog \"|$exec cat >> {logs}/site.log\"\n\
               ErrorLogFormat \"%{cu}t %v [%l] %M\"",
        file: "site.log",
        around: (" site [", ""),
    },
    JSON,
];

fn site(kind: &Kind) -> Httpd {
    Httpd::new()
        .app("app.wsgi", SCRIPT)
        .conf(&format!(
            "<VirtualHost *:{{port}}>\n\
             ServerName site\n\
             {}\n\
             WSGIDaemonProcess app threads=2 user={{user}} group={{group}}\n\
             WSGIScriptAlias / {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}\n\
             </VirtualHost>",
            kind.conf
        ))
        .expect_log("line-")
        .expect_log("signal 9")
}

impl Kind {
    /// Waits for a line with the text.
    #[track_caller]
    fn wait_for(&self, httpd: &Running, text: &str) {
        let (front, behind) = self.around;
        let line = httpd.wait_for_log_in(self.file, &[text]);
        assert!(line.contains(front) && line.ends_with(behind), "{line}");
    }

    /// How often a text has come.
    fn count(&self, httpd: &Running, text: &str) -> usize {
        httpd.log(self.file).matches(text).count()
    }
}

/// Asks, and waits for what is to be there then.
#[track_caller]
fn ask(httpd: &Running, kind: &Kind) {
    httpd.get_from("site", "/").assert(200);
    EARLY.iter().for_each(|text| kind.wait_for(httpd, text));
}

#[test]
fn whatever_the_log_is_it_has_everything_until_the_end() {
    if testkit::ours_only("mod_wsgi's have no format for what C libraries write") {
        return;
    }
    for kind in &KINDS {
        let mut httpd = site(kind).start();
        ask(&httpd, kind);
        httpd.stop();
        kind.wait_for(&httpd, LATE);
        let other = httpd.error_log();
        assert!(!other.contains("line-"), "{}: {other}", kind.conf);
    }
}

#[test]
fn what_is_said_late_at_a_graceful_restart_is_not_lost() {
    if testkit::ours_only("httpd ends the programs that mod_wsgi's logs lead to") {
        return;
    }
    for kind in &KINDS {
        let httpd = site(kind).start();
        ask(&httpd, kind);
        for generation in 1..=2 {
            httpd.graceful();
            let all = until(|| (kind.count(&httpd, LATE) == generation).then_some(()));
            assert!(all.is_some(), "{}: {}", kind.conf, httpd.log(kind.file));
            ask(&httpd, kind);
        }
    }
}

#[test]
fn what_is_said_before_a_crash_is_not_lost() {
    if testkit::ours_only("mod_wsgi's own words differ") {
        return;
    }
    for kind in &KINDS {
        let httpd = site(kind).start();
        ask(&httpd, kind);
        // A GET would be tried a second time.
        httpd.request("POST", "/crash", &[("Host", "site")], b"").assert(502);
        let all = || (kind.count(&httpd, "line-before-the-crash") == 300).then_some(());
        assert!(until(all).is_some(), "{}: {}", kind.conf, httpd.log(kind.file));
    }
}

#[test]
fn the_main_servers_log_may_be_a_program_too() {
    if testkit::ours_only("httpd ends the program that mod_wsgi's log leads to") {
        return;
    }
    let mut httpd = Httpd::new()
        .app("app.wsgi", SCRIPT)
        .conf(
            "ErrorLog \"|/usr/bin/tee -a {logs}/error.log\"\n\
             ErrorLogFormat \"<%l> %M\"\n\
             WSGIScriptAlias / {apps}/app.wsgi application-group=%{GLOBAL}",
        )
        // Its format is none that is judged.
        .expect_log("<")
        // A program that is ended in the middle of a line leaves its rest to the next one.
        .expect_log("xxx")
        .start();
    httpd.get("/").assert(200);
    for (level, text) in ["error", "notice", "error", "error"].iter().zip(EARLY) {
        httpd.wait_for_log(&[&format!("<{level}> {text}")]);
    }
    httpd.graceful();
    httpd.wait_for_log(&[&format!("<error> {LATE}")]);
    httpd.get("/").assert(200);
    httpd.stop();
    let all = until(|| (httpd.error_log().matches(LATE).count() == 2).then_some(()));
    assert!(all.is_some(), "{}", httpd.error_log());
}

#[test]
fn each_virtual_host_has_its_own() {
    let host = |name: &str| {
        format!(
            "<VirtualHost *:{{port}}>\n\
             ServerName {name}\n\
             ErrorLog \"||/usr/bin/tee -a {{logs}}/{name}.log\"\n\
             ErrorLogFormat \"[%l] %v: %M\"\n\
             WSGIDaemonProcess {name} threads=2 user={{user}} group={{group}}\n\
             WSGIScriptAlias / {{apps}}/app.wsgi process-group={name} application-group=%{{GLOBAL}}\n\
             </VirtualHost>"
        )
    };
    if testkit::ours_only("mod_wsgi's have no format for what C libraries write") {
        return;
    }
    let mut httpd = Httpd::new()
        .app("app.wsgi", SCRIPT)
        .conf(&host("one"))
        .conf(&host("two"))
        .expect_log("line-")
        .start();
    for name in ["one", "two"] {
        httpd.get_from(name, "/").assert(200);
    }
    httpd.stop();
    for (name, other) in [("one", "two"), ("two", "one")] {
        for text in EARLY.into_iter().chain([LATE]) {
            httpd.wait_for_log_in(&format!("{name}.log"), &[&format!("] {name}: {text}")]);
        }
        let log = httpd.log(&format!("{name}.log"));
        assert!(!log.contains(&format!("] {other}: ")), "{log}");
        assert_eq!(log.matches("line-loading").count(), 1, "{log}");
    }
}

/// A line without what differs from one to the next of the same form.
fn form(line: &str) -> String {
    let digits = |character: char| character.is_ascii_digit();
    let mut form = String::new();
    for character in line.chars() {
        match (digits(character), form.ends_with('0')) {
            (true, true) => {}
            (true, false) => form.push('0'),
            (false, _) => form.push(character),
        }
    }
    form
}

#[test]
fn a_line_looks_as_one_of_httpds_own() {
    if testkit::ours_only("mod_wsgi has httpd write its lines") {
        return;
    }
    for format in [
        "",
        "[%{u}t] [%-m:%l] [pid %P:tid %T] %7F: %E: [client\\ %a] %M% ,\\ referer\\ %{Referer}i",
        "[%t] [%l] %-E %-{Host}i %M",
        "%{cu}t %v %-V %-L %-{c}L %-k %-A %-{X}e %-{X}n tid=%{g}T: %M",
        "{\\\"t\\\":\\\"%{c}t\\\", \\\"l\\\": \\\"%l\\\", \\\"m\\\": \\\"%M\\\"}",
        // With more than one %M, httpd crashes.
        "100%% [a %a] b [%5m]%6m %4m [%M] x\\ y%a z",
    ] {
        let directive = match format {
            "" => String::new(),
            format => format!("ErrorLogFormat \"{format}\"\n"),
        };
        let httpd = Httpd::new()
            .app("app.wsgi", SCRIPT)
            .conf(&directive)
            .conf("WSGIScriptAlias / {apps}/app.wsgi application-group=%{GLOBAL}")
            // Its format is none that is judged.
            .expect_log("")
            .start();
        httpd.get("/").assert(200);
        // Both are of level notice.
        let ours = httpd.wait_for_log(&["line-printed-by-a-thread"]);
        let theirs = httpd.wait_for_log(&["AH00489", "resuming normal operations"]);
        let from = theirs.find("AH00489").expect("found");
        let to = from + theirs[from..].find("operations").expect("found") + "operations".len();
        let theirs = theirs.replace(&theirs[from..to], "line-printed-by-a-thread");
        let theirs = theirs.replace("mpm_event", "wsgi").replace(" wsgi:info", "");
        assert_eq!(form(&ours), form(&theirs), "{format}");
    }
}

/// Becomes httpd, with a `/dev` of its own in which something listens for what syslog gets.
const SYSLOG: &str = r#"
import ctypes, os, select, shutil, socket, stat, sys

folder, log, *command = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir(folder)
for name in ["null", "zero", "random", "urandom"]:
    device = os.stat("/dev/" + name)
    os.mknod(f"{folder}/{name}", stat.S_IFCHR | 0o666, device.st_rdev)
    os.chmod(f"{folder}/{name}", 0o666)
os.mkdir(folder + "/shm", 0o777)
os.symlink("/proc/self/fd", folder + "/fd")
if libc.mount(folder.encode(), b"/dev", None, 4096, None):
    sys.exit(os.strerror(ctypes.get_errno()))
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind("/dev/log")
os.chmod("/dev/log", 0o666)
httpd = os.pidfd_open(os.getpid())
if os.fork() == 0:
    receiver.setblocking(False)
    with open(log, "wb", 0) as file:
        ended = False
        while not ended:
            ended = httpd in select.select([receiver, httpd], [], [])[0]
            try:
                while True:
                    file.write(receiver.recv(65536) + b"\n")
            except BlockingIOError:
                pass
    os._exit(0)
os.execv(command[0], command)
"#;

#[test]
fn syslog_has_it_too() {
    if testkit::ours_only("mod_wsgi does not send what C libraries write") {
        return;
    }
    if !testkit::running_as_root() {
        return testkit::skipped("only root has a /dev of its own");
    }
    let may = std::process::Command::new("unshare").args(["--mount", "true"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        return testkit::skipped("in a container, root has no /dev of its own");
    }
    // httpd's folder is made only when it starts.
    let place = std::env::temp_dir().join(format!("mod_wsgi_rs-syslog-{}", std::process::id()));
    std::fs::create_dir(&place).expect("a folder of our own");
    let [script, dev, log] = ["script.py", "dev", "log"].map(|name| place.join(name));
    std::fs::write(&script, SYSLOG).expect("the folder is ours");
    let words = [&script, &dev, &log].map(|path| path.display().to_string());
    let unshare = ["/usr/bin/unshare", "--mount", "/usr/bin/python3"];
    let words: Vec<_> = unshare.into_iter().chain(words.iter().map(String::as_str)).collect();
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    // LogLevel warn, at which syslog gets no notices.
    for (error_log, tag) in [("syslog:local1:site", "<139>"), ("syslog:USER", "<11>")] {
        let _ = std::fs::remove_file(&log);
        let _ = std::fs::remove_dir_all(&dev);
        let kind = Kind { conf: "LogLevel warn", file: "", around: ("", "") };
        let mut httpd = site(&kind).conf(&format!("ErrorLog {error_log}")).under(&words);
        let name = error_log.rsplit(':').next().expect("a word");
        let name = if name == "site" { "site" } else { "apache2" };
        let mut httpd = {
            httpd = httpd.expect_log("[");
            httpd.start()
        };
        httpd.get_from("site", "/").assert(200);
        let wait_for = |text: &str| {
            let is_it = |line: &&str| {
                line.starts_with('<') && line.contains(&format!("{name}[")) && line.ends_with(text)
            };
            let found = until(|| read().lines().find(is_it).map(str::to_owned));
            found.unwrap_or_else(|| panic!("{text} is not in: {}", read()))
        };
        for text in ["line-loading", "line-of-a-thread", "line-of-a-library"] {
            let line = wait_for(text);
            assert!(line.starts_with(tag) && line.contains("]: [wsgi:error] [pid "), "{line}");
        }
        assert!(wait_for("line-printed").contains("]: [wsgi:warn] [pid "));
        httpd.stop();
        let last = until(|| read().contains(LATE).then_some(()));
        assert!(last.is_some(), "{}", read());
    }
    std::fs::remove_dir_all(&place).expect("the folder is ours");
}
