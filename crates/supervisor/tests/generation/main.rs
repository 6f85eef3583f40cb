//! A real supervisor, seen by httpd: what it answers, what it starts, what it leaves behind.

#[expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
mod harness;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use channel::Inbox;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wire::Secret;
use wire::admin::FromAdmin;
use wire::broker::FromBroker;
use wire::generation::{FromSupervisor, ToSupervisor};

use crate::harness::{
    Generation, NOBODY, PATIENCE, fake_worker, group, is_alive, is_root, question, until,
    who_serves,
};

#[test]
fn a_group_is_started_at_first_need_and_goes_with_httpd() {
    let generation = Generation::start(vec![group("blog", "")]);
    let socket = generation.granted("blog", "example.org");
    let pid = who_serves(&socket);
    assert_eq!(generation.granted("blog", "example.org"), socket);
    let other = generation.granted("blog", "example.net");
    assert_ne!(who_serves(&other), pid, "each application group has processes of its own");
    let log = generation.end();
    assert!(!is_alive(pid));
    let name = format!("worker {pid} of process group 'blog', application group 'example.org'");
    for step in ["started", "serving", "finished and exited"] {
        assert!(log.contains(step), "no '{step}' in\n{log}");
    }
    assert!(log.contains(&name), "{log}");
    assert!(!log.contains(":error] [pid ") || log.contains("printed to stderr"), "{log}");
}

#[test]
fn workers_started_beforehand_serve_the_first_application_group() {
    let mut blog = group("blog", "");
    (blog.prestart, blog.settings.processes, blog.least_processes) = (true, 2, 2);
    let generation = Generation::start(vec![blog]);
    until("two ready workers", || {
        (generation.log().matches("ready after").count() == 2).then_some(())
    });
    let socket = generation.granted("blog", "");
    who_serves(&socket);
    until("two serving workers", || {
        (generation.log().matches(": serving").count() == 2).then_some(())
    });
    assert_eq!(generation.log().matches(": started").count(), 2, "{}", generation.log());
    generation.end();
}

#[test]
fn a_killed_worker_is_replaced_and_the_log_tells_the_cause() {
    let generation = Generation::start(vec![group("blog", "")]);
    let socket = generation.granted("blog", "");
    let pid = who_serves(&socket);
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    let line = generation.logged("signal 9 (SIGKILL)");
    let name = format!("worker {pid} of process group 'blog', application group %{{GLOBAL}}: died");
    assert!(line.contains(&name) && line.contains("wsgi:error"), "{line}");
    // The socket stays: who connects meanwhile waits for the next worker.
    assert_ne!(who_serves(&socket), pid);
    generation.end();
}

#[test]
fn a_worker_that_cannot_start_is_tried_again_later() {
    let generation = Generation::start(vec![group("blog", "fail"), group("shop", "")]);
    let (reason, retry_after) = generation.unavailable("blog", "");
    assert!(reason.contains("cannot start: no such environment"), "{reason}");
    assert!(reason.contains("process group 'blog'"), "{reason}");
    assert!(retry_after >= 1);
    generation.unavailable("blog", "");
    generation.unavailable("blog", "another");
    generation.granted("shop", "");
    until("a second try after the first wait", || {
        (generation.log().matches("no such environment; ").count() >= 3).then_some(())
    });
    generation.end();
}

#[test]
fn a_group_recovers_by_itself_when_the_cause_is_gone() {
    let told = std::env::temp_dir().join(format!("sg-told-{}", std::process::id()));
    fs::write(&told, "").unwrap();
    let mut blog = group("blog", "die once told");
    blog.environment.push((b"FAKE_FILE".to_vec(), told.to_str().unwrap().into()));
    let generation = Generation::start(vec![blog]);
    let (reason, _) = generation.unavailable("blog", "");
    assert!(reason.contains("exit status 3; its last words: told to die"), "{reason}");
    fs::remove_file(&told).unwrap();
    until("a worker", || match generation.acquire("blog", "") {
        wire::broker::FromBroker::Granted { .. } => Some(()),
        _ => None,
    });
    generation.end();
}

