//! `wsgi.input`, pulled as the application reads it.

use wire::exchange::{FromWorker, ToWorker};

use crate::harness::*;

/// Asks an application that returns `ascii()` of `expression`, with `i` as its input.
fn read(worker: &Worker, expression: &str, pieces: &[&[u8]]) -> Answer {
    let script = worker.scratch.script(&format!(
        "def application(environ, start_response):\n    \
                 i = environ['wsgi.input']\n    \
                 result = ascii({expression}).encode()\n    \
                 start_response('200 OK', [])\n    \
                 return [result]\n"
    ));
    worker.connect().ask(&Ask::of(&script).body(pieces))
}

#[test]
fn reading() {
    let worker = Worker::serving();
    let pieces: &[&[u8]] = &[b"one\ntw", b"o\nthr", b"ee"];
    for (expression, expected) in [
        ("i.read()", r"b'one\ntwo\nthree'"),
        ("i.read(-1)", r"b'one\ntwo\nthree'"),
        ("(i.read(), i.read(), i.read(5), i.readline())", r"(b'one\ntwo\nthree', b'', b'', b'')"),
        ("(i.read(0), i.read(2), i.read(8), i.read(8))", r"(b'', b'on', b'e\ntwo\nth', b'ree')"),
        ("[i.read(4), i.readline(), i.readline()]", r"[b'one\n', b'two\n', b'three']"),
        ("[i.readline(2), i.readline(9), i.readline(0)]", r"[b'on', b'e\n', b'']"),
        ("i.readlines()", r"[b'one\n', b'two\n', b'three']"),
        ("i.readlines(-1)", r"[b'one\n', b'two\n', b'three']"),
        ("i.readlines(5)", r"[b'one\n', b'two\n']"),
        ("i.readlines(4)", r"[b'one\n']"),
        ("list(i)", r"[b'one\n', b'two\n', b'three']"),
        ("(i.close(), i.read(3))", r"(None, b'one')"),
        ("(lambda b: (i.readinto(b), b))(bytearray(6))", r"(6, bytearray(b'one\ntw'))"),
        (
            "(lambda b: (i.readinto(b), b[12:]))(bytearray(20))",
            r"(13, bytearray(b'e\x00\x00\x00\x00\x00\x00\x00'))",
        ),
    ] {
        assert_eq!(read(&worker, expression, pieces).ok(), expected, "{expression}");
        let whole = &[&pieces.concat()[..]];
        assert_eq!(read(&worker, expression, whole).ok(), expected, "{expression}, in one piece");
    }
}

#[test]
fn what_read_does_not_take() {
    let worker = Worker::serving();
    for (expression, text) in [
        ("i.read(None)", "'NoneType' object cannot be interpreted as an integer"),
        ("i.read(1.5)", "'float' object cannot be interpreted as an integer"),
        ("i.readline('x')", "'str' object cannot be interpreted as an integer"),
        ("i.read(size=1)", "keyword argument"),
        ("i.read(10 ** 40)", "OverflowError"),
        ("i.readinto(b'x')", "read-only"),
    ] {
        let answer = read(&worker, expression, &[b"x"]);
        let log = answer.failure();
        assert!(log.contains(text), "{expression}: {log}");
    }
}

#[test]
fn nothing_is_transferred_that_is_not_read() {
    let worker = Worker::serving();
    assert_eq!(read(&worker, "0", &[b"x"]).asked, 0);
    assert_eq!(read(&worker, "i.read(1)", &[b"xyz", b"!"]).asked, 1);
    assert_eq!(read(&worker, "(i.read(1), i.read(2))", &[b"xyz", b"!"]).asked, 1);
    let hello = read(&worker, "i.read(0)", &[b"xyz"]);
    assert_eq!(hello.asked, 1, "the first read makes httpd say 100 Continue");
    let without_body = worker.run(
        "def application(environ, start_response):\n    \
         start_response('200 OK', [])\n    \
         return [ascii(environ['wsgi.input'].read()).encode()]\n",
    );
    assert_eq!((without_body.ok(), without_body.asked), ("b''", 0));
}

