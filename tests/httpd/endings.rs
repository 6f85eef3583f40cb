//! The end of a worker loses nothing: what was written and not flushed is there, and exit handlers run.

use testkit::Httpd;

/// Leaves files open that nobody flushes, in the script and in a module.
const OPEN: &str = r#"
import atexit, ctypes, dbm.dumb, os, shelve, sys

FOLDER = sys.path[0]
log = open(os.path.join(FOLDER, "log.csv"), "a")
# Of the kinds of databases, the one that no Python binds to the thread that has opened it.
state = shelve.Shelf(dbm.dumb.open(os.path.join(FOLDER, "state")), writeback=True)
state["requests"] = 0
atexit.register(lambda: open(os.path.join(FOLDER, "atexit"), "w").write("ran"))


class Finalized:
    def __del__(self, open=open, path=os.path.join(FOLDER, "finalized")):
        with open(path, "w") as file:
            file.write("yes")


keep = Finalized()


def application(environ, start_response):
    state["requests"] += 1
    log.write("a line\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"counted"]
"#;

#[test]
fn what_is_open_is_written() {
    let httpd = Httpd::new().app("app.wsgi", OPEN).open_folder("out").conf(
        "WSGIDaemonProcess app user={user} group={group} home={dir}/out\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
    );
    let mut httpd = httpd.start();
    for _ in 0..3 {
        httpd.get("/").assert(200);
    }
    let folder = httpd.dir().join("out");
    httpd.stop();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    assert_eq!(read("log.csv"), "a line\n".repeat(3));
    assert_eq!((read("atexit").as_str(), read("finalized").as_str()), ("ran", "yes"));
    let question = "import dbm.dumb, shelve, sys; \
                    print(shelve.Shelf(dbm.dumb.open(sys.argv[1]))['requests'])";
    let output = std::process::Command::new("/usr/bin/python3")
        .args(["-c", question])
        .arg(folder.join("state"))
        .output()
        .expect("a Python");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "3\n");
}

/// Logs to the names that stand for its output.
const NAMES: &str = r#"
import logging, subprocess

for number, name in enumerate(("/dev/stdout", "/dev/stderr", "/proc/self/fd/1")):
    logger = logging.getLogger("app%d" % number)
    logger.addHandler(logging.FileHandler(name))
    logger.error("through %s", name)


def application(environ, start_response):
    status = subprocess.call(["/bin/sh", "-c", "echo from a program > /dev/stdout"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % status]
"#;

#[test]
fn output_can_be_opened_by_name() {
    let httpd = Httpd::new()
        .app("app.wsgi", NAMES)
        .conf(
            "LogLevel info\nWSGIDaemonProcess app user={user} group={group}\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .expect_log("through")
        .start();
    assert_eq!(httpd.get("/").assert(200).text(), "0");
    if testkit::UnderTest::chosen().is_original() {
        return;
    }
    for line in
        ["through /dev/stdout", "through /dev/stderr", "through /proc/self/fd/1", "from a program"]
    {
        httpd.wait_for_log(&[line]);
    }
}
