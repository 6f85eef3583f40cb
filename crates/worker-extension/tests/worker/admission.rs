//! Who may connect, and what becomes of those who may not.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use wire::control::{self, Settings};
use wire::exchange::{FromWorker, Level, Refusal, ToWorker};
use wire::{Header, Secret};

use crate::harness::*;

const HELLO: &str = "def application(environ, start_response):\n    \
    start_response('200 OK', [])\n    return [b'hello']\n";

#[track_caller]
fn log_line(worker: &mut Worker) -> (Level, String) {
    match worker.report() {
        control::FromWorker::Log { level, text } => (level, text),
        other => panic!("{other:?}"),
    }
}

/// The start of the line about this process.
fn about_us() -> String {
    format!(
        "turned away a connection from pid {} (uid {}) to the worker of process group 'processes', \
         application group 'group': ",
        std::process::id(),
        rustix::process::getuid().as_raw()
    )
}

/// What becomes of a stranger that sends something else than a greeting.
#[track_caller]
fn check(send: impl FnOnce(&Client), refusal: Refusal, level: Level, reason: &str) {
    check_after(Worker::connect_silently, send, refusal, level, reason);
}

#[track_caller]
fn check_after(
    connect: fn(&Worker) -> Client,
    send: impl FnOnce(&Client),
    refusal: Refusal,
    level: Level,
    reason: &str,
) {
    let mut worker = Worker::serving();
    let mut client = connect(&worker);
    send(&client);
    assert_eq!(client.next(), FromWorker::Refused(refusal));
    assert!(client.is_closed());
    let (logged, text) = log_line(&mut worker);
    assert_eq!(text, format!("{}{reason}", about_us()));
    assert_eq!(logged, level);
    assert_eq!(worker.run(HELLO).ok(), "hello", "others are served");
    worker.drain();
}

#[test]
fn a_wrong_secret() {
    let hello = wire::exchange::hello(Secret::new([8; 32]));
    check(
        |client| client.send(&hello),
        Refusal::NotAuthentic,
        Level::Warning,
        "it does not know the secret of this application group",
    );
}

#[test]
fn another_version() {
    let hello = ToWorker::Hello { version: wire::VERSION + 1, secret: SECRET };
    check(
        |client| client.send(&hello),
        Refusal::WrongVersion,
        Level::Error,
        &format!("it speaks version {} of the protocol, not {}", wire::VERSION + 1, wire::VERSION),
    );
}

#[test]
fn garbage() {
    check(
        |client| channel::send(&client.socket, b"GET / HTTP/1.0\r\n\r\n").unwrap(),
        Refusal::NotAuthentic,
        Level::Warning,
        "it did not greet: not a frame: the reserved bytes of its header are 0x5448",
    );
}

#[test]
fn a_greeting_that_claims_to_be_long() {
    let mut bytes = Vec::new();
    Header { len: 16 << 20, kind: 1, descriptors: 0 }.encode(&mut bytes);
    check(
        |client| channel::send(&client.socket, &bytes).unwrap(),
        Refusal::NotAuthentic,
        Level::Warning,
        "it did not greet: frame of kind 1 announces 16777216 bytes, above the limit of 64",
    );
}

#[test]
fn a_request_without_a_greeting() {
    check(
        |client| client.send(&ToWorker::BodyEnd),
        Refusal::NotAuthentic,
        Level::Warning,
        "it did not greet: frame of kind 4: greeting has the unknown value 4",
    );
}

#[test]
fn garbage_after_the_greeting() {
    check_after(
        Worker::connect,
        |client| client.send(&ToWorker::Body(b"x")),
        Refusal::NotAuthentic,
        Level::Warning,
        "it sent request data without a request",
    );
}

#[test]
fn a_greeting_that_breaks_off() {
    let mut worker = Worker::serving();
    let client = worker.connect_silently();
    channel::send(&client.socket, &[38, 0, 0]).unwrap();
    drop(client);
    let (_, text) = log_line(&mut worker);
    assert_eq!(text, format!("{}it closed the connection inside a message", about_us()));
    drop(worker.connect_silently());
    assert_eq!(worker.run(HELLO).ok(), "hello");
}

#[test]
fn processes_of_other_users() {
    const NOBODY: u32 = 65534;
    let uid = rustix::process::getuid().as_raw();
    let mut worker = Worker::serving_with(Settings {
        peer_uid: if uid == 0 { 0 } else { uid + 1 },
        ..settings()
    });
    let socket = worker.scratch.path("socket");
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o777)).unwrap();
    // Root may always connect, so only root can be somebody else, by becoming it in a program.
    let source = "import os, socket, sys\n\
        user = int(sys.argv[2])\n\
        if os.getuid() != user:\n    os.setuid(user)\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.connect(sys.argv[1])\n\
        while data := s.recv(99): print(list(data))\n";
    let named = if uid == 0 { NOBODY } else { uid };
    let mut stranger = Command::new(python());
    stranger.args(["-c", source]).arg(&socket).arg(named.to_string());
    let output = stranger.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "[1, 0, 0, 0, 1, 0, 0, 0, 4]\n", "{:?}", output.stderr);
    let (level, text) = log_line(&mut worker);
    assert!(text.ends_with(": it belongs to another user than httpd's"), "{text}");
    assert!(text.contains(&format!("(uid {named})")), "{text}");
    assert_eq!(level, Level::Warning);
}

