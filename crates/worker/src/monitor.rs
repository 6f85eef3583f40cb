//! The thread that watches this worker's limits, and its end. It never waits for Python: what needs
//! Python's lock is a task for another thread (`gil_tasks`).

pub mod bounds;
mod gil_tasks;
mod holder;
mod stacks;
mod tasks;
mod watcher;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use wire::control::{FromWorker, Settings};
use wire::exchange::Level;
use wire::limits::{Cause, Limits};

use self::gil_tasks::GilTasks;
pub use self::stacks::Stacks;
use self::watcher::Watcher;
use crate::monitor::bounds::{Bounds, chance};
use crate::process::control::Reporter;
use crate::process::threads;
use crate::slot::{Run, Slot};

/// How long a worker that nobody could replace waits before it asks again.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// [`Monitor::startup`] when a script has been loaded.
const LOADED: u64 = u64::MAX;

/// What the watching thread wants of the rest of the worker. It is asked without Python's lock.
pub trait Application: Send + 'static {
    /// Paths of the scripts that are loaded.
    fn scripts(&self) -> Vec<Vec<u8>>;
    /// The process is about to be ended by force.
    fn aborting(&self);
}

/// What the watching thread and the others share.
#[derive(Debug)]
pub struct Monitor {
    epoch: Instant,
    limits: Limits,
    bounds: Bounds,
    threads: u16,
    /// Whose worker this is, for the log.
    name: String,
    /// What each runner is doing.
    pub slots: Vec<Arc<Slot>>,
    /// Requests that have ended.
    served: AtomicU64,
    /// Those of them whose clients did not wait for the end of the response.
    deserted: AtomicU64,
    /// When the first script began to be loaded, in milliseconds after `epoch` plus one; 0 before,
    /// and [`LOADED`] after.
    startup: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
    reporter: Reporter,
}

#[derive(Debug, Default)]
struct State {
    /// There may be something new to do.
    woken: bool,
    /// Why the worker is to be replaced, or ends.
    cause: Option<Cause>,
    /// What a signal or the supervisor asks for.
    asked: Option<Cause>,
    /// When a worker that could not be replaced may ask again.
    not_before: Duration,
    /// When the worker is ended by force.
    abort_at: Option<Duration>,
    /// Those who want to know what the threads do.
    stacks_for: Vec<u64>,
}

impl Monitor {
    /// For the worker that `name` describes, with nothing to monitor yet.
    ///
    /// # Errors
    /// The system's error.
    pub fn new(settings: &Settings, name: String, reporter: Reporter) -> std::io::Result<Self> {
        let Settings { threads, limits, .. } = *settings;
        let epoch = Instant::now();
        let notes_activity = limits.inactivity_timeout > 0;
        let slots = (1..=usize::from(threads.max(1)))
            .map(|number| Ok(Arc::new(Slot::new(number, epoch, notes_activity)?)))
            .collect::<std::io::Result<_>>()?;
        Ok(Self {
            epoch,
            limits,
            bounds: Bounds::new(&limits, threads, chance),
            threads,
            name,
            slots,
            served: AtomicU64::new(0),
            deserted: AtomicU64::new(0),
            startup: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
            reporter,
        })
    }

    /// Whose worker this is, for the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts the thread, and the one for gil_tasks where a limit needs it. `takes_turns`: Python has
    /// a lock.
    ///
    /// # Errors
    /// The system's error.
    pub fn start(
        self: &Arc<Self>,
        application: impl Application,
        stacks: Option<Stacks>,
        takes_turns: bool,
    ) -> std::io::Result<()> {
        let Bounds { deadlock_timeout, request_timeout, interrupt_timeout, .. } = self.bounds;
        let probes = takes_turns && deadlock_timeout.is_some();
        let interrupts = request_timeout.is_some() && interrupt_timeout.is_some();
        let gil_tasks = (probes || interrupts).then(|| GilTasks::start(self)).transpose()?;
        let watcher =
            Watcher::new(Arc::clone(self), Box::new(application), stacks, gil_tasks, probes);
        threads::start("wsgi-monitor", None, move || watcher.run()).map(drop)
    }

    /// How many requests have ended.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// A request has ended.
    pub fn count_request(&self) {
        let served = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        if self.bounds.maximum_requests == Some(served) {
            self.wake();
        }
    }