#[test]
fn why_a_worker_cannot_be_executed_is_told_with_the_cure() {
    let mut missing = group("missing", "");
    missing.settings.python_home = Some("no-such-environment".into());
    let mut data = group("data", "");
    data.settings.python_home = Some("log".into());
    let libraries = group("libraries", "libraries");
    let mut homeless = group("homeless", "");
    homeless.settings.home = Some("/nonexistent".into());
    homeless.settings.working_directory = Some("/nonexistent".into());
    let generation = Generation::start(vec![missing, data, libraries, homeless]);
    let check = |name: &str, expected: &[&str]| {
        let (reason, _) = generation.unavailable(name, "");
        for part in expected {
            assert!(reason.contains(part), "{reason}");
        }
    };
    let user = if is_root() { "as user 'nobody' (uid 65534): " } else { "" };
    check("missing", &[user, "python-home=", "no-such-environment", "No such file or directory"]);
    check("data", &[user, "it is no directory"]);
    check("libraries", &["exit status 127", "error while loading shared libraries"]);
    check("homeless", &[user, "cannot change to home=/nonexistent: No such file"]);
    check("nowhere", &["there is no process group 'nowhere'"]);
    generation.end();
}

#[test]
fn a_worker_that_talks_nonsense_is_killed() {
    let generation = Generation::start(vec![group("blog", "garbage")]);
    let (reason, _) = generation.unavailable("blog", "");
    assert!(reason.contains("does not keep to the protocol"), "{reason}");
    generation.end();
}

#[test]
fn a_worker_that_does_not_finish_is_killed_in_time() {
    let mut deaf = group("blog", "deaf");
    deaf.settings.limits.shutdown_timeout = 1;
    let generation = Generation::start(vec![deaf]);
    let pid = who_serves(&generation.granted("blog", ""));
    let log = generation.end();
    assert!(log.contains("killed: it did not exit within 2 s"), "{log}");
    assert!(!is_alive(pid));
}

#[test]
fn a_generation_ends_quickly_even_while_its_workers_start() {
    let mut hanging = group("blog", "hang");
    hanging.prestart = true;
    let generation = Generation::start(vec![hanging]);
    generation.logged(": started");
    let log = generation.end();
    // Not killed after a time limit: asked, and gone.
    assert!(log.contains(": stopped after"), "{log}");
}

#[test]
fn a_worker_that_floods_its_output_keeps_nobody_waiting() {
    let generation = Generation::start(vec![group("noise", "flood"), group("blog", "")]);
    generation.granted("noise", "");
    generation.logged("noise, noise");
    for name in ["a", "b", "c"] {
        generation.granted("blog", name);
    }
    generation.end();
}

#[test]
fn httpds_own_signals_mean_nothing_and_sigterm_ends_it() {
    let mut generation = Generation::start(vec![group("blog", "")]);
    let pid = who_serves(&generation.granted("blog", ""));
    let supervisor = Pid::from_raw(generation.supervisor.id() as i32);
    let session = nix::unistd::getsid(Some(supervisor)).unwrap();
    assert_eq!(session, supervisor, "signals to httpd's process group would reach it");
    generation.signal(Signal::SIGHUP);
    generation.signal(Signal::SIGUSR1);
    assert_eq!(who_serves(&generation.granted("blog", "")), pid);
    generation.signal(Signal::SIGTERM);
    assert!(generation.exited().success());
    assert!(!generation.directory.exists() && !is_alive(pid));
    assert!(generation.log().contains("got SIGTERM"));
}

