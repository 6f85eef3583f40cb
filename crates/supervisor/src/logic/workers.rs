//! The life of one worker: started, ready, serving, leaving, gone.

use std::time::{Duration, Instant};

use wire::exchange::Level;
use wire::limits::Cause;

use super::deadlines::{Limit, MARGIN, START_TIMEOUT};
use super::exit_reasons::{ExitReason, StopReason};
use super::keeping::Scripts;
use super::sets::display_application_group;
use super::{Action, Exit, GroupIndex, Logic, SetId, WorkerId};

/// How long a worker may live on after it said that it exits, or stopped talking to us.
pub const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// How much of what a worker says of its Python is kept, in characters.
const LONGEST_PYTHON: usize = 200;

/// A worker process.
#[derive(Debug)]
pub struct Worker {
    pub(super) group: GroupIndex,
    pub(super) set: Option<SetId>,
    /// Name of the application group, which log lines need even after the set is gone.
    application_group: Option<Vec<u8>>,
    pub(super) phase: Phase,
    pid: Option<u32>,
    /// Its `sys.version`, once it is known.
    pub(super) python: String,
    started: Instant,
    pub(super) serving_since: Option<Instant>,
    /// Whether it has served for [`super::deadlines::PROVEN_AFTER`].
    pub(super) settled: bool,
    /// Whether it has run a request to its end.
    proven: bool,
    /// The [`super::backoff::Backoff::round`] of its start.
    round: u64,
    pub(super) limit: Option<(Instant, Limit)>,
    /// Why it wants to be replaced, or ends.
    pub(super) cause: Option<Cause>,
    /// It wants to be replaced, by a worker that loads these scripts before it serves.
    pub(super) successor_loads: Option<Vec<Vec<u8>>>,
    /// It has been told to ask for its replacement, or will be as soon as it serves.
    pub(super) reload_ordered: bool,
    /// Why the one that is to take its place could not load a script.
    pub(super) successor_failed: Option<String>,
    /// Why it ends before its time, if it does.
    pub(super) stop_reason: Option<StopReason>,
    /// The worker whose place this one takes as soon as it serves.
    pub(super) replaces: Option<WorkerId>,
    /// What it loads before it serves.
    pub(super) preload: Vec<Vec<u8>>,
    /// What it has loaded, where that matters.
    pub(super) scripts: Scripts,
}

/// How far a worker has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Python is being started.
    Starting,
    /// Waits to be given an application group.
    Idle,
    /// Has been given one, and has not confirmed it yet.
    Assigned,
    /// Accepts requests.
    Serving,
    /// Is no part of its group any more; only its exit is awaited.
    Leaving(Why),
}

impl Phase {
    fn is_leaving(self) -> bool {
        matches!(self, Self::Leaving(_))
    }
}

/// Why a worker leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// We asked it to.
    Asked,
    /// It said that it has finished, without being asked.
    Finished,
    /// It failed, and the log says how.
    Condemned,
}

impl Worker {
    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Name of its application group, if it has been given one.
    pub fn application_group(&self) -> Option<&[u8]> {
        self.application_group.as_deref()
    }

    /// Its process id, once it has one.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Whether Python is being started in it.
    pub fn is_starting(&self) -> bool {
        self.phase == Phase::Starting
    }

    /// Whether only its exit is awaited.
    pub fn is_leaving(&self) -> bool {
        self.phase.is_leaving()
    }

    /// Whether it serves, and neither takes another one's place nor gives up its own.
    pub fn is_at_peace(&self) -> bool {
        self.phase == Phase::Serving && self.cause.is_none() && self.replaces.is_none()
    }

    /// Whether it ever accepted requests.
    pub fn has_served(&self) -> bool {
        self.serving_since.is_some()
    }
}

