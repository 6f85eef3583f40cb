//! Bodies of any size and shape: what they cost, how soon they arrive, and where they end.

use std::io::Write;
use std::process::{Command, Stdio};

use testkit::{Connection, Running, UnderTest};

use crate::serving;

/// Reads the body, or sends it back while it reads, as the path says.
const BODIES: &str = r#"
import mod_wsgi, time

PLAIN = [("Content-Type", "text/plain")]


def application(environ, start_response):
    stream, path = environ["wsgi.input"], environ["PATH_INFO"]
    if path == "/echo":
        start_response("200 OK", PLAIN)
        return iter(lambda: stream.read(65536), b"")
    if path.endswith("/list"):
        data = stream.read()
        start_response("200 OK", PLAIN)
        return [data[:1000], data[1000:300_000], data[300_000:]]
    if path == "/lines":
        start_response("200 OK", PLAIN)
        return (line.upper() for line in stream)
    if path == "/caught":
        try:
            stream.read()
        except OSError:
            pass
    if path == "/late":
        time.sleep(1.2)
    try:
        if path == "/active":
            result = b"%d" % len(mod_wsgi.active_requests)
        elif path in ("/unread", "/caught"):
            result = b"unread"
        elif path == "/pieces":
            result = b"%d" % sum(map(len, iter(lambda: stream.read(1000), b"")))
        else:
            result = b"%d" % len(stream.read())
    except OSError as error:
        print("the body failed:", error, file=environ["wsgi.errors"])
        raise
    start_response("200 OK", PLAIN)
    return [result]
"#;

const PIECE: usize = 1 << 20;
const PIECES: usize = 100;

/// The most that a process may have occupied while these pieces went through it: less than half.
const BOUND: u64 = (PIECE * PIECES / 2) as u64;

/// A piece that is another one for each number.
fn piece(number: usize) -> Vec<u8> {
    (0..PIECE).map(|at| ((at + number) % 251) as u8).collect()
}

/// Sends the head of a POST.
fn begin(httpd: &Running, path: &str, headers: &str) -> Connection {
    let mut connection = httpd.connect();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    connection.send(head.as_bytes()).expect("httpd reads");
    connection
}

#[test]
fn an_echo_of_a_hundred_megabytes_occupies_a_part_of_them() {
    if testkit::ours_only("mod_wsgi reads no response before it has sent the whole request") {
        return;
    }
    let httpd = serving(BODIES).start();
    let length = format!("Content-Length: {}\r\n", PIECE * PIECES);
    let mut sending = begin(&httpd, "/echo", &length);
    let mut receiving = sending.try_clone().expect("a socket can be shared");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            (0..PIECES).try_for_each(|number| sending.send(&piece(number))).expect("httpd reads");
        });
        receiving.read_head().expect("a response").assert(200);
        let (mut number, mut received) = (0, Vec::new());
        while let Some(chunk) = receiving.read_chunk().expect("a chunk") {
            received.extend(chunk);
            while received.len() >= PIECE {
                let rest = received.split_off(PIECE);
                assert!(received == piece(number), "piece {number}");
                (number, received) = (number + 1, rest);
            }
        }
        assert_eq!((number, received.len()), (PIECES, 0));
    });
    for process in httpd.descendants() {
        let peak = process.peak_memory();
        assert!(peak > 0 && peak < BOUND, "{process:?}: {peak} bytes");
    }
}

#[test]
fn each_of_a_hundred_lines_comes_back_before_the_next_is_sent() {
    if testkit::ours_only("mod_wsgi reads no response before it has sent the whole request") {
        return;
    }
    let httpd = serving(BODIES).start();
    let mut connection = begin(&httpd, "/lines", "Transfer-Encoding: chunked\r\n");
    for number in 0..100 {
        let line = format!("line {number:02}\n");
        let chunk = format!("{:x}\r\n{line}\r\n", line.len());
        connection.send(chunk.as_bytes()).expect("httpd reads");
        if number == 0 {
            connection.read_head().expect("a response").assert(200);
        }
        let answer = connection.read_chunk().expect("a chunk").expect("more");
        assert_eq!(String::from_utf8_lossy(&answer), line.to_uppercase());
    }
    connection.send(b"0\r\n\r\n").expect("httpd reads");
    assert_eq!(connection.read_chunk().expect("the end"), None);
}

