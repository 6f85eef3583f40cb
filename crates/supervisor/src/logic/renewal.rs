//! Workers that want to be replaced. Where the cause allows, such a worker serves on until another
//! one does in its place, and then finishes: one worker of a set at a time. Otherwise it takes no
//! requests any more, and the other one starts at once.

use std::time::Instant;

use wire::exchange::Level;
use wire::limits::Cause;

use super::exit_reasons::StopReason;
use super::workers::{Phase, Worker};
use super::{Action, GroupIndex, Logic, SetId, WorkerId};

impl Logic {
    /// Sees to it that the workers of a group, or of all, are replaced. Those that have asked for it
    /// already, and those that have not begun to load anything, are as good as new.
    pub(super) fn reload(&mut self, group: Option<GroupIndex>, now: Instant) {
        let mut serving = Vec::new();
        for (id, worker) in &mut self.workers {
            let concerned = group.is_none_or(|group| group == worker.group);
            let loads = matches!(worker.phase, Phase::Assigned | Phase::Serving);
            if concerned && loads && worker.cause.is_none() && !worker.reload_ordered {
                worker.reload_ordered = true;
                serving.extend((worker.phase == Phase::Serving).then_some(*id));
            }
        }
        for id in serving {
            self.order_reload(id, now);
        }
    }

    /// Tells a worker that serves to ask for its replacement. A service has no requests that could
    /// be lost, and is not run twice at a time for longer than it takes to end.
    pub(super) fn order_reload(&mut self, id: WorkerId, now: Instant) {
        let Some(group) = self.workers.get(&id).map(|worker| worker.group) else {
            return;
        };
        let plan = &self.groups[group].plan;
        if !plan.is_service {
            return self.actions.push(Action::Retire(id));
        }
        let grace = plan.limits.grace(Cause::ReloadOrder);
        let line = format!("{}: a reload was ordered; it is run anew", self.name(id));
        self.log(group, Level::Info, line);
        self.send_away(id, grace, now);
        self.refill(group, now);
    }

    pub(super) fn retire(
        &mut self,
        id: WorkerId,
        cause: Cause,
        reason: &str,
        scripts: Vec<Vec<u8>>,
        now: Instant,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        match worker.phase {
            Phase::Serving => {}
            Phase::Leaving(_) => return,
            _ => return self.broken(id, "it wants to be replaced, but does not serve", now),
        }
        if worker.successor_loads.is_some() && !cause.is_urgent() {
            // It has said so, and is served already.
            return;
        }
        let group = worker.group;
        if cause == Cause::InactivityTimeout && self.shrink(id) {
            let line = format!("{}: {reason}; others are enough", self.name(id));
            self.log(group, Level::Info, line);
            self.send_away(id, self.groups[group].plan.limits.grace(cause), now);
            return self.refill(group, now);
        }
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if cause.is_urgent() || !worker.settled {
            self.groups[group].backoff.pace(now);
        }
        worker.cause = Some(cause);
        worker.stop_reason = Some(StopReason::wished(cause, reason));
        let set = worker.set.filter(|_| self.groups[group].plan.keeps);
        if !cause.is_urgent() {
            worker.successor_loads = Some(scripts.clone());
        }
        if let Some(set) = set {
            self.note_scripts(set, &scripts);
        }
        let line = format!("{}: {reason}; a new worker takes over", self.name(id));
        if cause.is_urgent() {
            let level = if cause == Cause::ShutdownSignal { Level::Info } else { Level::Error };
            self.log(group, level, line);
            self.send_away(id, self.groups[group].plan.limits.grace(cause), now);
        } else {
            self.log(group, Level::Info, line);
        }
        self.refill(group, now);
    }

    /// Starts a worker for the place of one of the set that wants to be replaced, unless one is
    /// about to take such a place already.
    pub(super) fn renew(&mut self, set: SetId, now: Instant) {
        if self.sets.get(&set).is_some_and(|set| self.groups[set.group].plan.stops_first) {
            return self.stop_first(set, now);
        }
        let Some((old, group, scripts)) = self
            .next_to_renew(set)
            .map(|(id, worker)| (id, worker.group, worker.successor_loads.clone()))
        else {
            return;
        };
        if self.groups[group].backoff.is_pacing(now) {
            return;
        }
        let new = self.spawn(group, now);
        if let Some(worker) = self.workers.get_mut(&new) {
            worker.replaces = Some(old);
            worker.preload = scripts.unwrap_or_default();
        }
        self.adopt(new, set, now);
    }

