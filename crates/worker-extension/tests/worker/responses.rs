//! What applications return, and what becomes of it.

use wire::control::Settings;

use crate::harness::*;

/// An application whose body is `block`, an expression.
fn returning(block: &str) -> String {
    format!(
        "def application(environ, start_response):\n    \
         start_response('200 OK', [('X-One', '1'), ('X-One', '2')])\n    \
         return {block}\n"
    )
}

#[test]
fn hello_world() {
    let worker = Worker::serving();
    let answer = worker.run(&returning("[b'Hello World!']"));
    assert_eq!(answer.ok(), "Hello World!");
    assert_eq!(answer.status, "200 OK");
    let headers: Vec<_> = answer.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(headers, [("X-One", "1"), ("X-One", "2"), ("Content-Length", "12")]);
    assert!(answer.log.is_empty());
    assert_eq!(worker.drain(), "");
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let worker = Worker::serving();
    let script = worker.scratch.script(
        "count = 0\n\
         def application(environ, start_response):\n    \
             global count\n    \
             count += 1\n    \
             start_response('200 OK', [])\n    \
             return [str(count).encode()]\n",
    );
    let mut client = worker.connect();
    for number in 1..=100 {
        assert_eq!(client.ask(&Ask::of(&script)).ok(), number.to_string());
    }
}

#[test]
fn an_environ_has_nothing_of_the_request_before() {
    let worker = Worker::serving_with(Settings { threads: 1, ..settings() });
    let script = worker.scratch.script(
        "def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             names = ('X', 'Y', 'SCRIPT_FILENAME', 'wsgi.version', 'NEW')\n    \
             seen = [environ.get(name) for name in names]\n    \
             environ.update(X='changed', NEW='changed')\n    \
             environ['wsgi.version'] = 'changed'\n    \
             environ.pop('Y', None)\n    \
             return [ascii(seen).encode()]\n",
    );
    let mut client = worker.connect();
    let utf8 = "\u{e9}".as_bytes();
    for (entries, expected) in [
        (&[("X", &b"1"[..]), ("Y", b"2")][..], "'1', '2', None, (1, 0), None"),
        (&[("X", b"1"), ("Y", b"2")], "'1', '2', None, (1, 0), None"),
        (&[("X", b"1"), ("Y", b"3")], "'1', '3', None, (1, 0), None"),
        (&[("Y", b"3"), ("X", b"1")], "'1', '3', None, (1, 0), None"),
        (&[("X", b"\xe9"), ("Y", b"")], r"'\xe9', '', None, (1, 0), None"),
        (&[("X", utf8), ("Y", b"")], r"'\xc3\xa9', '', None, (1, 0), None"),
        (&[("X", b"1")], "'1', None, None, (1, 0), None"),
        // Of equal names the last one counts, whichever of them is another one than before.
        (&[("X", b"1"), ("X", b"2")], "'2', None, None, (1, 0), None"),
        (&[("X", b"3"), ("X", b"2")], "'2', None, None, (1, 0), None"),
        (&[("X", b"1"), ("wsgi.version", b"a")], "'1', None, None, (1, 0), None"),
        (&[("X", b"1"), ("wsgi.version", b"b")], "'1', None, None, (1, 0), None"),
        (&[("SCRIPT_FILENAME", b"/a")], "None, None, '/a', (1, 0), None"),
        (&[("SCRIPT_FILENAME", utf8)], r"None, None, '\xe9', (1, 0), None"),
        (&[("SCRIPT_FILENAME", b"\xff")], r"None, None, '\udcff', (1, 0), None"),
        (&[("SCRIPT_FILENAME", b"\xff")], r"None, None, '\udcff', (1, 0), None"),
        (&[("SCRIPT_FILENAME", b"/a")], "None, None, '/a', (1, 0), None"),
    ] {
        let mut ask = Ask::of(&script);
        ask.request.environ.retain(|(name, _)| *name != b"SCRIPT_FILENAME");
        let entries = entries.iter().map(|(name, value)| (name.as_bytes(), *value));
        ask.request.environ.extend(entries);
        assert_eq!(client.ask(&ask).ok(), format!("[{expected}]"), "{:?}", ask.request.environ);
    }
}