    /// The client of a request did not wait for the end of the response. That is nothing to log for
    /// each of them; how many they were is told at the end.
    pub fn count_deserted(&self) {
        self.deserted.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells how many clients went away, if any did.
    pub fn report_deserted(&self) {
        let deserted = self.deserted.load(Ordering::Relaxed);
        if deserted > 0 {
            let (name, served) = (&self.name, self.served.load(Ordering::Relaxed));
            let text = format!(
                "{name}: {deserted} of {served} clients went away before the end of the response"
            );
            self.reporter.log(Level::Info, text);
        }
    }

    /// A script is about to be loaded, if it has not been.
    pub fn note_loading(&self) {
        if self.bounds.startup_timeout.is_some() {
            let now = millis(self.epoch.elapsed()) + 1;
            let order = Ordering::Relaxed;
            if self.startup.compare_exchange(0, now, order, order).is_ok() {
                self.wake();
            }
        }
    }

    /// A script has been loaded.
    pub fn note_loaded(&self) {
        if self.bounds.startup_timeout.is_some() {
            self.startup.store(LOADED, Ordering::Relaxed);
        }
    }

    /// A script could not be loaded beforehand, for this reason.
    pub fn note_unloaded(&self, text: String) {
        self.reporter.unloaded(text);
    }

    /// A signal or the supervisor asks for the worker to be replaced.
    pub fn ask(&self, cause: Cause) {
        let mut state = self.lock();
        if state.cause.is_none() {
            state.asked = Some(cause);
            drop(state);
            self.wake();
        }
    }

    /// Has the supervisor told what the threads of Python do.
    pub fn ask_for_stacks(&self, ticket: u64) {
        self.lock().stacks_for.push(ticket);
        self.wake();
    }

    /// What SIGUSR1 is to this worker.
    pub fn eviction(&self) -> Cause {
        match self.limits.eviction_timeout {
            0 => Cause::GracefulSignal,
            _ => Cause::EvictionSignal,
        }
    }

    /// The worker got an order to end.
    pub fn note_shutdown(&self) {
        let cause = Cause::ShutdownSignal;
        if self.lock().cause.replace(cause).is_none_or(|before| !before.is_urgent()) {
            let reason = "SIGTERM or SIGINT came".to_owned();
            self.reporter.send(&FromWorker::Retire { cause, reason, scripts: Vec::new() });
        }
    }

    /// Nobody takes this worker's place, this time.
    pub fn keep(&self) {
        let mut state = self.lock();
        state.cause = None;
        state.not_before = self.epoch.elapsed() + ASK_AGAIN;
    }

    /// Why the worker is to be replaced, or ends.
    pub fn cause(&self) -> Option<Cause> {
        self.lock().cause
    }

    /// The end begins: requests have `grace`, and after that Python has `shutdown-timeout=`.
    pub fn begin_end(&self, grace: Duration) {
        let now = self.epoch.elapsed();
        let abort_at = self.bounds.shutdown_timeout.map(|timeout| now + grace + timeout);
        self.lock().abort_at = abort_at;
        self.wake();
    }

    /// Whether all requests that still run have run for so long that nobody waits for them.
    pub fn only_stale_requests_run(&self) -> bool {
        let now = self.epoch.elapsed();
        self.bounds.request_timeout.is_some()
            && self.slots.iter().filter_map(|slot| slot.run()).all(|run| self.is_stale(run, now))
    }

    /// Makes the thread look whether there is something to do.
    pub fn wake(&self) {
        self.lock().woken = true;
        self.changed.notify_one();
    }

    /// Whether a request has run for so long that nobody waits for it when the worker ends.
    fn is_stale(&self, run: Run, now: Duration) -> bool {
        let more = self.bounds.interrupt_timeout.unwrap_or_default();
        self.bounds.request_timeout.is_some_and(|timeout| run.began() + timeout + more <= now)
    }

    /// Method, URI and age of the requests that are running.
    fn running(&self) -> String {
        let now = self.epoch.elapsed();
        let requests = self.slots.iter().filter_map(|slot| Some((slot, slot.run()?)));
        let texts = requests.map(|(slot, run)| describe(slot, run, now));
        texts.collect::<Vec<_>>().join(", ")
    }

    /// Waits until `due`, or until something changes.
    fn wait(&self, due: Option<Duration>) {
        let mut state = self.lock();
        while !state.woken {
            let left = due.map(|due| due.saturating_sub(self.epoch.elapsed()));
            state = match left {
                None => self.changed.wait(state).expect("nobody panics in here"),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.changed.wait_timeout(state, left).expect("nobody panics in here").0
                }
            };
        }
        state.woken = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics in here")
    }
}

fn describe(slot: &Slot, run: Run, now: Duration) -> String {
    let age = now.saturating_sub(run.began()).as_secs_f64();
    format!("{} ({age:.1} s, thread wsgi-{})", slot.line(), slot.number)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
