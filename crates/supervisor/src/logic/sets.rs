//! Process groups and application groups: who asks for workers, and how many there have to be.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use wire::exchange::Level;

use super::backoff::{Backoff, Throttle};
use super::newcomers::{Remembered, Standing};
use super::scaling::Scale;
use super::stop::Stop;
use super::workers::{Phase, Worker};
use super::{Action, GroupIndex, Logic, Plan, SetId, Ticket, WorkerId};

/// How many workers of an application group may be on their way out, beside two for each that it
/// shall have: until one of them is gone, no other is started.
const MAX_LEAVING: usize = 8;

/// How long a worker that starts keeps those of other groups from being started. One that takes
/// longer may never be ready.
const HEAD_START: Duration = Duration::from_secs(2);

/// How many failures in a row are logged each. Then they are logged once per [`QUIET`]; so are
/// application groups that have to give way.
const LOUD_LINES: u32 = 3;
const QUIET: Duration = Duration::from_secs(60);

/// A process group.
#[derive(Debug)]
pub struct Group {
    pub(super) plan: Plan,
    /// How many workers without an application group there should be.
    reserve: usize,
    /// Its application groups.
    sets: BTreeSet<SetId>,
    /// Its workers, until they have been waited for.
    pub(super) workers: BTreeSet<WorkerId>,
    /// Whether what is to be there before the first request has been started.
    has_begun: bool,
    /// Whether an earlier generation may have workers of it, and there must be no others beside them
    /// (`reload=stop-first`).
    waits: bool,
    /// When something is due in it.
    pub(super) due: Option<Instant>,
    pub(super) backoff: Backoff,
    failure_lines: Throttle,
    pub(super) eviction_lines: Throttle,
    /// Application groups that had to give way.
    pub(super) remembered: Remembered,
    /// Why the last worker failed.
    pub(super) last_failure: String,
}

/// An application group with its workers.
#[derive(Debug)]
pub struct Set {
    pub(super) group: GroupIndex,
    pub(super) application_group: Vec<u8>,
    pub(super) scale: Scale,
    pub(super) standing: Standing,
    /// Httpd children to answer as soon as a worker serves, or it is clear that none will.
    pub(super) waiting: Vec<Ticket>,
    /// Whether connections to its socket are closed, as workers keep failing.
    forsaken: bool,
    /// What its workers have loaded: one that is added loads it, too.
    pub(super) scripts: Vec<Vec<u8>>,
    /// What the next worker loads before it serves, as the one loaded it whose place it takes.
    pub(super) next_loads: Vec<Vec<u8>>,
    /// Why the last of its workers failed that should have taken another one's place.
    pub(super) last_failure: String,
    /// The last traceback of a script that its workers could not load beforehand.
    pub(super) last_traceback: String,
    /// Number of the last acquisition; the lowest one was the longest ago.
    pub(super) acquired: u64,
}

impl Group {
    /// Wants its first workers if the plan says so.
    pub fn new(plan: Plan) -> Self {
        Self {
            waits: plan.stops_first,
            reserve: if plan.prestart { plan.processes.least as usize } else { 0 },
            plan,
            sets: BTreeSet::new(),
            workers: BTreeSet::new(),
            has_begun: false,
            due: None,
            backoff: Backoff::default(),
            failure_lines: Throttle::new(LOUD_LINES, QUIET),
            eviction_lines: Throttle::new(LOUD_LINES, QUIET),
            remembered: Remembered::default(),
            last_failure: String::new(),
        }
    }

    /// Whether the next failure would not be logged.
    pub fn failures_are_muted(&self, now: Instant) -> bool {
        self.failure_lines.is_muted(now)
    }

    /// A worker has served long enough to show that all is well again.
    pub fn settle(&mut self) {
        self.backoff.reset();
        self.failure_lines.reset();
    }

    /// The name as it stands in log lines.
    pub fn display_name(&self) -> String {
        match self.plan.name.as_slice() {
            [] => "the default process group".to_owned(),
            name => format!("process group '{}'", String::from_utf8_lossy(name)),
        }
    }
}

impl Logic {
    pub(super) fn start(&mut self, now: Instant) {
        self.to_begin = (0..self.groups.len()).collect();
        self.begin_more(now);
    }

    /// No worker of an earlier generation is left: what exists once is free.
    pub(super) fn alone(&mut self, now: Instant) {
        for group in 0..self.groups.len() {
            if std::mem::take(&mut self.groups[group].waits) {
                self.refill(group, now);
            }
        }
    }

