//! Application groups whose names clients may have made up: only a few of them have workers before
//! they have shown that they are used, and those that are used do not give way to them.
//!
//! A name that is tried once is of no use to anybody later. As in a cache that a scan must not empty
//! (2Q, Johnson and Shasha 1994), newcomers push out each other, and whatever comes back stays.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use wire::exchange::Level;

use super::stop::Stop;
use super::workers::{Phase, Why, Worker};
use super::{GroupIndex, Logic, SetId, Ticket};

/// Application groups that a process group may have at a time. Each costs processes.
pub const MAX_SETS: usize = 64;

/// How many application groups that run the same script may have workers before they are established:
/// one that clients make names up for has one script, and so have the many instances of an application.
pub const NEWCOMERS: usize = 3;

/// An application group that is asked for again after this time is established: a robot that tries
/// names goes on to the next.
const TRIAL: Duration = Duration::from_secs(10);

/// How long an established application group has to have been without requests before it may give way.
/// Where there are more in use than can be, some wait, rather than all for processes that start.
const REST: Duration = Duration::from_secs(30);

/// How many names are remembered that had to give way.
const REMEMBERED: usize = 1024;

/// How often to look whether there is room for those who wait for it.
const INTERVAL: Duration = Duration::from_secs(1);

/// How well an application group is known.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The script for which it was opened, where clients may have made up the name.
    script: Option<Vec<u8>>,
    /// When it was first heard of.
    since: Instant,
    /// When its last request ended, as far as workers tell.
    used: Instant,
    is_established: bool,
    /// How many requests it had when they were counted last.
    pub(super) load: u64,
}

/// Names that had to give way, as hashes: clients choose how long names are.
#[derive(Debug, Default)]
pub struct Remembered {
    hasher: RandomState,
    names: VecDeque<(u64, Instant)>,
}

/// Somebody who waits until there may be one more application group.
#[derive(Debug)]
pub struct Waiting {
    pub(super) ticket: Ticket,
    group: GroupIndex,
    application_group: Vec<u8>,
    script: Option<Vec<u8>>,
}

/// Why there is no further application group.
enum NotNow {
    /// There may be soon.
    Wait,
    /// Its workers could not be started: why, and seconds until it is worth another try.
    Refused(String, u32),
}

impl Standing {
    /// That of a name first heard of at `since`, for which workers are started `now`. One that no client
    /// can have made up is established at once.
    pub(super) fn new(script: Option<Vec<u8>>, since: Instant, now: Instant) -> Self {
        let is_established = script.is_none() || now >= since + TRIAL;
        Self { script, since, used: now, is_established, load: 0 }
    }

    /// A request has ended.
    pub(super) fn note_use(&mut self, now: Instant) {
        self.used = now;
        self.is_established |= now >= self.since + TRIAL;
    }

    /// It has so many requests.
    pub(super) fn note_load(&mut self, requests: u64, now: Instant) {
        self.load = requests;
        if requests > 0 {
            self.note_use(now);
        }
    }

    /// Whether it may give way to another one.
    fn may_rest(&self, now: Instant) -> bool {
        self.load == 0 && (!self.is_established || now >= self.used + REST)
    }
}

impl Remembered {
    /// A name has to give way that was first heard of at `since`.
    fn note(&mut self, name: &[u8], since: Instant) {
        let hash = self.hasher.hash_one(name);
        self.names.retain(|(known, _)| *known != hash);
        self.names.push_back((hash, since));
        if self.names.len() > REMEMBERED {
            self.names.pop_front();
        }
    }

    /// When a name was first heard of, if it is remembered.
    fn since(&self, name: &[u8]) -> Option<Instant> {
        let hash = self.hasher.hash_one(name);
        self.names.iter().find(|(known, _)| *known == hash).map(|(_, since)| *since)
    }
}

impl Logic {
    /// An httpd child asks for an application group that has no set: opens one, or lets it wait.
    pub(super) fn welcome(
        &mut self,
        ticket: Ticket,
        group: GroupIndex,
        (application_group, script): (Vec<u8>, Option<Vec<u8>>),
        now: Instant,
    ) {
        let waiting = self.newcomers.iter().filter(|waiting| waiting.group == group).count();
        if waiting >= self.groups[group].plan.patience {
            let reason = format!("{waiting} requests wait for further application groups already");
            return self.refuse(ticket, reason, 1);
        }
        self.newcomers.push_back(Waiting { ticket, group, application_group, script });
        self.admit_newcomers(now);
    }