#[test]
fn a_large_body_is_asked_for_in_large_pieces() {
    let worker = Worker::serving();
    let piece = vec![b'x'; 60_000];
    let pieces = vec![&piece[..]; 100];
    let answer = read(&worker, "len(i.read())", &pieces);
    assert_eq!(answer.ok(), "6000000");
    let answer =
        read(&worker, "sum(len(line) for line in iter(lambda: i.read(70000), b''))", &pieces);
    assert_eq!(answer.ok(), "6000000");
}

#[test]
fn an_application_may_write_while_it_reads() {
    let worker = Worker::serving();
    let script = worker.scratch.script(
        "def application(environ, start_response):\n    \
             write = start_response('200 OK', [])\n    \
             for line in environ['wsgi.input']:\n        \
                 write(line.upper())\n    \
             return []\n",
    );
    let mut client = worker.connect();
    client.send(&ToWorker::Request(Ask::of(&script).body(&[]).request));
    // Lines that are written soon after each other may come along.
    let expect = |client: &mut Client, mut expected: &[u8]| {
        while !expected.is_empty() {
            match client.next() {
                FromWorker::Data(data) => {
                    expected = expected.strip_prefix(data).expect("its start")
                }
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(matches!(client.next(), FromWorker::NeedBody { .. }));
    client.send(&ToWorker::Body(b"first\n"));
    assert!(matches!(client.next(), FromWorker::Head { .. }));
    expect(&mut client, b"FIRST\n");
    assert!(matches!(client.next(), FromWorker::NeedBody { .. }));
    client.send(&ToWorker::Body(b"second\nthird\n"));
    expect(&mut client, b"SECOND\nTHIRD\n");
    assert!(matches!(client.next(), FromWorker::NeedBody { .. }));
    client.send(&ToWorker::BodyEnd);
    assert!(matches!(client.next(), FromWorker::Ran { .. }));
    assert_eq!(client.next(), FromWorker::End);
}

const TRY_TWICE: &str = "def attempt(i):\n    \
    try:\n        return i.read()\n    \
    except OSError as error:\n        return str(error)\n\
    outcome = []\n\
    def application(environ, start_response):\n    \
        start_response('200 OK', [])\n    \
        if environ['PATH_INFO'] == '/outcome':\n        return [repr(outcome).encode()]\n    \
        outcome[:] = [attempt(environ['wsgi.input']), attempt(environ['wsgi.input'])]\n    \
        return [repr(outcome).encode()]\n";

#[test]
fn a_body_that_fails() {
    let worker = Worker::serving();
    let script = worker.scratch.script(TRY_TWICE);
    let ask = Ask { failure: Some("Partial results"), ..Ask::of(&script).body(&[b"some"]) };
    let mut client = worker.connect();
    assert_eq!(
        client.ask(&ask).ok(),
        "['mod_wsgi request data read error: Partial results', \
         'mod_wsgi request data read error: input is already in error state']"
    );
    assert!(client.ask(&Ask::of(&script)).ok().starts_with("[b'', b'']"), "the connection lives");
}

#[test]
fn a_client_that_goes_away_while_its_body_is_read() {
    let worker = Worker::serving();
    let script = worker.scratch.script(TRY_TWICE);
    let mut client = worker.connect();
    client.send(&ToWorker::Request(Ask::of(&script).body(&[]).request));
    assert!(matches!(client.next(), FromWorker::NeedBody { .. }));
    drop(client);
    let mut ask = Ask::of(&script);
    ask.request.environ.push((b"PATH_INFO", b"/outcome"));
    // The application may not have noticed yet.
    loop {
        let answer = worker.connect().ask(&ask);
        if answer.ok() != "[]" {
            assert_eq!(
                answer.text(),
                "['mod_wsgi request data read error: Connection was terminated', \
                 'mod_wsgi request data read error: input is already in error state']"
            );
            break;
        }
    }
}

#[test]
fn after_the_request() {
    let worker = Worker::serving();
    let script = worker.scratch.script(
        "kept = {}\n\
         def attempt(call, *arguments):\n    \
             try:\n        return call(*arguments)\n    \
             except RuntimeError as error:\n        return str(error)\n\
         def application(environ, start_response):\n    \
             write = start_response('200 OK', [])\n    \
             if environ['PATH_INFO'] == '/keep':\n        \
                 kept.update(environ, start=start_response, write=write)\n        \
                 return []\n    \
             i, errors = kept['wsgi.input'], kept['wsgi.errors']\n    \
             results = [attempt(i.read), attempt(i.readline), attempt(i.readlines),\n        \
                 attempt(next, i), attempt(errors.flush), attempt(errors.write, 'x\\n'),\n        \
                 attempt(kept['start'], '200 OK', []), attempt(kept['write'], b'x')]\n    \
             return ['\\n'.join(map(str, results)).encode()]\n",
    );
    let mut keep = Ask::of(&script);
    keep.request.environ.push((b"PATH_INFO", b"/keep"));
    let mut client = worker.connect();
    client.ask(&keep).ok();
    assert_eq!(
        client.ask(&Ask::of(&script)).ok().lines().collect::<Vec<_>>(),
        [
            "read() called on wsgi.input after request completed",
            "readline() called on wsgi.input after request completed",
            "readlines() called on wsgi.input after request completed",
            "next() called on wsgi.input after request completed",
            "None",
            "write() called on wsgi.errors after request completed",
            "start_response() called after request completed",
            "write() called after request completed",
        ]
    );
}

#[test]
fn two_threads_of_an_application_may_read() {
    let worker = Worker::serving();
    let pieces: Vec<Vec<u8>> = (0..200).map(|number| format!("{number}\n").into_bytes()).collect();
    let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    let script = worker.scratch.script(
        "import threading\n\
         def application(environ, start_response):\n    \
             write = start_response('200 OK', [])\n    \
             lines = []\n    \
             def work():\n        \
                 for line in environ['wsgi.input']:\n            \
                     lines.append(line)\n            write(b'.')\n    \
             threads = [threading.Thread(target=work) for _ in range(4)]\n    \
             for thread in threads: thread.start()\n    \
             for thread in threads: thread.join()\n    \
             assert sorted(map(int, lines)) == list(range(200))\n    \
             return [b'!']\n",
    );
    let answer = worker.connect().ask(&Ask::of(&script).body(&pieces));
    assert_eq!(answer.ok(), format!("{}!", ".".repeat(200)));
}

#[test]
fn a_thread_that_still_reads_when_the_request_is_over_costs_only_its_connection() {
    let worker = Worker::serving();
    let script = worker.scratch.script(
        "import threading\n\
         failures = []\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             if environ['PATH_INFO'] == '/outcome':\n        \
                 while not failures: pass\n        \
                 return [str(failures).encode()]\n    \
             def work():\n        \
                 try:\n            environ['wsgi.input'].read()\n        \
                 except Exception as error:\n            failures.append(type(error))\n    \
             threading.Thread(target=work).start()\n    \
             return [b'done']\n",
    );
    let mut client = worker.connect();
    client.send(&ToWorker::Request(Ask::of(&script).body(&[]).request));
    loop {
        match client.next() {
            FromWorker::Ran { .. } => {}
            FromWorker::End => break,
            FromWorker::Head { .. } | FromWorker::Data(_) | FromWorker::NeedBody { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    let mut ask = Ask::of(&script);
    ask.request.environ.push((b"PATH_INFO", b"/outcome"));
    let outcome = worker.connect().ask(&ask);
    let expected = ["[<class 'OSError'>]", "[<class 'RuntimeError'>]"];
    assert!(expected.contains(&outcome.ok()), "{outcome:?}");
}
