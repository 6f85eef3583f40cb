//! Whether the client of a request is still there to be answered.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A client that closes its direction this soon after its request, or after a part of the body has
/// been read, may only have nothing more to say, as one at the end of a pipe, and wait for the
/// answer. Later it is one that goes away.
const HALF_CLOSE: Duration = Duration::from_secs(1);

/// What is known of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is there, as far as we know.
    There,
    /// It has closed its direction. It may still read.
    HungUp,
    /// Nothing can reach it.
    Gone,
}

impl Presence {
    /// What to look for at the client's socket. Bytes are not: they are its next request. An end that
    /// is known already would be found again and again.
    pub fn watched(self) -> PollFlags {
        match self {
            Self::There => PollFlags::RDHUP,
            Self::HungUp | Self::Gone => PollFlags::empty(),
        }
    }

    /// What it becomes when poll(2) has `found` this, so long after something has come from it.
    pub fn after(self, found: PollFlags, idle: Duration) -> Self {
        if found.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            Self::Gone
        } else if !found.contains(PollFlags::RDHUP) {
            self
        } else if idle < HALF_CLOSE {
            Self::HungUp
        } else {
            Self::Gone
        }
    }
}

/// What a client has done meanwhile: nothing, or an end of the connection.
pub fn look_at(client: Option<BorrowedFd<'_>>) -> PollFlags {
    let Some(client) = client else {
        return PollFlags::empty();
    };
    let mut sources = [PollFd::new(&client, PollFlags::RDHUP)];
    let _ = poll(&mut sources, Some(&Timespec::default()));
    sources[0].revents()
}
