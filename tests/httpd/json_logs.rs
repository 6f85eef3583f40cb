//! `WSGILogFormat json`: every line of ours and of applications is one JSON object.

use serde_json::{Map, Value};
use testkit::{Httpd, Running, until};

use crate::{ask, told};

type Object = Map<String, Value>;

/// Runs the statements in the query string, and answers with the id of the request.
const RUN: &str = r#"
import logging, os, sys, threading
from urllib.parse import unquote

import mod_wsgi

logging.basicConfig(level=logging.DEBUG)
own = logging.getLogger("own.logger")
own.propagate = False
own.addHandler(mod_wsgi.LogHandler())
own.setLevel(logging.DEBUG)


def aside(what):
    thread = threading.Thread(target=what)
    thread.start()
    thread.join()


def application(environ, start_response):
    errors = environ["wsgi.errors"]
    exec(unquote(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["mod_wsgi.request_id"].encode()]
"#;

fn site(conf: &str) -> Httpd {
    Httpd::new()
        .app("app.wsgi", RUN)
        .conf("WSGILogFormat json\nLogLevel wsgi:info")
        .conf(
            "WSGIDaemonProcess app user={user} group={group} threads=3\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .conf(conf)
        .expect_log("{\"time\":")
}

/// Runs statements for a request with this header, and returns its id.
#[track_caller]
fn run_with(httpd: &Running, header: &[(&str, &str)], statements: &str) -> String {
    told(httpd.request("GET", &ask(&[statements]), header, b"")).concat()
}

#[track_caller]
fn run(httpd: &Running, statements: &str) -> String {
    run_with(httpd, &[], statements)
}

/// All objects of a log. Nothing of ours is there that is none.
#[track_caller]
fn objects(log: &str) -> Vec<Object> {
    let (ours, others): (Vec<_>, Vec<_>) = log.lines().partition(|line| line.starts_with('{'));
    for line in others {
        let is_httpds = line.contains("AH0") && !line.contains("[wsgi:");
        assert!(is_httpds, "neither JSON nor httpd's: {line}");
    }
    let parse = |line: &str| match serde_json::from_str(line) {
        Ok(Value::Object(object)) => object,
        other => panic!("{line} is {other:?}"),
    };
    ours.into_iter().map(parse).collect()
}

fn text<'o>(object: &'o Object, name: &str) -> &'o str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The object whose message has this text.
#[track_caller]
fn object(httpd: &Running, message: &str) -> Object {
    let found = until(|| {
        let objects = objects(&httpd.error_log());
        objects.into_iter().find(|object| text(object, "message").contains(message))
    });
    found.unwrap_or_else(|| panic!("no message holds {message:?}"))
}

#[test]
fn each_line_of_a_request_is_an_object_that_tells_all_about_it() {
    let httpd = site("").start();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let header = format!("00-{trace}-b7ad6b7169203331-01");
    for (statements, message, level, logger) in [
        ("print('printed')", "printed", "notice", ""),
        ("errors.write('to errors\\n')", "to errors", "error", ""),
        ("print('quoted \" \\\\ \\t \\x01', file=sys.stderr)", "quoted \" \\ \t \x01", "error", ""),
        ("logging.warning('plain')", "WARNING:root:plain", "warning", "root"),
        ("logging.getLogger('a.b').info('named')", "INFO:a.b:named", "info", "a.b"),
        ("own.error('handled\\ntwice')", "handled\ntwice", "error", "own.logger"),
        ("own.critical('worse')", "worse", "critical", "own.logger"),
        (
            "logging.addLevelName(35, 'AUDIT'); logging.log(35, 'levelled')",
            "AUDIT:root:levelled",
            "audit",
            "root",
        ),
        (
            "h = logging.StreamHandler(errors); own.addHandler(h); own.error('both'); \
          own.removeHandler(h)",
            "both",
            "error",
            "own.logger",
        ),
        ("print('unfinished', end='')", "unfinished", "notice", ""),
        (
            "errors.write('caf\\xe9 \\u20ac \\U0001f600\\n')",
            "caf\u{e9} \u{20ac} \u{1f600}",
            "error",
            "",
        ),
    ] {
        let id = run_with(&httpd, &[("traceparent", &header)], statements);
        let object = object(&httpd, message);
        assert_eq!(text(&object, "message"), message, "{statements}");
        assert_eq!(text(&object, "level"), level, "{statements}");
        assert_eq!(text(&object, "logger"), logger, "{statements}");
        assert_eq!(text(&object, "request_id"), id, "{statements}");
        assert_eq!(text(&object, "process_group"), "app");
        assert_eq!(text(&object, "application_group"), "%{GLOBAL}");
        assert_eq!(text(&object, "trace_id"), trace);
        let time = text(&object, "time");
        assert!(time.len() == "2026-11-28T01:02:03.123456Z".len() && time.ends_with('Z'), "{time}");
        let worker = httpd.workers()[0].pid;
        assert_eq!(object["pid"], Value::from(worker), "{statements}");
    }
}

#[test]
fn a_traceback_is_one_object() {
    let httpd = site("").start();
    httpd.get(&ask(&["1 / 0"])).assert(500);
    let object = object(&httpd, "ZeroDivisionError: division by zero");
    for part in ["Exception occurred processing WSGI script", "\nTraceback (most", "in application"]
    {
        assert!(text(&object, "message").contains(part), "{object:?}");
    }
    assert!(!text(&object, "request_id").is_empty());
    run(&httpd, "try:\n    {}['k']\nexcept KeyError:\n    logging.exception('caught')");
    let object = self::object(&httpd, "caught");
    assert!(text(&object, "message").ends_with("KeyError: 'k'"), "{object:?}");
}

#[test]
fn what_belongs_to_no_request_is_json_too() {
    let httpd = site("").start();
    run(&httpd, "aside(lambda: own.warning('from a thread'))");
    let object = self::object(&httpd, "from a thread");
    assert_eq!((text(&object, "level"), text(&object, "logger")), ("warning", "own.logger"));
    run(&httpd, "aside(lambda: logging.error('to stderr\\nof a thread'))");
    let object = self::object(&httpd, "ERROR:root:to stderr\nof a thread");
    assert_eq!((text(&object, "level"), text(&object, "logger")), ("error", "root"));
    run(&httpd, "aside(lambda: print('printed aside'))");
    let object = self::object(&httpd, "printed aside");
    assert_eq!(text(&object, "level"), "notice");
    run(&httpd, "os.write(2, b'raw \\xff\\x00\\x1b\"\\\\ bytes\\n')");
    let object = self::object(&httpd, "raw \\xff\0\x1b\"\\ bytes");
    for name in ["process_group", "application_group"] {
        assert!(!text(&object, name).is_empty(), "{name}: {object:?}");
    }
    // The supervisor's own, with and without a group.
    let object = self::object(&httpd, ": serving");
    assert_eq!((text(&object, "level"), text(&object, "process_group")), ("info", "app"));
}

#[test]
fn our_own_lines_are_json() {
    let httpd = site("").start();
    let response = httpd.request("POST", &ask(&["os._exit(3)"]), &[], b"").assert(502);
    let page = response.text();
    let object = object(&httpd, "while it ran 'POST ");
    assert_eq!(text(&object, "level"), "error");
    assert!(page.contains(&format!("Request id: {}<", text(&object, "request_id"))), "{page}");
    assert_eq!(text(&object, "process_group"), "app");
    assert!(!text(&object, "message").contains("[request "), "the field says it: {object:?}");
}

#[test]
fn any_bytes_are_valid_json_and_long_ones_come_in_parts() {
    let httpd = site("").start();
    // All bytes that there are, in pieces that part characters, and much of them.
    run(
        &httpd,
        "os.write(2, b'first ' + bytes(b for b in range(256) if b != 10) * 3 + b' last\\n')",
    );
    run(&httpd, "own.error('long ' + '\\u20ac\\x02\"' * 30000 + ' end')");
    run(&httpd, "errors.write('wide ' + '\\u20ac' * 30000 + ' over\\n')");
    object(&httpd, " last");
    object(&httpd, " end");
    object(&httpd, " over");
    let all = objects(&httpd.error_log());
    let long = |object: &&Object| text(object, "message").contains("\u{20ac}");
    let whole: String = all.iter().filter(long).map(|object| text(object, "message")).collect();
    assert_eq!(whole.matches('\u{20ac}').count(), 60_000);
    let parts = all.iter().filter_map(|object| object.get("part")?.as_u64());
    assert!(parts.max().is_some_and(|parts| parts > 1));
}

#[test]
fn virtual_hosts_have_their_own_and_a_logging_program_gets_whole_lines() {
    let host = |name: &str, log: &str| {
        format!(
            "<VirtualHost *:{{port}}>\nServerName {name}\nErrorLog \"{log}\"\n\
             WSGIDaemonProcess {name} user={{user}} group={{group}}\n\
             WSGIScriptAlias / {{apps}}/app.wsgi process-group={name} application-group=%{{GLOBAL}}\n\
             </VirtualHost>\n"
        )
    };
    let hosts = host("one", "logs/one.log") + &host("two", "|$/bin/cat >> {logs}/two.log");
    let httpd = site(&hosts).start();
    for host in ["one", "two"] {
        let statements = format!("own.error('{host} ' + 'x' * 9000 + ' whole')");
        httpd.request("GET", &ask(&[&statements]), &[("Host", host)], b"").assert(200);
        let name = format!("{host}.log");
        httpd.wait_for_log_in(&name, &[" whole"]);
        let all = objects(&httpd.log(&name));
        let whole: String = all.iter().map(|object| text(object, "message")).collect();
        assert!(whole.contains(&format!("{host} {} whole", "x".repeat(9000))), "{host}");
        let longest = httpd.log(&name).lines().map(str::len).max();
        // Up to here a pipe takes a line whole (pipe(7)).
        assert!(host == "one" || longest.is_some_and(|longest| longest < 4096));
    }
}

#[test]
fn text_is_the_default_and_the_last_line_counts() {
    let conf = "WSGILogFormat text\nErrorLogFormat \"[%{u}t] [%-m:%l] [pid %P] %M\"";
    let httpd = site(conf).expect_log("as ever").start();
    run(&httpd, "logging.warning('as ever')");
    httpd.wait_for_log(&["[wsgi:error] [pid ", "] WARNING:root:as ever"]);
    assert!(!httpd.error_log().contains("{\""), "{}", httpd.error_log());
}
