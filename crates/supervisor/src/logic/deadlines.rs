//! How long workers may take for what they are to do, and what happens when they take longer.

use std::time::{Duration, Instant};

use wire::exchange::Level;

use super::exit_reasons::StopReason;
use super::workers::{Phase, Why, Worker};
use super::{Action, Logic, WorkerId};

/// How long a worker may take from its start until it is ready, and from its assignment until it
/// serves.
pub const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a worker has to serve before its end is not held against its group, unless a request
/// has ended before.
pub const PROVEN_AFTER: Duration = Duration::from_secs(10);

/// How much longer than its own limits a worker is left: it ends itself when they are over, and
/// knows better than we what was running.
pub const MARGIN: Duration = Duration::from_secs(1);

/// What a deadline of a worker is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// To be ready.
    Start,
    /// To serve, having had so long for it.
    Serve(Duration),
    /// To exit, having been asked to or having announced it, and having had so long for it.
    Exit(Duration),
    /// To exit, having closed its end of the conversation.
    Silence,
    /// To be told once more to load what it could not.
    Load,
}

impl Worker {
    /// When something has to be done about this worker.
    pub fn deadline(&self) -> Option<Instant> {
        let proof = self.serving_since.filter(|_| !self.settled && !self.is_leaving());
        [self.limit.map(|(at, _)| at), proof.map(|since| since + PROVEN_AFTER)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets something happen if the worker has not done what it is to do by then.
    pub(super) fn limit(&mut self, deadline: Instant, limit: Limit) {
        self.limit = Some((deadline, limit));
    }

    /// Lets a worker try once more, `patience` from now, to load what it could not.
    pub(super) fn load_later(&mut self, now: Instant, patience: Duration) {
        if self.limit.is_none() {
            self.limit(now + patience, Limit::Load);
        }
    }

    /// Leaves a worker that is to exit no longer than `patience` from now.
    pub(super) fn hurry(&mut self, now: Instant, patience: Duration) {
        if let Some((deadline, Limit::Exit(_))) = self.limit
            && now + patience < deadline
        {
            self.limit(now + patience, Limit::Exit(patience));
        }
    }
}

impl Logic {
    /// Kills those whose time has run out, and lets others prove their group.
    pub(super) fn pass_worker_deadlines(&mut self, now: Instant) {
        let due: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.pass_worker_deadline(id, now);
        }
    }

    fn pass_worker_deadline(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if worker.serving_since.is_some_and(|since| since + PROVEN_AFTER <= now) && !worker.settled
        {
            worker.settled = true;
            self.groups[worker.group].settle();
        }
        let Some((_, limit)) = worker.limit.take_if(|(at, _)| *at <= now) else {
            return;
        };
        let timeout = START_TIMEOUT.as_secs();
        match limit {
            Limit::Start => {
                let reason = format!("killed: it was not ready within {timeout} s");
                self.condemn_and_kill(id, &reason, now);
            }
            Limit::Serve(START_TIMEOUT) => {
                let reason = format!("killed: it did not serve within {timeout} s");
                self.condemn_and_kill(id, &reason, now);
            }
            Limit::Serve(patience) => {
                let reason = format!(
                    "killed: startup-timeout={} is over, and its scripts are not loaded",
                    patience.as_secs()
                );
                self.condemn_and_kill(id, &reason, now);
            }
            Limit::Silence => {
                self.condemn_and_kill(id, "killed: it stopped talking to the supervisor", now);
            }
            Limit::Load => self.load_again(id),
            Limit::Exit(patience) => {
                let group = worker.group;
                worker.phase = Phase::Leaving(Why::Condemned);
                self.actions.push(Action::Kill(id));
                let line = format!("killed: it did not exit within {} s", patience.as_secs());
                worker.stop_reason = Some(StopReason::of(&line));
                self.log(group, Level::Error, format!("{}: {line}", self.name(id)));
            }
        }
    }
}
