//! Applications that answer with anything: no response may split, leak or put the connection out of
//! step.

use testkit::{Running, UnderTest};

use super::check_form;
use crate::serving;

/// A list of answers, each a function; the path is a number, or `ok`.
const ANSWERS: &str = r#"
import io, os, socket, sys, tempfile

PLAIN = ("Content-Type", "text/plain")
SPLIT = "x\r\nX-Injected: yes\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
answers = []


def answer(status="200 OK", headers=(), body=(b"body",)):
    answers.append((status, list(headers), lambda environ: body() if callable(body) else body))


# Bytes that have no place in a head.
for code in [*range(0, 32), 127, 128, 255, 0x100, 0x2028]:
    char = chr(code)
    answer(headers=[("X-A" + char, "b")])
    answer(headers=[("X-A", "b" + char + "c")])
    answer(status="200 O" + char + "K")
for char in "()<>@,;:\\\"/[]?={} ":
    answer(headers=[("X" + char + "Y", "z")])
for text in (SPLIT, "\r\n\r\n", "\n\nbody", "a\r\n b", "a\0b", "", " ", "\t", "a" * 100000):
    answer(headers=[("X-A", text)])
    answer(headers=[(text, "X-A")])
    answer(headers=[("Content-Type", text)])
    answer(headers=[("Location", text)])
    answer(headers=[("Set-Cookie", text)])
    answer(status="302 " + text, headers=[("Location", "/")])
    answer(status=text)
# Statuses.
for code in (0, 1, 99, 100, 101, 102, 103, 199, 204, 205, 206, 299, 304, 306, 416, 499, 599, 600, 999):
    answer(status="%03d Any" % code)
    answer(status="%03d" % code, headers=[("Content-Length", "50")], body=(b"HTTP/1.1 200 OK\r\n\r\n" * 9,))
for status in (None, b"200 OK", 200, "200OK", "20", "2000 X", "OK", "HTTP/1.1 200 OK", " 200 OK", "-12 X", "٢٠٠ X"):
    answer(status=status)
# Framing that is httpd's affair.
for length in ("0", "1", "3", "4", "5", "1000000", "-1", "+4", " 4", "4 ", "4,4", "0x4", "4\t", "x", "", "99999999999999999999999", "9223372036854775807", "9223372036854775808", "4;", "٤"):
    answer(headers=[("Content-Length", length)])
    answer(headers=[("Content-Length", "4"), ("content-length", length)])
    answer(headers=[("Content-Length", length)], body=lambda: iter([b"bo", b"", b"dy"]))
for coding in ("chunked", "identity", "gzip, chunked", "x", ""):
    answer(headers=[("Transfer-Encoding", coding)], body=(b"4\r\nbody\r\n0\r\n\r\n",))
    answer(headers=[("Transfer-Encoding", coding), ("Content-Length", "4")])
for name in ("Connection", "Keep-Alive", "Upgrade", "Trailer", "TE", "Proxy-Connection", "Status", "Date", "Server", "Content-Encoding", "Content-Range", "Range", "Vary", "Last-Modified", "ETag", "Age"):
    answer(headers=[(name, "close"), (name, "Content-Length"), (name, "upgrade")])
# Things that are no headers, no bodies, or lie about their length.
for headers in (None, (), {}, [None], [("a",)], [("a", "b", "c")], [["a", "b"]], [(b"a", b"b")], [("a", None)], "ab", [("a", 1)]):
    answers.append(("200 OK", headers, lambda environ: [b"body"]))


class Liar(list):
    def __len__(self):
        return 1

    def __iter__(self):
        return iter([b"body"] * 50)


class Endless:
    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def close(self):
        raise KeyError("in close")


class NoFile(io.BytesIO):
    def __init__(self, number, position):
        super().__init__(b"in memory")
        self.number, self.position = number, position

    def fileno(self):
        return self.number

    def tell(self):
        return self.position


def raising():
    raise GeneratorExit


for body in (None, 5, "text", b"bytes", [1], ["text"], [b"a", "b"], [None], [bytearray(b"x")], [memoryview(b"x")], Liar([b"x", b"y"]), Endless(), {b"a": 1}, (), [], [b""], [b""] * 1000, [b"x"] * 5000, raising):
    answer(body=body)