impl Logic {
    pub(super) fn spawn(&mut self, group: GroupIndex, now: Instant) -> WorkerId {
        let id = WorkerId(self.next_number());
        let worker = Worker {
            group,
            set: None,
            application_group: None,
            phase: Phase::Starting,
            pid: None,
            python: String::new(),
            started: now,
            serving_since: None,
            settled: false,
            proven: false,
            round: self.groups[group].backoff.round(),
            limit: Some((now + START_TIMEOUT, Limit::Start)),
            cause: None,
            successor_loads: None,
            reload_ordered: false,
            successor_failed: None,
            stop_reason: None,
            replaces: None,
            preload: Vec::new(),
            scripts: Scripts::default(),
        };
        self.workers.insert(id, worker);
        self.groups[group].workers.insert(id);
        self.note_start(id, now);
        self.actions.push(Action::Spawn(id, group));
        id
    }

    fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        let mut worker = self.workers.remove(&id)?;
        self.groups[worker.group].workers.remove(&id);
        self.reload_ends_for(id, worker.successor_failed.take());
        Some(worker)
    }

    /// Makes a worker that belongs to nobody part of a set.
    pub(super) fn adopt(&mut self, id: WorkerId, set_id: SetId, now: Instant) {
        let others_serve = self.count_serving(set_id) > 0;
        let has_imports = self.sets.get(&set_id).is_some_and(|set| self.has_imports(set));
        let (Some(worker), Some(set)) = (self.workers.get_mut(&id), self.sets.get_mut(&set_id))
        else {
            return;
        };
        worker.set = Some(set_id);
        worker.application_group = Some(set.application_group.clone());
        if worker.phase == Phase::Idle {
            worker.phase = Phase::Assigned;
            let name = set.application_group.clone();
            let mut preload = std::mem::take(&mut worker.preload);
            preload.append(&mut set.next_loads);
            let keeps = self.groups[worker.group].plan.keeps;
            let known = if keeps || others_serve { &set.scripts[..] } else { &[] };
            let others = known.iter().filter(|script| !preload.contains(script));
            preload.extend(others.cloned().collect::<Vec<_>>());
            worker.scripts.tell(&preload);
            let startup = self.groups[worker.group].plan.limits.startup_timeout;
            let patience = match Duration::from_secs(startup.into()) {
                // Nobody knows how long scripts take that are loaded in advance, and
                // `startup-timeout=` is not for them: applications that need longer come up with
                // mod_wsgi, too.
                _ if has_imports => None,
                Duration::ZERO => Some(START_TIMEOUT),
                startup if !preload.is_empty() => Some(startup),
                _ => Some(START_TIMEOUT),
            };
            worker.limit = patience.map(|patience| (now + patience, Limit::Serve(patience)));
            self.actions.push(Action::Assign(id, set_id, name, preload));
        }
    }

    /// Makes a worker finish and exit; its requests have `grace` seconds before its
    /// `shutdown-timeout=` begins. One that is not ready yet has nothing to finish.
    pub(super) fn send_away(&mut self, id: WorkerId, grace: u32, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let patience = Duration::from_secs(grace.into())
            + self.groups[worker.group].plan.shutdown_timeout()
            + MARGIN;
        if worker.is_leaving() {
            return worker.hurry(now, patience);
        }
        self.actions.push(Action::Drain(id, grace));
        if worker.phase == Phase::Starting {
            self.actions.push(Action::Terminate(id));
        }
        worker.phase = Phase::Leaving(Why::Asked);
        worker.stop_reason.get_or_insert_with(|| StopReason::of("it was asked to finish"));
        worker.limit(now + patience, Limit::Exit(patience));
    }

    pub(super) fn started(&mut self, id: WorkerId, pid: u32) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.pid = Some(pid);
        self.exit_reasons.begin(pid);
        let group = worker.group;
        self.say(id, group, format!("{}: started", self.name(id)));
    }

    pub(super) fn not_started(&mut self, id: WorkerId, reason: String, now: Instant) {
        let Some(worker) = self.remove(id) else {
            return;
        };
        if !worker.is_leaving() && !self.renewal_failed(worker.replaces, &reason, Level::Error) {
            let reason = format!("{}: {reason}", self.groups[worker.group].display_name());
            self.count_failure(worker.group, worker.round, reason, now);
        }
        self.refill(worker.group, now);
    }

    pub(super) fn ready(&mut self, id: WorkerId, python: &str, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        match worker.phase {
            Phase::Starting => {}
            Phase::Leaving(_) => return,
            _ => return self.broken(id, "it said twice that it is ready", now),
        }
        worker.phase = Phase::Idle;
        worker.limit = None;
        worker.python = python.chars().take(LONGEST_PYTHON).collect();
        let (group, set, took) = (worker.group, worker.set, now - worker.started);
        let line =
            format!("{}: ready after {:.2} s, Python {python}", self.name(id), took.as_secs_f64());
        self.say(id, group, line);
        if let Some(set) = set {
            self.adopt(id, set, now);
        }
        self.refill(group, now);
    }

    pub(super) fn serving(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        match worker.phase {
            Phase::Assigned => {}
            Phase::Leaving(_) => return,
            _ => {
                return self.broken(id, "it serves, but no application group was given to it", now);
            }
        }
        worker.phase = Phase::Serving;
        worker.limit = None;
        worker.serving_since = Some(now);
        let (group, set, reloads) = (worker.group, worker.set, worker.reload_ordered);
        self.say(id, group, format!("{}: serving", self.name(id)));
        if reloads {
            self.order_reload(id, now);
        }
        self.succeed(id, now);
        if let Some(set) = set {
            self.share_scripts(set);
        }
        self.refill(group, now);
    }

    /// A request has ended: whatever keeps killing workers, it is not that they cannot work. Told for
    /// the first time, and then once in a while.
    pub(super) fn proven(&mut self, id: WorkerId, now: Instant) {
        let set = self.workers.get(&id).and_then(|worker| worker.set);
        if let Some(set) = set.and_then(|set| self.sets.get_mut(&set)) {
            set.standing.note_use(now);
        }
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.proven) else {
            return;
        };
        worker.proven = true;
        let group = worker.group;
        self.groups[group].backoff.reset();
        self.refill(group, now);
    }

    pub(super) fn failed(&mut self, id: WorkerId, reason: &str, now: Instant) {
        self.condemn(id, &format!("cannot start: {reason}"), now);
        if let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.limit.is_none()) {
            worker.limit(now + LAST_MOMENTS, Limit::Exit(LAST_MOMENTS));
        }
    }

    /// A worker has finished its requests. Unless we asked for it, its successor can start.
    pub(super) fn drained(&mut self, id: WorkerId, now: Instant) {
        let dismissed = self.forget_asked(id);
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let patience = self.groups[worker.group].plan.shutdown_timeout() + MARGIN;
        if worker.is_leaving() {
            return worker.hurry(now, patience);
        }
        if worker.phase != Phase::Serving {
            return self.condemn_and_kill(id, "finished before it had served", now);
        }
        worker.phase = Phase::Leaving(Why::Finished);
        let (group, round, proven) = (worker.group, worker.round, worker.proven);
        worker.limit(now + patience, Limit::Exit(patience));
        if dismissed && self.shrink(id) {
            self.say_dismissed(id);
            return self.refill(group, now);
        }
        let mut line = format!("{}: has finished by itself", self.name(id));
        if self.groups[group].plan.is_service && !proven {
            // A script that returns at once would otherwise be a loop of processes.
            self.groups[group].backoff.fail(round, now);
            if let Some(until) = self.groups[group].backoff.wait(now) {
                line += &format!("; it is run again in {} s", (until - now).as_secs().max(1));
            }
        } else {
            self.groups[group].backoff.pace(now);
        }
        self.log(group, Level::Info, line);
        self.refill(group, now);
    }

    pub(super) fn broken(&mut self, id: WorkerId, reason: &str, now: Instant) {
        let reason = format!("does not keep to the protocol and is killed: {reason}");
        self.condemn_and_kill(id, &reason, now);
    }

    pub(super) fn silent(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if !worker.is_leaving() {
            worker.limit(now + LAST_MOMENTS, Limit::Silence);
        }
    }

    pub(super) fn exited(&mut self, id: WorkerId, exit: Exit, last_words: &str, now: Instant) {
        let name = self.name(id);
        let Some(worker) = self.remove(id) else {
            return;
        };
        let group = worker.group;
        let age = lifetime(now - worker.started);
        self.remember(worker.pid, ExitReason::of(exit, worker.stop_reason));
        match (worker.phase, exit) {
            (Phase::Leaving(Why::Condemned), _) => {
                self.log(group, Level::Debug, format!("{name}: gone with {exit}"));
            }
            (Phase::Leaving(_), Exit::Status(0)) => {
                self.log(group, Level::Info, format!("{name}: finished and exited after {age}"));
            }
            // A worker that was not ready when it was sent away got SIGTERM from us.
            (Phase::Leaving(Why::Asked), Exit::Signal(libc::SIGTERM)) => {
                self.log(group, Level::Info, format!("{name}: stopped after {age}"));
            }
            (Phase::Leaving(_), exit) => {
                self.log(group, Level::Error, format!("{name}: died while it finished: {exit}"));
            }
            (_, exit) if worker.proven || worker.settled => {
                self.count_death(group, format!("{name}: died after {age}: {exit}"), now);
            }
            (phase, exit) => {
                let reason = match phase {
                    Phase::Starting => {
                        let said = match last_words.trim() {
                            "" => String::new(),
                            words => format!("; its last words: {words}"),
                        };
                        format!("{name}: died before it was ready: {exit}{said}")
                    }
                    _ => format!("{name}: died after {age}: {exit}"),
                };
                if !self.renewal_failed(worker.replaces, &reason, Level::Error) {
                    self.count_failure(group, worker.round, reason, now);
                }
            }
        }
        self.refill(group, now);
    }

    pub(super) fn condemn_and_kill(&mut self, id: WorkerId, reason: &str, now: Instant) {
        if self.workers.contains_key(&id) {
            self.actions.push(Action::Kill(id));
        }
        self.condemn(id, reason, now);
    }

    /// Counts a worker as failed. It is no part of its group any more.
    fn condemn(&mut self, id: WorkerId, why: &str, now: Instant) {
        let level = self.level_of(id, why);
        let reason = format!("{}: {why}", self.name(id));
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let (group, round, counts) = (worker.group, worker.round, !worker.is_leaving());
        worker.phase = Phase::Leaving(Why::Condemned);
        worker.limit = None;
        worker.stop_reason.get_or_insert_with(|| StopReason::of(why));
        let replaces = worker.replaces.take();
        if self.renewal_failed(replaces, &reason, level) {
            // Said, and not held against the group: it works as it did.
        } else if counts {
            self.count_failure(group, round, reason, now);
        } else {
            self.log(group, Level::Error, reason);
        }
        self.refill(group, now);
    }

    /// Logs a step in the life of a worker, unless it is one of a series that always fails.
    fn say(&mut self, id: WorkerId, group: GroupIndex, text: String) {
        let worker = self.workers.get(&id);
        let repeats = worker.is_some_and(|worker| !worker.has_served())
            && self.groups[group].backoff.failures() > 1;
        self.log(group, if repeats { Level::Debug } else { Level::Info }, text);
    }

    /// A worker as it stands in log lines.
    pub(super) fn name(&self, id: WorkerId) -> String {
        let Some(worker) = self.workers.get(&id) else {
            return String::new();
        };
        let group = self.groups[worker.group].display_name();
        let pid = worker.pid.map_or_else(|| "not started yet".to_owned(), |pid| pid.to_string());
        match worker.application_group.as_deref() {
            Some(name) => format!("worker {pid} of {group}, {}", display_application_group(name)),
            None => format!("worker {pid} of {group}"),
        }
    }
}

fn lifetime(age: Duration) -> String {
    match age.as_secs() {
        0..100 => format!("{:.1} s", age.as_secs_f64()),
        seconds @ 100..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
