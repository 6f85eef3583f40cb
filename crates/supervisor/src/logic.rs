//! What the supervisor decides, without any I/O: an event and the time go in, actions come out.
//!
//! | module | decides |
//! |---|---|
//! | `workers` | the life of one worker |
//! | `deadlines` | how long it may take for each part of that life |
//! | `sets` | which application groups there are, and how many workers each wants |
//! | `scaling` | how many workers a set has as its load changes |
//! | `renewal` | how a worker that wants to be replaced gives way to a new one |
//! | `keeping` | how a set goes on serving the code that it has served (`reload=keep`) |
//! | `reloads` | what to answer whoever ordered a reload |
//! | `newcomers` | which application groups may have workers, as clients may make names up |
//! | `backoff` | when to try again what has failed |
//! | `exit_reasons` | what to answer who asks how a worker ended |
//! | `roster` | what `wsgictl` is told of groups and workers |
//! | `stop` | the end of a generation |

mod backoff;
mod deadlines;
mod exit_reasons;
mod keeping;
mod newcomers;
mod reloads;
mod renewal;
mod roster;
mod scaling;
mod sets;
mod stop;
#[cfg(test)]
mod tests;
mod workers;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use wire::exchange::Level;
use wire::limits::{Cause, Limits};

pub use self::backoff::Throttle;
use self::exit_reasons::ExitReasons;
pub use self::exit_reasons::{ExitReason, Known};
use self::newcomers::Waiting;
use self::reloads::Pending;
pub use self::reloads::Reloaded;
pub use self::scaling::Processes;
use self::sets::{Group, Set};
use self::stop::Stop;
use self::workers::Worker;

/// A worker process, from the decision to start it until it has been waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkerId(pub u64);

/// The workers of an application group. The number also names their socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetId(pub u64);

/// A connection of an httpd child that asked for an application group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Index into the process groups of the configuration.
pub type GroupIndex = usize;

/// What the decisions need to know about a process group.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name, empty for the default one.
    pub name: Vec<u8>,
    /// How many workers serve each application group.
    pub processes: Processes,
    /// How many requests each of them runs at a time.
    pub threads: u32,
    /// `idle-timeout=`, in seconds; 0: workers beyond the least stay.
    pub idle_timeout: u32,
    /// How many httpd children may wait for the workers of an application group at the same time.
    pub patience: usize,
    /// Whether workers are started before the first request.
    pub prestart: bool,
    /// Application groups with scripts to load: their workers are started beforehand, too.
    pub imports: Vec<Vec<u8>>,
    /// Whether its workers run their scripts and take no requests (`threads=0`).
    pub is_service: bool,
    /// `reload=keep`: a worker is to load the scripts of the one that it replaces before it serves,
    /// and does not serve if it cannot.
    pub keeps: bool,
    /// `reload=stop-first`: a worker starts only when the one whose place it takes has gone.
    pub stops_first: bool,
    /// How long its workers may take to finish and to exit, among others.
    pub limits: Limits,
}

/// What `shutdown-timeout=0` stands for: no limit that anybody would meet, but still one, so that
/// every generation ends.
const UNLIMITED: Duration = Duration::from_secs(24 * 3600);

impl Plan {
    /// How long workers beyond the least have to be too many before they go, if ever.
    pub fn idle_timeout(&self) -> Option<Duration> {
        (self.idle_timeout > 0).then(|| Duration::from_secs(self.idle_timeout.into()))
    }

