//! Changed code: a worker whose script has changed serves on until another one has loaded the new
//! code and serves, then it finishes. One worker of a set at a time.

use std::time::Instant;

use wire::exchange::Level;

use super::workers::{Phase, Worker};
use super::{Action, Logic, SetId, WorkerId};

impl Logic {
    pub(super) fn stale(&mut self, id: WorkerId, script: Vec<u8>, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        match worker.phase {
            Phase::Serving => {}
            Phase::Leaving(_) => return,
            _ => return self.broken(id, "it has a script that changed, but does not serve", now),
        }
        let (group, path) = (worker.group, String::from_utf8_lossy(&script).into_owned());
        worker.stale = Some(script);
        let line = format!("{}: '{path}' has changed, a new worker takes over", self.name(id));
        self.log(group, Level::Info, line);
        self.refill(group, now);
    }

    /// Starts a worker for the place of one of the set whose code has changed, unless one is about
    /// to take such a place already.
    pub(super) fn renew(&mut self, set: SetId, now: Instant) {
        if self.members(set).any(|(_, worker)| worker.replaces.is_some()) {
            return;
        }
        let is_stale = |worker: &Worker| worker.phase == Phase::Serving && worker.stale.is_some();
        let Some((old, group, script)) = self
            .members(set)
            .find(|(_, worker)| is_stale(worker))
            .map(|(id, worker)| (id, worker.group, worker.stale.clone()))
        else {
            return;
        };
        let new = self.spawn(group, now);
        if let Some(worker) = self.workers.get_mut(&new) {
            worker.replaces = Some(old);
            worker.preload = script;
        }
        self.adopt(new, set, now);
    }

    /// A worker did not come to serve. If it was to take the place of `old`, and that one is still
    /// there, `old` goes on with what it has loaded, until its script changes once more. Returns
    /// whether that is so; otherwise the failed one is missing like any other.
    pub(super) fn renewal_failed(&mut self, old: Option<WorkerId>, reason: &str) -> bool {
        let Some((old, worker)) = old.and_then(|old| Some((old, self.workers.get_mut(&old)?)))
        else {
            return false;
        };
        if worker.is_leaving() {
            return false;
        }
        worker.stale = None;
        let group = worker.group;
        let name = self.name(old);
        let line = format!("{reason}; {name} keeps serving the code that it has loaded");
        self.log(group, Level::Error, line);
        self.actions.push(Action::Keep(old));
        true
    }
}
