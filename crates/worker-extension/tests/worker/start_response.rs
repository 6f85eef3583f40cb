//! `start_response` and `write`: what they accept, and what they say otherwise.

use crate::harness::*;

/// Runs `body` inside an application; what it raises comes back as text.
fn outcome(worker: &Worker, body: &str) -> String {
    let indented = body.replace('\n', "\n        ");
    let script = worker.scratch.script(&format!(
        "import sys\n\
             class Headers(list): pass\n\
             def application(environ, start_response):\n    \
                 try:\n        \
                     {indented}\n        \
                     raised = 'nothing'\n    \
                 except BaseException as error:\n        \
                     raised = type(error).__name__ + ': ' + str(error)\n    \
                 try:\n        start_response('200 OK', [])\n    \
                 except RuntimeError:\n        pass\n    \
                 return iter([raised.encode()])\n"
    ));
    worker.get(&script).ok().to_owned()
}

#[test]
fn checks() {
    let worker = Worker::serving();
    for (call, expected) in [
        ("start_response('200 OK', [])", "nothing"),
        ("start_response('200', [])", "nothing"),
        ("start_response('999 X', [('a', 'b')])", "nothing"),
        ("start_response('200 OK', Headers([('a:', '\\t\\x01')]))", "nothing"),
        ("start_response('200 \\xe9', [('\\xe9', '\\xe9')])", "nothing"),
        ("start_response('200 OK', [], None)", "nothing"),
        (
            "start_response('200 OK', ())",
            "TypeError: start_response() argument 2 must be list, not tuple",
        ),
        (
            "start_response('200 OK', None)",
            "TypeError: start_response() argument 2 must be list, not NoneType",
        ),
        (
            "start_response('200 OK', [], 1)",
            "RuntimeError: start_response() argument 'exc_info' must be a 3-tuple or None",
        ),
        (
            "start_response('200 OK', [], (1, 2))",
            "RuntimeError: start_response() argument 'exc_info' must be a 3-tuple or None",
        ),
        ("start_response(b'200 OK', [])", "TypeError: must be str, not bytes"),
        ("start_response(200, [])", "TypeError: must be str, not int"),
        (
            "start_response('20 OK', [])",
            "ValueError: status code must be a 3 digit integer: b'20 OK'",
        ),
        ("start_response('', [])", "ValueError: status code must be a 3 digit integer: b''"),
        ("start_response('200OK', [])", "ValueError: no space following status code: b'200OK'"),
        (
            "start_response('200 O\\nK', [])",
            "ValueError: control character in status reason phrase: b'200 O\\nK'",
        ),
        (
            "start_response('200 OK', [['a', 'b']])",
            "TypeError: each header must be a 2-tuple, not list",
        ),
        (
            "start_response('200 OK', [('a', 'b', 'c')])",
            "ValueError: each header must be a 2-tuple, got length 3",
        ),
        ("start_response('200 OK', [('a', 1)])", "TypeError: must be str, not int"),
        ("start_response('200 OK', [(b'a', 'b')])", "TypeError: must be str, not bytes"),
        ("start_response('200 OK', [('', 'b')])", "ValueError: header name is empty"),
        (
            "start_response('200 OK', [('a b', 'b')])",
            "ValueError: space character in header name: b'a b'",
        ),
        (
            "start_response('200 OK', [('a\\r', 'b')])",
            "ValueError: control character in header name: b'a\\r'",
        ),
        (
            "start_response('200 OK', [('a', 'b\\nc')])",
            "ValueError: carriage return/line feed character in header value: b'b\\nc'",
        ),
        (
            "start_response('200 OK', [])('text')",
            "TypeError: write() argument must be bytes, not str",
        ),
        (
            "start_response('200 OK', [])(bytearray())",
            "TypeError: write() argument must be bytes, not bytearray",
        ),
    ] {
        assert_eq!(outcome(&worker, call), expected, "{call}");
    }
    for (call, start) in [
        ("start_response()", "TypeError: "),
        ("start_response('200 OK')", "TypeError: "),
        ("start_response(status='200 OK', headers=[])", "TypeError: "),
        ("start_response('200 \\u20ac', [])", "UnicodeEncodeError: 'latin-1' codec can't encode"),
        (
            "start_response('200 OK', [('a', '\\u20ac')])",
            "UnicodeEncodeError: 'latin-1' codec can't encode",
        ),
        ("start_response('200 \\ud800', [])", "UnicodeEncodeError: 'latin-1' codec can't encode"),
    ] {
        let outcome = outcome(&worker, call);
        assert!(outcome.starts_with(start), "{call}: {outcome}");
    }
}

#[test]
fn calling_it_again() {
    let worker = Worker::serving();
    let replaced = worker.run(
        "import sys\n\
         def application(environ, start_response):\n    \
             try:\n        \
                 start_response('200 OK', [('a', 'b')])\n        \
                 raise ValueError('early')\n    \
             except ValueError:\n        \
                 start_response('500 Oops', [('c', 'd')], sys.exc_info())\n    \
             return [b'sorry']\n",
    );
    assert_eq!((replaced.ok(), replaced.status.as_str()), ("sorry", "500 Oops"));
    assert_eq!((replaced.header("a"), replaced.header("c")), (None, Some("d")));

    for begun in ["", "(b'')"] {
        let again = format!("start_response('200 OK', []){begun}\nstart_response('200 OK', [])");
        let text = "RuntimeError: start_response() called more than once without exc_info";
        assert_eq!(outcome(&worker, &again), text, "{begun}");
    }
    let corrected = "try:\n    start_response('200', [('a\\n', 'b')])\n\
                     except ValueError:\n    start_response('200 OK', [])";
    assert_eq!(outcome(&worker, corrected), "nothing", "a call that failed is none");
}

#[test]
fn exc_info_after_the_headers_are_sent_is_raised_again() {
    let worker = Worker::serving();
    let answer = worker.run(
        "import sys\n\
         def fail(): raise ValueError('late')\n\
         def application(environ, start_response):\n    \
             write = start_response('200 OK', [])\n    \
             write(b'begun')\n    \
             try:\n        fail()\n    \
             except ValueError:\n        \
                 start_response('500 Oops', [], sys.exc_info())\n    \
             return [b'never']\n",
    );
    assert_eq!((answer.ending, answer.text()), (Ending::Failed(500), "begun"));
    let log = answer.log_text();
    assert!(log.contains("in fail\n") && log.ends_with("ValueError: late\n"), "{log}");

    let class_only = "start_response('200 OK', [])(b'')\n\
                      start_response('200 OK', [], (KeyError, None, None))";
    assert_eq!(outcome(&worker, class_only), "KeyError: ");
}

#[test]
fn written_pieces_come_before_returned_ones() {
    let worker = Worker::serving();
    let answer = worker.run(
        "def application(environ, start_response):\n    \
             write = start_response('200 OK', [])\n    \
             write(b'a')\n    \
             write(b'b')\n    \
             return [b'c']\n",
    );
    assert_eq!(answer.ok(), "abc");
    assert_eq!(answer.header("Content-Length"), None, "the headers had gone before");
}