#[test]
fn what_applications_leave_behind_is_told_to_end_and_waited_for() {
    let generation = Generation::start(vec![group("blog", "orphan")]);
    generation.granted("blog", "");
    let line = generation.logged("] orphan ");
    let orphan: u32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    // Its parent, a shell, is gone: it would be httpd's now, or init's, were it not ours.
    let supervisor = generation.supervisor.id();
    until("the orphan at the supervisor", || {
        let status = fs::read_to_string(format!("/proc/{orphan}/status")).unwrap();
        status.contains(&format!("PPid:\t{supervisor}\n")).then_some(())
    });
    kill(Pid::from_raw(orphan as i32), Signal::SIGKILL).unwrap();
    until("the orphan's end without a zombie", || (!is_alive(orphan)).then_some(()));
    generation.end();

    let generation = Generation::start(vec![group("blog", "orphan")]);
    generation.granted("blog", "");
    let line = generation.logged("] orphan ");
    let orphan: u32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    let log = generation.end();
    assert!(log.contains("sent SIGTERM to 1 process(es)"), "{log}");
    until("the orphan's end", || {
        let status = fs::read_to_string(format!("/proc/{orphan}/status"));
        status.map_or(true, |status| status.contains("State:\tZ")).then_some(())
    });
}

/// More than are closed together.
const MANY: usize = 40;

#[test]
fn descriptors_that_are_slow_to_close_stop_nothing() {
    let groups = [("fails", "fail"), ("linger", "linger"), ("blog", "")];
    let generation =
        Generation::start(groups.map(|(name, behaviour)| group(name, behaviour)).to_vec());

    // At the socket of a group whose connections are closed because its workers fail.
    until("a group that is given up", || {
        generation.unavailable("fails", "");
        (generation.log().matches("no such environment").count() >= 2).then_some(())
    });
    for _ in 0..MANY {
        testkit::send_lingering(UnixStream::connect(generation.directory.join("1.sock")).unwrap());
    }
    generation.granted("blog", "after a group");

    // From a worker, whose conversation ends with it.
    drop(generation.acquire("linger", ""));
    generation.logged("the peer sent a descriptor, and may send none");
    generation.granted("blog", "after a worker");

    // From those who ask, in place of a question or after it.
    for number in 0..2 * MANY {
        let stream = UnixStream::connect(generation.control()).unwrap();
        if number % 2 == 0 {
            let question = question(generation.secret, "blog", "after a question");
            channel::send_message(&stream, &question).unwrap();
        }
        testkit::send_lingering(&stream);
    }
    generation.granted("blog", "at last");
    generation.end();
}

#[test]
fn it_answers_httpds_parent() {
    let generation = Generation::start(vec![group("blog", "")]);
    for _ in 0..2 {
        channel::send_message(&generation.parent, &ToSupervisor::Ping).unwrap();
        let mut inbox = Inbox::new();
        let answer: FromSupervisor = inbox.wait(&generation.parent, PATIENCE).unwrap();
        assert_eq!(answer, FromSupervisor::Pong);
    }
    // Whose end is not that of its children.
    generation.parent.shutdown(std::net::Shutdown::Both).unwrap();
    generation.granted("blog", "");
    generation.end();
}

#[test]
fn an_administrator_of_another_version_hears_which_this_one_is() {
    let generation = Generation::start(vec![group("blog", "")]);
    let old = b"\x02\0\0\0\x02\0\0\0\x01\0";
    for asked in [&old[..], b"\x01\0\0\0\x63\0\0\0x"] {
        let stream = UnixStream::connect(generation.directory.join("admin.sock")).unwrap();
        channel::send(&stream, asked).unwrap();
        let mut inbox = Inbox::new();
        let answer: FromAdmin = inbox.wait(&stream, PATIENCE).unwrap();
        assert_eq!(answer, FromAdmin::WrongVersion { version: wire::VERSION });
    }
    generation.end();
}