    /// Opens sets for those who wait for them, as far as there is room.
    pub(super) fn admit_newcomers(&mut self, now: Instant) {
        if self.newcomers.is_empty() {
            // The last one may have gone away.
            self.newcomers_look = None;
            return;
        }
        let is_over = !matches!(self.stop, Stop::No);
        for waiting in std::mem::take(&mut self.newcomers) {
            let Waiting { ticket, group, application_group, script } = &waiting;
            let (ticket, group) = (*ticket, *group);
            if is_over {
                self.refuse(ticket, "the supervisor is shutting down".to_owned(), 1);
                continue;
            }
            let found = self.find_set(group, application_group);
            match found
                .map_or_else(|| self.admit(group, application_group, script.as_deref(), now), Ok)
            {
                Ok(set) => self.join(ticket, set, now),
                Err(NotNow::Wait) => self.newcomers.push_back(waiting),
                Err(NotNow::Refused(reason, seconds)) => self.refuse(ticket, reason, seconds),
            }
        }
        let groups: std::collections::BTreeSet<_> =
            self.newcomers.iter().map(|waiting| waiting.group).collect();
        for group in groups {
            self.publish_scales(group, now);
        }
        self.newcomers_look = (!self.newcomers.is_empty()).then(|| now + INTERVAL);
    }

    /// Whether somebody waits for one more application group of a process group.
    pub(super) fn is_waited_for(&self, group: GroupIndex) -> bool {
        self.newcomers.iter().any(|waiting| waiting.group == group)
    }

    /// The sets whose load has to be known to decide about somebody who asks for this application group.
    pub fn rivals(&self, process_group: &[u8], application_group: &[u8]) -> Vec<SetId> {
        match self.by_name.get(process_group) {
            Some(group) if self.find_set(*group, application_group).is_none() => {
                self.sets_of(*group)
            }
            _ => Vec::new(),
        }
    }

    /// Makes a set, in place of another one if need be.
    fn admit(
        &mut self,
        group: GroupIndex,
        application_group: &[u8],
        script: Option<&[u8]>,
        now: Instant,
    ) -> Result<SetId, NotNow> {
        let state = &self.groups[group];
        let wait = state.backoff.wait(now).filter(|_| !state.backoff.is_pacing(now));
        if let (Some(until), None) = (wait, self.unassigned(group)) {
            let reason = state.last_failure.clone();
            return Err(NotNow::Refused(reason, super::sets::seconds(until - now)));
        }
        let since = state.remembered.since(application_group).unwrap_or(now);
        let standing = Standing::new(script.map(<[u8]>::to_vec), since, now);
        let is_rival = |id: &SetId| {
            self.sets.get(id).is_some_and(|set| {
                !set.standing.is_established
                    && set.standing.script.as_deref() == script
                    && !self.has_imports(set)
            })
        };
        let sets = self.sets_of(group);
        let rivals: Vec<_> = sets.iter().copied().filter(is_rival).collect();
        if !standing.is_established && rivals.len() >= NEWCOMERS {
            let why = format!(
                "{NEWCOMERS} others of the same script are as new: if clients make the names up, write \
                 WSGIApplicationGroup with a fixed one"
            );
            self.make_room(group, &rivals, &why, now)?;
        } else if sets.len() >= MAX_SETS {
            self.make_room(group, &sets, &format!("there are {MAX_SETS} already"), now)?;
        }
        Ok(self.insert_set(group, application_group.to_vec(), standing, now))
    }

    /// Ends the set that has been without requests for longest: a newcomer, if there is one. One at a
    /// time: while workers of the last one that had to give way still finish, no further set gives way,
    /// or a flood of names would be a flood of processes.
    fn make_room(
        &mut self,
        group: GroupIndex,
        among: &[SetId],
        why: &str,
        now: Instant,
    ) -> Result<(), NotNow> {
        // Those that are replaced within a set that stays are no sign of a flood.
        let gives_way = |worker: &Worker| {
            worker.phase == Phase::Leaving(Why::Asked)
                && worker.set.is_none_or(|set| !self.sets.contains_key(&set))
        };
        if self.workers_of(group).any(|(_, worker)| gives_way(worker)) {
            return Err(NotNow::Wait);
        }
        let among = among.iter().filter_map(|id| Some((*id, self.sets.get(id)?)));
        // Those that were started beforehand have been asked for by name in the configuration.
        let may_give_way = among.filter(|(_, set)| {
            set.waiting.is_empty() && set.standing.may_rest(now) && !self.has_imports(set)
        });
        let oldest = may_give_way
            .min_by_key(|(_, set)| (set.standing.is_established, set.standing.used, set.acquired));
        let Some((id, set)) = oldest else {
            return Err(NotNow::Wait);
        };
        let (name, application_group) = (self.set_name(set), set.application_group.clone());
        let since = set.standing.since;
        let state = &mut self.groups[group];
        state.remembered.note(&application_group, since);
        if let Some(suffix) = state.eviction_lines.pass(now) {
            let line = format!("{name} gives way: {why}{suffix}");
            self.log(group, Level::Warning, line);
        }
        self.close_set(id, self.groups[group].plan.limits.graceful_timeout, now);
        Ok(())
    }
}