    /// How long a worker may take to exit once its requests have had their time.
    pub fn shutdown_timeout(&self) -> Duration {
        match self.limits.shutdown_timeout {
            0 => UNLIMITED,
            seconds => Duration::from_secs(seconds.into()),
        }
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// httpd has been told that we are ready.
    Start,
    /// Supervisors of earlier generations have gone, and with them all of their workers.
    Alone,
    /// An httpd child asks for the workers of an application group.
    Acquire {
        /// Whom to answer.
        ticket: Ticket,
        /// Name of the process group.
        process_group: Vec<u8>,
        /// Name of the application group.
        application_group: Vec<u8>,
        /// Path of the script that is to run there, where clients may have made up the name.
        script: Option<Vec<u8>>,
    },
    /// An httpd child asks how the worker with this process id ended.
    Inquire(Ticket, u32),
    /// The httpd child does not wait for the answer any more.
    Abandoned(Ticket),
    /// The socket of a set could not be made.
    SetFailed(SetId, String),
    /// The name of a set's socket is gone.
    SetLost(SetId),
    /// The worker's process exists.
    Started(WorkerId, u32),
    /// The worker's process could not be made; there will be no [`Event::Exited`].
    NotStarted(WorkerId, String),
    /// The worker runs Python, in the version given here.
    Ready(WorkerId, String),
    /// The worker accepts requests.
    Serving(WorkerId),
    /// The worker has run a request to its end.
    Proven(WorkerId),
    /// The worker wants to be replaced: why, the same in words, and what the next one shall load.
    Retire(WorkerId, Cause, String, Vec<Vec<u8>>),
    /// The worker has loaded this script for the first time.
    Loaded(WorkerId, Vec<u8>),
    /// The worker cannot load this script, for this reason (`reload=keep`). [`Action::Drain`] or
    /// [`Action::Alone`] has to follow.
    Unfit(WorkerId, Vec<u8>, String),
    /// The worker says that it cannot start, and is about to exit.
    Failed(WorkerId, String),
    /// The worker has finished its requests and is about to exit.
    Drained(WorkerId),
    /// The worker has requests, and does not go ([`Action::Dismiss`]).
    Busy(WorkerId),
    /// A connection has waited for a moment at the socket of a set with room for more workers. So many
    /// requests are with the set's workers or wait for them, if that is known.
    Crowded(SetId, Option<u64>),
    /// So many requests are with the workers of a set, or wait for them ([`Action::Weigh`]).
    Load(SetId, u64),
    /// The worker sent something that it may not send.
    Broken(WorkerId, String),
    /// The worker closed its end of the conversation, which usually means that it is exiting.
    Silent(WorkerId),
    /// The worker is gone; the text is the end of what it wrote to its standard error.
    Exited(WorkerId, Exit, String),
    /// The workers of this group, or of all, have to be replaced one after the other.
    Reload(Option<GroupIndex>),
    /// The end of the reload that has just been ordered for this group, or for all, is awaited.
    AwaitReload(Ticket, Option<GroupIndex>),
    /// The worker could not load a script before it serves, for this reason.
    Unloaded(WorkerId, String),
    /// Everything has to end, for the reason given here.
    Drain(&'static str),
    /// Time passed.
    Tick,
}

/// What has to be done about it, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a worker of the group. [`Event::Started`] or [`Event::NotStarted`] has to follow.
    Spawn(WorkerId, GroupIndex),
    /// Make the socket and the secret of a set of the group.
    OpenSet(SetId, GroupIndex),
    /// Close and remove the socket of a set.
    CloseSet(SetId),
    /// Close the connections that wait at the socket of a set, and those that come, as nobody will
    /// serve them soon; or leave them to the workers again.
    HangUp(SetId, bool),
    /// Tell the worker to serve the set, which is the application group of that name, and to load
    /// these scripts first.
    Assign(WorkerId, SetId, Vec<u8>, Vec<Vec<u8>>),
    /// Tell the worker that nobody takes its place.
    Keep(WorkerId),
    /// Tell the worker, which serves, to load these scripts.
    Load(WorkerId, Vec<Vec<u8>>),
    /// Tell the worker that nobody else can run what it cannot load.
    Alone(WorkerId),
    /// Tell the worker to ask for its replacement. [`Event::Retire`] has to follow.
    Retire(WorkerId),
    /// Ask the worker to finish, unless it has requests. [`Event::Drained`] or [`Event::Busy`] has to
    /// follow.
    Dismiss(WorkerId),
    /// Tell now and then how many requests there are for a set ([`Event::Load`]), or no longer.
    Weigh(SetId, bool),
    /// Requests for the application group of that name can count on further workers, or no longer.
    Grows(GroupIndex, Vec<u8>, bool),
    /// Ask the worker to finish. Its requests have so many seconds before its `shutdown-timeout=`
    /// begins.
    Drain(WorkerId, u32),
    /// Send SIGTERM to the worker.
    Terminate(WorkerId),
    /// Send SIGKILL to the worker.
    Kill(WorkerId),
    /// Answer that the set serves, with this many workers when all are up.
    Grant(Ticket, SetId, u32),
    /// Answer that nobody serves: why, and seconds until it is worth another try.
    Refuse(Ticket, String, u32),
    /// Answer how a worker ended.
    Tell(Ticket, Known),
    /// Answer what came of a reload.
    Reloaded(Ticket, Reloaded),
    /// Write a line to the log of the group, or to the main one.
    Log(Option<GroupIndex>, Level, String),
    /// Clean up and exit: all workers are gone, or given up.
    Finish,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// This signal ended it.
    Signal(i32),
    /// This signal ended it, and the system wrote its memory to a file or a program.
    CoreDump(i32),
    /// SIGKILL ended it, and the kernel's out-of-memory killer has been at work.
    OutOfMemory(Shortage),
}

/// Where the kernel has counted a process that it killed for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// In the control group that the supervisor is in (`memory.events`).
    ControlGroup,
    /// Somewhere on this machine (`/proc/vmstat`).
    Machine,
}

