//! What the metrics say of workers. Sees what happens and what is decided about it, and decides nothing.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use metrics::{Cause, Metrics, Reload, Running, Sampler, Slot};
use wire::generation::Group;
use wire::limits;

use crate::logic::{Action, Event, Exit, WorkerId};

/// Counts workers in the memory that httpd's parent has handed over.
#[derive(Debug)]
pub struct Observer {
    metrics: Metrics,
    /// Our number among the supervisors of this httpd.
    number: u64,
    groups: Vec<Known>,
    workers: BTreeMap<WorkerId, Worker>,
    sampler: Sampler,
}

/// A process group.
#[derive(Debug)]
struct Known {
    name: Vec<u8>,
    threads: u64,
    /// How many workers each application group may have.
    most: u64,
}

/// A worker, from the decision to start it until it has been waited for.
#[derive(Debug)]
struct Worker {
    group: usize,
    application_group: Option<Vec<u8>>,
    pid: Option<u32>,
    began: Instant,
    /// How long its Python took to start.
    booted: Option<Duration>,
    /// When it was given its application group.
    assigned: Option<Instant>,
    is_serving: bool,
    /// Scripts that it has not loaded, though it is to.
    lacks: u32,
    /// It gives way to another one, and why.
    cause: Option<Cause>,
    /// It has been told to end, so that its end is no event.
    is_dismissed: bool,
}

impl Observer {
    /// Begins with no workers.
    ///
    /// # Errors
    /// The memory is not what it should be.
    pub fn new(memory: OwnedFd, number: u64, groups: &[Group]) -> std::io::Result<Self> {
        let metrics = Metrics::adopt(memory)?;
        metrics.forget_workers();
        for group in groups {
            let name = &group.settings.process_group;
            let imports = group.application_groups.iter().filter(|it| !it.imports.is_empty());
            let expected = imports.map(|it| Some(it.name.as_slice())).chain([None]);
            for application_group in expected {
                if let Some(place) = metrics.place(name, application_group) {
                    let is_expected = application_group.is_some() || group.prestart;
                    metrics.slot(place).is_expected.store(is_expected.into(), Relaxed);
                }
            }
        }
        metrics.answer(number);
        let known = groups.iter().map(|group| Known {
            name: group.settings.process_group.clone(),
            threads: group.settings.threads.into(),
            most: group.settings.processes.into(),
        });
        let groups = known.collect();
        Ok(Self { metrics, number, groups, workers: BTreeMap::new(), sampler: Sampler::default() })
    }

    /// The memory.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Something happens.
    pub fn see(&mut self, event: &Event) {
        match event {
            Event::Started(id, pid) => self.update(*id, |worker| worker.pid = Some(*pid)),
            Event::Ready(id, _) => {
                self.update(*id, |worker| worker.booted = Some(worker.began.elapsed()));
            }
            Event::Serving(id) => {
                self.update(*id, |worker| worker.is_serving = true);
                if let Some(worker) = self.workers.get(id)
                    && let (Some(booted), Some(assigned)) = (worker.booted, worker.assigned)
                    && let Some(slot) = self.slot(worker)
                {
                    slot.starting.observe(booted + assigned.elapsed());
                }
            }
            Event::Retire(id, cause, ..) => {
                self.update(*id, |worker| worker.cause = Some(cause_of(*cause)));
            }
            Event::NotStarted(id, _) => {
                self.note_loss(*id, Cause::Start, "It could not be started.");
                self.ended(*id, Some(Cause::Start));
            }
            Event::Exited(id, exit, _) => {
                let cause = self.workers.get(id).and_then(|worker| worker.why_ended(*exit));
                if let Some(cause) = cause {
                    self.note_loss(*id, cause, &exit.to_string());
                }
                self.ended(*id, cause);
            }
            _ => {}
        }
    }

