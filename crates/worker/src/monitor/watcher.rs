//! What the watching thread does whenever something may be due.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wire::control::FromWorker;
use wire::exchange::Level;
use wire::limits::Cause;

use super::gil_tasks::{GilTask, GilTasks};
use super::holder::{self, Holder};
use super::{Application, LOADED, Monitor, Stacks, describe, millis, tasks};
use crate::conversation::exchange::Exchange;
use crate::ffi;
use crate::process::memory::resident_memory;
use crate::slot::{Run, Slot};

/// How often the memory is looked at, and whether requests still run where that matters.
const LOOK: Duration = Duration::from_secs(1);
/// How often Python's lock is asked for within `deadlock-timeout=`.
const PROBES: u32 = 10;
/// Whoever does not get Python's lock for so long, looking so often, waits for somebody who keeps it:
/// code that runs in turn hands it over after some milliseconds (`sys.setswitchinterval`).
const LOCK_PATIENCE: Duration = Duration::from_millis(100);
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);
/// The exit status of a worker that could not end in time; mod_wsgi's.
const ABORTED: i32 = 255;
/// The HTTP status for a request that took too long.
const GATEWAY_TIMEOUT: u16 = 504;

/// The thread's own things.
pub struct Watcher {
    monitor: Arc<Monitor>,
    application: Box<dyn Application>,
    stacks: Option<Stacks>,
    gil_tasks: Option<GilTasks>,
    /// Whether Python has a lock, and it is to be tested.
    probes: bool,
    /// When the lock was asked for, while there is no answer.
    probed: Option<Duration>,
    /// When it was had last.
    had_lock: Duration,
    /// When the first of those began to wait for it who still do.
    missed: Option<Duration>,
    /// The requests that have been interrupted, by runner: when they began, and when that was.
    interrupted: Vec<Option<(Duration, Duration)>>,
}

/// When to look again: the earliest moment of all that are asked for.
#[derive(Debug, Default)]
struct Next(Option<Duration>);

impl Next {
    fn at(&mut self, moment: Duration) {
        self.0 = Some(self.0.map_or(moment, |before| before.min(moment)));
    }
}

impl Watcher {
    /// With nothing seen yet.
    pub fn new(
        monitor: Arc<Monitor>,
        application: Box<dyn Application>,
        stacks: Option<Stacks>,
        gil_tasks: Option<GilTasks>,
        probes: bool,
    ) -> Self {
        let interrupted = vec![None; monitor.slots.len()];
        let had_lock = monitor.epoch.elapsed();
        Self {
            monitor,
            application,
            stacks,
            gil_tasks,
            probes,
            probed: None,
            had_lock,
            missed: None,
            interrupted,
        }
    }

    /// Watches until the process ends.
    pub fn run(mut self) {
        loop {
            let next = self.look();
            self.monitor.wait(next);
        }
    }

    /// Acts on what is due. Returns when something may be again.
    fn look(&mut self) -> Option<Duration> {
        let now = self.monitor.epoch.elapsed();
        let mut next = Next::default();
        let (cause, abort_at) = {
            let state = self.monitor.lock();
            (state.cause, state.abort_at)
        };
        if let Some(at) = abort_at {
            if at <= now {
                self.abort(cause);
            }
            next.at(at);
        }
        let asked = std::mem::take(&mut self.monitor.lock().stacks_for);
        asked.into_iter().for_each(|ticket| self.tell_stacks(ticket, now));
        self.look_at_requests(now, &mut next);
        if abort_at.is_none() && cause.is_none_or(|cause| !cause.is_urgent()) {
            self.look_at_startup(now, &mut next);
            self.look_at_lock(now, &mut next);
        }
        if abort_at.is_none() && cause.is_none() {
            self.look_at_planned(now, &mut next);
        }
        next.0
    }

    fn look_at_requests(&mut self, now: Duration, next: &mut Next) {
        let Some(timeout) = self.monitor.bounds.request_timeout else {
            return;
        };
        // None that begins later can be due earlier.
        next.at(now + timeout);
        let monitor = Arc::clone(&self.monitor);
        for (place, slot) in monitor.slots.iter().enumerate() {
            let Some(run) = slot.run() else { continue };
            let due = run.began() + timeout;
            if due > now {
                next.at(due);
                continue;
            }
            let Some(interrupt_timeout) = monitor.bounds.interrupt_timeout else {
                self.escalate(slot, run, now);
                continue;
            };
            match self.interrupted[place].filter(|(began, _)| *began == run.began()) {
                None => {
                    self.interrupted[place] = Some((run.began(), now));
                    self.interrupt(slot, run, now);
                    next.at(now + interrupt_timeout);
                }
                Some((_, since)) if since + interrupt_timeout > now => {
                    next.at(since + interrupt_timeout);
                }
                Some(_) => self.escalate(slot, run, now),
            }
        }
    }