#[test]
fn environs_of_many_kinds_of_clients_are_told_apart() {
    let worker = Worker::serving_with(Settings { threads: 1, ..settings() });
    let script = worker.scratch.script(
        "def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             seen = {name: environ[name] for name in environ if name.startswith('HTTP_')}\n    \
             return [ascii(seen).encode()]\n",
    );
    let mut client = worker.connect();
    // More kinds than are kept, and values beyond what is kept.
    for round in ["first", "second", &"x".repeat(20_000), "last"] {
        for kind in (0..40).chain((20..40).rev()) {
            let (name, value) = (format!("HTTP_X_{kind}"), format!("{round} {kind}"));
            let mut ask = Ask::of(&script);
            ask.request.environ.push((name.as_bytes(), value.as_bytes()));
            assert_eq!(client.ask(&ask).ok(), format!("{{'{name}': '{value}'}}"));
        }
    }
}

#[test]
fn environ() {
    let worker = Worker::serving();
    let script = worker.scratch.script(
        "def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             names = environ['QUERY_STRING'].split(',')\n    \
             return ['\\n'.join(ascii(environ.get(name)) for name in names).encode()]\n",
    );
    let check = |extra: &[(&[u8], &[u8])], expected: &[(&str, &str)]| {
        let names: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
        let query = names.join(",");
        let mut ask = Ask::of(&script);
        ask.request.https = extra.iter().any(|(name, _)| *name == b"TLS");
        ask.request.environ.push((b"QUERY_STRING", query.as_bytes()));
        ask.request.environ.extend_from_slice(extra);
        let answer = worker.connect().ask(&ask);
        let values: Vec<_> = answer.ok().lines().collect();
        for ((name, expected), value) in expected.iter().zip(values) {
            assert_eq!(value, *expected, "{name}");
        }
    };
    let errors = "<_io.TextIOWrapper name='<wsgi.errors>' encoding='utf-8'>";
    check(
        &[
            (b"PATH_INFO", "/\u{e9}".as_bytes()),
            (b"SCRIPT_FILENAME", b"/x\xff"),
            (b"TWICE", b"first"),
            (b"TWICE", b"last"),
            (b"wsgi.version", b"forged"),
            (b"mod_wsgi.request_id", b"id"),
        ],
        &[
            ("REQUEST_METHOD", "'GET'"),
            ("PATH_INFO", r"'/\xc3\xa9'"),
            ("SCRIPT_FILENAME", r"'/x\udcff'"),
            ("TWICE", "'last'"),
            ("wsgi.version", "(1, 0)"),
            ("wsgi.multithread", "True"),
            ("wsgi.multiprocess", "False"),
            ("wsgi.run_once", "False"),
            ("wsgi.url_scheme", "'http'"),
            ("wsgi.errors", errors),
            ("wsgi.input_terminated", "True"),
            ("wsgi.file_wrapper", "<class 'mod_wsgi.FileWrapper'>"),
            ("apache.version", "(2, 4, 99)"),
            ("mod_wsgi.process_group", "'processes'"),
            ("mod_wsgi.application_group", "'group'"),
            ("mod_wsgi.callable_object", "'application'"),
            ("mod_wsgi.request_id", "'id'"),
            ("mod_wsgi.request_start", "1700000000.25"),
            ("nothing", "None"),
        ],
    );
    check(&[(b"TLS", b"1")], &[("wsgi.url_scheme", "'https'")]);

    let times = worker.run(
        "def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             names = 'request queue daemon application'.split()\n    \
             times = [environ['mod_wsgi.%s_start' % name] for name in names]\n    \
             assert all(type(time) is float for time in times)\n    \
             assert times == sorted(times), times\n    \
             assert 1 <= environ['mod_wsgi.thread_id'] <= 3\n    \
             import mod_wsgi, apache\n    \
             return [repr((mod_wsgi.version == environ['mod_wsgi.version'], apache.version,\n    \
             mod_wsgi.process_group, mod_wsgi.application_group, mod_wsgi.maximum_processes,\n    \
             mod_wsgi.threads_per_process)).encode()]\n",
    );
    assert_eq!(times.ok(), "(True, (2, 4, 99), 'processes', 'group', 1, 3)");
}