/// The groups that something concerns.
#[derive(Debug, Clone, Copy)]
enum Concerns {
    Nothing,
    One(GroupIndex),
    All,
}

/// All decisions of one generation.
#[derive(Debug)]
pub struct Logic {
    groups: Vec<Group>,
    by_name: HashMap<Vec<u8>, GroupIndex>,
    /// Groups whose workers are to be started beforehand, when those of others are ready.
    to_begin: VecDeque<GroupIndex>,
    /// The workers that others wait for, and when they do no longer.
    starting: BTreeMap<WorkerId, Instant>,
    /// How many workers start at the same time, as long as no request needs more.
    starts_at_once: usize,
    pending_reloads: Vec<Pending>,
    /// Those who wait until there may be one more application group, and when to look again.
    newcomers: VecDeque<Waiting>,
    newcomers_look: Option<Instant>,
    sets: BTreeMap<SetId, Set>,
    workers: BTreeMap<WorkerId, Worker>,
    /// When something is due in each group in which something is.
    due: BTreeSet<(Instant, GroupIndex)>,
    exit_reasons: ExitReasons,
    stop: Stop,
    actions: Vec<Action>,
    /// The last number that was given to a worker, a set or an acquisition.
    counter: u64,
}

impl Logic {
    /// Knows the groups, and has done nothing yet. So many workers for which no request waits start
    /// at the same time.
    pub fn new(plans: Vec<Plan>, starts_at_once: usize) -> Self {
        let names = plans.iter().enumerate().rev();
        Self {
            by_name: names.map(|(index, plan)| (plan.name.clone(), index)).collect(),
            to_begin: VecDeque::new(),
            starting: BTreeMap::new(),
            starts_at_once,
            pending_reloads: Vec::new(),
            groups: plans.into_iter().map(Group::new).collect(),
            newcomers: VecDeque::new(),
            newcomers_look: None,
            sets: BTreeMap::new(),
            workers: BTreeMap::new(),
            due: BTreeSet::new(),
            exit_reasons: ExitReasons::default(),
            stop: Stop::No,
            actions: Vec::new(),
            counter: 0,
        }
    }