#[test]
fn a_worker_that_runs_out_of_descriptors_recovers() {
    let mut worker = Worker::serving();
    let script = worker.scratch.write(
        "limit.wsgi",
        "import os, resource\n\
         normal, most = resource.getrlimit(resource.RLIMIT_NOFILE)\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             if environ['PATH_INFO'] == '/limit':\n        \
                 highest = max(map(int, os.listdir('/proc/self/fd')))\n        \
                 while os.dup(0) < highest: pass\n        \
                 resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, most))\n    \
             else:\n        \
                 resource.setrlimit(resource.RLIMIT_NOFILE, (normal, most))\n    \
             return []\n",
    );
    let mut client = worker.connect();
    let mut limit = Ask::of(&script);
    limit.request.environ.push((b"PATH_INFO", b"/limit"));
    client.ask(&limit).ok();
    // The limit lies at the highest descriptor in use, or one above.
    let mut waiting = [worker.connect(), worker.connect(), worker.connect()];
    let (_, text) = log_line(&mut worker);
    assert!(text.contains(": cannot accept connections: "), "{text}");
    client.ask(&Ask::of(&script)).ok();
    for client in &mut waiting {
        client.ask(&Ask::of(&script)).ok();
    }
}

#[test]
fn silence() {
    let mut worker = Worker::serving();
    let mut silent = worker.connect_silently();
    channel::send(&silent.socket, &[38]).unwrap();
    assert_eq!(worker.run(HELLO).ok(), "hello");
    assert_eq!(silent.next(), FromWorker::Refused(Refusal::NotAuthentic));
    let (_, text) = log_line(&mut worker);
    assert_eq!(text, format!("{}it did not greet within 5 seconds", about_us()));
}

#[test]
fn a_crowd_of_strangers_does_not_keep_others_out_nor_fill_the_log() {
    let mut worker = Worker::serving();
    let mut strangers: Vec<_> = (0..200).map(|_| worker.connect_silently()).collect();
    assert_eq!(worker.run(HELLO).ok(), "hello");
    assert_eq!(strangers[0].next(), FromWorker::Refused(Refusal::NotAuthentic));
    let (_, first) = log_line(&mut worker);
    assert_eq!(first, format!("{}too many connections wait without greeting", about_us()));
    let (_, second) = log_line(&mut worker);
    assert!(second.contains("too many") && second.contains(" times since"), "{second}");
}

#[test]
fn requests_for_another_application_group() {
    let worker = Worker::serving();
    let script = worker.scratch.write("hello.wsgi", HELLO);
    let mut ask = Ask::of(&script);
    ask.request.application_group = b"other";
    let mut client = worker.connect();
    assert_eq!(client.ask(&ask).ending, Ending::Refused(Refusal::WrongGroup));
    assert_eq!(client.ask(&Ask::of(&script)).ok(), "hello", "the connection lives");
}

/// A pipe, and a script whose application has begun its response and waits for what comes through it.
fn gated(worker: &Worker) -> (PathBuf, PathBuf) {
    let gate = worker.scratch.fifo("gate");
    let script = worker.scratch.write(
        "busy.wsgi",
        &format!(
            "def application(environ, start_response):\n    \
                 start_response('200 OK', [])\n    \
                 yield b'begun '\n    \
                 yield open({gate:?}, 'rb').read()\n"
        ),
    );
    (gate, script)
}

#[test]
fn a_busy_worker_refuses_what_may_go_elsewhere() {
    let worker = Worker::serving_with(Settings { threads: 1, ..settings() });
    let (gate, script) = gated(&worker);
    let (mut busy, mut other) = (worker.connect(), worker.connect());
    busy.send(&ToWorker::Request(Ask::of(&script).request));
    assert!(matches!(busy.next(), FromWorker::Head { .. }));
    let mut refusable = Ask::of(&script);
    refusable.request.may_refuse = true;
    assert_eq!(other.ask(&refusable).ending, Ending::Refused(Refusal::Busy));
    assert_eq!(other.ask(&refusable).ending, Ending::Refused(Refusal::Busy));
    std::fs::write(&gate, "done").unwrap();
    assert_eq!(busy.answer(&Ask::of(&script)).ok(), "begun done");
    // Whoever has its answer may ask again at once, and finds the runner free.
    busy.send(&ToWorker::Request(refusable.request.clone()));
    assert!(matches!(busy.next(), FromWorker::Head { .. }));
    std::fs::write(&gate, "again").unwrap();
    assert_eq!(busy.answer(&Ask::of(&script)).ok(), "begun again");
}

#[test]
fn among_several_processes_a_busy_worker_leaves_connections_to_others() {
    let worker = Worker::serving_with(Settings { threads: 1, processes: 2, ..settings() });
    let (gate, script) = gated(&worker);
    let mut busy = worker.connect();
    busy.send(&ToWorker::Request(Ask::of(&script).request));
    assert!(matches!(busy.next(), FromWorker::Head { .. }));
    // In the backlog, where a free worker would find it: the busy one takes it when it is free.
    let mut other = worker.connect();
    other.send(&ToWorker::Request(Ask::of(&script).request));
    assert!(worker.has_backlog());
    std::fs::write(&gate, "one").unwrap();
    assert_eq!(busy.answer(&Ask::of(&script)).ok(), "begun one");
    assert!(matches!(other.next(), FromWorker::Head { .. }));
    std::fs::write(&gate, "two").unwrap();
    assert_eq!(other.answer(&Ask::of(&script)).ok(), "begun two");
}

#[test]
fn whoever_has_an_answer_knows_that_a_thread_is_free_for_others() {
    let worker = Worker::serving_with(Settings { threads: 1, backlog: Some(0), ..settings() });
    let script = worker.scratch.write("hello.wsgi", HELLO);
    let ask = Ask::of(&script);
    let mut clients = [worker.connect(), worker.connect()];
    for number in 0..1000 {
        assert_eq!(clients[number % 2].ask(&ask).ok(), "hello");
    }
}