    /// Starts what is to be there before the first request, a few workers at a time: more of them
    /// would only be slower together, and those that requests wait for are among them.
    pub(super) fn begin_more(&mut self, now: Instant) {
        while !self.to_begin.is_empty() {
            let Self { starting, workers, .. } = self;
            let starts = |id: &WorkerId| workers.get(id).is_some_and(Worker::is_starting);
            starting.retain(|id, until| *until > now && starts(id));
            if starting.len() >= self.starts_at_once {
                return;
            }
            if let Some(group) = self.to_begin.pop_front() {
                self.groups[group].has_begun = true;
                self.refill(group, now);
                self.note_due(group);
            }
        }
    }

    pub(super) fn acquire(
        &mut self,
        ticket: Ticket,
        process_group: &[u8],
        (application_group, script): (Vec<u8>, Option<Vec<u8>>),
        now: Instant,
    ) {
        if !matches!(self.stop, Stop::No) {
            return self.refuse(ticket, "the supervisor is shutting down".to_owned(), 1);
        }
        let Some(group) = self.by_name.get(process_group).copied() else {
            let name = String::from_utf8_lossy(process_group);
            return self.refuse(ticket, format!("there is no process group '{name}'"), 60);
        };
        if self.groups[group].plan.is_service {
            let name = self.groups[group].display_name();
            return self.refuse(ticket, format!("{name} is a service without requests"), 60);
        }
        match self.find_set(group, &application_group) {
            Some(id) => self.join(ticket, id, now),
            None => self.welcome(ticket, group, (application_group, script), now),
        }
    }

    /// Lets an httpd child wait for the workers of a set.
    pub(super) fn join(&mut self, ticket: Ticket, id: SetId, now: Instant) {
        let Some(set) = self.sets.get(&id) else { return };
        let (group, crowd) = (set.group, set.waiting.len());
        if crowd >= self.groups[group].plan.patience {
            let reason = format!("{crowd} requests wait for its workers to start already");
            return self.refuse(ticket, reason, 1);
        }
        let acquired = self.next_number();
        if let Some(set) = self.sets.get_mut(&id) {
            set.acquired = acquired;
            set.waiting.push(ticket);
        }
        // Of those who wait for the first worker, each has a request.
        let needed = self.groups[group].plan.workers_for(crowd as u64 + 1);
        self.grow(id, needed, now);
        self.refill(group, now);
    }

    pub(super) fn abandon(&mut self, ticket: Ticket) {
        for set in self.sets.values_mut() {
            set.waiting.retain(|waiting| *waiting != ticket);
        }
        self.newcomers.retain(|waiting| waiting.ticket != ticket);
    }

    /// The socket of a set could not be made: nobody can be served there.
    pub(super) fn set_failed(&mut self, id: SetId, reason: &str, now: Instant) {
        let Some(set) = self.sets.get(&id) else {
            return;
        };
        let (group, name) = (set.group, self.set_name(set));
        let reason = format!("{name}: cannot make its socket: {reason}");
        let round = self.groups[group].backoff.round();
        self.count_failure(group, round, reason.clone(), now);
        for ticket in self.close_set(id, 0, now) {
            self.refuse(ticket, reason.clone(), 1);
        }
        // It may be one that nobody has to ask for.
        self.refill(group, now);
    }

    /// No request finds the workers of a set any more: others take over at another socket. Those
    /// who wait go on waiting. A service has nothing to be found for.
    pub(super) fn set_lost(&mut self, id: SetId, now: Instant) {
        let Some(set) = self.sets.get(&id) else {
            return;
        };
        let (group, name) = (set.group, set.application_group.clone());
        let plan = &self.groups[group].plan;
        if plan.is_service || self.is_over() {
            return;
        }
        let (grace, acquired) = (plan.limits.graceful_timeout, set.acquired);
        let standing = set.standing.clone();
        let waiting = self.close_set(id, grace, now);
        let new = self.insert_set(group, name, standing, now);
        if let Some(set) = self.sets.get_mut(&new) {
            (set.waiting, set.acquired) = (waiting, acquired);
        }
        self.refill(group, now);
    }

    /// A worker of the group failed before it had proven itself: log why, and wait before the next.
    pub(super) fn count_failure(
        &mut self,
        group: GroupIndex,
        round: u64,
        reason: String,
        now: Instant,
    ) {
        let state = &mut self.groups[group];
        state.backoff.fail(round, now);
        if let Some(suffix) = state.failure_lines.pass(now) {
            let retry = match state.backoff.wait(now) {
                Some(until) => format!("; next try in {} s", seconds(until - now)),
                None => "; trying again at once".to_owned(),
            };
            let retry = if matches!(self.stop, Stop::No) { retry } else { String::new() };
            self.log(group, Level::Error, format!("{reason}{retry}{suffix}"));
        }
        self.groups[group].last_failure = reason;
    }

