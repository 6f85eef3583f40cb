//! The loop: waits for whatever happens, tells the logic, does what it decides.

mod act;
mod restore;
mod sources;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use channel::Inbox;
use nix::sys::signalfd::SignalFd;
use nix::unistd::{Gid, Uid};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Rlimit;
use wire::Secret;
use wire::control::{Reload, Settings};
use wire::exchange::Level;
use wire::generation::{Configuration, Group};

use crate::admin::Admin;
use crate::broker::Broker;
use crate::closing::Closer;
use crate::directory::{ADMIN, CONTROL, Directory, DirectoryError, Guests};
use crate::gauge::{Gauge, is_waited_at};
use crate::installed::Installed;
use crate::link::Link;
use crate::log::Logs;
use crate::logic::{Event, Logic, Plan, Processes, SetId, Throttle, WorkerId};
use crate::looks::Looks;
use crate::observer::Observer;
use crate::outliving::Outliving;
use crate::output::{Output, OutputId};
use crate::privileges;
use crate::sessions::{self, Sessions};
use crate::shortage::Shortages;
use crate::startup::{Handover, StartError};
use crate::watch::{Watch, Watched};

/// Lines about peers that were turned away: the first ones at once, then one a minute.
const LOUD_REFUSALS: u32 = 5;
const REFUSALS_QUIET: Duration = Duration::from_secs(60);

/// How long a supervisor that has nothing more to do waits for httpd to open a log anew for which it has
/// lines: httpd starts its next generation meanwhile.
const LOG_PATIENCE: Duration = Duration::from_secs(10);

/// How often to look whether an earlier generation has gone, where a group waits for that.
const PREDECESSOR_INTERVAL: Duration = Duration::from_millis(50);

/// Everything that one generation has open.
#[derive(Debug)]
pub struct Supervisor {
    groups: Vec<Group>,
    /// What workers are made of.
    installed: Installed,
    /// The descriptor limit for workers.
    descriptors: Rlimit,
    logic: Logic,
    logs: Logs,
    directory: Directory,
    broker: Broker,
    admin: Admin,
    signals: SignalFd,
    sets: BTreeMap<SetId, OpenSet>,
    /// Those where whoever connects is sent away, as no worker will come soon.
    hanging_up: BTreeSet<SetId>,
    links: BTreeMap<WorkerId, Link>,
    /// Those to which something is still to be sent.
    slow: BTreeSet<WorkerId>,
    outputs: BTreeMap<OutputId, Output>,
    last_output: u64,
    outliving: Outliving,
    sessions: Sessions,
    watch: Watch,
    events: VecDeque<Event>,
    refusals: Throttle,
    shortages: Shortages,
    closer: Closer,
    gauge: Gauge,
    /// `None`: there is no memory to count in.
    observer: Option<Observer>,
    /// Who may connect to the socket of the broker.
    guests: Guests,
    /// Tells when a socket's name goes.
    names: Option<OwnedFd>,
    /// When names that could not be restored are tried again.
    restore_at: Option<Instant>,
    /// A sentence about the rights of root's that we do not have.
    missing_rights: Option<String>,
    /// Ends with the last process of the generation. `None`: it has.
    lifeline: Option<OwnedFd>,
    /// The conversation with httpd's parent. `None`: it has ended, as the parent has.
    parent: Option<Inbox>,
    finished: bool,
    /// When to look again whether an earlier generation has gone.
    predecessor_look: Option<Instant>,
    /// What administrators have asked of workers.
    looks: Looks,
    /// When the next sample for the history is due. `None`: there is no memory for it.
    sample_at: Option<Instant>,
}

/// The socket of an application group, and what its workers want to hear.
#[derive(Debug)]
struct OpenSet {
    listener: OwnedFd,
    secret: Secret,
}