    /// Decides what to do about `event`. Events about workers that are gone are ignored.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let concerns = self.concerns(&event);
        match event {
            Event::Start => self.start(now),
            Event::Acquire { ticket, process_group, application_group, script } => {
                self.acquire(ticket, &process_group, (application_group, script), now);
            }
            Event::Inquire(ticket, pid) => self.inquire(ticket, pid, now),
            Event::Abandoned(ticket) => {
                self.abandon(ticket);
                self.forget_inquiry(ticket);
            }
            Event::SetFailed(set, reason) => self.set_failed(set, &reason, now),
            Event::SetLost(set) => self.set_lost(set, now),
            Event::Started(id, pid) => self.started(id, pid),
            Event::NotStarted(id, reason) => self.not_started(id, reason, now),
            Event::Ready(id, python) => self.ready(id, &python, now),
            Event::Serving(id) => self.serving(id, now),
            Event::Proven(id) => self.proven(id, now),
            Event::Retire(id, cause, reason, scripts) => {
                self.retire(id, cause, &reason, scripts, now);
            }
            Event::Loaded(id, script) => self.loaded(id, script, now),
            Event::Unfit(id, script, reason) => self.unfit(id, &script, &reason, now),
            Event::Failed(id, reason) => self.failed(id, &reason, now),
            Event::Drained(id) => self.drained(id, now),
            Event::Busy(id) => self.busy(id, now),
            Event::Crowded(set, requests) => self.crowded(set, requests, now),
            Event::Load(set, requests) => self.weigh(set, requests, now),
            Event::Broken(id, reason) => self.broken(id, &reason, now),
            Event::Silent(id) => self.silent(id, now),
            Event::Exited(id, exit, last_words) => self.exited(id, exit, &last_words, now),
            Event::Alone => self.alone(now),
            Event::Reload(group) => self.reload(group, now),
            Event::AwaitReload(ticket, group) => self.await_reload(ticket, group),
            Event::Unloaded(id, reason) => self.unloaded(id, reason),
            Event::Drain(cause) => self.drain(cause, now),
            Event::Tick => self.tick(now),
        }
        self.begin_more(now);
        self.admit_newcomers(now);
        match concerns {
            Concerns::Nothing => {}
            Concerns::One(group) => self.note_due(group),
            Concerns::All => (0..self.groups.len()).for_each(|group| self.note_due(group)),
        }
        self.finish_when_empty();
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is wanted, if nothing else happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let in_groups = self.due.first().map(|(deadline, _)| *deadline);
        let begins = self.starting.values().min().filter(|_| !self.to_begin.is_empty());
        let others = [
            self.stop.deadline(),
            self.exit_reasons.deadline(),
            begins.copied(),
            self.newcomers_look,
        ];
        others.into_iter().chain([in_groups]).flatten().min()
    }

    /// The groups in which an event can change what is due.
    fn concerns(&self, event: &Event) -> Concerns {
        let worker = match event {
            Event::Acquire { process_group, .. } => {
                let group = self.by_name.get(process_group).copied();
                return group.map_or(Concerns::Nothing, Concerns::One);
            }
            Event::SetFailed(set, _)
            | Event::SetLost(set)
            | Event::Crowded(set, _)
            | Event::Load(set, _) => {
                let set = self.sets.get(set);
                return set.map_or(Concerns::Nothing, |set| Concerns::One(set.group));
            }
            Event::Inquire(..)
            | Event::Abandoned(_)
            | Event::AwaitReload(..)
            | Event::Unloaded(..) => return Concerns::Nothing,
            Event::Start | Event::Alone | Event::Reload(_) | Event::Drain(_) | Event::Tick => {
                return Concerns::All;
            }
            Event::Started(worker, _)
            | Event::NotStarted(worker, _)
            | Event::Ready(worker, _)
            | Event::Serving(worker)
            | Event::Proven(worker)
            | Event::Retire(worker, ..)
            | Event::Loaded(worker, _)
            | Event::Unfit(worker, ..)
            | Event::Failed(worker, _)
            | Event::Drained(worker)
            | Event::Busy(worker)
            | Event::Broken(worker, _)
            | Event::Silent(worker)
            | Event::Exited(worker, ..) => worker,
        };
        self.workers.get(worker).map_or(Concerns::Nothing, |worker| Concerns::One(worker.group))
    }

    /// Notes when something is due in a group.
    fn note_due(&mut self, group: GroupIndex) {
        let workers = self.groups[group].workers.iter();
        let workers = workers.filter_map(|id| self.workers.get(id)?.deadline());
        let deadline = workers.chain(self.next_retry(group)).min();
        let before = std::mem::replace(&mut self.groups[group].due, deadline);
        if before != deadline {
            before.map(|before| self.due.remove(&(before, group)));
            self.due.extend(deadline.map(|deadline| (deadline, group)));
        }
    }

    /// Whether the end of the generation has begun.
    pub fn is_over(&self) -> bool {
        !matches!(self.stop, Stop::No)
    }

    /// Whether what this worker prints tells nothing new: it has not served yet, and its group
    /// has been failing for a while.
    pub fn is_repetition(&self, id: WorkerId, now: Instant) -> bool {
        self.workers.get(&id).is_some_and(|worker| {
            !worker.has_served() && self.groups[worker.group].failures_are_muted(now)
        })
    }

    fn tick(&mut self, now: Instant) {
        self.pass_worker_deadlines(now);
        for group in 0..self.groups.len() {
            self.refill(group, now);
        }
        self.pass_inquiry_deadlines(now);
        self.pass_stop_deadline(now);
    }

    fn log(&mut self, group: GroupIndex, level: Level, text: String) {
        self.actions.push(Action::Log(Some(group), level, text));
    }

    fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Status(status) => write!(formatter, "exit status {status}"),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(number) {
                Ok(signal) => write!(formatter, "signal {number} ({signal})"),
                Err(_) => write!(formatter, "signal {number}"),
            },
            Self::CoreDump(number) => write!(formatter, "{}, core dumped", Self::Signal(number)),
            Self::OutOfMemory(shortage) => {
                let place = match shortage {
                    Shortage::ControlGroup => "in its control group",
                    Shortage::Machine => "on this machine",
                };
                let signal = Self::Signal(libc::SIGKILL);
                write!(formatter, "{signal}; the kernel's out-of-memory killer struck {place}")
            }
        }
    }
}
