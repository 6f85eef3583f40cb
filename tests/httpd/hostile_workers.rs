//! Workers that send anything: a program in a worker's place speaks the protocol up to the request,
//! and then breaks it. httpd's children live on, keep no descriptors, and serve the next request.

use testkit::{Httpd, Mpm, Process, Running, until};

use crate::broken_workers::{Programs, write_program};

/// The query string names what comes in answer to a request.
const WORKER: &str = r#"#!/usr/bin/python3 -I
import array, mmap, os, select, socket, struct, sys, threading

HEAD, DATA, LOG, END, FAILED, GOODBYE, FILE, HINTS, DATA_AT = 3, 4, 5, 6, 7, 8, 9, 10, 15
WINDOW = 9
VERSION = PROTOCOL_VERSION


def frame(kind, payload=b"", descriptors=0, length=None):
    length = len(payload) if length is None else length
    return struct.pack("<IBBH", length, kind, descriptors, 0) + payload


def string(data):
    return struct.pack("<I", len(data)) + data


def head(status=b"200 OK", headers=((b"Content-Type", b"text/plain"),)):
    pairs = b"".join(string(name) + string(value) for name, value in headers)
    return frame(HEAD, string(status) + struct.pack("<I", len(headers)) + pairs)


def log(text, level=3):
    return frame(LOG, bytes([level]) + text)


end, body = frame(END), frame(DATA, b"body")
null = os.open("/dev/null", os.O_RDONLY)
this = os.open(__file__, os.O_RDONLY)
pipe = os.pipe()[0]
part = struct.pack("<QQ", 0, 4)
# Bytes, and descriptors that go with the first of them.
CASES = {
    "good": (head() + body + end, []),
    "nothing": (b"", []),
    "one_byte": (b"\x04", []),
    "cut_header": (frame(HEAD)[:5], []),
    "cut_head": (head()[:20], []),
    "cut_data": (head() + frame(DATA, b"bo", length=4), []),
    "no_end": (head() + body, []),
    "unknown_kind": (frame(200, b"x"), []),
    "kind_zero": (frame(0), []),
    "reserved": (b"\0\0\0\0\x06\0\1\0", []),
    "huge": (frame(DATA, b"x", length=0xffffffff), []),
    "above_limit": (frame(HEAD, b"x" * 8, length=(1 << 20) + 1), []),
    "huge_inside": (frame(HEAD, b"\xff\xff\xff\x7f" + b"200"), []),
    "many_headers": (frame(HEAD, string(b"200 OK") + struct.pack("<I", 0xffffff)), []),
    "left_over": (frame(END, b"more"), []),
    "head_left_over": (frame(HEAD, string(b"200 OK") + struct.pack("<I", 0) + b"x"), []),
    "body_first": (body + head() + end, []),
    "end_first": (end, []),
    "two_heads": (head() + head() + body + end, []),
    "late_head": (head() + body + head() + end, []),
    "split_head": (head(headers=[(b"X", b"a\r\nX-Injected: yes")]) + body + end, []),
    "bad_status": (head(b"2000 \r\n") + body + end, []),
    "late_hints": (head() + body + frame(HINTS, struct.pack("<I", 0)) + end, []),
    "bad_hints": (frame(HINTS, struct.pack("<I", 1) + string(b"X") + string(b"\r\n\r\n")) + head() + body + end, []),
    "goodbye": (head() + frame(GOODBYE), []),
    "refused_late": (head() + frame(1, b"\0"), []),
    "refused_how": (frame(1, b"\xff"), []),
    "need_nothing": (frame(2, struct.pack("<I", 0)) + head() + body + end, []),
    "need_all": (frame(2, struct.pack("<I", 0xffffffff)) + head() + body + end, []),
    "need_after_end": (head() + body + end + frame(2, struct.pack("<I", 9)), []),
    "after_end": (head() + body + end + body, []),
    "level": (log(b"x", level=99) + head() + body + end, []),
    "failed_how": (frame(FAILED, struct.pack("<H", 7)), []),
    "failed_fine": (frame(FAILED, struct.pack("<H", 200)), []),
    "failed_late": (head() + body + frame(FAILED, struct.pack("<H", 500)), []),
    "verdict": (frame(12, b"\0"), []),
    "many_logs": (log(b"chatter") * 5000 + head() + body + end, []),
    "long_log": (log(b"x" * 500_000) + head() + body + end, []),
    "garbage": (bytes(range(256)) * 100, []),
    "file": (head() + frame(FILE, part, 1) + end, [this]),
    "file_without": (head() + frame(FILE, part, 1) + end, []),
    "file_uncounted": (head() + frame(FILE, part, 0) + end, [this]),
    "file_device": (head() + frame(FILE, part, 1) + end, [null]),
    "file_pipe": (head() + frame(FILE, part, 1) + end, [pipe]),
    "file_beyond": (head() + frame(FILE, struct.pack("<QQ", 1 << 62, 1 << 62), 1) + end, [this]),
    "file_twice": (head() + frame(FILE, part, 1) * 2 + end, [this, this]),
    "file_and_data": (head() + frame(FILE, part, 1) + body + end, [this]),
    "file_first": (frame(FILE, part, 1) + head() + end, [this]),
    "descriptor": (head() + body + end, [null]),
    "descriptor_counted": (head() + frame(DATA, b"body", 1) + end, [null]),
    "descriptors": (head() + body + end, [null] * 50),
    "descriptors_and_garbage": (b"\xff" * 1000, [null] * 250),
    # So large that a window comes before the next request.
    "large": (head() + frame(DATA, b"x" * 100_000) + end, []),
}


