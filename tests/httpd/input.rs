//! What an application is given: `environ` and `wsgi.input`.

use testkit::UnderTest;

use crate::{TELL, ask, serving, told};

/// Reads the body in the way that the path names, and answers with what it got.
pub const READ: &str = r#"
def application(environ, start_response):
    stream = environ["wsgi.input"]
    way = environ["PATH_INFO"]
    if way == "/all":
        result = stream.read()
    elif way == "/parts":
        result = b"|".join(iter(lambda: stream.read(4), b""))
    elif way == "/line":
        result = b"|".join([stream.readline(), stream.readline(3), stream.readline(), stream.read()])
    elif way == "/lines":
        result = b"|".join(stream.readlines())
    elif way == "/iterate":
        result = b"|".join(stream)
    elif way == "/echo":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return iter(lambda: stream.read(65536), b"")
    elif way == "/end":
        result = stream.read() + b"|" + stream.read() + b"|" + stream.read(7) + stream.readline()
    else:
        result = b"nothing read"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [result]
"#;

#[test]
fn environ() {
    if testkit::later_than_debians("entries have been added and removed") {
        return;
    }
    let httpd = serving(TELL).conf("SetEnv FROM_CONF yes").start();
    let port = httpd.port().to_string();
    let host = format!("localhost:{port}");
    let request = |questions: &[&str]| {
        let headers =
            [("Host", host.as_str()), ("X-One-Two", "3"), ("X-One-Two", "4"), ("Proxy", "x")];
        told(httpd.request("POST", &ask(questions), &headers, b"ab"))
    };
    for (question, expected) in [
        ("environ['REQUEST_METHOD']", "POST"),
        ("environ['SCRIPT_NAME'] == ''", "True"),
        ("environ['PATH_INFO']", "/"),
        ("environ['CONTENT_LENGTH']", "2"),
        ("'CONTENT_TYPE' in environ", "False"),
        ("environ['SERVER_PROTOCOL']", "HTTP/1.1"),
        ("environ['SERVER_NAME']", "localhost"),
        ("environ['SERVER_PORT']", &port),
        ("environ['REMOTE_ADDR']", "127.0.0.1"),
        ("environ['HTTP_HOST']", &host),
        ("environ['HTTP_X_ONE_TWO']", "3, 4"),
        ("'HTTP_PROXY' in environ", "False"),
        ("'HTTP_CONTENT_LENGTH' in environ", "False"),
        ("environ['FROM_CONF']", "yes"),
        ("environ['REQUEST_SCHEME']", "http"),
        ("environ['wsgi.version']", "(1, 0)"),
        ("environ['wsgi.url_scheme']", "http"),
        ("environ['wsgi.multithread']", "True"),
        ("environ['wsgi.multiprocess']", "False"),
        ("environ['wsgi.run_once']", "False"),
        ("environ['wsgi.input_terminated']", "True"),
        ("environ['mod_wsgi.process_group']", "app"),
        ("environ['mod_wsgi.application_group'] == ''", "True"),
        ("environ['mod_wsgi.callable_object']", "application"),
        ("environ['mod_wsgi.request_handler']", "wsgi-script"),
        ("environ['SCRIPT_FILENAME'] == __file__", "True"),
        ("type(environ) is dict", "True"),
        ("{type(v) for k, v in environ.items() if k.isupper()} == {str}", "True"),
        ("'PATH' in environ", "False"),
    ] {
        assert_eq!(request(&[question]), [expected], "{question}");
    }
}

#[test]
fn the_interpreter() {
    let httpd = serving(TELL).start();
    let answers = told(httpd.get(&ask(&[
        "sys.argv",
        "__name__.startswith('_mod_wsgi_')",
        "sys.modules[__name__].application is application",
        "__import__('mod_wsgi').process_group",
        "__import__('apache').mpm_name",
        "__import__('apache').version == environ['apache.version']",
        "__import__('apache').description == environ['SERVER_SOFTWARE']",
        "bool(__import__('apache').build_date)",
        "__import__('apache').threads_per_process",
        "os.environ['HOME'] == pwd.getpwuid(os.geteuid()).pw_dir",
    ])));
    assert_eq!(
        answers,
        [
            "['mod_wsgi']",
            "True",
            "True",
            "app",
            "event",
            "True",
            "True",
            "True",
            // ThreadsPerChild of the tests.
            "16",
            "True",
        ]
    );
}

#[test]
fn ways_of_reading() {
    let httpd = serving(READ).start();
    let body = b"one\ntwo three\nlast";
    for (path, expected) in [
        ("/all", "one\ntwo three\nlast"),
        ("/parts", "one\n|two |thre|e\nla|st"),
        ("/line", "one\n|two| three\n|last"),
        ("/lines", "one\n|two three\n|last"),
        ("/iterate", "one\n|two three\n|last"),
        ("/end", "one\ntwo three\nlast||"),
        ("/none", "nothing read"),
    ] {
        let response = httpd.request("POST", path, &[], body).assert(200);
        assert_eq!(response.text(), expected, "{path}");
    }
    assert_eq!(httpd.get("/all").assert(200).text(), "");
}