    /// A worker of the group died after it had worked: log why. The next one comes at once, unless
    /// there have been many such deaths lately.
    pub(super) fn count_death(&mut self, group: GroupIndex, reason: String, now: Instant) {
        let state = &mut self.groups[group];
        state.backoff.pace(now);
        if let Some(suffix) = state.failure_lines.pass(now) {
            self.log(group, Level::Error, format!("{reason}; another one takes its place{suffix}"));
        }
        self.groups[group].last_failure = reason;
    }

    /// Starts and assigns what the group lacks, as far as its back-off allows, and answers those
    /// who can be answered now.
    pub(super) fn refill(&mut self, group: GroupIndex, now: Instant) {
        if !matches!(self.stop, Stop::No) || self.groups[group].waits {
            return;
        }
        let has_begun = self.groups[group].has_begun;
        if has_begun && self.groups[group].backoff.wait(now).is_none() {
            for name in self.missing_imports(group) {
                let standing = Standing::new(None, now, now);
                self.insert_set(group, name, standing, now);
            }
        }
        for id in self.sets_of(group) {
            while self.members(id).count() < self.wanted(id) && !self.is_crowded(id) {
                if let Some(worker) = self.unassigned(group) {
                    self.adopt(worker, id, now);
                } else if self.groups[group].backoff.wait(now).is_none() {
                    let worker = self.spawn(group, now);
                    self.adopt(worker, id, now);
                } else {
                    break;
                }
            }
            self.settle(id, now);
            self.publish_scale(id, now);
            self.renew(id, now);
        }
        while has_begun
            && self.spare(group).count() < self.groups[group].reserve
            && self.groups[group].backoff.wait(now).is_none()
        {
            self.spawn(group, now);
        }
    }

    /// When the group's back-off ends, or ended, if workers are missing or wait for others.
    pub(super) fn next_retry(&self, group: GroupIndex) -> Option<Instant> {
        let state = &self.groups[group];
        let until = state.backoff.until().filter(|_| matches!(self.stop, Stop::No))?;
        let full = self.missing_imports(group).is_empty()
            && self.spare(group).count() >= state.reserve
            && self
                .sets_of(group)
                .into_iter()
                .all(|id| self.members(id).count() >= self.wanted(id) || self.is_crowded(id));
        let renews = || self.sets_of(group).into_iter().any(|id| self.next_to_renew(id).is_some());
        (!full || renews()).then_some(until)
    }

    /// Whether so many workers of a set are about to exit that the next one waits for that. Workers
    /// say themselves when they want to be replaced, and need not go when they have.
    pub(super) fn is_crowded(&self, id: SetId) -> bool {
        let Some(set) = self.sets.get(&id) else { return false };
        let plan = &self.groups[set.group].plan;
        let processes = set.scale.wanted as usize;
        let workers = self.workers_of(set.group).filter(|(_, worker)| worker.set == Some(id));
        let leaving = workers.filter(|(_, worker)| worker.is_leaving()).count();
        if plan.stops_first {
            return leaving > 0 && self.members(id).count() + leaving >= processes;
        }
        leaving >= 2 * processes + MAX_LEAVING
    }

    /// A worker is being started.
    pub(super) fn note_start(&mut self, id: WorkerId, now: Instant) {
        if !self.to_begin.is_empty() {
            self.starting.insert(id, now + HEAD_START);
        }
    }

    /// Ends a set: its socket is closed, its workers finish; their requests have `grace` seconds.
    /// Returns who was waiting for it.
    pub(super) fn close_set(&mut self, id: SetId, grace: u32, now: Instant) -> Vec<Ticket> {
        let members: Vec<_> = self.members(id).map(|(worker, _)| worker).collect();
        for worker in members {
            self.send_away(worker, grace, now);
        }
        let Some(set) = self.sets.remove(&id) else {
            return Vec::new();
        };
        self.groups[set.group].sets.remove(&id);
        self.actions.push(Action::CloseSet(id));
        set.waiting
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, reason: String, retry_after: u32) {
        self.actions.push(Action::Refuse(ticket, reason, retry_after));
    }

    /// Makes a set.
    pub(super) fn insert_set(
        &mut self,
        group: GroupIndex,
        application_group: Vec<u8>,
        standing: Standing,
        now: Instant,
    ) -> SetId {
        let id = SetId(self.next_number());
        let plan = &self.groups[group].plan;
        let (scale, least) = (Scale::new(plan, now), plan.processes.least as usize);
        self.groups[group].reserve = self.groups[group].reserve.saturating_sub(least);
        let set = Set {
            group,
            application_group,
            scale,
            standing,
            waiting: Vec::new(),
            scripts: Vec::new(),
            next_loads: Vec::new(),
            last_traceback: String::new(),
            last_failure: String::new(),
            forsaken: false,
            acquired: 0,
        };
        self.sets.insert(id, set);
        self.groups[group].sets.insert(id);
        self.actions.push(Action::OpenSet(id, group));
        id
    }