impl Supervisor {
    /// Makes the directory and the socket in it; starts nothing yet.
    ///
    /// # Errors
    /// [`StartError::Directory`].
    pub fn new(
        Handover { configuration, logs, lifeline, metrics }: Handover,
        signals: SignalFd,
        descriptors: Rlimit,
    ) -> Result<Self, StartError> {
        let watch = Watch::new()
            .map_err(|source| StartError::System { action: "watch workers", source })?;
        let logs = Logs::new(logs, &configuration);
        let Configuration { secret, directory, httpd_uid, httpd_gid, groups, .. } = configuration;
        let httpd = (Uid::from_raw(httpd_uid), Gid::from_raw(httpd_gid));
        let users = groups.iter().filter_map(|group| group.settings.socket_user);
        let users: Vec<_> = users.map(Uid::from_raw).collect();
        let guests = if users.is_empty() { Guests::None } else { Guests::Several };
        let root = Uid::effective().is_root();
        let chroots = groups.iter().any(|group| group.settings.root.is_some());
        let missing_rights = root.then(|| privileges::keep_needed(chroots)).flatten();
        let directory = Directory::make(&directory, root.then_some(httpd), guests)?;
        let listen =
            || Ok((directory.listen(CONTROL, None, guests)?, directory.listen_privately(ADMIN)?));
        let (control, admin) = listen().inspect_err(|_: &DirectoryError| {
            // The error that led here is the one to tell.
            let _ = directory.remove();
        })?;
        let names = restore::watch_names(directory.path()).ok();
        let broker = Broker::new(control, [&[httpd.0], users.as_slice()].concat(), secret);
        let observe = |(memory, number)| Observer::new(memory, number, &groups);
        let observer = metrics.map(observe).transpose().map_err(|source| StartError::System {
            action: "use the memory for metrics",
            source,
        })?;
        Ok(Self {
            observer,
            installed: Installed::open(),
            descriptors,
            logic: Logic::new(groups.iter().map(plan).collect(), starts_at_once()),
            logs,
            directory,
            broker,
            admin: Admin::new(admin),
            signals,
            sets: BTreeMap::new(),
            hanging_up: BTreeSet::new(),
            links: BTreeMap::new(),
            slow: BTreeSet::new(),
            outputs: BTreeMap::new(),
            last_output: 0,
            outliving: Outliving::default(),
            sessions: Sessions::default(),
            watch,
            events: VecDeque::new(),
            refusals: Throttle::new(LOUD_REFUSALS, REFUSALS_QUIET),
            shortages: Shortages::new(),
            closer: Closer::default(),
            gauge: Gauge::default(),
            guests,
            names,
            restore_at: None,
            missing_rights,
            lifeline: Some(lifeline),
            parent: Some(Inbox::with_descriptors()),
            finished: false,
            predecessor_look: None,
            looks: Looks::default(),
            sample_at: None,
            groups,
        })
    }

    /// Serves until the generation is over.
    pub fn run(mut self) -> ExitCode {
        if let Some(sentence) = self.missing_rights.take() {
            self.logs.main(Level::Info, &sentence);
        }
        for stale in self.directory.remove_stale_siblings() {
            let line = format!("removed {}, left by a supervisor that was killed", stale.display());
            self.logs.main(Level::Info, &line);
        }
        self.events.push_back(Event::Start);
        self.sample();
        self.look_for_predecessor();
        self.decide();
        while !self.finished {
            let ready = self.wait();
            let asked_for = self.observer.as_ref().and_then(|it| it.metrics().log_level());
            self.logs.asked_for = asked_for.map(Level::from_number);
            self.read(&ready);
            self.expire();
            self.decide();
        }
        self.clean_up()
    }

    /// Tells the logic what happened and does what it decides, until there is nothing more.
    fn decide(&mut self) {
        while let Some(event) = self.events.pop_front() {
            if let Some(observer) = &mut self.observer {
                observer.see(&event);
            }
            for action in self.logic.handle(event, Instant::now()) {
                if let Some(observer) = &mut self.observer {
                    observer.follow(&action);
                }
                self.act(action);
            }
        }
        self.closer.close_due();
    }

    /// Tells the logic when no supervisor of an earlier generation is left, if a group waits for that.
    fn look_for_predecessor(&mut self) {
        let waits = self.groups.iter().any(|group| group.settings.reload == Reload::StopFirst);
        self.predecessor_look = if waits && self.directory.has_predecessor() {
            Some(Instant::now() + PREDECESSOR_INTERVAL)
        } else {
            self.events.push_back(Event::Alone);
            None
        };
    }

    /// Deals with what has become due.
    fn expire(&mut self) {
        let now = Instant::now();
        if self.predecessor_look.is_some_and(|look| look <= now) {
            self.look_for_predecessor();
        }
        for outcome in self.broker.expire(now) {
            self.consider(outcome);
        }
        self.looks.expire(now);
        if self.sample_at.is_some_and(|at| at <= now) {
            self.sample();
        }
        if self.restore_at.is_some_and(|at| at <= now) {
            self.restore();
        }
        self.measure(now);
        if self.logic.deadline().is_some_and(|deadline| deadline <= now) {
            self.events.push_back(Event::Tick);
        }
    }