#[test]
fn a_chunked_body() {
    // For an original; ours takes them anyway.
    let httpd = serving(READ).conf("WSGIChunkedRequest On").start();
    let chunked = [("Transfer-Encoding", "chunked")];
    let response = httpd.request("POST", "/all", &chunked, b"3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n");
    assert_eq!(response.assert(200).text(), "abcde");
}

#[test]
fn a_big_body_comes_back() {
    if testkit::ours_only("mod_wsgi reads no response before it has sent the whole request") {
        return;
    }
    let httpd = serving(READ).start();
    let body: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
    // The application answers while it reads: both directions flow at once.
    let mut sending = httpd.connect();
    let mut receiving = sending.try_clone().expect("a socket can be shared");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let head = format!(
                "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            sending.send(head.as_bytes()).expect("httpd reads");
            sending.send(&body).expect("httpd reads");
        });
        let response = receiving.read_response("POST").expect("a response").assert(200);
        assert!(response.body == body, "{} of {} bytes", response.body.len(), body.len());
    });
}

#[test]
fn continue_only_when_the_application_reads() {
    let httpd = serving(READ).start();
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\
             Expect: 100-continue\r\n\r\n"
        )
    };
    let mut connection = httpd.connect();
    connection.send(head("/all").as_bytes()).expect("httpd reads");
    assert_eq!(connection.read_head().expect("an interim response").status, 100);
    connection.send(b"body").expect("httpd reads");
    assert_eq!(connection.read_response("POST").expect("a response").text(), "body");

    let mut connection = httpd.connect();
    connection.send(head("/none").as_bytes()).expect("httpd reads");
    // Daemons of mod_wsgi make httpd read the body, and so ask for it.
    let asked = if UnderTest::chosen().is_original() { vec![100] } else { Vec::new() };
    asked.iter().for_each(|_| connection.send(b"body").expect("httpd reads"));
    let response = connection.read_response("POST").expect("a response").assert(200);
    assert_eq!((response.text().as_str(), response.interim), ("nothing read", asked));
}

#[test]
fn a_client_that_goes_away_harms_nobody() {
    let httpd = serving(READ).expect_log("wsgi").start();
    for _ in 0..3 {
        let mut connection = httpd.connect();
        let head = "POST /all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400\r\n\r\nonly this";
        connection.send(head.as_bytes()).expect("httpd reads");
    }
    let response = httpd.request("POST", "/all", &[], b"still here").assert(200);
    assert_eq!(response.text(), "still here");
}

/// Answers 413 without a look at the body, or with one.
const REFUSE: &str = r#"
def application(environ, start_response):
    if environ["PATH_INFO"] == "/reads":
        environ["wsgi.input"].read()
    elif environ["PATH_INFO"] == "/reads_nothing":
        environ["wsgi.input"].read(0)
    start_response("413 Too much", [("Content-Type", "text/plain")])
    return [b"too much"]
"#;

#[test]
fn expectations() {
    let httpd = serving(REFUSE).start();
    let original = UnderTest::chosen().is_original();
    for (version, path, expect, interim, status) in [
        // The client never learns that it may send, and sends nothing.
        ("1.1", "/", "100-continue", 0, 413),
        ("1.1", "/", "100-Continue", 0, 413),
        ("1.1", "/reads", "100-continue", 1, 413),
        // To read nothing is to ask for the body, too.
        ("1.1", "/reads_nothing", "100-continue", 1, 413),
        // RFC 9110, section 10.1.1: an expectation of HTTP/1.0 is ignored.
        ("1.0", "/", "100-continue", 0, 413),
        ("1.0", "/reads", "100-continue", 0, 413),
        // httpd's own answer.
        ("1.1", "/reads", "something-else", 0, 417),
    ] {
        let mut connection = httpd.connect();
        let head = format!(
            "POST {path} HTTP/{version}\r\nHost: localhost\r\nContent-Length: 4\r\n\
             Expect: {expect}\r\n\r\n"
        );
        connection.send(head.as_bytes()).expect("httpd reads");
        // Daemons of mod_wsgi make httpd read the body, and so ask for it.
        let asked = original && version == "1.1" && status == 413;
        if interim == 1 || asked {
            assert_eq!(connection.read_head().expect("an interim response").status, 100);
        }
        // Whoever waits for no permission sends at once; httpd's 417 comes behind the body, too.
        if path.starts_with("/reads") || original {
            connection.send(b"body").expect("httpd reads");
        }
        let response = connection.read_response("POST").expect("a response").assert(status);
        assert!(response.interim.is_empty(), "{expect} {path}: {:?}", response.interim);
    }
}
