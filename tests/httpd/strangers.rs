//! Anyone else who connects to a socket of ours is turned away, and the log says so.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::User;
use testkit::{Apache, Httpd, Mpm, PATIENCE, Running};

use crate::{HELLO, TELL, ask, serving, told};

/// What the log says of a stranger.
const LOGGED: &str = "turned away";

/// All sockets below a folder.
fn sockets(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            found.extend(sockets(&entry.path()));
        } else if kind.is_socket() {
            found.push(entry.path());
        }
    }
    found
}

fn running() -> Running {
    let httpd = serving(HELLO).expect_log(LOGGED).start();
    httpd.get("/").assert(200);
    httpd
}

#[test]
fn garbage_is_turned_away() {
    for greeting in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], &[0; 64]] {
        let httpd = running();
        let sockets = sockets(&httpd.dir().join("run"));
        assert!(!sockets.is_empty(), "there are no sockets to connect to");
        for socket in sockets {
            let mut stream = UnixStream::connect(&socket).expect("somebody listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
            // The other side may have closed already, and that is all we ask for.
            let _ = stream.write_all(greeting);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let ended = stream.read_to_end(&mut answer).map_err(|error| error.kind());
            let closed = !matches!(ended, Err(std::io::ErrorKind::WouldBlock));
            assert!(closed, "{} keeps the connection", socket.display());
            httpd.wait_for_log(&["[wsgi:", LOGGED]);
        }
        httpd.get("/").assert(200);
    }
}

#[test]
fn only_httpds_user_gets_near() {
    let httpd = running();
    for socket in sockets(&httpd.dir().join("run")) {
        let folder = socket.parent().expect("a socket lies in a folder");
        let mode = fs::metadata(folder).expect("the folder is there").permissions().mode();
        assert_eq!(mode & 0o007, 0, "{} is open to others", folder.display());
    }
}

fn account(name: &str) -> User {
    User::from_name(name).ok().flatten().expect("every system has this user")
}

/// Connects as that user, says nothing sensible, and leaves.
fn knock(user: &str, socket: &Path) -> bool {
    let source = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\n\
                  s.connect(sys.argv[1])\ns.send(b'knock' * 9)\ns.recv(99)\n";
    let user = account(user);
    let mut python = Command::new("/usr/bin/python3");
    let python = python.args(["-c", source]).arg(socket).uid(user.uid.into()).gid(user.gid.into());
    python.stderr(Stdio::null()).status().expect("there is a Python").success()
}

#[test]
fn a_socket_user_gets_to_its_groups() {
    if !testkit::running_as_root()
        || testkit::ours_only("what mod_wsgi says of strangers is its own")
    {
        return;
    }
    let (owner, _) = testkit::app_user();
    let (httpds, _) = testkit::httpd_user();
    let httpd = Httpd::new()
        .app("app.wsgi", HELLO)
        .conf(&format!("WSGIDaemonProcess own socket-user={owner}"))
        .conf("WSGIScriptAlias / {apps}/app.wsgi process-group=own")
        .expect_log(LOGGED)
        .start();
    httpd.get("/").assert(200);
    let sockets = sockets(&httpd.dir().join("run"));
    let named = |name: &str| sockets.iter().find(|socket| socket.ends_with(name));
    let control = named("control.sock").expect("the supervisor has a socket");
    let admin = named("admin.sock").expect("the supervisor has a socket for its owner");
    let workers: Vec<_> = sockets.iter().filter(|it| ![control, admin].contains(it)).collect();
    let [worker] = workers[..] else {
        panic!("one application group has one socket, not {workers:?}");
    };
    let uid = |name: &str| account(name).uid.as_raw();
    assert_eq!(fs::metadata(worker).expect("it is there").uid(), uid(&owner));
    for user in [&owner, &httpds] {
        assert!(knock(user, worker), "{user} is kept from the worker");
        // That it did not greet is found out only about those who may.
        let who = format!("(uid {}) to the worker of process group 'own'", uid(user));
        httpd.wait_for_log(&[LOGGED, &who, "did not greet"]);
    }
    let stranger = "nobody";
    assert!(!knock(stranger, worker), "{stranger} gets to the worker");
    assert!(knock(&owner, control), "{owner} is kept from the supervisor");
    knock(stranger, control);
    httpd.wait_for_log(&["only httpd's user"]);
    httpd.get("/").assert(200);
}

/// Users who have nothing in common, and are on every system.
const USERS: [&str; 2] = ["daemon", "games"];

#[test]
fn socket_users_keep_to_their_own_groups() {
    if !testkit::running_as_root()
        || testkit::ours_only("what mod_wsgi says of strangers is its own")
    {
        return;
    }
    let mut httpd = Httpd::new().app("app.wsgi", HELLO).expect_log(LOGGED);
    for user in USERS {
        httpd = httpd.conf(&format!(
            "WSGIDaemonProcess {user} user={user} group={user} socket-user={user}\n\
             WSGIScriptAlias /{user} {{apps}}/app.wsgi process-group={user}"
        ));
    }
    let httpd = httpd.start();
    USERS.iter().for_each(|user| drop(httpd.get(&format!("/{user}")).assert(200)));
    let sockets = sockets(&httpd.dir().join("run"));
    for user in USERS {
        let uid = account(user).uid.as_raw();
        let owned = |socket: &&PathBuf| fs::metadata(socket).is_ok_and(|found| found.uid() == uid);
        let workers: Vec<_> = sockets.iter().filter(owned).collect();
        let [worker] = workers[..] else {
            panic!("{user} owns the socket of one application group, not {workers:?}");
        };
        for knocker in USERS {
            assert_eq!(knock(knocker, worker), knocker == user, "{knocker} at a worker of {user}");
        }
    }
    USERS.iter().for_each(|user| drop(httpd.get(&format!("/{user}")).assert(200)));
}

#[test]
fn requests_under_mpm_itk_get_to_the_group_of_their_user() {
    let itk = Apache::find().expect("there is an httpd").modules.join("mpm_itk.so");
    if !testkit::running_as_root() || !itk.exists() {
        return;
    }
    let host = |name: &str, user: &str, group: &str| {
        format!(
            "<VirtualHost *:{{port}}>\nServerName {name}\nAssignUserID {user} {user}\n\
             WSGIScriptAlias / {{apps}}/app.wsgi process-group={group} \
             application-group=%{{GLOBAL}}\n</VirtualHost>"
        )
    };
    let [one, two] = USERS;
    let mut httpd = Httpd::new().mpm(Mpm::Prefork).app("app.wsgi", TELL).expect_log("[wsgi:error]");
    httpd = httpd.conf(&format!("LoadModule mpm_itk_module {}", itk.display()));
    for user in USERS {
        httpd = httpd
            .conf(&format!("WSGIDaemonProcess {user} user={user} group={user} socket-user={user}"));
        httpd = httpd.conf(&host(&format!("{user}.example"), user, user));
    }
    let httpd = httpd.conf(&host("wrong.example", two, one)).start();
    for round in ["started", "restarted"] {
        for user in USERS {
            let response = httpd.get_from(&format!("{user}.example"), &ask(&["user()"]));
            assert_eq!(told(response), [user], "{round}");
        }
        httpd.get_from("wrong.example", &ask(&["user()"])).assert(503);
        httpd.graceful();
    }
}

#[test]
fn sockets_go_with_httpd() {
    let mut httpd = running();
    httpd.graceful();
    httpd.get("/").assert(200);
    httpd.stop();
    assert_eq!(sockets(&httpd.dir().join("run")), Vec::<PathBuf>::new());
}
