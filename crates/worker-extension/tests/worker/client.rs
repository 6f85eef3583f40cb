//! What goes past the response itself: files by descriptor, clients that go away, early hints.

use wire::exchange::{FromWorker, ToWorker};

use crate::harness::*;

/// An application that answers with `expression`, and notes in the log that it was closed.
fn wrapping(expression: &str, headers: &str) -> String {
    format!(
        "import io, os, tempfile\n\
         class Noted(io.FileIO):\n    \
             def close(self):\n        \
                 if not self.closed: print('closed')\n        \
                 super().close()\n\
         def at(position, kind=lambda path: open(path, 'rb', 0)):\n    \
             file = kind(__file__)\n    \
             file.seek(position)\n    \
             return file\n\
         class NoTell:\n    \
             def __init__(self): self.file = at(0)\n    \
             def fileno(self): return self.file.fileno()\n    \
             def read(self, n): return self.file.read(n)\n\
         def application(environ, start_response):\n    \
             wrap = environ['wsgi.file_wrapper']\n    \
             write = start_response('200 OK', {headers})\n    \
             return {expression}\n"
    )
}

#[test]
fn plain_files_go_as_they_are_and_all_else_is_read() {
    let worker = Worker::serving();
    for (expression, headers, is_file, from, length) in [
        ("wrap(at(0))", "[]", true, 0, None),
        ("wrap(at(7), 3)", "[]", true, 7, None),
        ("wrap(at(7))", "[('Content-Length', '5')]", true, 7, Some(5)),
        ("wrap(open(__file__, 'rb'))", "[]", true, 0, None),
        ("wrap(at(7, lambda path: open(path, 'r+b')))", "[]", true, 7, None),
        // It may read something else than what is in the file.
        ("wrap(at(7, Noted))", "[]", false, 7, None),
        ("wrap(io.BufferedReader(Noted(__file__)))", "[]", false, 0, None),
        ("wrap(NoTell())", "[]", false, 0, None),
        ("wrap(io.BytesIO(b'import io'))", "[]", false, 0, Some(9)),
        ("iter(wrap(at(0)))", "[]", true, 0, None),
        ("list(wrap(at(0)))", "[]", false, 0, None),
        ("(write(b'import '), wrap(at(7)))[1]", "[]", false, 0, None),
    ] {
        let source = wrapping(expression, headers);
        let answer = worker.run(&source);
        let end = length.map_or(source.len(), |length| from + length);
        assert_eq!(answer.ok(), &source[from..end], "{expression}");
        assert_eq!(answer.is_file, is_file, "{expression}");
        if is_file {
            let length = (end - from).to_string();
            assert_eq!(answer.header("Content-Length"), Some(&*length), "{expression}");
        }
        let closed = answer.log.iter().any(|(_, line)| line == "closed");
        assert!(closed || !expression.contains("Noted"), "{expression}");
    }
}

#[test]
fn a_file_shorter_than_its_length_is_not_passed_off_as_whole() {
    let worker = Worker::serving();
    let answer = worker.run(&wrapping("wrap(at(0))", "[('Content-Length', '99999')]"));
    assert_eq!((answer.ending, answer.is_file), (Ending::Failed(500), false));
    assert!(answer.log_text().contains("short of its Content-Length"), "{}", answer.log_text());
}

#[test]
fn a_response_without_a_body_has_no_file() {
    let worker = Worker::serving();
    let source = wrapping("wrap(at(0))", "[]").replace("200 OK", "304 Not Modified");
    assert!(!worker.run(&source).is_file);
}

const WATCHING: &str = "import time\n\
    closed = 0\n\
    class Body:\n    \
        def __init__(self, environ): self.gone = environ['mod_wsgi.client_disconnected']\n    \
        def __iter__(self):\n        \
            yield b'%r' % self.gone()\n        \
            while not self.gone(): time.sleep(0.01)\n        \
            while True: yield b'more'\n    \
        def close(self): print('closed')\n\
    def application(environ, start_response):\n    \
        start_response('200 OK', [])\n    \
        return Body(environ)\n";

#[test]
fn a_client_that_goes_away_ends_the_response_and_is_no_error() {
    let worker = Worker::serving();
    let script = worker.scratch.write("watching.wsgi", WATCHING);
    let mut client = worker.connect();
    client.send(&ToWorker::Request(Ask::of(&script).request));
    assert!(matches!(client.next(), FromWorker::Head { .. }));
    assert_eq!(client.next(), FromWorker::Data(b"False"));
    client.send(&ToWorker::ClientGone { certain: false });
    let next = client.next();
    assert!(
        matches!(next, FromWorker::Data(data) if data.starts_with(b"more")),
        "it may still read: {next:?}"
    );
    client.send(&ToWorker::ClientGone { certain: true });
    let mut log = String::new();
    loop {
        match client.next() {
            FromWorker::Data(_) => {}
            FromWorker::Log { text, .. } => log.push_str(&String::from_utf8_lossy(text)),
            FromWorker::Ran { .. } => {}
            FromWorker::Failed { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(log, "closed");
    // What crosses the end of the response is about nobody any more.
    client.send(&ToWorker::ClientGone { certain: true });
    let hello = worker.scratch.write("hello.wsgi", HELLO);
    assert_eq!(client.ask(&Ask::of(&hello)).ok(), "False");
}

const HELLO: &str = "def application(environ, start_response):\n    \
    gone = environ['mod_wsgi.client_disconnected']()\n    \
    start_response('200 OK', [])\n    \
    return [repr(gone).encode()]\n";

#[test]
fn a_reader_hears_of_it_too() {
    let worker = Worker::serving();
    let source = "def application(environ, start_response):\n    \
        try: environ['wsgi.input'].read()\n    \
        except OSError as error: print(error)\n    \
        print(environ['mod_wsgi.client_disconnected']())\n    \
        environ['wsgi.input'].read()\n";
    let script = worker.scratch.write("reading.wsgi", source);
    let mut client = worker.connect();
    client.send(&ToWorker::Request(Ask::of(&script).body(&[]).request));
    assert!(matches!(client.next(), FromWorker::NeedBody { .. }));
    client.send(&ToWorker::ClientGone { certain: true });
    client.send(&ToWorker::BodyFailed { reason: "gone" });
    let answer = client.answer(&Ask::of(&script));
    assert_eq!(answer.log_text(), "mod_wsgi request data read error: gone\nTrue\n");
    assert_eq!(answer.ending, Ending::Failed(500));
}

#[test]
fn early_hints() {
    let worker = Worker::serving();
    let answer = worker.run(
        "def application(environ, start_response):\n    \
             hints = environ['wsgi.early_hints']\n    \
             hints([('Link', '</a.css>; rel=preload')])\n    \
             hints([])\n    \
             for wrong in ((), [('a\\nb', 'c')], ['x'], [('a', 'b\\r\\nc')]):\n        \
                 try: hints(wrong)\n        \
                 except (TypeError, ValueError): pass\n        \
                 else: raise AssertionError(wrong)\n    \
             write = start_response('200 OK', [])\n    \
             write(b'body')\n    \
             try: hints([])\n    \
             except RuntimeError as error: return [str(error).encode()]\n",
    );
    assert_eq!(answer.ok(), "bodyearly_hints() called after the response began");
    let link = ("Link".to_owned(), "</a.css>; rel=preload".to_owned());
    assert_eq!(answer.hints, [vec![link], vec![]]);
}
