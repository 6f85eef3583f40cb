//! How many workers a set has where `processes=` is a range: more when requests wait, fewer when
//! they have been too many for a while.

use std::time::{Duration, Instant};

use wire::exchange::Level;

use super::workers::Phase;
use super::{Action, GroupIndex, Logic, Plan, SetId, WorkerId};

/// So many workers start at a time in any case, however few processors there are: requests wait for
/// them.
const FEW: u32 = 4;

/// How many workers each application group of a process group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processes {
    /// At least, whatever there is to do.
    pub least: u32,
    /// At most.
    pub most: u32,
}

impl Processes {
    /// Whether the load decides.
    pub fn is_range(self) -> bool {
        self.least < self.most
    }
}

/// How many workers a set shall have now, and what that is decided by.
#[derive(Debug)]
pub struct Scale {
    /// How many it shall have.
    pub wanted: u32,
    /// The most that would have been needed at a time since `began`, and in the period before that.
    peak: u32,
    peak_before: u32,
    began: Instant,
    /// The worker that has been asked whether it can go, and has not answered yet.
    asked: Option<WorkerId>,
    /// The worker that was asked last.
    last_asked: Option<WorkerId>,
    /// Whether we are told of its load.
    weighed: bool,
    /// Whether requests that wait can count on further workers, as far as others know; they do not yet.
    grows: Option<bool>,
}

impl Scale {
    /// That of a new set.
    pub fn new(plan: &Plan, now: Instant) -> Self {
        Self {
            wanted: plan.processes.least,
            peak: 0,
            peak_before: 0,
            began: now,
            asked: None,
            last_asked: None,
            weighed: false,
            grows: None,
        }
    }

    /// So many workers are needed now. A period ends after `idle`.
    fn note(&mut self, needed: u32, idle: Duration, now: Instant) {
        if now >= self.began + idle {
            (self.peak_before, self.peak, self.began) = (self.peak, 0, now);
        }
        self.peak = self.peak.max(needed);
    }

    /// The most that were needed at a time of late.
    fn needed(&self) -> u32 {
        self.peak.max(self.peak_before)
    }
}

impl Plan {
    /// How many workers so many requests at a time need.
    pub(super) fn workers_for(&self, requests: u64) -> u32 {
        let needed = requests.div_ceil(self.threads.max(1).into());
        u32::try_from(needed).unwrap_or(u32::MAX).clamp(self.processes.least, self.processes.most)
    }
}

impl Logic {
    /// A connection has waited for a moment at the socket of a set, and no worker takes it. There are
    /// so many requests for the set, if that is known.
    pub(super) fn crowded(&mut self, id: SetId, requests: Option<u64>, now: Instant) {
        let Some(set) = self.sets.get(&id) else { return };
        let (group, plan) = (set.group, &self.groups[set.group].plan);
        let needed = match requests {
            Some(requests) => plan.workers_for(requests),
            None => (self.count_serving(id) + 1).min(plan.processes.most),
        };
        self.grow(id, needed, now);
        self.refill(group, now);
    }

    /// Lets a set have as many workers as it needs, a few of them at a time: more that start together
    /// would only be slower, and the first ones may do.
    pub(super) fn grow(&mut self, id: SetId, needed: u32, now: Instant) {
        let serving = self.count_serving(id);
        let at_once = u32::try_from(self.starts_at_once).unwrap_or(u32::MAX).max(FEW);
        let Some(set) = self.sets.get_mut(&id) else { return };
        let plan = &self.groups[set.group].plan;
        if !plan.processes.is_range() {
            return;
        }
        let scale = &mut set.scale;
        if let Some(idle) = plan.idle_timeout() {
            if scale.wanted == plan.processes.least {
                // No period in which nobody looked counts.
                (scale.peak_before, scale.peak, scale.began) = (0, 0, now);
            }
            scale.note(needed, idle, now);
        }
        scale.wanted = scale.wanted.max(needed.min(serving + at_once));
    }

