//! Closes sockets that processes with fewer rights can write to. One that holds a descriptor would
//! make us wait (see [`channel::untrusted`]), so that a process of its own closes it, by ending.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// How many sockets are kept before they are closed together. Nobody uses them any more.
const BATCH: usize = 32;

/// How many may be kept while that is not possible.
const MOST: usize = 256;

/// What this program is called with to close what it is sent.
pub const CLOSE: &str = "--close";

/// Sockets that cannot be closed here.
#[derive(Debug, Default)]
pub struct Closer {
    kept: Vec<OwnedFd>,
    /// Whether a listening socket is among them: who connects to it waits until it is closed.
    has_listener: bool,
    /// The process that closed the last batch, which may take its time.
    process: Option<Child>,
}

impl Closer {
    /// Ends a connection. What has been sent to the peer still reaches it.
    pub fn close(&mut self, connection: impl Into<OwnedFd>) {
        let connection = connection.into();
        if !channel::untrusted::empty(&connection) {
            self.kept.push(connection);
            if self.kept.len() >= BATCH {
                self.close_kept();
            }
        }
    }

    /// Closes a listening socket, in whose queue there may be connections, with the next
    /// [`Self::close_due`].
    pub fn close_listener(&mut self, listener: OwnedFd) {
        self.kept.push(listener);
        self.has_listener = true;
    }

    /// Has closed what should not be left waiting.
    pub fn close_due(&mut self) {
        if self.has_listener || self.is_full() {
            self.close_kept();
        }
    }

    /// Whether no more connections should be made.
    pub fn is_full(&self) -> bool {
        self.kept.len() >= MOST
    }

    /// The process that closes the last batch, and ends by itself.
    pub fn process(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Has everything closed that was kept so far, unless the last batch takes long.
    fn close_kept(&mut self) {
        // Should it have been waited for already, with all our children, that is an error here.
        let is_busy = |process: &mut Child| matches!(process.try_wait(), Ok(None));
        if self.kept.is_empty() || self.process.as_mut().is_some_and(is_busy) {
            return;
        }
        let Ok((near, far)) = UnixStream::pair() else { return };
        let program = Command::new("/proc/self/exe")
            .arg(CLOSE)
            .stdin(OwnedFd::from(far))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        // Another time, then.
        let Ok(process) = program else { return };
        self.process = Some(process);
        while let Some(socket) = self.kept.pop() {
            // On its way, the socket is still open when our descriptor for it is closed.
            if !hand_over(&near, &socket) {
                return self.kept.push(socket);
            }
        }
        self.has_listener = false;
    }
}

/// Sends a descriptor without waiting; `false` if it has not been sent.
fn hand_over(to: &UnixStream, socket: &OwnedFd) -> bool {
    let descriptors = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors))
        && rustix::net::sendmsg(to, &[std::io::IoSlice::new(b".")], &mut ancillary, flags).is_ok()
}

/// The program that closes: waits until it has been sent everything, receives none of it, and ends.
pub fn close_by_ending() -> ExitCode {
    let stdin = rustix::stdio::stdin();
    let mut end = [PollFd::new(&stdin, PollFlags::empty())];
    while rustix::event::poll(&mut end, None) == Err(rustix::io::Errno::INTR) {}
    ExitCode::SUCCESS
}