    /// Something is done about it.
    pub fn follow(&mut self, action: &Action) {
        match action {
            Action::Spawn(id, group) => {
                self.workers.insert(*id, Worker::new(*group));
                self.refresh(*group);
            }
            Action::Assign(id, _, application_group, _) => self.update(*id, |worker| {
                worker.application_group = Some(application_group.clone());
                worker.assigned = Some(Instant::now());
            }),
            Action::Keep(id) => {
                let of_reload = |it: &&Worker| it.cause == Some(Cause::Reload);
                let kept = self.workers.get(id).filter(of_reload);
                if let Some(slot) = kept.and_then(|worker| self.slot(worker)) {
                    slot.count_reload(Reload::Kept);
                }
                self.update(*id, |worker| worker.cause = None);
            }
            Action::Grows(group, application_group, grows)
                if self.metrics.is_current(self.number) =>
            {
                if let Some(slot) = self.slot_of(*group, Some(application_group)) {
                    slot.is_full.store((!grows).into(), Relaxed);
                }
            }
            Action::Drain(id, _) => self.update(*id, |worker| worker.is_dismissed = true),
            Action::Terminate(id) | Action::Kill(id) => self.update(*id, |worker| {
                if !worker.is_dismissed && worker.is_ready() {
                    worker.cause = worker.cause.or(Some(Cause::Deadline));
                }
            }),
            _ => {}
        }
    }

    /// A worker has not loaded so many scripts that it is to load.
    pub fn lacks(&mut self, id: WorkerId, scripts: u32) {
        self.update(id, |worker| worker.lacks = scripts);
    }

    /// To be called now and then: looks at how much memory workers use.
    pub fn weigh(&self) {
        if !self.metrics.is_current(self.number) {
            return;
        }
        let mut sums = BTreeMap::new();
        for worker in self.workers.values() {
            let resident = worker.pid.and_then(resident_memory).unwrap_or(0);
            *sums.entry((worker.group, &worker.application_group)).or_insert(0) += resident;
        }
        for ((group, application_group), resident) in sums {
            if let Some(slot) = self.slot_of(group, application_group.as_deref()) {
                slot.resident.store(resident, Relaxed);
            }
        }
    }

    /// How many requests are with the workers of an application group, or wait for them.
    pub fn load(&self, group: usize, application_group: &[u8]) -> Option<u64> {
        let place = self.metrics.place(&self.groups[group].name, Some(application_group))?;
        Some(self.metrics.in_flight_of(place))
    }

    /// Takes a sample for the history of each group.
    pub fn sample(&mut self) {
        if self.metrics.is_current(self.number) {
            self.weigh();
            self.sampler.take(&self.metrics);
        }
    }

    /// Remembers the end of a worker that was not planned, with the oldest request that it had.
    fn note_loss(&self, id: WorkerId, cause: Cause, story: &str) {
        let Some(worker) = self.workers.get(&id) else { return };
        let is_planned = matches!(cause, Cause::Limit | Cause::Reload);
        let place = self
            .metrics
            .place(&self.groups[worker.group].name, worker.application_group.as_deref());
        let (Some(place), false) = (place, is_planned) else { return };
        let mut story = story.to_owned();
        let running = self.metrics.running();
        let of_worker =
            |request: &&Running| request.worker.is_some() && request.worker == worker.pid;
        let mut requests = running.iter().filter(of_worker);
        if let Some(oldest) = requests.next() {
            story += &format!("; it ran {}", oldest.line);
            match requests.count() {
                0 => {}
                more => story += &format!(", and {more} more"),
            }
        }
        self.metrics.note_loss(place, cause, worker.pid, &story);
    }

    fn update(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
        if let Some(worker) = self.workers.get_mut(&id) {
            change(worker);
            let group = worker.group;
            self.refresh(group);
        }
    }

    fn ended(&mut self, id: WorkerId, cause: Option<Cause>) {
        let Some(worker) = self.workers.remove(&id) else { return };
        if let (Some(slot), Some(cause)) = (self.slot(&worker), cause) {
            slot.count_restart(cause);
            if cause == Cause::Reload {
                slot.count_reload(Reload::Replaced);
            }
        }
        self.refresh(worker.group);
        let of_same = |it: &Worker| {
            it.group == worker.group && it.application_group == worker.application_group
        };
        if !self.workers.values().any(of_same) {
            self.refresh_slot(worker.group, worker.application_group.as_deref());
        }
    }