    /// The worker of a set for whose place another one is to be started now.
    pub(super) fn next_to_renew(&self, set: SetId) -> Option<(WorkerId, &Worker)> {
        let is_renewed = self.members(set).any(|(_, worker)| worker.replaces.is_some());
        if is_renewed || self.is_crowded(set) {
            return None;
        }
        let retires =
            |worker: &Worker| worker.phase == Phase::Serving && worker.successor_loads.is_some();
        self.members(set).find(|(_, worker)| retires(worker))
    }

    /// Has a worker of the set that wants to be replaced finish, once all others of the set serve. When
    /// it has gone, another one is missing. Requests wait for that one.
    fn stop_first(&mut self, set: SetId, now: Instant) {
        if self.members(set).any(|(_, worker)| worker.phase != Phase::Serving) {
            return;
        }
        let Some((old, worker)) = self.next_to_renew(set) else { return };
        let cause = worker.cause.unwrap_or(Cause::ReloadOrder);
        let grace = self.groups[worker.group].plan.limits.grace(cause);
        let scripts = worker.successor_loads.clone().unwrap_or_default();
        if let Some(set) = self.sets.get_mut(&set) {
            set.next_loads = scripts;
        }
        self.send_away(old, grace, now);
    }

    /// A worker that serves takes the place of the one for which it was started, once it has all
    /// that the group keeps of that one's: a request may have made it load more in the meantime.
    pub(super) fn succeed(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.get(&id).filter(|worker| worker.phase == Phase::Serving)
        else {
            return;
        };
        let Some(old) = worker.replaces else { return };
        let mut grace = self.groups[worker.group].plan.limits.graceful_timeout;
        if let Some(old) = self.workers.get(&old) {
            if !old.is_leaving() && !worker.scripts.cover(&old.scripts) {
                return;
            }
            grace =
                old.cause.map_or(grace, |cause| self.groups[old.group].plan.limits.grace(cause));
        }
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.replaces = None;
        }
        self.send_away(old, grace, now);
    }

    /// How loud to say that a worker failed. Each worker of a set finds out for itself that new code
    /// cannot be loaded; that it cannot is said once.
    pub(super) fn level_of(&mut self, failed: WorkerId, reason: &str) -> Level {
        let set = self.workers.get(&failed).and_then(|worker| worker.set);
        match set.and_then(|set| self.sets.get_mut(&set)) {
            Some(set) if set.last_failure == reason => Level::Info,
            Some(set) => {
                reason.clone_into(&mut set.last_failure);
                Level::Error
            }
            None => Level::Error,
        }
    }

    /// A worker did not come to serve. If it was to take the place of `old`, and that one is still
    /// there, `old` goes on until it wants to be replaced once more. Returns whether that is so;
    /// otherwise the failed one is missing like any other.
    pub(super) fn renewal_failed(
        &mut self,
        old: Option<WorkerId>,
        reason: &str,
        level: Level,
    ) -> bool {
        let Some((old, worker)) = old.and_then(|old| Some((old, self.workers.get_mut(&old)?)))
        else {
            return false;
        };
        if worker.is_leaving() {
            return false;
        }
        worker.successor_loads = None;
        worker.reload_ordered = false;
        let traceback = worker.successor_failed.take();
        let (group, cause) = (worker.group, worker.cause.take());
        let name = self.name(old);
        let with = match cause {
            Some(Cause::ScriptReload | Cause::ReloadOrder) => " the code that it has loaded",
            _ => "",
        };
        self.log(group, level, format!("{reason}; {name} keeps serving{with}"));
        self.actions.push(Action::Keep(old));
        self.reload_ends_for(old, traceback.or_else(|| Some(reason.to_owned())));
        true
    }
}
