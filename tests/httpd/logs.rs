//! Whatever an application writes arrives whole, in order, and where it belongs.

use testkit::{Httpd, Running, UnderTest};

use crate::ask;

/// Runs the statements in the query string, and answers with the id of the request in the logs.
const RUN: &str = r#"
import ctypes, faulthandler, logging, os, sys, threading, warnings
from urllib.parse import unquote

import mod_wsgi

logger = logging.getLogger("app")
logger.setLevel(logging.DEBUG)
logger.propagate = False
logger.addHandler(mod_wsgi.LogHandler())
print("loaded", file=sys.stderr)


def application(environ, start_response):
    errors = environ["wsgi.errors"]
    exec(unquote(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["mod_wsgi.request_id"].encode()]
"#;

/// Two virtual hosts with a log each. `one` has the group `one`; `two` uses it as well.
fn hosts() -> Httpd {
    let host = |name: &str| {
        format!(
            "<VirtualHost *:{{port}}>\nServerName {name}\n\
             ErrorLog logs/{name}-error.log\nLogLevel wsgi:debug\n\
             ErrorLogFormat \"[%{{u}}t] [%-m:%l] [id %L] [%F] %M\"\n\
             WSGIScriptAlias / {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}\n\
             </VirtualHost>"
        )
    };
    Httpd::new()
        .app("app.wsgi", RUN)
        .conf("WSGIDaemonProcess app user={user} group={group} threads=5")
        .conf(&host("one"))
        .conf(&host("two"))
        .expect_log("[wsgi:")
        .expect_log("[:")
}

/// Runs these statements for a request to the host, and returns the request's id.
#[track_caller]
fn run(httpd: &Running, host: &str, statements: &str) -> String {
    let target = ask(&[statements]);
    httpd.request("GET", &target, &[("Host", host)], b"").assert(200).text()
}

/// Level and text of each line of the request in a log, in their order.
fn lines(httpd: &Running, log: &str, id: &str) -> Vec<(String, String)> {
    let mark = format!("] [id {id}] ");
    let log = httpd.log(log);
    let lines = log.lines().filter_map(|line| {
        let (before, after) = line.split_once(&mark)?;
        let level = before.rsplit(':').next()?;
        // httpd leaves the place out where there is none.
        let placed = after.split_once(")] ").filter(|_| after.starts_with('['));
        let text = placed.map_or(after, |(_, text)| text);
        // An original names the script in each line.
        let named = text.strip_prefix("[script ").and_then(|rest| rest.split_once("] "));
        Some((level.to_owned(), named.map_or(text, |(_, text)| text).to_owned()))
    });
    lines.filter(|(level, _)| level != "debug" && level != "info").collect()
}

#[test]
fn what_is_printed_is_logged_whatever_the_level() {
    let source = "def application(environ, start_response):\n    print('printed')\n    \
                  start_response('200 OK', [])\n    return [b'']\n";
    let conf = "LogLevel error\nWSGIScriptAlias / {apps}/app.wsgi";
    let httpd = Httpd::new().app("app.wsgi", source).conf(conf).start();
    httpd.get("/").assert(200);
    httpd.wait_for_log(&["printed"]);
}

#[test]
fn each_line_has_its_level_and_the_id_of_its_request() {
    if testkit::later_than_debians("there is a handler for logging") {
        return;
    }
    let httpd = hosts().start();
    // What loading the script prints belongs to the first request.
    run(&httpd, "one", "pass");
    for (statements, expected) in [
        ("errors.write('one\\ntwo\\n')", &[("error", "one"), ("error", "two")][..]),
        ("print('a'); print('b', file=sys.stderr)", &[("notice", "a"), ("error", "b")]),
        ("print('unfinished', end='')", &[("notice", "unfinished")]),
        ("logging.error('from %s', 'logging')", &[("error", "ERROR:root:from logging")]),
        (
            "logging.StreamHandler(errors).emit(logging.makeLogRecord({'msg': 'streamed'}))",
            &[("error", "streamed")],
        ),
        ("logger.critical('c'); logger.warning('w')", &[("crit", "c"), ("warn", "w")]),
        (
            "warnings.warn_explicit('old', UserWarning, 'f.py', 7, registry={})",
            &[("error", "f.py:7: UserWarning: old")],
        ),
        ("errors.write('\\x1b[31m\\r\\t\\0\\\\\\n')", &[("error", r"\x1b[31m\r\t\\x00\\")]),
        ("errors.write('\\xe9\\u20ac\\n')", &[("error", r"\xc3\xa9\xe2\x82\xac")]),
        (
            "errors.write('forged\\r[wsgi:error] [id x]\\n')",
            &[("error", r"forged\r[wsgi:error] [id x]")],
        ),
    ] {
        let original = UnderTest::chosen().is_original();
        // A NUL ends what mod_wsgi logs of a line.
        if original && statements.contains("\\0") {
            continue;
        }
        for host in ["one", "two"] {
            let id = run(&httpd, host, statements);
            let lines = lines(&httpd, &format!("{host}-error.log"), &id);
            let lines: Vec<_> = lines.iter().map(|(l, t)| (l.as_str(), t.as_str())).collect();
            // mod_wsgi logs stdout as errors.
            let level = |level| if original && level == "notice" { "error" } else { level };
            let expected: Vec<_> = expected.iter().map(|(l, text)| (level(*l), *text)).collect();
            assert_eq!(lines, expected, "{statements}");
        }
    }
}

#[test]
fn long_lines_are_split_and_nothing_is_lost() {
    if testkit::ours_only("mod_wsgi lets httpd cut long lines off") {
        return;
    }
    let httpd = hosts().start();
    // httpd writes four bytes for each byte that is not ASCII.
    for (text, escaped) in [("x", "x"), ("\\u20ac", r"\xe2\x82\xac"), ("\\\\", r"\\")] {
        for stream in ["errors", "sys.stdout", "sys.stderr"] {
            let id =
                run(&httpd, "one", &format!("print('begin' + '{text}' * 9000, file={stream})"));
            let lines = lines(&httpd, "one-error.log", &id);
            let whole: String = lines.iter().map(|(_, text)| text.as_str()).collect();
            assert!(lines.len() > 1 && whole.contains("begin"), "{text} {stream}");
            assert_eq!(whole.matches(escaped).count(), 9000, "{text} {stream}");
        }
    }
}

#[test]
fn many_requests_at_once_keep_their_lines_apart_and_in_order() {
    if testkit::later_than_debians("there is a handler for logging") {
        return;
    }
    let httpd = hosts().start();
    let statements =
        "for number in range(200): print(number, file=(errors, sys.stderr)[number % 2])";
    std::thread::scope(|scope| {
        for host in ["one", "two", "one", "two"] {
            let httpd = &httpd;
            scope.spawn(move || {
                let id = run(httpd, host, statements);
                let lines = lines(httpd, &format!("{host}-error.log"), &id);
                let numbers = lines.iter().map(|(_, text)| text.as_str());
                // Loading the script is the affair of one of them.
                let numbers: Vec<_> = numbers.filter(|text| *text != "loaded").collect();
                let expected: Vec<_> = (0..200).map(|number| number.to_string()).collect();
                assert_eq!(numbers, expected);
            });
        }
    });
}

/// A virtual host with a group of its own.
fn host_with_group(name: &str) -> String {
    format!(
        "<VirtualHost *:{{port}}>\nServerName {name}\nErrorLog logs/{name}-error.log\n\
         WSGIDaemonProcess {name} user={{user}} group={{group}} threads=2\n\
         WSGIScriptAlias / {{apps}}/app.wsgi process-group={name} application-group=%{{GLOBAL}}\n\
         </VirtualHost>"
    )
}

#[test]
fn what_is_written_outside_of_requests_goes_to_the_host_of_the_group() {
    if testkit::ours_only("descriptors of mod_wsgi's daemons are those of httpd") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", RUN)
        .conf(&host_with_group("one"))
        .conf(&host_with_group("two"))
        .expect_log("[wsgi:")
        .start();
    for (statements, expected) in [
        // What C code writes, and programs that are started: to the descriptors.
        (
            "os.write(2, b'to 2 HOST\\n'); os.write(1, b'to 1 HOST\\n')",
            &["to 2 HOST", "to 1 HOST"][..],
        ),
        ("os.write(2, b'a' * 20000 + b'end HOST\\n')", &["aend HOST"]),
        ("os.write(2, b'\\x1b[m\\r\\0esc HOST\\n')", &[r"\x1b[m\r\x00esc HOST"]),
        ("os.system('echo from a shell HOST')", &["from a shell HOST"]),
        ("ctypes.CDLL(None).perror(b'perror')", &["perror: "]),
        (
            "t = threading.Thread(target=lambda: print('in a thread HOST')); t.start(); t.join()",
            &["in a thread HOST"],
        ),
        (
            "t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()",
            &["Exception in thread", "ZeroDivisionError: division by zero"],
        ),
        (
            "faulthandler.dump_traceback(all_threads=False)",
            &["most recent call first", "in application"],
        ),
    ] {
        for (host, other) in [("one", "two"), ("two", "one")] {
            run(&httpd, host, &statements.replace("HOST", host));
            for text in expected {
                let text = text.replace("HOST", host);
                httpd.wait_for_log_in(&format!("{host}-error.log"), &["[wsgi:", &text]);
                let elsewhere = httpd.log(&format!("{other}-error.log"));
                assert!(!text.contains(host) || !elsewhere.contains(&text), "{statements}");
            }
        }
    }
    let whole = httpd.log("one-error.log").matches('a').count();
    assert!(whole >= 20000, "{whole}");
}

#[test]
fn a_worker_that_crashes_says_where() {
    if testkit::ours_only("sys.stderr of mod_wsgi has no descriptor for faulthandler") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", RUN)
        .conf(&host_with_group("one"))
        .expect_log("[wsgi:")
        .start();
    run(&httpd, "one", "faulthandler.enable()");
    // A GET would be tried a second time.
    let target = ask(&["ctypes.string_at(0)"]);
    let response = httpd.request("POST", &target, &[("Host", "one")], b"");
    assert!(response.status == 502 || response.status == 500, "{response}");
    let log = "one-error.log";
    for text in ["Fatal Python error: Segmentation fault", "app.wsgi\", line 16 in application"] {
        httpd.wait_for_log_in(log, &["[wsgi:error]", text]);
    }
    run(&httpd, "one", "print('alive again')");
    httpd.wait_for_log_in(log, &["alive again"]);
}

#[test]
fn an_exception_is_logged_with_all_of_its_traceback() {
    if testkit::ours_only("mod_wsgi logs no frames with Python before 3.12") {
        return;
    }
    let httpd = hosts().start();
    let target =
        ask(&["try:\n    int('x')\nexcept ValueError as e:\n    raise KeyError('k\\x1b') from e"]);
    httpd.request("GET", &target, &[("Host", "two")], b"").assert(500);
    let log = httpd.log("two-error.log");
    let mut rest = log.as_str();
    for text in [
        "Exception occurred processing WSGI script",
        "Traceback (most recent call last):",
        "ValueError: invalid literal",
        "The above exception was the direct cause",
        "app.wsgi\", line 16, in application",
        r"KeyError: 'k\\x1b'",
    ] {
        let Some(at) = rest.find(text) else {
            panic!("{text} does not follow in:\n{log}");
        };
        rest = &rest[at..];
    }
    assert!(!httpd.log("one-error.log").contains("KeyError"));
}

#[test]
fn the_handler_tells_where_a_record_comes_from() {
    if testkit::later_than_debians("there is a handler for logging") {
        return;
    }
    let httpd = hosts().start();
    run(&httpd, "one", "logger.error('placed')");
    httpd.wait_for_log_in("one-error.log", &["<string>(1)] ", "placed"]);
    // Outside of requests it has its level all the same.
    run(&httpd, "one", "threading.Thread(target=lambda: logger.critical('afar')).start()");
    httpd.wait_for_log(&["[wsgi:crit]", "afar"]);
}
