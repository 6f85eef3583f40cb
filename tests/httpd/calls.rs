//! What applications may call, and what comes of calling it wrongly: `wsgi.input`, `wsgi.errors`,
//! `start_response`, `write`, the file wrapper and the modules, a row for each.

use testkit::{Httpd, Running, UnderTest, environment};

use crate::{ask, serving};

/// Evaluates the query string, and answers with what came of it.
const CALL: &str = r#"
import io, sys
from urllib.parse import unquote

import apache, mod_wsgi

PLAIN = [("Content-Type", "text/plain")]
kept = {}


class Headers(list):
    pass


def raised():
    try:
        raise ValueError("caught")
    except ValueError:
        return sys.exc_info()


def application(environ, start_response):
    def begin(status="200 OK", headers=PLAIN, *more):
        return start_response(status, headers, *more)

    i, errors = environ["wsgi.input"], environ["wsgi.errors"]
    wrap = environ["wsgi.file_wrapper"]
    try:
        result = repr(eval(unquote(environ["QUERY_STRING"]), {**globals(), **locals()}))
    except BaseException as error:
        result = type(error).__name__ + ": " + str(error)
    # What has not been sent of an answer gives way to this one.
    try:
        begin("200 OK", PLAIN, raised())
    except (RuntimeError, ValueError):
        pass
    return iter([result.encode("latin-1", "backslashreplace")])
"#;

const BODY: &str = "one\ntwo\nthree";

#[track_caller]
fn check(httpd: &Running, rows: &[(&str, &str)]) {
    if testkit::later_than_debians("exceptions have these words") {
        return;
    }
    for (call, expected) in rows {
        let call = call.split_whitespace().collect::<Vec<_>>().join(" ");
        let response = httpd.request("POST", &ask(&[&call]), &[], BODY.as_bytes());
        let text = response.assert(200).text();
        // Where three dots follow, the words are Python's.
        match expected.strip_suffix("…") {
            Some(start) => assert!(text.starts_with(start), "{call}: {text}"),
            None => assert_eq!(text, *expected, "{call}"),
        }
    }
}

fn calling() -> Running {
    serving(CALL).expect_log("[wsgi:").start()
}

#[test]
fn of_the_input() {
    let httpd = calling();
    check(
        &httpd,
        &[
            ("i.read()", r"b'one\ntwo\nthree'"),
            ("i.read(-1)", r"b'one\ntwo\nthree'"),
            (
                "[i.read(5), i.read(100), i.read(5), i.read()]",
                r"[b'one\nt', b'wo\nthree', b'', b'']",
            ),
            ("[i.read(0), i.read(3)]", "[b'', b'one']"),
            (
                "[i.readline(), i.readline(2), i.readline(), i.readline(0)]",
                r"[b'one\n', b'tw', b'o\n', b'']",
            ),
            (
                "[i.readline(-1), i.readline(100), i.readline(), i.readline()]",
                r"[b'one\n', b'two\n', b'three', b'']",
            ),
            ("i.readlines()", r"[b'one\n', b'two\n', b'three']"),
            ("i.readlines(4)", r"[b'one\n']"),
            ("i.readlines(5)", r"[b'one\n', b'two\n']"),
            ("[i.read(1), list(i), i.read()]", r"[b'o', [b'ne\n', b'two\n', b'three'], b'']"),
            ("[i.close(), i.read(3)]", "[None, b'one']"),
            ("iter(i) is i", "True"),
            ("type(i).__name__", "'Input'"),
            ("i.read(None)", "TypeError: 'NoneType' object cannot be interpreted as an integer"),
            ("i.read(1.5)", "TypeError: 'float' object cannot be interpreted as an integer"),
            ("i.readline('x')", "TypeError: 'str' object cannot be interpreted as an integer"),
            ("i.read(size=1)", "TypeError: …"),
            ("[kept.update(i=i)]", "[None]"),
            (
                "kept['i'].read()",
                "RuntimeError: read() called on wsgi.input after request completed",
            ),
            (
                "kept['i'].readline()",
                "RuntimeError: readline() called on wsgi.input after request completed",
            ),
            (
                "kept['i'].readlines()",
                "RuntimeError: readlines() called on wsgi.input after request completed",
            ),
        ],
    );
    if !UnderTest::chosen().is_original() {
        let into = "(lambda b: [i.readinto(b), bytes(b), i.readinto(b), i.readinto(b)])";
        let expected = r"[8, b'one\ntwo\n', 5, 0]";
        check(&httpd, &[(&format!("{into}(bytearray(8))"), expected)]);
    }
}

