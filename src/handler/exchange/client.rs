//! Whether the client is still there to be answered.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::debug;
use wire::exchange::ToWorker;

use super::Exchange;
use crate::handler::turn::Halt;

/// A client that closes its direction this soon after its request, or after a part of the body has
/// been read, may only have nothing more to say, as one at the end of a pipe, and wait for the
/// answer. Later it is one that goes away.
const HALF_CLOSE: Duration = Duration::from_secs(1);

/// Whether there is anybody to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// As far as we know.
    There,
    /// The client has closed its direction. It may still read.
    HungUp,
    /// Nothing can reach the client. What the worker sends is dropped, up to its end.
    Gone,
}

impl Exchange<'_, '_> {
    /// The client is not there any more, as far as `presence` says. The worker is told, and the
    /// exchange goes on to its end: the application's log lines have to go somewhere.
    pub(super) fn note_absence(&mut self, presence: Presence) -> Result<(), Halt> {
        if presence == self.presence || self.presence == Presence::Gone {
            return Ok(());
        }
        let certain = presence == Presence::Gone;
        if certain {
            self.desert();
        }
        self.presence = presence;
        channel::send_message(self.turn.stream, &ToWorker::ClientGone { certain })
            .map_err(|_| self.turn.lost("closed the connection"))
    }

    /// Nobody is there to take the rest of the response.
    pub(super) fn desert(&mut self) {
        debug!("The client closed the connection before the response was complete.");
        self.request.close_connection();
        self.response.give_up();
        (self.client, self.presence) = (None, Presence::Gone);
    }

    /// What a poll of the client's socket means.
    pub(super) fn presence(&self, found: PollFlags) -> Presence {
        if found.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            Presence::Gone
        } else if !found.contains(PollFlags::RDHUP) {
            self.presence
        } else if self.age().min(self.body.idle().unwrap_or(Duration::MAX)) < HALF_CLOSE {
            Presence::HungUp
        } else {
            Presence::Gone
        }
    }

    /// Looks whether the client has gone while httpd was reading from it.
    pub(super) fn look_for_client(&mut self) -> Result<(), Halt> {
        let presence = self.presence(look_at(self.client));
        self.note_absence(presence)
    }
}

/// What a client has done meanwhile: nothing, or an end of the connection.
pub(super) fn look_at(client: Option<BorrowedFd<'_>>) -> PollFlags {
    let Some(client) = client else {
        return PollFlags::empty();
    };
    let mut sources = [PollFd::new(&client, PollFlags::RDHUP)];
    let _ = poll(&mut sources, Some(&Timespec::default()));
    sources[0].revents()
}