#[test]
fn the_length_of_a_single_block_is_told() {
    let worker = Worker::serving();
    let check = |method: &str, status: &str, headers: &str, body: &str, length: Option<&str>| {
        let script = worker.scratch.script(&format!(
            "def application(environ, start_response):\n    \
                 start_response('{status}', [{headers}])\n    return {body}\n"
        ));
        let ask = Ask::of(&script).method(method);
        let answer = worker.connect().ask(&ask);
        answer.ok();
        let what = format!("{method} {status} {headers} {body}");
        assert_eq!(answer.header("Content-Length"), length, "{what}");
    };
    check("GET", "200 OK", "", "[b'abc']", Some("3"));
    check("GET", "200 OK", "", "(b'abc',)", Some("3"));
    check("GET", "200 OK", "", "[b'']", Some("0"));
    check("GET", "404 No", "", "[b'abc']", Some("3"));
    check("GET", "200 OK", "", "[b'abc', b'd']", None);
    check("GET", "200 OK", "", "[]", None);
    check("GET", "200 OK", "", "iter([b'abc'])", None);
    check("GET", "200 OK", "('Content-Length', '3')", "[b'abc']", Some("3"));
    check("GET", "200 OK", "('content-length', '3')", "[b'abc']", None);
    check("GET", "200 OK", "('Transfer-Encoding', 'chunked')", "[b'0\\r\\n\\r\\n']", None);
    for status in ["100 C", "204 No", "205 Reset", "304 Same"] {
        check("GET", status, "", "[b'']", None);
    }
    check("HEAD", "200 OK", "", "[b'abc']", Some("3"));
    check("HEAD", "200 OK", "", "[b'']", None);
    check("HEAD", "200 OK", "('Content-Length', '3')", "[]", Some("3"));
    check("GET", "304 Same", "('Content-Length', '3')", "[]", Some("3"));
}

#[test]
fn a_response_other_than_its_content_length() {
    let worker = Worker::serving();
    let application = "def application(environ, start_response):\n    \
        start_response('200 OK', [('Content-Length', environ['LENGTH'])])\n    \
        yield b'abc'\n    \
        yield b'def'\n    \
        yield b'ghi'\n";
    let script = worker.scratch.script(application);
    let ask = |length: &'static [u8]| {
        let mut ask = Ask::of(&script);
        ask.request.environ.push((b"LENGTH", length));
        worker.connect().ask(&ask)
    };
    assert!(ask(b"9").log.is_empty());

    let long = ask(b"4");
    assert_eq!(long.ok(), "abcd");
    assert_eq!(
        long.log_text(),
        "response is longer than its Content-Length, the rest was cut off\n"
    );

    let short = ask(b"10");
    assert_eq!((short.ending, short.text()), (Ending::Failed(500), "abcdefghi"));
    assert!(short.log_text().contains("1 bytes short of its Content-Length"), "{short:?}");

    for wrong in [&b"-1"[..], b"x", b"", b"1.0", b"99999999999999999999999"] {
        let log = ask(wrong).failure();
        let value = str::from_utf8(wrong).unwrap();
        let text = format!("ValueError: invalid Content-Length header value: '{value}'");
        assert!(log.contains(&text), "{log}");
    }
}

#[test]
fn each_block_of_an_iterable_is_sent_before_the_next_is_asked_for() {
    let worker = Worker::serving();
    let (gate, blocks) = (worker.scratch.fifo("gate"), 3);
    let script = worker.scratch.script(&format!(
        "def application(environ, start_response):\n    \
                 start_response('200 OK', [])\n    \
                 for number in range({blocks}):\n        \
                     yield b'%d' % number\n        \
                     open({gate:?}).read()\n"
    ));
    let mut client = worker.connect();
    client.send(&wire::exchange::ToWorker::Request(Ask::of(&script).request));
    use wire::exchange::FromWorker;
    assert!(matches!(client.next(), FromWorker::Head { .. }));
    for number in 0..blocks {
        assert_eq!(client.next(), FromWorker::Data(number.to_string().as_bytes()));
        // Only now may the application go on.
        std::fs::write(&gate, "go").unwrap();
    }
    assert!(matches!(client.next(), FromWorker::Ran { .. }));
    assert_eq!(client.next(), FromWorker::End);
}