    /// Application groups with scripts to load that have no set: at the start, or because their
    /// socket could not be made.
    fn missing_imports(&self, group: GroupIndex) -> Vec<Vec<u8>> {
        let has_set = |name: &Vec<u8>| self.find_set(group, name).is_some();
        self.groups[group].plan.imports.iter().filter(|name| !has_set(name)).cloned().collect()
    }

    /// Whether the set's workers have scripts to load before they serve.
    pub(super) fn has_imports(&self, set: &Set) -> bool {
        self.groups[set.group].plan.imports.contains(&set.application_group)
    }

    /// Answers those who wait for a set, if the answer is known.
    fn settle(&mut self, id: SetId, now: Instant) {
        let serves = self.members(id).any(|(_, worker)| worker.phase == Phase::Serving);
        let is_empty = self.members(id).next().is_none() && !self.is_crowded(id);
        let Some(set) = self.sets.get_mut(&id) else {
            return;
        };
        let group = &self.groups[set.group];
        let forsaken = !serves && group.backoff.keeps_failing();
        if std::mem::replace(&mut set.forsaken, forsaken) != forsaken {
            self.actions.push(Action::HangUp(id, forsaken));
        }
        let hopeless = forsaken || is_empty && !group.backoff.is_pacing(now);
        if !serves && !hopeless {
            return;
        }
        let waiting = std::mem::take(&mut set.waiting);
        if serves {
            let processes = group.plan.processes.most;
            self.actions.extend(waiting.into_iter().map(|t| Action::Grant(t, id, processes)));
        } else {
            let wait = group.backoff.wait(now).map_or(1, |until| seconds(until - now));
            let reason = &group.last_failure;
            self.actions
                .extend(waiting.into_iter().map(|t| Action::Refuse(t, reason.clone(), wait)));
        }
    }

    /// Process group and application group of a set.
    pub fn names_of(&self, id: SetId) -> Option<(GroupIndex, &[u8])> {
        self.sets.get(&id).map(|set| (set.group, set.application_group.as_slice()))
    }

    /// The set's name as it stands in log lines.
    pub(super) fn set_name(&self, set: &Set) -> String {
        let application_group = display_application_group(&set.application_group);
        format!("{}, {application_group}", self.groups[set.group].display_name())
    }

    pub(super) fn sets_of(&self, group: GroupIndex) -> Vec<SetId> {
        self.groups[group].sets.iter().copied().collect()
    }

    pub(super) fn find_set(&self, group: GroupIndex, application_group: &[u8]) -> Option<SetId> {
        let has_name = |id: &SetId| {
            self.sets.get(id).is_some_and(|set| set.application_group == application_group)
        };
        self.groups[group].sets.iter().copied().find(has_name)
    }

    /// How many workers a set shall have.
    fn wanted(&self, id: SetId) -> usize {
        self.sets.get(&id).map_or(0, |set| set.scale.wanted as usize)
    }

    /// The workers of a group.
    pub(super) fn workers_of(
        &self,
        group: GroupIndex,
    ) -> impl Iterator<Item = (WorkerId, &Worker)> {
        let workers = self.groups[group].workers.iter();
        workers.filter_map(|id| Some((*id, self.workers.get(id)?)))
    }

    /// The workers of a set, without those about to exit.
    pub(super) fn members(&self, id: SetId) -> impl Iterator<Item = (WorkerId, &Worker)> {
        let workers = self.sets.get(&id).map(|set| self.workers_of(set.group));
        let belongs = move |worker: &Worker| worker.set == Some(id) && !worker.is_leaving();
        workers.into_iter().flatten().filter(move |(_, worker)| belongs(worker))
    }

    /// The workers of a group that belong to no application group, without those about to exit.
    fn spare(&self, group: GroupIndex) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers_of(group).filter(|(_, worker)| worker.set.is_none() && !worker.is_leaving())
    }

    /// The spare worker that will serve soonest.
    pub(super) fn unassigned(&self, group: GroupIndex) -> Option<WorkerId> {
        self.spare(group).min_by_key(|(_, worker)| worker.phase != Phase::Idle).map(|(id, _)| id)
    }
}

/// An application group's name as it stands in log lines.
pub(super) fn display_application_group(name: &[u8]) -> String {
    match name {
        [] => "application group %{GLOBAL}".to_owned(),
        name => format!("application group '{}'", String::from_utf8_lossy(name)),
    }
}

/// Whole seconds, rounded up, at least one.
pub(super) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}
