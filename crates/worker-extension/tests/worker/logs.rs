//! Where output goes: to the request that a thread runs, or to the supervisor.

use wire::exchange::Level;

use crate::harness::*;

fn logged(worker: &Worker, statements: &str) -> Vec<(Level, String)> {
    let statements = statements.replace('\n', "\n    ");
    let answer = worker.run(&format!(
        "import sys, warnings\n\
         def application(environ, start_response):\n    \
             errors = environ['wsgi.errors']\n    \
             {statements}\n    \
             start_response('200 OK', [])\n    \
             return []\n"
    ));
    answer.ok();
    answer.log
}

#[test]
fn lines_go_to_the_request_with_their_level() {
    let worker = Worker::serving();
    use Level::{Error, Notice};
    let euro = "\u{20ac}".repeat(3000);
    for (statements, expected) in [
        ("errors.write('a\\n')", &[(Error, "a")][..]),
        ("print('a', file=errors)", &[(Error, "a")]),
        ("print('a')", &[(Notice, "a")]),
        ("print('a', file=sys.stderr)", &[(Error, "a")]),
        ("print('a\\nb\\n')", &[(Notice, "a"), (Notice, "b"), (Notice, "")]),
        ("print('a', end=' '); print('b')", &[(Notice, "a b")]),
        ("errors.write('a'); print('b'); errors.write('c\\n')", &[(Notice, "b"), (Error, "ac")]),
        ("errors.write('unfinished')", &[(Error, "unfinished")]),
        ("errors.write('a'); errors.flush(); errors.write('b')", &[(Error, "a"), (Error, "b")]),
        ("errors.writelines(['a\\n', 'b\\n'])", &[(Error, "a"), (Error, "b")]),
        ("errors.buffer.write(b'a\\n')", &[(Error, "a")]),
        ("errors.buffer.write(bytearray(b'a\\n'))", &[(Error, "a")]),
        ("errors.write('\\xe9\\ud800\\n')", &[(Error, "\u{e9}?")]),
        ("print('\\ud800', file=sys.stderr)", &[(Error, "\\ud800")]),
        ("errors.close(); errors.buffer.write(b'still there\\n')", &[(Error, "still there")]),
        ("print('a', 'b', sep='\\n', file=errors, flush=True)", &[(Error, "a"), (Error, "b")]),
        (
            "import logging; logging.StreamHandler(errors).emit(logging.makeLogRecord({'msg': 'a'}))",
            &[(Error, "a")],
        ),
        (
            "import traceback; traceback.print_exception(KeyError(1), file=errors)",
            &[(Error, "KeyError: 1")],
        ),
        (
            "errors.mark = 'm'; print(errors.mark, vars(errors), file=errors)",
            &[(Error, "m {'mark': 'm'}")],
        ),
        ("errors.reconfigure(line_buffering=True); errors.write('a\\n')", &[(Error, "a")]),
        ("w = errors.write; w('a'); getattr(errors, 'write')('b\\n')", &[(Error, "ab")]),
        ("with errors as e: e.write('a\\n')", &[(Error, "a")]),
        ("print('\\u20ac' * 3000)", &[(Notice, &euro[..7800]), (Notice, &euro[7800..])]),
    ] {
        let log = logged(&worker, statements);
        let log: Vec<_> = log.iter().map(|(level, text)| (*level, text.as_str())).collect();
        assert_eq!(log, expected, "{statements}");
    }
    assert_eq!(worker.drain(), "");
}

