//! A worker without Python, for the supervisor's tests. What it does wrong is said by the
//! environment variable `FAKE`.
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, exit};
use std::time::Duration;

use channel::Inbox;
use wire::Secret;
use wire::broker::{FromBroker, ToBroker};
use wire::control::{FromWorker, ToWorker};
use wire::exchange::Level;

const ORDER_TIMEOUT: Duration = Duration::from_secs(600);

fn main() {
    let behaviour = std::env::var("FAKE").unwrap_or_default();
    let stdin = rustix::stdio::stdin();
    match behaviour.as_str() {
        "ask" => return ask(),
        "libraries" => {
            eprintln!("wsgi-worker: error while loading shared libraries: libpython3.11.so.1.0");
            exit(127);
        }
        "hang" => std::thread::sleep(ORDER_TIMEOUT),
        "garbage" => channel::send(stdin, b"Fatal Python error\n").expect("the supervisor reads"),
        "die once told" if Path::new(&std::env::var("FAKE_FILE").expect("a file")).exists() => {
            eprintln!("told to die");
            exit(3);
        }
        _ => {}
    }
    let mut inbox = Inbox::with_descriptors();
    loop {
        match inbox.wait(stdin, ORDER_TIMEOUT) {
            Ok(ToWorker::Configure(settings)) => {
                if behaviour == "fail" {
                    say(&FromWorker::Failed { reason: "no such environment".to_owned() });
                    exit(1);
                }
                say(&FromWorker::Ready { python: "3.14.0 (fake)".to_owned() });
                describe(&settings.process_group);
            }
            Ok(ToWorker::Assign { .. }) => {
                let listener = inbox.take_descriptor().expect("a socket comes with the order");
                let listener = UnixListener::from(listener);
                listener.set_nonblocking(false).expect("it is a socket");
                std::thread::spawn(move || {
                    for mut stream in listener.incoming().flatten() {
                        let pid = std::process::id().to_string();
                        stream.write_all(pid.as_bytes()).expect("who connects reads");
                    }
                });
                say(&FromWorker::Serving);
                if behaviour == "linger" {
                    testkit::send_lingering(stdin);
                }
                if behaviour == "flood" {
                    std::thread::spawn(|| {
                        loop {
                            println!("noise, noise");
                        }
                    });
                }
                if behaviour == "orphan" {
                    // A shell in between, so that the process has no parent any more.
                    let script = "sleep 1000 & echo orphan $!";
                    Command::new("sh").args(["-c", script]).status().expect("there is a shell");
                }
            }
            Ok(
                ToWorker::Keep
                | ToWorker::Retire
                | ToWorker::Load { .. }
                | ToWorker::Alone
                | ToWorker::Stacks { .. },
            ) => {}
            Ok(ToWorker::Drain { .. }) if behaviour == "deaf" => {}
            Ok(ToWorker::Drain { .. } | ToWorker::Dismiss) => {
                say(&FromWorker::Drained);
                exit(0);
            }
            // The supervisor is gone.
            Err(_) => exit(0),
        }
    }
}

fn say(message: &FromWorker) {
    channel::send_message(rustix::stdio::stdin(), message).expect("the supervisor listens");
}

/// Tells what it was given, where the tests look: in the log.
fn describe(process_group: &[u8]) {
    let users = nix::unistd::getresuid().expect("it has ids");
    let groups = nix::unistd::getresgid().expect("it has ids");
    let mut others: Vec<_> =
        nix::unistd::getgroups().expect("it has ids").iter().map(|gid| gid.as_raw()).collect();
    others.sort_unstable();
    let mut descriptors: Vec<u32> = std::fs::read_dir("/proc/self/fd")
        .expect("there is /proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    descriptors.sort_unstable();
    let status = std::fs::read_to_string("/proc/self/status").expect("there is /proc");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("none");
        line.trim().to_owned()
    };
    let text = format!(
        "I am {} {} {}/{} {} {} others {others:?} name {:?} descriptors {descriptors:?} blocked {} \
         capabilities {} limit {:?} oom {} group {} umask {} in {:?} environment {:?}",
        users.real,
        users.effective,
        users.saved,
        groups.real,
        groups.effective,
        groups.saved,
        std::env::args().next().unwrap_or_default(),
        field("SigBlk:"),
        field("CapEff:"),
        rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        std::fs::read_to_string("/proc/self/oom_score_adj").expect("there is /proc").trim(),
        String::from_utf8_lossy(process_group),
        field("Umask:"),
        std::env::current_dir().ok(),
        ["USER", "LOGNAME", "HOME", "LD_PRELOAD"].map(|name| std::env::var(name).ok()),
    );
    say(&FromWorker::Log { level: Level::Info, text });
    println!("printed to stdout");
    eprintln!("printed to stderr\x1b[31m");
}

/// Asks the supervisor whose socket is `FAKE_FILE`, as httpd's children do, and the worker that it
/// names. `FAKE_SECRET` is the byte that the secret consists of.
fn ask() {
    let path = std::env::var("FAKE_FILE").expect("a socket");
    let secret = std::env::var("FAKE_SECRET").ok().and_then(|byte| byte.parse().ok());
    let question = ToBroker::Acquire {
        version: wire::VERSION,
        secret: Secret::new([secret.expect("a number"); Secret::SIZE]),
        process_group: b"blog",
        application_group: b"",
        script: Some(b"/app.wsgi"),
    };
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => return println!("{error}"),
    };
    // Strangers may have been turned away already.
    let _ = channel::send_message(&stream, &question);
    match Inbox::new().wait::<FromBroker>(&stream, ORDER_TIMEOUT) {
        Ok(FromBroker::Granted { socket, .. }) => {
            let mut pid = String::new();
            let mut worker = UnixStream::connect(socket).expect("httpd's user can connect");
            worker.read_to_string(&mut pid).expect("the worker writes");
            println!("served by {pid}");
        }
        other => println!("{other:?}"),
    }
}