#[test]
fn large_responses() {
    let worker = Worker::serving();
    let whole = worker.run(&returning("[bytes(range(256)) * 20000]"));
    let expected: Vec<u8> = (0..=255).cycle().take(256 * 20000).collect();
    assert_eq!(whole.ending, Ending::End);
    assert!(whole.body == expected);
    assert!(whole.pieces.len() > 1);
    let many = worker.run(&returning("[b'x'] * 200000"));
    assert_eq!(many.body.len(), 200_000);
}

#[test]
fn file_wrapper() {
    let worker = Worker::serving();
    let answer = worker.run(
        "import io\n\
         class File(io.BytesIO):\n    \
             def read(self, size):\n        \
                 print(size)\n        \
                 return super().read(size)\n    \
             def close(self):\n        \
                 print('closed')\n        \
                 super().close()\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             wrapper = environ['wsgi.file_wrapper'](File(b'abcdefg'), 3)\n    \
             assert wrapper.blksize == 3 and isinstance(wrapper.filelike, File)\n    \
             return wrapper\n",
    );
    assert_eq!(answer.ok(), "abcdefg");
    assert_eq!(answer.log_text(), "3\n3\n3\n3\nclosed\n");
}

#[test]
fn what_iterables_may_not_be_or_yield() {
    let worker = Worker::serving();
    for (body, text) in [
        ("None", "TypeError: 'NoneType' object is not iterable"),
        ("b'bytes'", "TypeError: response iterable must yield bytes, not int"),
        ("'text'", "TypeError: response iterable must yield bytes, not str"),
        ("['text']", "TypeError: response iterable must yield bytes, not str"),
        ("[None]", "TypeError: response iterable must yield bytes, not NoneType"),
        ("iter([bytearray()])", "TypeError: response iterable must yield bytes, not bytearray"),
    ] {
        let script = worker.scratch.script(&returning(body));
        let log = worker.get(&script).failure();
        assert!(log.contains(text), "{body}: {log}");
    }
    let subclass = worker.run(&format!("class B(bytes): pass\n{}", returning("[B(b'x'), b'']")));
    assert_eq!(subclass.ok(), "x");
}

#[test]
fn close_is_always_called() {
    let worker = Worker::serving();
    let source = "class Body:\n    \
            def __init__(self, environ):\n        self.what = environ['WHAT']\n    \
            def __iter__(self):\n        \
                yield b'a'\n        \
                if self.what == 'raise':\n            raise KeyError('while iterating')\n        \
                yield b'b'\n    \
            def close(self):\n        \
                print('closed')\n        \
                if self.what == 'close':\n            raise KeyError('in close')\n\
        def application(environ, start_response):\n    \
            if environ['WHAT'] != 'silent':\n        start_response('200 OK', [])\n    \
            return Body(environ)\n";
    let script = worker.scratch.script(source);
    let ask = |what: &'static [u8]| {
        let mut ask = Ask::of(&script);
        ask.request.environ.push((b"WHAT", what));
        worker.connect().ask(&ask)
    };
    let fine = ask(b"nothing");
    assert_eq!((fine.ok(), fine.log_text().as_str()), ("ab", "closed\n"));

    let broken = ask(b"raise");
    assert_eq!((broken.ending, broken.text()), (Ending::Failed(500), "a"));
    let log = broken.log_text();
    assert!(log.ends_with("KeyError: 'while iterating'\nclosed\n"), "logged first: {log}");

    let failing = ask(b"close");
    assert_eq!(failing.ok(), "ab");
    assert!(failing.log_text().contains("KeyError: 'in close'"), "{failing:?}");

    let log = ask(b"silent").failure();
    let text = "start_response() must be called before response content is produced\nclosed\n";
    assert!(log.ends_with(text), "{log}");
}

