//! The end of everything: all workers finish, or are killed, or are given up.

use std::time::{Duration, Instant};

use wire::exchange::Level;

use super::deadlines::MARGIN;
use super::{Action, Logic};

/// How long after the last SIGKILL a worker may still be there. Only one that waits for a device
/// in the kernel is; it dies when the device answers, without us.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// Whether the end has come.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// No.
    No,
    /// The workers finish; at the given time the rest is given up.
    Until(Instant),
    /// [`Action::Finish`] has been given.
    Finished,
}

impl Stop {
    /// When something has to be done about it.
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Self::Until(give_up) => Some(give_up),
            Self::No | Self::Finished => None,
        }
    }
}

impl Logic {
    /// Asks all workers to finish: whom they served is gone, so they get no grace for that. Orders
    /// after the first change nothing.
    pub(super) fn drain(&mut self, cause: &str, now: Instant) {
        if !matches!(self.stop, Stop::No) {
            return;
        }
        let patience = self.groups.iter().map(|group| group.plan.shutdown_timeout()).max();
        self.stop = Stop::Until(now + patience.unwrap_or_default() + MARGIN + GIVE_UP_AFTER);
        let line = format!("{cause}: {} worker(s) have to finish", self.workers.len());
        self.actions.push(Action::Log(None, Level::Info, line));
        for set in self.sets.keys().copied().collect::<Vec<_>>() {
            for ticket in self.close_set(set, 0, now) {
                self.refuse(ticket, "the supervisor is shutting down".to_owned(), 1);
            }
        }
        for worker in self.workers.keys().copied().collect::<Vec<_>>() {
            self.send_away(worker, 0, now);
        }
    }

    pub(super) fn pass_stop_deadline(&mut self, now: Instant) {
        if self.stop.deadline().is_none_or(|give_up| give_up > now) {
            return;
        }
        for id in self.workers.keys().copied().collect::<Vec<_>>() {
            let line = format!("{}: given up, it survives SIGKILL", self.name(id));
            self.actions.push(Action::Log(None, Level::Error, line));
        }
        self.workers.clear();
        self.groups.iter_mut().for_each(|group| group.workers.clear());
    }

    pub(super) fn finish_when_empty(&mut self) {
        if matches!(self.stop, Stop::Until(_)) && self.workers.is_empty() {
            self.stop = Stop::Finished;
            self.end_inquiries();
            self.actions.push(Action::Finish);
        }
    }
}
