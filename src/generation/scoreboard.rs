//! The process that tells workers what httpd's scoreboard says. Only httpd's parent and its copies
//! see that memory, and Python never runs in one of these: so a copy of the parent answers who asks.
//! It exists where a process group is permitted to ask, and ends with the generation's supervisor.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::ffi::{fork, scoreboard};

/// How long who asks may leave the answer lying about, while others wait.
const WRITE_TIMEOUT: Duration = Duration::from_millis(200);

/// How many connections that hold a descriptor are kept before this process ends: to close one may
/// take as long as its sender likes, but not for a process that ends ([`channel::untrusted`]).
const MOST_KEPT: usize = 64;

/// Where workers ask.
#[derive(Debug)]
pub struct ScoreboardSocket {
    /// Name of the socket in the kernel's own namespace of addresses, which is the same in a chroot.
    pub name: Vec<u8>,
    listener: UnixListener,
    /// The users who may ask.
    users: Vec<u32>,
}

impl ScoreboardSocket {
    /// Opens it for these users.
    ///
    /// # Errors
    /// What is wrong, as a sentence for the log.
    pub fn open(users: Vec<u32>, number: u128) -> Result<Self, String> {
        let name = format!("mod_wsgi_rs-scoreboard-{number:032x}").into_bytes();
        let listener = SocketAddr::from_abstract_name(&name)
            .and_then(|address| UnixListener::bind_addr(&address))
            .map_err(|error| format!("no socket for the scoreboard: {error}"))?;
        Ok(Self { name, listener, users })
    }

    /// Starts the process, for as long as this supervisor runs. Returns its process id. `ids`: whom
    /// to become, if httpd's parent is root.
    ///
    /// # Errors
    /// What is wrong, as a sentence for the log.
    pub fn start(&self, supervisor: u32, ids: (u32, u32)) -> Result<u32, String> {
        let failed = |error: io::Error| format!("no process for the scoreboard: {error}");
        let pid = i32::try_from(supervisor).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or("there is no supervisor")?;
        let supervisor =
            pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
        fork::fork(&[self.listener.as_fd(), supervisor.as_fd()], || {
            if !Uid::effective().is_root() || become_user(ids).is_ok() {
                self.serve(&supervisor);
            }
        })
        .map_err(failed)
    }

    fn serve(&self, supervisor: &OwnedFd) {
        // Never dropped, only closed by the end of the process.
        let mut kept = ManuallyDrop::new(Vec::new());
        while kept.len() < MOST_KEPT {
            let mut sources = [
                PollFd::new(&self.listener, PollFlags::IN),
                PollFd::new(supervisor, PollFlags::IN),
            ];
            match rustix::event::poll(&mut sources, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(_) if sources[1].revents().is_empty() => {}
                Ok(_) | Err(_) => return,
            }
            if let Ok((stream, _)) = self.listener.accept() {
                // Who does not take the answer goes without.
                let _ = self.answer(&stream);
                if !channel::untrusted::empty(&stream) {
                    kept.push(stream);
                }
            }
        }
    }

    fn answer(&self, stream: &UnixStream) -> io::Result<()> {
        let peer = rustix::net::sockopt::socket_peercred(stream)?;
        if !self.users.contains(&peer.uid.as_raw()) {
            return Ok(());
        }
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        match scoreboard::read() {
            Some(scoreboard) => channel::send_message(stream, &scoreboard),
            None => Ok(()),
        }
    }
}

fn become_user((uid, gid): (u32, u32)) -> nix::Result<()> {
    let gid = Gid::from_raw(gid);
    setgroups(&[gid])?;
    setgid(gid)?;
    setuid(Uid::from_raw(uid))
}