    /// There are so many requests for a set now. If it has had too many workers for a while, one of
    /// them is asked whether it can go.
    pub(super) fn weigh(&mut self, id: SetId, requests: u64, now: Instant) {
        let members: Vec<_> =
            self.members(id).map(|(worker, state)| (worker, state.phase)).collect();
        let settled = self.members(id).all(|(_, worker)| worker.is_at_peace());
        let Some(set) = self.sets.get_mut(&id) else { return };
        set.standing.note_load(requests, now);
        let (group, plan) = (set.group, &self.groups[set.group].plan);
        let Some(idle) = plan.idle_timeout().filter(|_| plan.processes.is_range()) else { return };
        let scale = &mut set.scale;
        scale.note(plan.workers_for(requests), idle, now);
        let needed = scale.needed().max(plan.processes.least);
        if scale.wanted <= needed {
            return;
        }
        // Those that could not be started are not missed any more.
        let there = u32::try_from(members.len()).unwrap_or(u32::MAX);
        scale.wanted = scale.wanted.min(there.max(needed));
        let is_asked = scale.asked.is_some_and(|asked| members.iter().any(|(id, _)| *id == asked));
        if there > needed && settled && !is_asked {
            let serving = || members.iter().rev().filter(|(_, phase)| *phase == Phase::Serving);
            let before = |other: WorkerId| scale.last_asked.is_none_or(|last| other < last);
            let next = serving().find(|(id, _)| before(*id)).or_else(|| serving().next());
            if let Some((worker, _)) = next {
                (scale.asked, scale.last_asked) = (Some(*worker), Some(*worker));
                self.actions.push(Action::Dismiss(*worker));
            }
        }
        self.refill(group, now);
    }

    /// A worker that was asked whether it can go has requests.
    pub(super) fn busy(&mut self, id: WorkerId, now: Instant) {
        if !self.forget_asked(id) && self.workers.get(&id).is_some_and(|it| !it.is_leaving()) {
            self.broken(id, "it says that it is busy, but was not asked", now);
        }
    }

    /// Lets a worker that has finished, or is idle, go without another one in its place, if its set
    /// has more than it needs to have. Returns whether that is so.
    pub(super) fn shrink(&mut self, id: WorkerId) -> bool {
        let Some(set) = self.workers.get(&id).and_then(|worker| worker.set) else { return false };
        let Some(set) = self.sets.get_mut(&set) else { return false };
        let least = self.groups[set.group].plan.processes.least;
        let shrinks = set.scale.wanted > least;
        set.scale.wanted = (set.scale.wanted - 1).max(least);
        shrinks
    }

    /// Whether this worker was asked whether it can go, and has not answered yet: now it has.
    pub(super) fn forget_asked(&mut self, id: WorkerId) -> bool {
        let set = self.workers.get(&id).and_then(|worker| worker.set);
        let set = set.and_then(|set| self.sets.get_mut(&set));
        set.is_some_and(|set| set.scale.asked.take_if(|asked| *asked == id).is_some())
    }

    /// Tells who measures the load of a set, and who decides how long its requests may wait, what has
    /// changed.
    pub(super) fn publish_scale(&mut self, id: SetId, now: Instant) {
        let serving = self.count_serving(id);
        let Some(group) = self.sets.get(&id).map(|set| set.group) else { return };
        let waited_for = self.is_waited_for(group);
        let Some(set) = self.sets.get_mut(&id) else { return };
        let group = &self.groups[set.group];
        let Processes { least, most } = group.plan.processes;
        let weighed = waited_for || set.scale.wanted > least && group.plan.idle_timeout().is_some();
        if std::mem::replace(&mut set.scale.weighed, weighed) != weighed {
            self.actions.push(Action::Weigh(id, weighed));
        }
        let grows = serving < most && group.backoff.wait(now).is_none();
        if group.plan.processes.is_range() && set.scale.grows.replace(grows) != Some(grows) {
            let name = set.application_group.clone();
            self.actions.push(Action::Grows(set.group, name, grows));
        }
    }

    /// As [`Self::publish_scale`], of all sets of a group.
    pub(super) fn publish_scales(&mut self, group: GroupIndex, now: Instant) {
        for set in self.sets_of(group) {
            self.publish_scale(set, now);
        }
    }

    /// Says that a worker goes, as others are enough.
    pub(super) fn say_dismissed(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        let (group, left) = (worker.group, worker.set.map_or(0, |set| self.count_serving(set)));
        let line = format!("{}: goes, as {left} are enough (idle-timeout=)", self.name(id));
        self.log(group, Level::Info, line);
    }

    /// How many workers of a set serve.
    pub(super) fn count_serving(&self, id: SetId) -> u32 {
        let serving = self.members(id).filter(|(_, worker)| worker.phase == Phase::Serving);
        u32::try_from(serving.count()).unwrap_or(u32::MAX)
    }
}
