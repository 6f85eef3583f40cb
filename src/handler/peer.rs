//! The worker at the other end of a connection: which process it is, and whether that still runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What is known of the worker that has accepted a connection. The connection alone does not tell
/// of the worker's end: a process that it has forked may hold it open.
#[derive(Debug, Default)]
pub struct Peer {
    pid: Option<u32>,
    /// Readable when the process has ended (pidfd_open(2)). `None` before Linux 5.3.
    process: Option<OwnedFd>,
}

impl Peer {
    /// The worker's process id, once it has said it, and with it that it has accepted the connection.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The worker has said which process it is. One that names another one has only itself to fool.
    pub fn introduce(&mut self, pid: u32) {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        self.process = number.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        self.pid = Some(pid);
    }

    /// What becomes readable when the process has ended.
    pub fn process(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(AsFd::as_fd)
    }

    /// Whether the process is known to have ended.
    pub fn has_ended(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            let mut sources = [PollFd::new(process, PollFlags::IN)];
            poll(&mut sources, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_end_is_seen_before_the_process_is_waited_for() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut peer = Peer::default();
        assert!(!peer.has_ended(), "none has been introduced");
        peer.introduce(child.id());
        assert!(!peer.has_ended());
        drop(child.stdin.take());
        let process = peer.process().unwrap();
        poll(&mut [PollFd::new(&process, PollFlags::IN)], None).unwrap();
        assert!(peer.has_ended());
        child.wait().unwrap();
        assert!(peer.has_ended());
    }
}
