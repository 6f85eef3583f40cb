//! Whether the client is still there to be answered.

use std::time::Duration;

use rustix::event::PollFlags;
use tracing::debug;
use wire::exchange::ToWorker;

use super::Exchange;
use crate::handler::presence::{Presence, look_at};
use crate::handler::turn::Halt;

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
        let idle = self.body.idle().unwrap_or(Duration::MAX);
        self.presence.after(found, self.age().min(idle))
    }

    /// Looks whether the client has gone while httpd was reading from it.
    pub(super) fn look_for_client(&mut self) -> Result<(), Halt> {
        let presence = self.presence(look_at(self.client));
        self.note_absence(presence)
    }
}