    /// Tells how many workers of a group there are now.
    fn refresh(&self, group: usize) {
        self.refresh_slot(group, None);
        let of_group = self.workers.values().filter(|worker| worker.group == group);
        let names: std::collections::BTreeSet<_> =
            of_group.filter_map(|worker| worker.application_group.as_deref()).collect();
        names.into_iter().for_each(|name| self.refresh_slot(group, Some(name)));
    }

    fn refresh_slot(&self, group: usize, application_group: Option<&[u8]>) {
        if !self.metrics.is_current(self.number) {
            return;
        }
        let Some(slot) = self.slot_of(group, application_group) else { return };
        let of_group = || self.workers.values().filter(|worker| worker.group == group);
        let own =
            || of_group().filter(|worker| worker.application_group.as_deref() == application_group);
        let serving = own().filter(|worker| worker.takes_requests()).count() as u64;
        let all = own().count() as u64;
        // Of the process group as a whole: one that has started is enough.
        let ready = match application_group {
            Some(_) => own().filter(|worker| worker.is_ready() && worker.lacks == 0).count(),
            None => of_group().filter(|worker| worker.booted.is_some()).count(),
        };
        let has_most = application_group.is_some() && all > 0;
        slot.workers_most.store(if has_most { self.groups[group].most } else { 0 }, Relaxed);
        slot.workers_serving.store(serving, Relaxed);
        slot.workers_other.store(all - serving, Relaxed);
        slot.threads.store(serving * self.groups[group].threads, Relaxed);
        slot.workers_ready.store(ready as u64, Relaxed);
        if all == 0 {
            slot.resident.store(0, Relaxed);
        }
    }

    fn slot(&self, worker: &Worker) -> Option<&'static Slot> {
        self.slot_of(worker.group, worker.application_group.as_deref())
    }

    fn slot_of(&self, group: usize, application_group: Option<&[u8]>) -> Option<&'static Slot> {
        let place = self.metrics.place(&self.groups[group].name, application_group)?;
        Some(self.metrics.slot(place))
    }
}

impl Worker {
    fn new(group: usize) -> Self {
        Self {
            group,
            application_group: None,
            pid: None,
            began: Instant::now(),
            booted: None,
            assigned: None,
            is_serving: false,
            lacks: 0,
            cause: None,
            is_dismissed: false,
        }
    }

    /// Whether it can do all that it has been asked to.
    fn is_ready(&self) -> bool {
        self.is_serving || self.booted.is_some() && self.assigned.is_none()
    }

    fn takes_requests(&self) -> bool {
        self.is_serving && !self.is_dismissed
    }

    /// Why it ended, unless it was dismissed.
    fn why_ended(&self, exit: Exit) -> Option<Cause> {
        if self.cause.is_some() || self.is_dismissed {
            return self.cause;
        }
        Some(match exit {
            Exit::OutOfMemory(_) => Cause::Memory,
            _ if !self.is_ready() => Cause::Start,
            Exit::Status(_) => Cause::Exit,
            Exit::Signal(_) | Exit::CoreDump(_) => Cause::Signal,
        })
    }
}

fn cause_of(cause: limits::Cause) -> Cause {
    match cause {
        limits::Cause::ScriptReload | limits::Cause::ReloadOrder => Cause::Reload,
        limits::Cause::MaximumRequests
        | limits::Cause::RestartInterval
        | limits::Cause::InactivityTimeout
        | limits::Cause::CpuTimeLimit => Cause::Limit,
        limits::Cause::MemoryMax => Cause::Memory,
        limits::Cause::GracefulSignal
        | limits::Cause::EvictionSignal
        | limits::Cause::ShutdownSignal => Cause::Signal,
        limits::Cause::RequestTimeout
        | limits::Cause::DeadlockTimeout
        | limits::Cause::StartupTimeout => Cause::Deadline,
    }
}

/// In bytes (proc_pid_status(5)).
fn resident_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}