    fn interrupt(&mut self, slot: &Arc<Slot>, run: Run, now: Duration) {
        let what = describe(slot, run, now);
        let (limit, name) = (self.request_timeout(), &self.monitor.name);
        self.log(format!("{name}: {limit} is over, RequestTimeout is raised in {what}"));
        self.log_stacks(now, |ident| ident == slot.ident());
        if let Some(gil_tasks) = &mut self.gil_tasks {
            gil_tasks.send(GilTask::Interrupt(Arc::clone(slot), run));
        }
    }

    /// A request does not end, and cannot be made to.
    fn escalate(&mut self, slot: &Slot, run: Run, now: Duration) {
        let mut reason =
            format!("{} is over for {}", self.request_timeout(), describe(slot, run, now));
        if self.monitor.bounds.interrupt_timeout.is_some() {
            let seconds = self.monitor.limits.interrupt_timeout;
            reason.push_str(&format!(", and interrupt-timeout={seconds}"));
        }
        self.retire(Cause::RequestTimeout, reason, now);
    }

    /// The limit as configured, and what it comes to.
    fn request_timeout(&self) -> String {
        let (threads, configured) = (self.monitor.threads, self.monitor.limits.request_timeout);
        match self.monitor.bounds.request_timeout {
            Some(scaled) if threads > 1 => format!(
                "request-timeout={configured} ({:.1} s with threads={threads})",
                scaled.as_secs_f64()
            ),
            _ => format!("request-timeout={configured}"),
        }
    }

    fn look_at_startup(&mut self, now: Duration, next: &mut Next) {
        let Some(timeout) = self.monitor.bounds.startup_timeout else {
            return;
        };
        let since = match self.monitor.startup.load(Ordering::Relaxed) {
            // The thread is woken when it begins.
            0 | LOADED => return,
            since => Duration::from_millis(since - 1),
        };
        if since + timeout > now {
            return next.at(since + timeout);
        }
        let reason = format!(
            "startup-timeout={} is over, and no script has been loaded; running: {}",
            self.monitor.limits.startup_timeout,
            self.monitor.running()
        );
        self.retire(Cause::StartupTimeout, reason, now);
    }

    fn look_at_lock(&mut self, now: Duration, next: &mut Next) {
        let (true, Some(timeout), Some(gil_tasks)) =
            (self.probes, self.monitor.bounds.deadlock_timeout, &mut self.gil_tasks)
        else {
            return;
        };
        if self.probed.is_some() && gil_tasks.all_done() {
            (self.probed, self.had_lock) = (None, now);
        }
        match self.probed {
            Some(since) if since + timeout > now => next.at(since + timeout),
            Some(_) => {
                let reason = format!(
                    "deadlock-timeout={} is over, in which nobody got Python's lock (the GIL); \
                     running: {}",
                    self.monitor.limits.deadlock_timeout,
                    self.monitor.running()
                );
                self.retire(Cause::DeadlockTimeout, reason, now);
            }
            None if self.had_lock + timeout / PROBES > now => {
                next.at(self.had_lock + timeout / PROBES);
            }
            None => {
                gil_tasks.send(GilTask::Probe);
                self.probed = Some(now);
                next.at(now + timeout);
            }
        }
    }

    /// The limits after which the worker is replaced in peace.
    fn look_at_planned(&mut self, now: Duration, next: &mut Next) {
        let (asked, not_before) = {
            let mut state = self.monitor.lock();
            let not_before = state.not_before;
            // The kernel says so each second.
            let asked = state
                .asked
                .take()
                .filter(|cause| *cause != Cause::CpuTimeLimit || not_before <= now);
            (asked, not_before)
        };
        if let Some(cause) = asked {
            let limits = &self.monitor.limits;
            let reason = match cause {
                Cause::CpuTimeLimit => {
                    format!("cpu-time-limit={} is used up", limits.cpu_time_limit)
                }
                Cause::EvictionSignal => {
                    format!("SIGUSR1 came (eviction-timeout={})", limits.eviction_timeout)
                }
                Cause::ReloadOrder => "a reload was ordered".to_owned(),
                _ => format!("SIGUSR1 came (graceful-timeout={})", limits.graceful_timeout),
            };
            return self.retire(cause, reason, now);
        }
        if not_before > now {
            return next.at(not_before);
        }
        if let Some((cause, reason)) = self.reached(now, next) {
            self.retire(cause, reason, now);
        }
    }