#[test]
fn sockets_whose_names_are_removed_come_back() {
    let generation = Generation::start(vec![group("blog", "")]);
    let socket = generation.granted("blog", "");
    let pid = who_serves(&socket);
    for whole in [false, true] {
        if whole {
            fs::remove_dir_all(&generation.directory).unwrap();
        } else {
            for entry in fs::read_dir(&generation.directory).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
        let serves = || match generation.ask(generation.secret, "blog", "") {
            Ok(FromBroker::Granted { socket, .. }) => socket.exists().then_some(socket),
            Ok(_) | Err(_) => None,
        };
        assert_ne!(who_serves(&until("workers that can be found", serves)), pid);
        until("the administrator's socket", || {
            generation.directory.join("admin.sock").exists().then_some(())
        });
    }
    generation.logged("something has removed sockets in");
    generation.end();
}

#[test]
fn strangers_are_turned_away() {
    let generation = Generation::start(vec![group("blog", "")]);
    let wrong = Secret::new([1; Secret::SIZE]);
    assert!(generation.ask(wrong, "blog", "").is_err());
    let line = generation.logged("does not know the secret");
    assert!(line.contains(&format!("process {} of uid", std::process::id())), "{line}");
    assert!(line.contains("wsgi:warn"), "{line}");

    generation.end();
}

/// As user `uid`, asks with the secret of the generation.
fn ask_as(generation: &Generation, uid: u32) -> String {
    let mut command = Command::new(generation.place.join("environment/bin/python3"));
    command.env("FAKE", "ask").env("FAKE_FILE", generation.control()).env("FAKE_SECRET", "9");
    let output = command.uid(uid).gid(uid).output().expect("everybody may execute it");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn only_httpds_user_is_let_in() {
    if !is_root() {
        return;
    }
    let (httpd, other) = (1, 2);
    let (generation, answer) = Generation::launch(vec![group("blog", "")], |configuration| {
        (configuration.httpd_uid, configuration.httpd_gid) = (httpd, httpd);
    });
    assert_eq!(answer, Some(FromSupervisor::Ready), "{}", generation.log());
    assert!(ask_as(&generation, httpd).starts_with("served by "), "{}", generation.log());
    for stranger in [other, NOBODY] {
        assert!(ask_as(&generation, stranger).contains("Permission denied"));
    }
    // Should somebody get as far as the socket, there is another lock.
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(&generation.directory, open.clone()).unwrap();
    fs::set_permissions(generation.control(), open).unwrap();
    assert!(ask_as(&generation, other).starts_with("Err("));
    generation.logged("of uid 2: only httpd's user may ask");
    generation.end();
}

#[test]
fn socket_users_are_let_in_and_only_to_their_groups() {
    if !is_root() {
        return;
    }
    let (httpd, owner, other) = (1, 3, 2);
    let mut blog = group("blog", "");
    blog.settings.socket_user = Some(owner);
    let (generation, answer) = Generation::launch(vec![blog], |configuration| {
        (configuration.httpd_uid, configuration.httpd_gid) = (httpd, httpd);
    });
    assert_eq!(answer, Some(FromSupervisor::Ready), "{}", generation.log());
    for user in [owner, httpd] {
        assert!(ask_as(&generation, user).starts_with("served by "), "{}", generation.log());
    }
    assert!(ask_as(&generation, other).starts_with("Err("));
    generation.logged("of uid 2: only httpd's user may ask");
    generation.end();
}

#[test]
fn a_worker_has_its_own_rights_and_nothing_of_ours() {
    let mut blog = group("blog", "");
    blog.settings.umask = Some(0o027);
    // An account of a service often has no directory.
    blog.settings.working_directory = Some("/nonexistent".into());
    blog.environment.push((b"HOME".to_vec(), b"/nonexistent".to_vec()));
    let generation = Generation::start(vec![blog]);
    generation.granted("blog", "");
    let line = generation.logged("I am ");
    let contains = |text: &str| assert!(line.contains(text), "no '{text}' in {line}");
    contains("environment/bin/python3\" descriptors");
    // 3 is the descriptor that lists the others.
    contains("descriptors [0, 1, 2, 3] blocked 0000000000000000 ");
    contains("group blog umask 0027 in Some(\"/\")");
    if is_root() {
        contains(&format!("I am {NOBODY} {NOBODY} {NOBODY}/{NOBODY} {NOBODY} {NOBODY}"));
        contains(&format!("others [{NOBODY}]"));
        contains("capabilities 0000000000000000");
        contains("environment [Some(\"nobody\"), None, Some(\"/nonexistent\"), Some(\"\")]");
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    contains(&format!("limit {limit:?}"));

    let stdout = generation.logged("printed to stdout");
    assert!(stdout.contains("[wsgi:notice] [pid "), "{stdout}");
    let stderr = generation.logged("printed to stderr");
    assert!(stderr.contains("[wsgi:error] [pid ") && stderr.ends_with(r"\x1b[31m"), "{stderr}");
    generation.end();
}

/// The effective capabilities of a process, and how likely it is taken when memory runs out.
fn rights(pid: u32) -> (u64, String) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let capabilities =
        status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("it runs");
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it runs");
    (u64::from_str_radix(capabilities.trim(), 16).expect("it runs"), score.trim().to_owned())
}

#[test]
fn it_keeps_what_it_needs_and_is_spared() {
    if !is_root() {
        return;
    }
    let (own, score) = rights(std::process::id());
    let generation = Generation::start(vec![group("blog", "")]);
    generation.granted("blog", "");
    // CHOWN, DAC_OVERRIDE, KILL, SETGID, SETUID, SYS_NICE, SYS_RESOURCE (linux/capability.h).
    let needed = [0, 1, 5, 6, 7, 23, 24].iter().fold(0, |all, bit| all | 1 << bit);
    let (capabilities, spared) = rights(generation.supervisor.id());
    assert_eq!(capabilities, own & needed);
    if own & 1 << 24 != 0 {
        assert_eq!(spared, "-900");
    }
    let line = generation.logged("I am ");
    assert!(line.contains(&format!(" oom {score} ")), "{line}");
    generation.end();
}

#[test]
fn it_serves_with_few_rights_and_says_what_it_does_without() {
    if !is_root() {
        return;
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-all,+setuid,+setgid"]);
    command.arg(env!("CARGO_BIN_EXE_wsgi-supervisor"));
    let mut deaf = group("deaf", "deaf");
    deaf.settings.limits.shutdown_timeout = 1;
    let (generation, answer) = Generation::launch_by(command, vec![group("blog", ""), deaf], |c| {
        (c.httpd_uid, c.httpd_gid) = (1, 1);
    });
    assert_eq!(answer, Some(FromSupervisor::Ready), "{}", generation.log());
    let line = generation.logged("httpd has not all rights of root's");
    assert!(line.contains("without CAP_CHOWN, any user can reach") && line.contains("CAP_KILL"));
    assert!(ask_as(&generation, 1).starts_with("served by "), "{}", generation.log());
    assert!(ask_as(&generation, 2).starts_with("Err("));
    generation.logged("of uid 2: only httpd's user may ask");
    // A worker that has to be killed.
    let socket = generation.granted("deaf", "");
    let pid = who_serves(&socket);
    let log = generation.end();
    assert!(log.contains("killed: it did not exit within 2 s") && !is_alive(pid), "{log}");
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start() {
    let check = |change: fn(&mut wire::generation::Configuration), expected: &str| {
        let (mut generation, answer) = Generation::launch(vec![group("blog", "")], change);
        match answer {
            Some(FromSupervisor::Failed { reason }) => {
                assert!(reason.contains(expected), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(generation.exited().code(), Some(1));
        assert_eq!(generation.log(), "", "the parent logs it");
    };
    check(|c| c.directory = format!("/tmp/{}", "x".repeat(100)).into(), "to a shorter one");
    check(|c| c.directory = "/nonexistent/wsgi.1.0".into(), "cannot make the directory");
}

#[test]
fn a_parent_that_dies_before_it_has_spoken_leaves_nothing() {
    let (httpd, stdin) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_wsgi-supervisor"))
        .stdin(std::os::fd::OwnedFd::from(stdin))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(httpd);
    assert!(!supervisor.wait().unwrap().success());
    let mut said = String::new();
    supervisor.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("cannot read the configuration from httpd"), "{said}");
    assert!(fake_worker().exists(), "the example is built with the tests");
}