#[test]
fn of_the_errors() {
    check(
        &calling(),
        &[
            (
                "[errors.encoding, errors.errors, errors.name]",
                "['utf-8', 'replace', '<wsgi.errors>']",
            ),
            ("[errors.isatty(), errors.writable(), errors.readable()]", "[False, True, False]"),
            ("[errors.line_buffering, errors.closed]", "[True, False]"),
            ("isinstance(errors, io.TextIOBase)", "True"),
            ("errors.write('a\\n')", "2"),
            ("errors.writelines(['a', 'b\\n'])", "None"),
            ("print('a', file=errors, flush=True)", "None"),
            ("[errors.buffer.write(b'a\\n'), errors.buffer.write(bytearray(b'b\\n'))] and 1", "1"),
            ("[errors.buffer.write(memoryview(b'a\\n'))] and 1", "1"),
            ("[errors.flush(), errors.close()]", "[None, None]"),
            ("[setattr(errors, 'mark', 1), errors.mark]", "[None, 1]"),
            ("errors.write(b'x')", "TypeError: write() argument must be str, not bytes"),
            ("errors.fileno()", "OSError: wsgi.errors log object has no file descriptor"),
            ("errors.read()", "UnsupportedOperation: not readable"),
            ("[kept.update(errors=errors)]", "[None]"),
            ("kept['errors'].flush()", "None"),
            (
                "kept['errors'].write('x\\n')",
                "RuntimeError: write() called on wsgi.errors after request completed",
            ),
        ],
    );
}

#[test]
fn of_start_response() {
    let httpd = calling();
    if !UnderTest::chosen().is_original() {
        let again = "RuntimeError: start_response() called more than once without exc_info";
        check(&httpd, &[("[begin(), begin()]", again)]);
    }
    check(
        &httpd,
        &[
            ("callable(begin())", "True"),
            ("callable(begin('200'))", "True"),
            ("callable(begin('200 OK', Headers(PLAIN)))", "True"),
            ("callable(begin('200 OK', PLAIN, None))", "True"),
            // Before anything was sent, the last call counts.
            ("[begin('404 Not Found'), begin('500 Oops', PLAIN, raised())] and 1", "1"),
            ("start_response()", "TypeError: …"),
            ("start_response('200 OK')", "TypeError: …"),
            ("start_response(status='200 OK', headers=[])", "TypeError: …"),
            (
                "begin('200 OK', ())",
                "TypeError: start_response() argument 2 must be list, not tuple",
            ),
            (
                "begin('200 OK', PLAIN, 1)",
                "RuntimeError: start_response() argument 'exc_info' must be a 3-tuple or None",
            ),
            ("begin(b'200 OK')", "TypeError: must be str, not bytes"),
            ("begin('200 \\u20ac')", "UnicodeEncodeError: …"),
            ("begin('20 OK')", "ValueError: status code must be a 3 digit integer: b'20 OK'"),
            ("begin('200OK')", "ValueError: no space following status code: b'200OK'"),
            (
                "begin('200 O\\nK')",
                "ValueError: control character in status reason phrase: b'200 O\\nK'",
            ),
            ("begin('200 OK', [['a', 'b']])", "TypeError: each header must be a 2-tuple, not list"),
            (
                "begin('200 OK', [('a', 'b', 'c')])",
                "ValueError: each header must be a 2-tuple, got length 3",
            ),
            ("begin('200 OK', [('a', 1)])", "TypeError: must be str, not int"),
            ("begin('200 OK', [('a', '\\u20ac')])", "UnicodeEncodeError: …"),
            ("begin('200 OK', [('', 'b')])", "ValueError: header name is empty"),
            (
                "begin('200 OK', [('a b', 'b')])",
                "ValueError: space character in header name: b'a b'",
            ),
            (
                "begin('200 OK', [('a', 'b\\rc')])",
                "ValueError: carriage return/line feed character in header value: b'b\\rc'",
            ),
            ("[kept.update(start=start_response, write=begin())]", "[None]"),
            (
                "kept['start']('200 OK', [])",
                "RuntimeError: start_response() called after request completed",
            ),
            ("kept['write'](b'x')", "RuntimeError: …"),
        ],
    );
}