#[test]
fn exceptions_before_the_response_begins() {
    let worker = Worker::serving();
    let source = "def deep(): raise ValueError('bo\\nom')\n\
        def application(environ, start_response):\n    \
            start_response('200 OK', [])\n    \
            deep()\n";
    let script = worker.scratch.script(source);
    let answer = worker.get(&script);
    let path = script.display();
    let lines: Vec<_> = answer.log.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(
        lines[0],
        format!(
            "Exception occurred processing WSGI script '{path}' (application group 'group'): \
             ValueError"
        )
    );
    assert_eq!(lines[1], "Traceback (most recent call last):");
    assert_eq!(lines[2], format!("  File \"{path}\", line 4, in application"));
    assert!(lines.contains(&format!("  File \"{path}\", line 1, in deep").as_str()), "{lines:?}");
    assert_eq!(lines[lines.len() - 2..], ["ValueError: bo", "om"]);
    assert!(answer.log.iter().all(|(level, _)| *level == wire::exchange::Level::Error));
    answer.failure();

    for (raised, text) in [
        ("SystemExit(3)", "SystemExit exception raised and ignored, processing"),
        ("KeyboardInterrupt", "Exception occurred processing"),
        ("GeneratorExit", "Exception occurred processing"),
    ] {
        let log = worker
            .run(&format!("def application(environ, start_response):\n    raise {raised}\n"))
            .failure();
        assert!(log.starts_with(text) && log.contains("line 2, in application"), "{log}");
    }
}

#[test]
fn an_exception_that_cannot_be_formatted_is_logged_all_the_same() {
    let worker = Worker::serving();
    let log = worker
        .run(
            "class Odd(Exception):\n    \
                 def __str__(self): raise RuntimeError('no text')\n\
             def application(environ, start_response):\n    \
                 raise Odd()\n",
        )
        .failure();
    assert!(log.contains("'group'): Odd") && log.contains("in application"), "{log}");
}

#[test]
fn a_client_that_goes_away() {
    use wire::exchange::{FromWorker, ToWorker};
    let worker = Worker::serving();
    // Pipes of its own for each wait: a slow reader of one would swallow what is for the next.
    let directory = worker.scratch.path("");
    let source = format!(
        // More than is left to be sent later, so that one of them must fail.
        "outcome, MORE = [], [b'x' * 1000] * 1000\n\
         def wait(name):\n    \
             open({directory:?} + name).read()\n\
         class Body:\n    \
             def __iter__(self):\n        \
                 outcome.append('iterating')\n        \
                 yield b'first'\n        \
                 wait('iterate')\n        \
                 yield from MORE\n        \
                 outcome.append('not stopped')\n    \
             def close(self):\n        \
                 outcome.append('closed')\n        \
                 wait('close')\n\
         def application(environ, start_response):\n    \
             write = start_response('200 OK', [])\n    \
             if environ['PATH_INFO'] == '/outcome':\n        \
                 return [repr(outcome).encode()]\n    \
             if environ['PATH_INFO'] == '/write':\n        \
                 write(b'first')\n        \
                 wait('write')\n        \
                 try:\n            for block in MORE: write(block)\n        \
                 except OSError as error:\n            outcome.append(str(error))\n        \
                 wait('return')\n        \
                 return []\n    \
             return Body()\n"
    );
    let script = worker.scratch.script(&source);
    for (path, gates) in [("/iterate", ["iterate", "close"]), ("/write", ["write", "return"])] {
        let gates = gates.map(|gate| worker.scratch.fifo(gate));
        let mut ask = Ask::of(&script);
        ask.request.environ.push((b"PATH_INFO", path.as_bytes()));
        let mut client = worker.connect();
        client.send(&ToWorker::Request(ask.request));
        assert!(matches!(client.next(), FromWorker::Head { .. }));
        assert_eq!(client.next(), FromWorker::Data(b"first"));
        drop(client);
        gates.iter().for_each(|gate| std::fs::write(gate, "go").unwrap());
    }
    let mut ask = Ask::of(&script);
    ask.request.environ.push((b"PATH_INFO", b"/outcome"));
    assert_eq!(
        worker.connect().ask(&ask).ok(),
        "['iterating', 'closed', 'mod_wsgi client connection closed']"
    );
    assert_eq!(worker.drain(), "", "a client that leaves is no reason for a log line");
}