def log_from(path):
    return frame(11, bytes([7]) + string(path) + struct.pack("<I", 1) + b"x")


hints = frame(HINTS, struct.pack("<I", 1) + string(b"Link") + string(b"x" * 300))
whole = head(headers=[(b"Content-Length", b"4")]) + body
CASES |= {
    "busy": (frame(1, b"\x01"), []),
    "draining": (frame(1, b"\x02"), []),
    "not_authentic": (frame(1, b"\x04"), []),
    "many_paths": (log_from(b"/x" * 16_000) * 4000 + head() + body + end, []),
    "many_hints": (hints * 400_000 + head() + body + end, []),
    # And then nothing, or nothing but log lines.
    "lingers": (whole, []),
    "lingers_chattering": (whole, []),
    "chatters": (b"", []),
    "chatters_ever_so_fast": (b"", []),
}


def linger(connection, case):
    """Keeps the connection until httpd closes it."""
    while not select.select([connection], [], [], 0 if "fast" in case else 0.05)[0]:
        if "chatter" in case:
            connection.sendall(log(b"chatter", level=7))


def at(offset, length):
    return frame(DATA_AT, struct.pack("<II", offset, length))


# What is said about a window that is there, or is not.
for name, said in {
    "start": at(0, 4),
    "end": at((1 << 20) - 4, 4),
    "nothing": at(1 << 20, 0) + body,
    "one_beyond": at((1 << 20) - 3, 4),
    "beyond": at(1 << 20, 1),
    "too_long": at(0, (1 << 20) + 1),
    "huge": at(0, 0xffffffff),
    "far": at(0xffffffff, 1),
    "far_and_huge": at(0xffffffff, 0xffffffff),
    "much": at(0, 1 << 20) * 20,
}.items():
    CASES["window_" + name] = CASES["no_window_" + name] = (head() + said + end, [])
CASES["window_first"] = (at(0, 4) + head() + end, [])
CASES["window_after_end"] = (head() + body + end + at(0, 4), [])
# Whoever has a window tries these first.
CASES["window_cut_short"] = CASES["window_changing"] = (head() + at(0, 1 << 20) * 20 + end, [])