    fn reached(&self, now: Duration, next: &mut Next) -> Option<(Cause, String)> {
        let Monitor { bounds, limits, .. } = &*self.monitor;
        let served = self.monitor.served.load(Ordering::Relaxed);
        if bounds.maximum_requests.is_some_and(|most| served >= most) {
            let configured = limits.maximum_requests;
            let reason =
                format!("maximum-requests={configured} is reached, with {served} requests");
            return Some((Cause::MaximumRequests, reason));
        }
        if let Some(interval) = bounds.restart_interval {
            if interval <= now {
                let (configured, age) = (limits.restart_interval, now.as_secs_f64());
                let reason = format!("restart-interval={configured} is over, after {age:.1} s");
                return Some((Cause::RestartInterval, reason));
            }
            next.at(interval);
        }
        if let Some(timeout) = bounds.inactivity_timeout {
            let last = self.monitor.slots.iter().filter_map(|slot| slot.last_active()).max();
            match last.map(|last| last + timeout) {
                // The first activity is still to come.
                None => next.at(now + timeout),
                Some(due) if due > now => next.at(due),
                Some(_) if self.monitor.slots.iter().any(|slot| slot.run().is_some()) => {
                    next.at(now + LOOK);
                }
                Some(_) => {
                    let configured = limits.inactivity_timeout;
                    let reason = format!("inactivity-timeout={configured} is over");
                    return Some((Cause::InactivityTimeout, reason));
                }
            }
        }
        if let Some(most) = bounds.memory_max {
            match resident_memory() {
                // Where less than the first request is too much, workers would take each other's
                // place without a pause.
                Some(bytes) if bytes > most && served > 0 => {
                    let reason = format!("memory-max={most} is passed, with {bytes} bytes");
                    return Some((Cause::MemoryMax, reason));
                }
                _ => next.at(now + LOOK),
            }
        }
        None
    }

    /// Asks the supervisor for another worker.
    fn retire(&mut self, cause: Cause, reason: String, now: Duration) {
        {
            let mut state = self.monitor.lock();
            let before = state.cause;
            if state.abort_at.is_some()
                || before.is_some_and(|b| b.is_urgent() || !cause.is_urgent())
            {
                return;
            }
            state.cause = Some(cause);
        }
        let scripts = match cause {
            // Nobody asks for them, and memory may be what this is for.
            Cause::InactivityTimeout => Vec::new(),
            _ => self.application.scripts(),
        };
        self.monitor.reporter.send(&FromWorker::Retire { cause, reason, scripts });
        if cause.is_urgent() {
            self.log_stacks(now, |_| true);
            self.log_holder(now);
        }
    }

    /// Ends the process: its time is over.
    fn abort(&self, cause: Option<Cause>) -> ! {
        let now = self.monitor.epoch.elapsed();
        let (name, seconds) = (&self.monitor.name, self.monitor.limits.shutdown_timeout);
        let what = match self.monitor.running() {
            running if running.is_empty() => "Python has not ended".to_owned(),
            running => format!("still running: {running}"),
        };
        self.log(format!(
            "{name}: shutdown-timeout={seconds} is over, the worker is aborted; {what}"
        ));
        self.log_stacks(now, |_| true);
        for exchange in Exchange::all_active_detached() {
            let run = exchange.slot().run();
            let too_slow = match cause {
                Some(Cause::DeadlockTimeout | Cause::StartupTimeout) => true,
                _ => run.is_some_and(|run| self.monitor.is_stale(run, now)),
            };
            if too_slow {
                exchange.give_up(GATEWAY_TIMEOUT);
            }
        }
        self.application.aborting();
        ffi::exit_now(ABORTED)
    }

    /// Logs what the chosen threads are doing in Python.
    fn log_stacks(&self, now: Duration, choose: impl Fn(u64) -> bool) {
        let stacks = match self.stacks.as_ref().map(Stacks::take) {
            None => return,
            Some(Ok(stacks)) => stacks,
            Some(Err(error)) => {
                return self.log(format!("the stacks of Python's threads cannot be had: {error}"));
            }
        };
        let name = &self.monitor.name;
        for stack in stacks.iter().filter(|stack| choose(stack.ident)) {
            let slot = self.monitor.slots.iter().find(|slot| slot.ident() == stack.ident);
            let whose = match slot.and_then(|slot| Some((slot, slot.run()?))) {
                Some((slot, run)) => describe(slot, run, now),
                None => format!("thread {:#x}", stack.ident),
            };
            self.log(format!("{name}: stack of {whose}, innermost first: {stack}"));
        }
    }

