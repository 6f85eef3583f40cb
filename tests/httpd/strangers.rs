//! Anyone else who connects to a socket of ours is turned away, and the log says so.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use testkit::{PATIENCE, Running};

use crate::{HELLO, serving};

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

#[test]
fn sockets_go_with_httpd() {
    let mut httpd = running();
    httpd.graceful();
    httpd.get("/").assert(200);
    httpd.stop();
    assert_eq!(sockets(&httpd.dir().join("run")), Vec::<PathBuf>::new());
}