def receive(connection, length):
    data = b""
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def read_frame(connection):
    length, kind, _, _ = struct.unpack("<IBBH", receive(connection, 8))
    return kind, receive(connection, length)


def read_request(connection):
    """The next frame that is no window, and the window that came before it."""
    first, rights, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(4))
    if not first:
        raise EOFError
    length, kind, _, _ = struct.unpack("<IBBH", first + receive(connection, 7))
    payload = receive(connection, length)
    if kind != WINDOW:
        return kind, payload, None
    memory = array.array("i", rights[0][2])[0]
    return *read_frame(connection), memory


def misuse(memory, case, done):
    """Put something into the window, and do what may not be done."""
    window = mmap.mmap(memory, 1 << 20)
    window[:4] = window[-4:] = b"body"
    if case == "window_cut_short":
        for size in (0, 4096, 1 << 30):
            try:
                os.ftruncate(memory, size)
            except OSError:
                continue
            os.abort()
    while case == "window_changing" and not done.is_set():
        window[:] = os.urandom(1 << 20)


def serve(connection):
    done, had_window = threading.Event(), False
    try:
        read_frame(connection)
        connection.sendall(frame(13, struct.pack("<I", os.getpid())))
        while True:
            kind, payload, memory = read_request(connection)
            # Whoever sends a request has seen all of the response before it.
            done.set()
            done = threading.Event()
            if kind != 2:
                continue
            case = payload.split(b"case=", 1)[1].split(b"&", 1)[0].decode()
            data, descriptors = CASES[case]
            # The window comes with the request after the large response, and only then.
            if case.startswith("window_") != (memory is not None):
                os.abort()
            had_window |= memory is not None
            if memory is not None:
                changes = threading.Thread(target=misuse, args=(memory, case, done))
                changes.start()
                if case != "window_changing":
                    changes.join()
            if descriptors:
                rights = array.array("i", descriptors)
                connection.sendmsg([data[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                data = data[1:]
            connection.sendall(data)
            if case.startswith(("linger", "chatter")):
                linger(connection, case)
            if case not in ("good", "large", "window_changing") or had_window and case == "good":
                break
    except (EOFError, OSError):
        pass
    finally:
        done.set()
        connection.close()


def accept(listener):
    while True:
        select.select([listener], [], [])
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        connection.setblocking(True)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


control = socket.socket(fileno=0)
read_frame(control)
control.sendall(frame(1, struct.pack("<H", VERSION) + string(b"no Python at all")))
_, rights, _, _ = control.recvmsg(1 << 16, socket.CMSG_SPACE(4))
listener = socket.socket(fileno=array.array("i", rights[0][2])[0])
control.sendall(frame(2))
threading.Thread(target=accept, args=(listener,), daemon=True).start()
try:
    # The next order is to drain, whatever it says.
    control.recv(1)
    control.sendall(frame(5))
except OSError:
    pass
os._exit(0)
"#;

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// This status, and a page.
    Page(u16),
    /// The response, whole.
    Whole,
    /// This status, or the beginning of a response that is visibly incomplete: how much has come
    /// first is chance.
    Either(u16),
}
use Answer::{Either, Page, Whole};

const CASES: &[(&str, Answer)] = &[
    ("nothing", Page(502)),
    ("one_byte", Page(502)),
    ("cut_header", Page(502)),
    ("cut_head", Page(502)),
    ("cut_data", Either(502)),
    ("no_end", Either(502)),
    ("unknown_kind", Page(502)),
    ("kind_zero", Page(502)),
    ("reserved", Page(502)),
    ("huge", Page(502)),
    ("above_limit", Page(502)),
    ("huge_inside", Page(502)),
    ("many_headers", Page(502)),
    ("left_over", Page(502)),
    ("head_left_over", Page(502)),
    ("body_first", Page(502)),
    ("end_first", Page(502)),
    ("two_heads", Either(502)),
    ("late_head", Either(502)),
    ("split_head", Page(500)),
    ("bad_status", Page(500)),
    ("goodbye", Either(502)),
    ("refused_late", Either(502)),
    ("refused_how", Page(502)),
    ("level", Page(502)),
    ("failed_late", Either(500)),
    ("verdict", Page(502)),
    ("many_logs", Whole),
    ("long_log", Whole),
    ("garbage", Page(502)),
    ("file", Whole),
    ("file_without", Either(502)),
    ("file_uncounted", Either(502)),
    ("file_device", Either(502)),
    ("file_pipe", Either(502)),
    ("file_beyond", Either(502)),
    ("file_first", Page(502)),
    ("descriptor", Either(502)),
    ("descriptors", Either(502)),
    ("descriptor_counted", Either(502)),
    ("descriptors_and_garbage", Page(502)),
    ("window_start", Whole),
    ("window_end", Whole),
    ("window_nothing", Whole),
    ("window_one_beyond", Either(502)),
    ("window_beyond", Either(502)),
    ("window_too_long", Either(502)),
    ("window_huge", Either(502)),
    ("window_far", Either(502)),
    ("window_far_and_huge", Either(502)),
    ("window_much", Whole),
    ("window_first", Page(502)),
    ("window_cut_short", Whole),
    ("window_changing", Whole),
    ("no_window_start", Either(502)),
    ("no_window_nothing", Either(502)),
    ("no_window_huge", Either(502)),
    ("no_window_far", Either(502)),
];

/// Cases whose outcome is a matter of taste, as long as nothing suffers.
const OTHERS: &[&str] = &[
    "late_hints",
    "bad_hints",
    "need_nothing",
    "need_all",
    "need_after_end",
    "after_end",
    "failed_how",
    // The whole file has gone out before the breach is known.
    "file_twice",
    "file_and_data",
    "failed_fine",
    "window_after_end",
];

#[track_caller]
fn check(httpd: &Running, case: &str, expected: Option<Answer>) {
    if case.starts_with("window_") {
        // Over the connection that is used again, which gets a window for it.
        httpd.get("/?case=large&").assert(200);
    }
    let path = format!("/?case={case}&");
    // A POST is not tried a second time.
    let response = httpd.request("POST", &path, &[], b"a body");
    assert!(response.status >= 200, "{case}: {response}");
    assert!(response.header("X-Injected").is_none(), "{case}: {response}");
    let fits = match expected {
        None => true,
        Some(Page(status)) => response.status == status,
        Some(Whole) => response.status == 200 && response.complete,
        Some(Either(status)) => {
            response.status == status || (response.status == 200 && !response.complete)
        }
    };
    assert!(fits, "{case}: {expected:?}, but complete={} {response}", response.complete);
    if ["window_start", "window_end", "window_nothing"].contains(&case) {
        assert_eq!(response.text(), "body", "{case}");
    }
    let response = httpd.get("/?case=good&").assert(200);
    assert_eq!(response.text(), "body", "{case}");
}

fn all(httpd: &Running) {
    CASES.iter().for_each(|(case, expected)| check(httpd, case, Some(*expected)));
    OTHERS.iter().for_each(|case| check(httpd, case, None));
}

#[test]
fn no_frame_harms_httpd() {
    let worker = program();
    let programs = Programs::with("hostile", |program| write_program(program, &worker));
    let httpd = Httpd::new()
        .dist(&programs.0)
        .app("app.wsgi", crate::HELLO)
        // One child, so that all descriptors are in one place.
        .conf(
            "StartServers 1\nServerLimit 1\nMaxRequestWorkers 16\nMaxSpareThreads 16\n\
             WSGIDaemonProcess app user={user} group={group}\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .expect_log("[wsgi:")
        // What httpd thinks of a single child.
        .expect_log("AH10159")
        .start();
    all(&httpd);
    let measured = || {
        let mut children = httpd.children();
        children.sort_by_key(|child| child.pid);
        children.into_iter().map(|child| (child.pid, child.descriptors())).collect::<Vec<_>>()
    };
    let before = measured();
    for _ in 0..3 {
        all(&httpd);
    }
    for ((pid, before), (pid_now, now)) in before.into_iter().zip(measured()) {
        assert_eq!(pid, pid_now, "a child has gone");
        assert!(now <= before + 4, "{before} descriptors, {now} now");
    }
    assert!(!httpd.error_log().contains("exit signal"));
}

/// The worker, speaking the version of the protocol that is tested.
fn program() -> String {
    WORKER.replace("PROTOCOL_VERSION", &wire::VERSION.to_string())
}

/// How an httpd ends what has no end, with a worker that does everything to have none.
fn impatient(programs: &Programs, mpm: Mpm, conf: &str) -> Running {
    Httpd::new()
        .mpm(mpm)
        .dist(&programs.0)
        .app("app.wsgi", crate::HELLO)
        .file("htdocs/a.txt", "static")
        .conf(conf)
        .conf(
            "Timeout 2\nLogLevel wsgi:info\n\
             WSGIDaemonProcess app user={user} group={group} threads=2\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .expect_log("[wsgi:")
        .expect_log("AH10159")
        .start()
}

#[test]
fn no_worker_holds_a_thread_for_ever() {
    let programs = Programs::with("endless", |worker| write_program(worker, &program()));
    let httpd = impatient(&programs, Mpm::Event, "");
    let mut lingering = 0;
    let ends = |httpd: &Running| httpd.error_log().matches("said nothing for 2 s (").count();
    for (case, answer) in [
        ("lingers", Whole),
        ("lingers_chattering", Whole),
        ("busy", Page(502)),
        ("draining", Page(503)),
        ("not_authentic", Page(503)),
        ("chatters", Page(504)),
        ("chatters_ever_so_fast", Page(504)),
    ] {
        let path = format!("/app?case={case}&");
        // The client stays, so that nothing but time ends the worker's turn.
        let mut client = httpd.connect();
        let response = client.request("POST", &path, &[], b"").expect("a response");
        let fits = match answer {
            Page(status) => response.status == status,
            _ => response.status == 200 && response.complete,
        };
        assert!(fits, "{case}: {response}");
        if answer == Whole {
            until(|| (ends(&httpd) == lingering + 1).then_some(())).expect("an end");
            lingering += 1;
        }
    }
    httpd.get("/app?case=good&").assert(200);
}

#[test]
fn no_group_takes_more_threads_than_are_its_due() {
    let programs = Programs::with("greedy", |worker| write_program(worker, &program()));
    let one_child = "StartServers 1\nServerLimit 1\nMaxRequestWorkers 16\nMaxSpareThreads 16";
    // A group that is alone may have all of them.
    let other = "WSGIDaemonProcess other user={user} group={group}";
    let httpd = impatient(&programs, Mpm::Event, &format!("{one_child}\nTimeout 60\n{other}"));
    let mut clients = Vec::new();
    for _ in 0..24 {
        let mut client = httpd.connect();
        let request = b"POST /app?case=chatters& HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        client.send(request).expect("httpd reads");
        clients.push(client);
    }
    assert_eq!(httpd.get("/a.txt").assert(200).text(), "static");
}

#[test]
fn no_worker_makes_httpd_grow() {
    let programs = Programs::with("growing", |worker| write_program(worker, &program()));
    let one_child = "StartServers 1\nServerLimit 1\nMaxRequestWorkers 16\nMaxSpareThreads 16";
    let httpd = impatient(&programs, Mpm::Event, &format!("{one_child}\nTimeout 60"));
    let peak = || httpd.children().iter().map(Process::peak_memory).max().expect("a child");
    httpd.get("/app?case=good&").assert(200);
    for case in ["many_paths", "many_hints"] {
        let before = peak();
        httpd.request("POST", &format!("/app?case={case}&"), &[], b"").assert(200);
        let grown = peak() - before;
        assert!(grown < 32 << 20, "{case}: {grown} bytes");
    }
}