    /// Logs who holds Python's lock, where there is one.
    fn log_holder(&mut self, now: Duration) {
        let describe = |slot: &Slot| match slot.run() {
            Some(run) => describe(slot, run, now),
            None => thread_name(slot),
        };
        if let Some(held) = self.lock_holder(describe) {
            self.log(format!("{}: Python's lock {held}", self.monitor.name));
        }
    }

    /// Who holds Python's lock and does not give it up, if anybody does.
    fn lock_holder(&mut self, describe: impl Fn(&Slot) -> String) -> Option<String> {
        self.stacks.as_ref()?;
        let certain = ffi::lock_holder().is_some();
        if !certain && !self.is_lock_held() {
            return None;
        }
        let waiting = self.gil_tasks.as_ref().and_then(GilTasks::waiting);
        let holder = holder::find(&self.monitor.slots, waiting);
        if !certain && self.gil_tasks.as_ref().is_none_or(GilTasks::all_done) {
            // It has been free in the meantime.
            return None;
        }
        match holder {
            Holder::Runner(slot) => Some(format!("is held by {}", describe(slot))),
            Holder::Other => Some("is held by a thread of the application's own".to_owned()),
            Holder::Likely(slots) if !slots.is_empty() => {
                let slots: Vec<_> = slots.into_iter().map(|slot| describe(slot)).collect();
                let slots = slots.join(" or ");
                Some(format!("is held by {slots}, by evidence: it does not wait for the lock"))
            }
            Holder::Likely(_) | Holder::Unknown => None,
        }
    }

    /// Tells the supervisor what the threads of Python do. Nothing of it waits for Python's lock.
    fn tell_stacks(&mut self, ticket: u64, now: Duration) {
        let mut notes = Vec::new();
        let stacks = match self.stacks.as_ref().map(Stacks::take) {
            None => {
                notes
                    .push("This Python has no interpreter lock: its stacks cannot be read.".into());
                Vec::new()
            }
            Some(Err(error)) => {
                notes.push(format!("The stacks of Python's threads cannot be had: {error}."));
                Vec::new()
            }
            Some(Ok(stacks)) => stacks,
        };
        for stack in stacks {
            let slot = self.monitor.slots.iter().find(|slot| slot.ident() == stack.ident);
            let run = slot.and_then(|slot| Some((slot, slot.run()?)));
            let stack = wire::control::Stack {
                thread: slot.map_or_else(|| format!("{:#x}", stack.ident), |it| thread_name(it)),
                request: run.map(|(slot, _)| slot.public_line()),
                age: run.map_or(0, |(_, run)| millis(now.saturating_sub(run.began()))),
                system: slot.map(|slot| tasks::describe(slot.thread())).unwrap_or_default(),
                frames: stack.frames,
            };
            self.monitor.reporter.stack(ticket, stack);
        }
        // Asked last, as it may take a moment.
        let is_held = self.is_lock_held();
        if is_held
            && let Some(held) = self.lock_holder(|slot| format!("thread {}", thread_name(slot)))
        {
            let since =
                self.monitor.epoch.elapsed().saturating_sub(self.missed.unwrap_or_default());
            notes.push(format!(
                "Python's lock {held}. No other thread has got it for at least {:.1} s: C code keeps it.",
                since.as_secs_f64()
            ));
        }
        self.monitor.reporter.send(&FromWorker::Stacked { ticket, notes });
    }

    /// Whether nobody else gets Python's lock, which only somebody who waits for it can find out.
    fn is_lock_held(&mut self) -> bool {
        if self.gil_tasks.is_none() {
            self.gil_tasks = GilTasks::start(&self.monitor).ok();
        }
        let Some(gil_tasks) = &mut self.gil_tasks else { return false };
        if gil_tasks.all_done() {
            gil_tasks.send(GilTask::Probe);
            self.missed = Some(self.monitor.epoch.elapsed());
        }
        let deadline = Instant::now() + LOCK_PATIENCE;
        while !gil_tasks.all_done() && Instant::now() < deadline {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        !gil_tasks.all_done()
    }

    fn log(&self, text: String) {
        self.monitor.reporter.log(Level::Error, text);
    }
}

/// The name of a runner's thread.
fn thread_name(slot: &Slot) -> String {
    format!("wsgi-{}", slot.number)
}