#[test]
fn limits_of_httpd_hold() {
    let httpd = serving(BODIES)
        .conf("LimitRequestBody 1000\nWSGIChunkedRequest On")
        .expect_log("[wsgi:error]")
        .expect_log("larger than the configured limit")
        .start();
    let length = |length: usize| httpd.request("POST", "/", &[], &vec![b'x'; length]);
    assert_eq!(length(1000).assert(200).text(), "1000");
    length(1001).assert(413);
    let chunked = |path: &str, length: usize| {
        let body = format!("{length:x}\r\n{}\r\n0\r\nTrailer: x\r\n\r\n", "x".repeat(length));
        httpd.request("POST", path, &[("Transfer-Encoding", "chunked")], body.as_bytes())
    };
    assert_eq!(chunked("/", 1000).assert(200).text(), "1000");
    // httpd answers as soon as it has read too much, and the application's answer comes too late.
    for path in ["/", "/caught"] {
        let page = chunked(path, 1001).assert(413).text();
        let is_all = page.matches("<h1>").count() == 1 && page.ends_with("</html>\n");
        assert!(is_all || UnderTest::chosen().is_original(), "{path}: {page}");
    }
}

#[test]
fn a_body_that_does_not_come_in_time_is_an_error_of_the_read() {
    let httpd = serving(BODIES).conf("Timeout 1").expect_log("wsgi").start();
    let mut connection = begin(&httpd, "/", &format!("Content-Length: {PIECE}\r\n"));
    connection.send(&piece(0)[..PIECE / 2]).expect("httpd reads");
    connection.read_response("POST").expect("a response").assert(408);
    httpd.wait_for_log(&["the body failed: mod_wsgi request data read error: "]);
}

#[test]
fn the_beginning_of_a_body_that_does_not_come_in_time_is_no_matter_for_the_application() {
    if testkit::ours_only("mod_wsgi runs the application before it has read any of the body") {
        return;
    }
    let httpd = serving(BODIES).conf("Timeout 1").start();
    for length in [9, PIECE] {
        let mut connection = begin(&httpd, "/", &format!("Content-Length: {length}\r\n"));
        connection.send(b"part").expect("httpd reads");
        connection.read_response("POST").expect("a response").assert(408);
        httpd.wait_for_log(&["[wsgi:info]", "The request body cannot be read: "]);
    }
    assert!(!httpd.error_log().contains("the body failed"), "{}", httpd.error_log());
}

/// A second for a body, however often a part of it comes.
const READ_TIMEOUT: &str = "LoadModule reqtimeout_module {modules}/mod_reqtimeout.so\n\
                            RequestReadTimeout body=1\nLogLevel reqtimeout:info\n\
                            WSGIChunkedRequest On";

#[test]
fn a_body_that_is_too_slow_for_mod_reqtimeout_holds_nobody() {
    let httpd = serving(BODIES).conf(READ_TIMEOUT).expect_log("wsgi").start();
    let original = UnderTest::chosen().is_original();
    let half = &piece(0)[..PIECE / 2];
    let count = |text: &str| httpd.error_log().matches(text).count();
    for round in 1..=2 {
        // In the second round there are windows that the second of these bodies is awaited in.
        let clients = ["/", "/pieces", "/unread"].into_iter().flat_map(|path| {
            [
                (path, "Content-Length: 9".to_owned(), &b"part"[..]),
                (path, format!("Content-Length: {PIECE}"), half),
                (path, format!("Content-Length: {}", 2 * PIECE), half),
                (path, "Transfer-Encoding: chunked".to_owned(), b"4\r\npart\r\n"),
            ]
        });
        let clients: Vec<_> = clients
            .map(|(path, headers, part)| {
                let mut connection = begin(&httpd, path, &format!("{headers}\r\n"));
                connection.send(part).expect("httpd reads");
                (path, headers, connection)
            })
            .collect();
        for (path, headers, mut connection) in clients {
            let response = connection.read_response("POST").expect("a response");
            let is_answer = response.status == 200 && response.text() == "unread";
            let may_be_answered = path == "/unread" && !original;
            let is_fine = response.status == 408 || is_answer && may_be_answered;
            assert!(is_fine, "{path}, {headers}: {response}");
            assert!(connection.is_closed().expect("httpd closes"), "{path}, {headers}");
        }
        assert_eq!(count("AH01382: Request body read timeout"), 12 * round);
    }
    assert_eq!(httpd.get("/active").assert(200).text(), "1");
    assert_eq!(httpd.request("POST", "/", &[], b"still here").assert(200).text(), "10");
}