#[test]
fn what_the_streams_are() {
    let worker = Worker::serving();
    for (expression, expected) in [
        ("errors.encoding, errors.errors, errors.name", "('utf-8', 'replace', '<wsgi.errors>')"),
        ("errors.isatty(), errors.writable(), errors.readable()", "(False, True, False)"),
        ("errors.line_buffering, errors.write_through", "(True, True)"),
        ("sys.stdout.fileno(), sys.stderr.fileno()", "(1, 2)"),
        ("sys.stdout.name, sys.stderr.errors", "('<stdout>', 'backslashreplace')"),
        ("isinstance(errors, __import__('io').TextIOBase), errors.closed", "(True, False)"),
        ("[hasattr(errors, n) for n in ('flush', 'writelines', 'other')]", "[True, True, False]"),
        ("[type(s).__name__ for s in (errors, sys.stdout)]", "['Errors', 'TextIOWrapper']"),
    ] {
        let log = logged(&worker, &format!("print({expression}, sep=', ')"));
        let expected = expected.strip_prefix('(').map_or(expected, |rest| &rest[..rest.len() - 1]);
        assert_eq!(log[0].1.replace('\'', ""), expected.replace('\'', ""), "{expression}");
    }
    for (statement, text) in [
        ("errors.write(b'x')", "TypeError: write() argument must be str, not bytes"),
        ("errors.fileno()", "OSError: wsgi.errors log object has no file descriptor"),
        (
            "errors.write()",
            "TypeError: Errors.write() missing 1 required positional argument: 'text'",
        ),
        ("list(errors)", "io.UnsupportedOperation: not readable"),
        ("errors.read()", "io.UnsupportedOperation: not readable"),
    ] {
        let log = worker
            .run(&format!(
                "def application(environ, start_response):\n    \
                     errors = environ['wsgi.errors']\n    {statement}\n"
            ))
            .failure();
        assert!(log.ends_with(&format!("{text}\n")), "{log}");
    }
}

#[test]
fn text_written_as_bytes_is_taken_with_a_warning() {
    let worker = Worker::serving();
    let log = logged(
        &worker,
        "with warnings.catch_warnings(record=True) as caught:\n    \
             warnings.simplefilter('always')\n    errors.buffer.write('text\\n')\n\
         print([warning.category.__name__ for warning in caught])",
    );
    let texts: Vec<_> = log.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["text", "['DeprecationWarning']"]);
}

#[test]
fn threads_and_imports_log_through_the_supervisor() {
    let worker = Worker::serving();
    let answer = worker.run(
        "import os, sys, threading\n\
         def work(number):\n    \
             for count in range(100):\n        print('thread', number, count)\n    \
             print('unfinished', number, end='')\n    \
             if not number:\n        raise ValueError('in thread')\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]\n    \
             for thread in threads: thread.start()\n    \
             for thread in threads: thread.join()\n    \
             os.write(2, b'raw\\n')\n    \
             return []\n",
    );
    assert!(answer.log.is_empty(), "{answer:?}");
    let output = worker.drain();
    let lines: Vec<_> = output.lines().collect();
    for number in 0..3 {
        let prefix = format!("thread {number} ");
        let counts: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix(&prefix)).collect();
        assert_eq!(counts.len(), 100);
        assert!(counts.iter().zip(0..).all(|(count, expected)| **count == format!("{expected}")));
        assert!(lines.contains(&format!("unfinished {number}").as_str()), "{output}");
    }
    assert!(lines.contains(&"raw") && lines.contains(&"ValueError: in thread"), "{output}");
}

#[test]
fn log_lines_come_while_the_request_runs() {
    use wire::exchange::{FromWorker, ToWorker};
    let worker = Worker::serving();
    let gate = worker.scratch.fifo("gate");
    let script = worker.scratch.script(&format!(
        "def application(environ, start_response):\n    \
                 print('working')\n    \
                 open({gate:?}).read()\n    \
                 start_response('200 OK', [])\n    \
                 return []\n"
    ));
    let mut client = worker.connect();
    client.send(&ToWorker::Request(Ask::of(&script).request));
    assert_eq!(client.next(), FromWorker::Log { level: Level::Notice, text: b"working" });
    std::fs::write(&gate, "go").unwrap();
    assert!(matches!(client.next(), FromWorker::Head { .. }));
}