#[test]
fn of_write() {
    check(
        &calling(),
        &[
            ("begin()(b'')", "None"),
            ("begin()(b'written ')", "written None"),
            ("[begin()(b'a'), begin]  and 'x'", "a'x'"),
            ("begin()('text')", "TypeError: write() argument must be bytes, not str"),
            (
                "begin()(bytearray(b'x'))",
                "TypeError: write() argument must be bytes, not bytearray",
            ),
            ("begin()()", "TypeError: …"),
            // Nothing has been sent, but the headers are settled.
            (
                "[begin()(b''), begin()]",
                "RuntimeError: start_response() called more than once without exc_info",
            ),
            ("[begin()(b''), begin('500 Oops', PLAIN, raised())]", "ValueError: caught"),
            ("[begin()(b'a'), begin('500 Oops', PLAIN, raised())]", "aValueError: caught"),
            (
                "begin('200 OK', [('Content-Length', 'x')])(b'')",
                "ValueError: invalid Content-Length header value: 'x'",
            ),
            (
                "begin('200 OK', [('Content-Length', '-1')])(b'')",
                "ValueError: invalid Content-Length header value: '-1'",
            ),
        ],
    );
}

#[test]
fn of_the_file_wrapper() {
    check(
        &calling(),
        &[
            ("[wrap is mod_wsgi.FileWrapper, wrap.__name__]", "[True, 'FileWrapper']"),
            ("wrap(io.BytesIO(b'x')).blksize", "8192"),
            (
                "(lambda f: [wrap(f, 3).filelike is f, wrap(f, 3).blksize])(io.BytesIO(b'x'))",
                "[True, 3]",
            ),
            ("list(wrap(io.BytesIO(b'abcdefg'), 3))", "[b'abc', b'def', b'g']"),
            ("(lambda f: [wrap(f).close(), f.closed])(io.BytesIO(b'x'))", "[None, True]"),
            ("wrap()", "TypeError: …"),
        ],
    );
}

#[test]
fn of_an_installed_package_named_like_the_module() {
    let httpd = Httpd::new()
        .app("app.wsgi", CALL)
        .conf(&format!(
            "WSGIDaemonProcess app user={{user}} group={{group}} python-home={}\n\
             WSGIScriptAlias / {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}",
            environment::original_venv().display()
        ))
        .start();
    check(
        &httpd,
        &[
            (
                "[__import__('mod_wsgi.express'), mod_wsgi.express.__name__][1]",
                "'mod_wsgi.express'",
            ),
            ("mod_wsgi.express.__file__.startswith(sys.prefix)", "True"),
            ("[__import__('mod_wsgi') is mod_wsgi, mod_wsgi.process_group]", "[True, 'app']"),
        ],
    );
}

#[test]
fn of_the_modules() {
    check(
        &calling(),
        &[
            ("mod_wsgi.version == environ['mod_wsgi.version']", "True"),
            ("[mod_wsgi.process_group, mod_wsgi.application_group]", "['app', '']"),
            ("[mod_wsgi.maximum_processes, mod_wsgi.threads_per_process]", "[1, 5]"),
            (
                "[mod_wsgi.RequestTimeout.__mro__[1], mod_wsgi.LogHandler.__mro__[1].__name__]",
                "[<class 'BaseException'>, 'Handler']",
            ),
            (
                "[mod_wsgi.process_metrics(), mod_wsgi.request_metrics(), mod_wsgi.server_metrics()]",
                "[None, None, None]",
            ),
            (
                "[mod_wsgi.request_data(), mod_wsgi.request_data() is mod_wsgi.request_data()]",
                "[{}, True]",
            ),
            (
                "mod_wsgi.active_requests[environ['mod_wsgi.request_id']] is mod_wsgi.request_data()",
                "True",
            ),
            (
                "[mod_wsgi.subscribe_events(print), mod_wsgi.event_callbacks.pop()]",
                "[<built-in function print>, <built-in function print>]",
            ),
            ("[mod_wsgi.subscribe_shutdown(print), mod_wsgi.shutdown_callbacks.pop()] and 1", "1"),
            ("[mod_wsgi.subscribe_signals(print), mod_wsgi.signal_callbacks.pop()] and 1", "1"),
            ("apache.version == environ['apache.version']", "True"),
            ("apache.description == environ['SERVER_SOFTWARE']", "True"),
            ("[apache.mpm_name, apache.threads_per_process]", "['event', 16]"),
            ("type(apache.build_date)", "<class 'str'>"),
            ("mod_wsgi.nonsense", "AttributeError: module 'mod_wsgi' has no attribute 'nonsense'"),
        ],
    );
}