#[test]
fn a_client_that_closes_its_direction_behind_a_body_that_takes_long_is_answered() {
    let httpd = serving(BODIES).start();
    let length = 16 * PIECE;
    let mut sending = begin(&httpd, "/late", &format!("Content-Length: {length}\r\n"));
    let mut receiving = sending.try_clone().expect("a socket can be shared");
    std::thread::scope(|scope| {
        // More than the kernel has room for: so its end comes only while the application reads.
        scope.spawn(move || {
            sending.send(&vec![b'x'; length]).expect("httpd reads");
            sending.finish().expect("the connection is open");
        });
        let response = receiving.read_response("POST").expect("a response").assert(200);
        assert_eq!(response.text(), length.to_string());
    });
}

#[test]
fn a_body_that_is_framed_wrongly_is_an_error_of_the_read() {
    let httpd = serving(BODIES).conf("WSGIChunkedRequest On").expect_log("wsgi").start();
    let mut connection = begin(&httpd, "/", "Transfer-Encoding: chunked\r\n");
    connection.send(b"4\r\npart\r\nno length\r\n").expect("httpd reads");
    let response = connection.read_response("POST").expect("a response");
    assert!(response.status >= 400, "{response}");
    httpd.wait_for_log(&["the body failed: mod_wsgi request data read error: "]);
}

/// How many pieces of memory a process of httpd shares with workers.
fn windows(process: &testkit::Process) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.pid));
    maps.map_or(0, |maps| maps.matches("memfd:wsgi-window").count())
}

#[test]
fn large_bodies_go_through_shared_memory_and_arrive_as_they_are() {
    if !testkit::sees_into_processes() {
        return;
    }
    if testkit::ours_only("mod_wsgi has no worker that could share memory") {
        return;
    }
    let one_child = "StartServers 1\nServerLimit 1\nMaxRequestWorkers 4\nThreadsPerChild 4\n\
                     MaxSpareThreads 4\n<Location /compressed>\nSetOutputFilter DEFLATE\n</Location>\n\
                     <Location /inflated>\nSetInputFilter DEFLATE\n\
                     DeflateInflateRatioLimit 10000\n</Location>";
    let httpd = serving(BODIES).conf(one_child).expect_log("AH10159").start();
    let mut connection = httpd.connect();
    let mut echo = |path: &str, body: &[u8]| {
        let response = connection.request("POST", path, &[], body).expect("a response").assert(200);
        assert!(response.body == body, "{path}, {} bytes", body.len());
    };
    let shared = || httpd.children().iter().map(windows).max();
    for _ in 0..3 {
        echo("/list", b"small");
        echo("/echo", &piece(7)[..10_000]);
    }
    assert_eq!(shared(), Some(0), "small bodies do without");
    // Three windows and more, and what just fits, or just does not.
    let large = [piece(1), piece(2), piece(3), piece(4)[..1234].to_vec()].concat();
    for round in 0..3 {
        for len in [large.len(), 65_536, 300_000, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 20_000] {
            let body = &large[round..][..len.min(large.len() - round)];
            echo("/list", body);
            echo("/echo", body);
        }
    }
    // One for each direction.
    assert_eq!(shared(), Some(2));
    let headers = [("Accept-Encoding", "gzip")];
    let response = connection.request("POST", "/compressed/list", &headers, &large);
    let response = response.expect("a response").assert(200);
    assert_eq!(response.header("Content-Encoding"), Some("gzip"));
    assert!(unzip(&response.body) == large);
    // What is announced is shorter than what the application gets.
    for len in [10_000, PIECE, PIECE + 1, large.len()] {
        let (body, headers) = (gzip("-c", &large[..len]), [("Content-Encoding", "gzip")]);
        let response = connection.request("POST", "/inflated/list", &headers, &body);
        let response = response.expect("a response").assert(200);
        assert!(response.body == large[..len], "{len} bytes");
    }
}

fn unzip(data: &[u8]) -> Vec<u8> {
    gzip("-dc", data)
}

fn gzip(way: &str, data: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .arg(way)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip is everywhere");
    let mut stdin = gzip.stdin.take().expect("it is a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(data).expect("gzip reads"));
        gzip.wait_with_output().expect("gzip ends").stdout
    })
}