    /// Looks at the load of sets whose number of workers follows it.
    fn measure(&mut self, now: Instant) {
        for set in self.gauge.take_looks(now) {
            let Some(open) = self.sets.get(&set) else { continue };
            if is_waited_at(&open.listener) {
                self.gauge.note_arrival(set, now);
                self.events.push_back(Event::Crowded(set, self.load_of(set)));
            } else {
                self.await_arrival(set);
            }
        }
        for set in self.gauge.take_weighed(now) {
            if let Some(requests) = self.load_of(set) {
                self.events.push_back(Event::Load(set, requests));
            }
        }
    }

    /// How many requests are with the workers of a set or wait for them, if that is counted.
    fn load_of(&self, set: SetId) -> Option<u64> {
        let (group, application_group) = self.logic.names_of(set)?;
        self.observer.as_ref()?.load(group, application_group)
    }

    /// Has the next connection to a set noted.
    fn await_arrival(&mut self, set: SetId) {
        if let Some(open) = self.sets.get(&set)
            && let Err(error) = self.watch.once(&open.listener, Watched::Arrival(set))
        {
            let line = format!("the load of an application group cannot be watched: {error}");
            self.logs.main(Level::Error, &line);
        }
    }

    /// Has a sample taken for the history of each group, and looks for the next one.
    fn sample(&mut self) {
        if let Some(observer) = &mut self.observer {
            observer.sample();
            self.sample_at = Some(Instant::now() + metrics::EVERY);
        }
    }

    fn clean_up(mut self) -> ExitCode {
        if let Err(error) = self.directory.remove() {
            self.logs.main(Level::Error, &error.to_string());
        }
        let (bound, free) = sessions::end_left_over(&self.sessions, &self.ours());
        let mut line = "all workers have exited".to_owned();
        if bound > 0 {
            line += &format!("; sent SIGTERM to {bound} process(es) that applications left");
        }
        if free > 0 {
            line += &format!("; {free} process(es) that applications left go on by themselves");
        }
        self.logs.main(Level::Info, &line);
        self.settle_logs();
        std::mem::take(&mut self.outliving).leave(rustix::stdio::stdin());
        // What is open is closed by our end, which waits for nothing (see `closing`).
        std::mem::forget(self);
        ExitCode::SUCCESS
    }
}

impl Supervisor {
    /// Processes of our own that end by themselves.
    fn ours(&self) -> Vec<u32> {
        let ours =
            [self.closer.process(), self.broker.closer().process(), self.outliving.process()];
        ours.into_iter().flatten().collect()
    }

    /// Waits until lines are written whose log httpd is about to open anew, as long as it is there.
    fn settle_logs(&mut self) {
        let deadline = Instant::now() + LOG_PATIENCE;
        while self.logs.owes() && self.parent.is_some() && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let parent = rustix::stdio::stdin();
            let mut polled = [PollFd::new(&parent, PollFlags::IN)];
            if rustix::event::poll(&mut polled, Some(&timeout)).is_ok() {
                self.read_parent();
            }
        }
    }
}

/// As many as can run, and wait, once the workers are there.
fn patience(settings: &Settings) -> usize {
    let runs = u64::from(settings.threads) * u64::from(settings.processes);
    let all = settings.backlog.map_or(u64::MAX, |waits| runs + u64::from(waits));
    usize::try_from(all).unwrap_or(usize::MAX)
}

/// As many as there are processors, as a worker that starts computes.
fn starts_at_once() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn plan(group: &Group) -> Plan {
    Plan {
        name: group.settings.process_group.clone(),
        processes: Processes { least: group.least_processes, most: group.settings.processes },
        threads: group.settings.threads.into(),
        idle_timeout: group.idle_timeout,
        patience: patience(&group.settings),
        prestart: group.prestart,
        imports: group
            .application_groups
            .iter()
            .filter(|application_group| !application_group.imports.is_empty())
            .map(|application_group| application_group.name.clone())
            .collect(),
        is_service: group.settings.threads == 0,
        keeps: group.settings.reload == Reload::Keep,
        stops_first: group.settings.reload == Reload::StopFirst,
        limits: group.settings.limits,
    }
}
