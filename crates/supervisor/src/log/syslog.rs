//! The system's log: datagrams to `/dev/log`, as the C library's `syslog(3)` sends them, but without
//! waiting for a daemon that does not keep up.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::format::Facts;

/// Longest line, in bytes, without what syslog puts in front: daemons take 8 KiB by default.
pub const LONGEST: usize = 7800;

const SOCKET: &str = "/dev/log";

/// How long a daemon that does not keep up is waited for, once: see [`super::file`].
const WRITE_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// A conversation with the daemon.
#[derive(Debug)]
pub struct Syslog {
    manner: wire::generation::Syslog,
    /// `None` while there is none.
    socket: Option<Socket>,
    /// Lines that could not be sent since the last one that was.
    dropped: u64,
}

#[derive(Debug)]
struct Socket {
    descriptor: OwnedFd,
    /// Daemons that take a stream have messages end with a zero.
    is_stream: bool,
}

impl Syslog {
    /// Connects when there is something to send.
    pub fn new(manner: wire::generation::Syslog) -> Self {
        Self { manner, socket: None, dropped: 0 }
    }

    /// What it was made of.
    pub fn manner(&self) -> &wire::generation::Syslog {
        &self.manner
    }

    /// Sends a line, or drops and counts it.
    pub fn write(&mut self, facts: &Facts<'_>, line: &[u8]) {
        if self.dropped > 0 {
            let notice = format!("{} log lines of workers could not be written here", self.dropped);
            let pid = std::process::id();
            let facts = Facts { level: wire::exchange::Level::Error, pid, ..*facts };
            if self.try_write(&facts, notice.as_bytes()).is_ok() {
                self.dropped = 0;
            }
        }
        if self.dropped > 0 || self.try_write(facts, line).is_err() {
            self.dropped += 1;
        }
    }

    fn try_write(&mut self, facts: &Facts<'_>, line: &[u8]) -> io::Result<()> {
        let message = self.message(facts, line);
        let patience = if self.dropped == 0 { WRITE_TIMEOUT } else { Timespec::default() };
        // The daemon may have been started anew.
        self.send(&message, &patience).or_else(|error| match error {
            Errno::AGAIN => Err(error.into()),
            _ => {
                self.socket = None;
                Ok(self.send(&message, &patience)?)
            }
        })
    }

    /// RFC 3164, section 4.1, without the host, as `vsyslog` in the C library has it.
    fn message(&self, facts: &Facts<'_>, line: &[u8]) -> Vec<u8> {
        let priority = u32::from(self.manner.facility) << 3 | u32::from(facts.level.number());
        let time = facts.now.strftime("%b %e %H:%M:%S");
        let mut message = format!("<{priority}>{time} ").into_bytes();
        message.extend_from_slice(&self.manner.tag);
        message.extend_from_slice(format!("[{}]: ", facts.pid).as_bytes());
        message.extend_from_slice(line);
        message
    }

    fn send(&mut self, message: &[u8], patience: &Timespec) -> Result<(), Errno> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Socket::connect()?),
        };
        let mut room = [PollFd::new(&socket.descriptor, PollFlags::OUT)];
        if rustix::event::poll(&mut room, Some(patience))? == 0 {
            return Err(Errno::AGAIN);
        }
        let end: &[u8] = if socket.is_stream { b"\0" } else { b"" };
        let message = [message, end].concat();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::send(&socket.descriptor, &message, flags).map(|_| ())
    }
}

impl Socket {
    fn connect() -> Result<Self, Errno> {
        let address = SocketAddrUnix::new(SOCKET)?;
        let connect = |kind| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
            rustix::net::connect(&socket, &address).map(|()| socket)
        };
        match connect(SocketType::DGRAM) {
            Err(Errno::PROTOTYPE) => {
                Ok(Self { descriptor: connect(SocketType::STREAM)?, is_stream: true })
            }
            connected => Ok(Self { descriptor: connected?, is_stream: false }),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Zoned;
    use wire::exchange::Level;

    use super::*;

    #[test]
    fn a_message_is_that_of_the_c_library() {
        let manner = wire::generation::Syslog { facility: 17, tag: b"apache2".to_vec() };
        let now: Zoned = "2026-01-02T03:04:05[UTC]".parse().unwrap();
        let facts = Facts { now: &now, level: Level::Error, pid: 7, host: b"" };
        assert_eq!(
            Syslog::new(manner).message(&facts, b"text"),
            b"<139>Jan  2 03:04:05 apache2[7]: text",
        );
    }
}