pipe = os.pipe()
folder = os.open("/", os.O_RDONLY)
zero = os.open("/dev/zero", os.O_RDONLY)
this = os.open(__file__, os.O_RDONLY)
ends = socket.socketpair()
for number in (-1, 0, 1, 2, 99999, 2**40, None, "5", pipe[0], pipe[1], folder, zero, this, ends[0].fileno()):
    for position in (0, -1, 1, 10**6, 2**62, 2**70, None):
        answers.append(("200 OK", [PLAIN], lambda environ, n=number, p=position: environ["wsgi.file_wrapper"](NoFile(n, p))))
for length in ("0", "1", "99999999"):
    answers.append(("200 OK", [("Content-Length", length)], lambda environ: environ["wsgi.file_wrapper"](open(__file__, "rb"))))


def shrinking(environ):
    file = tempfile.NamedTemporaryFile()
    file.write(b"x" * 50_000_000)
    file.seek(0)
    body = environ["wsgi.file_wrapper"](file)
    return body


answers.append(("200 OK", [PLAIN], shrinking))


def misframed(answer):
    """Say whether mod_wsgi makes a response of this that puts the connection out of step: it takes
    interim statuses for final ones, and lets bodies be shorter than they should."""
    status, headers, _ = answer
    if isinstance(status, str) and status[:1] in ("0", "1"):
        return True
    pairs = [header for header in headers or () if isinstance(header, tuple) and len(header) == 2]
    return any(str(name).lower() == "content-length" and value == "5" for name, value in pairs)


def application(environ, start_response):
    path = environ["PATH_INFO"][1:]
    if path == "misframed":
        start_response("200 OK", [PLAIN])
        numbers = [str(number) for number, answer in enumerate(answers) if misframed(answer)]
        return [" ".join(numbers).encode()]
    if path == "count":
        start_response("200 OK", [PLAIN])
        return [b"%d" % len(answers)]
    if path == "ok":
        start_response("200 OK", [PLAIN, ("X-Ok", "yes")])
        return [b"all is well"]
    status, headers, body = answers[int(path)]
    if path.endswith("7"):
        try:
            environ["wsgi.early_hints"](headers)
        except Exception:
            pass
    start_response(status, headers)
    return body(environ)
"#;

#[test]
fn answers_that_are_none() {
    let httpd = serving(ANSWERS).expect_log("[wsgi:error]").start();
    let count: usize = httpd.get("/count").assert(200).text().parse().expect("a number");
    assert!(count >= 300, "{count}");
    let children = |httpd: &Running| httpd.children().iter().map(|child| child.pid).max();
    let before = children(&httpd);
    let misframed = match UnderTest::chosen() {
        UnderTest::Ours => String::new(),
        _ => httpd.get("/misframed").assert(200).text(),
    };
    let misframed: Vec<usize> = misframed.split(' ').flat_map(str::parse).collect();
    for number in (0..count).filter(|number| !misframed.contains(number)) {
        for method in ["GET", "HEAD"] {
            let mut connection = httpd.connect();
            let request = format!(
                "{method} /{number} HTTP/1.1\r\nHost: localhost\r\n\r\n\
                 GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n"
            );
            connection.send(request.as_bytes()).expect("httpd reads");
            let response = connection
                .read_response(method)
                .unwrap_or_else(|error| panic!("answer {number} to {method}: {error:#}"));
            check_form(&response);
            if !response.complete || connection.is_closed().unwrap_or(true) {
                continue;
            }
            // The connection goes on: what comes next is the other response, to the last byte.
            let next = connection
                .read_response("GET")
                .unwrap_or_else(|error| panic!("after answer {number} to {method}: {error:#}"));
            assert!(
                next.status == 200 && next.text() == "all is well" && next.complete,
                "after answer {number} to {method} ({response}): {next}"
            );
        }
    }
    httpd.get("/ok").assert(200);
    assert_eq!(children(&httpd), before, "no child has died");
}
