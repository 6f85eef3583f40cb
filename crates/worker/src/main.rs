//! `wsgi-worker`: embeds CPython and runs the WSGI applications of one application group.
//!
//! The main thread sets up the process and Python as the supervisor says, starts the threads that
//! serve, and waits for the order to finish.
#![deny(unsafe_code)]

mod client;
mod confinement;
mod connection;
mod control;
mod embedded;
mod exchange;
mod failure;
mod ffi;
mod forked;
mod gate;
mod hooks;
mod incoming;
mod interpreter;
mod interruption;
mod io;
mod limits;
mod lines;
mod meter;
mod module;
mod monitor;
mod outgoing;
mod outlet;
mod process_log;
mod queue;
mod reload;
mod reply;
mod ring;
mod runner;
mod schedule;
mod scoreboard;
mod script;
mod sender;
mod service;
mod siblings;
mod signals;
mod telemetry;
mod watch;
mod worker;
mod wsgi;

use std::error::Error;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use wire::Secret;
use wire::control::{FromWorker, Settings, ToWorker};
use wire::exchange::Level;
use wire::limits::Cause;

use crate::confinement::confine;
use crate::connection::Connections;
use crate::control::{Control, ControlError, Event, Reporter, Signal};
use crate::gate::{Complaints, Gate};
use crate::interpreter::Interpreter;
use crate::io::Io;
use crate::monitor::{Monitor, Stacks};
use crate::queue::Queue;
use crate::reload::Reload;
use crate::runner::Toolbox;
use crate::schedule::Policy;
use crate::sender::Sender;
use crate::siblings::{Answer, Siblings};
use crate::signals::Signals;
use crate::telemetry::Telemetry;
use crate::watch::Thread;
use crate::worker::{Job, Worker};

/// How long no connection must have been open before a worker without a supervisor ends.
const LONELINESS: Duration = Duration::from_secs(1);
/// How often such a worker looks.
const LOOK: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    abort_on_panic();
    // It names the environment's libpython, for this program only.
    ffi::forget_variable("LD_PRELOAD");
    let control = match Control::take_stdin() {
        Ok(control) => control,
        Err(error) => return complain(&error),
    };
    let reporter = control.reporter();
    module::report_to(&reporter);
    match run(control, &reporter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<ControlError>() {
            Some(error) => complain(error),
            None => {
                reporter.failed(error.to_string());
                ExitCode::FAILURE
            }
        },
    }
}

/// A thread that is gone would leave requests and locks behind; the supervisor starts a new worker.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

fn complain(error: &ControlError) -> ExitCode {
    eprintln!("wsgi-worker: {error}");
    ExitCode::FAILURE
}

/// Returns only when there is nothing to serve; a worker that has served ends in here.
fn run(mut control: Control, reporter: &Reporter) -> Result<(), Box<dyn Error>> {
    let (settings, root) = match control.next(None)? {
        Event::Order(ToWorker::Configure(settings), root) => (settings, root),
        Event::Order(..) | Event::Signal(_) | Event::Orphaned | Event::Nothing => return Ok(()),
    };
    set_up_process(&settings, root)?;
    set_locale(&settings, reporter);
    let signals = Signals::catch()?;
    let interpreter = Interpreter::start(&settings)?;
    // Who subscribed to the end is told in any case, as with mod_wsgi.
    let runs_exit_handlers = !settings.python.skip_exit_handlers;
    reporter.send(&FromWorker::Ready { python: interpreter.version() });

    match next_order(&mut control)? {
        Event::Order(
            ToWorker::Assign { application_group, secret, preload, interpreter: own },
            Some(listener),
        ) => {
            let name = describe(&settings.process_group, &application_group);
            let monitor = Arc::new(Monitor::new(&settings, name, reporter.clone())?);
            let keeps = settings.threads > 0 && settings.reload == wire::control::Reload::Keep;
            let siblings = keeps.then(|| Arc::new(Siblings::new(reporter.clone())));
            let toolbox = Python::attach(|py| {
                interpreter.assign(py, &application_group, &settings.python, &own)?;
                Toolbox::new(py, &application_group, &settings.python, siblings)
            })?;
            if settings.threads == 0 {
                service::run(control, reporter, &interpreter, &toolbox, &preload)?;
                interpreter.stopping(Cause::ShutdownSignal);
            } else {
                Python::attach(|py| match keeps {
                    true => toolbox.scripts.load_all(py, &preload, || monitor.note_loaded()),
                    false => {
                        preload.iter().for_each(|script| toolbox.preload(py, &monitor, script));
                        Ok(())
                    }
                })?;
                let assigned = Assigned { application_group, secret, listener };
                let mut serving =
                    serve(&interpreter, *settings, toolbox, assigned, monitor, reporter)?;
                signals.dispatch()?;
                reporter.send(&FromWorker::Serving);
                serving.monitor()?;
                let end = wait_for_the_end(&mut control, reporter, &serving)?;
                serving.drain(&end, &interpreter);
            }
        }
        _ => interpreter.stopping(Cause::ShutdownSignal),
    }
    reporter.send(&FromWorker::Drained);
    if runs_exit_handlers {
        interpreter.finish();
    }
    process_log::write_all_rests();
    ffi::exit_now(0)
}

/// Waits for something that concerns a worker which does not serve yet.
fn next_order(control: &mut Control) -> Result<Event, ControlError> {
    loop {
        match control.next(None)? {
            // Nobody is served yet who could be served by another one.
            Event::Signal(Signal::Eviction | Signal::CpuTime) => {}
            event => return Ok(event),
        }
    }
}

fn set_up_process(settings: &Settings, root: Option<OwnedFd>) -> Result<(), String> {
    if let Some(path) = &settings.root {
        // Opened for later: there need be no /proc inside.
        limits::resident_memory();
        confine(root).map_err(|error| format!("chroot={}: {error}", path.display()))?;
    }
    if let Some(mask) = settings.umask {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask & 0o777));
    }
    if let Some(directory) = &settings.working_directory
        && let Err(error) = rustix::process::chdir(directory)
    {
        // Accounts made for a service often have no directory: only the one that was asked for has
        // to be there.
        if settings.home.is_some() {
            let error = std::io::Error::from(error);
            return Err(format!("cannot change to home={}: {error}", directory.display()));
        }
        rustix::process::chdir("/").map_err(|error| format!("cannot change to /: {error}"))?;
    }
    Ok(())
}

/// Python itself sets the category of characters alone.
fn set_locale(settings: &Settings, reporter: &Reporter) {
    let Some(locale) = &settings.locale else { return };
    let is_set = CString::new(locale.as_slice()).is_ok_and(|name| ffi::set_locale(&name));
    if !is_set {
        let locale = String::from_utf8_lossy(locale);
        let text = format!("locale={locale} is not installed: applications run in the C locale");
        reporter.log(Level::Warning, text);
    }
}

/// A worker as it stands in log lines.
fn describe(process_group: &[u8], application_group: &[u8]) -> String {
    let name = |bytes: &[u8]| match bytes {
        [] => "%{GLOBAL}".to_owned(),
        name => format!("'{}'", String::from_utf8_lossy(name)),
    };
    format!("process group {}, application group {}", name(process_group), name(application_group))
}

/// A worker at work.
struct Serving {
    worker: Arc<Worker>,
    toolbox: Arc<Toolbox>,
    io: JoinHandle<()>,
    stacks: Option<Stacks>,
    has_lock: bool,
}

/// What a worker is given to serve.
struct Assigned {
    application_group: Vec<u8>,
    secret: Secret,
    listener: OwnedFd,
}

fn serve(
    interpreter: &Interpreter,
    settings: Settings,
    mut toolbox: Toolbox,
    Assigned { application_group, secret, listener }: Assigned,
    monitor: Arc<Monitor>,
    reporter: &Reporter,
) -> Result<Serving, Box<dyn Error>> {
    toolbox.telemetry = Python::attach(|py| {
        Telemetry::start(py, &settings, &application_group, &monitor, reporter)
    })?;
    let toolbox = Arc::new(toolbox);
    let (has_lock, stacks) = Python::attach(|py| {
        let has_lock = interpreter.has_lock(py)?;
        // Reading the stacks of threads that run meanwhile is safe only where they take turns.
        let stacks = has_lock.then(|| Stacks::prepare(py)).transpose();
        let stacks = stacks.unwrap_or_else(|error| {
            error.print(py);
            None
        });
        PyResult::Ok((has_lock, stacks))
    })?;
    // Threads that take turns do not wait for each other there.
    if has_lock {
        ffi::share_heaps();
    }
    let gate = Gate::new(&settings, secret);
    let complaints = Complaints::new(reporter.clone(), monitor.name().to_owned());
    let threads = usize::from(settings.threads.max(1));
    let policy = match has_lock {
        false => Policy::Parallel,
        true => Policy::Patient,
    };
    let reload = settings.reload;
    let worker = Arc::new(Worker {
        settings,
        application_group,
        queue: Queue::new(threads, policy),
        threads: (0..threads).map(|_| Thread::default()).collect(),
        monitor: Arc::clone(&monitor),
        reload: Reload::new(reporter.clone(), reload),
        sender: Sender::start()?,
        connections: Connections::new()?,
        paused: AtomicBool::new(false),
        returning: AtomicUsize::new(0),
        proven: AtomicBool::new(false),
        reporter: reporter.clone(),
    });
    runner::start(&worker, &toolbox)?;
    let io = Io::new(Arc::clone(&worker), listener, gate, complaints)?;
    let io = std::thread::Builder::new().name("wsgi-io".to_owned()).spawn(|| io.run())?;
    Ok(Serving { worker, toolbox, io, stacks, has_lock })
}

/// That a worker shall serve no longer.
struct End {
    cause: Cause,
    /// How long its requests have before `shutdown-timeout=` begins.
    grace: Duration,
}

/// Waits until the worker shall serve no longer: by order, by signal, or because supervisor and
/// httpd are both gone.
fn wait_for_the_end(
    control: &mut Control,
    reporter: &Reporter,
    serving: &Serving,
) -> Result<End, ControlError> {
    let Serving { worker, toolbox, .. } = serving;
    let mut orphaned = false;
    let mut lonely = Duration::ZERO;
    loop {
        match control.next(orphaned.then_some(LOOK))? {
            Event::Order(ToWorker::Drain { grace }, _) => {
                let changed = worker.reload.has_reported().then_some(Cause::ScriptReload);
                let cause = worker.monitor.cause().or(changed).unwrap_or(Cause::ShutdownSignal);
                return Ok(End { cause, grace: Duration::from_secs(grace.into()) });
            }
            Event::Signal(Signal::Shutdown) => {
                worker.monitor.note_shutdown();
                return Ok(End { cause: Cause::ShutdownSignal, grace: Duration::ZERO });
            }
            Event::Signal(Signal::Eviction) => worker.monitor.ask(worker.monitor.eviction()),
            Event::Signal(Signal::CpuTime) => worker.monitor.ask(Cause::CpuTimeLimit),
            Event::Order(ToWorker::Retire, _) => worker.monitor.ask(Cause::ReloadOrder),
            Event::Order(ToWorker::Keep, _) => {
                worker.monitor.keep();
                serving.resume(Python::attach(|py| worker.reload.keep(py, &toolbox.scripts)));
            }
            Event::Order(ToWorker::Load { scripts }, _) => serving.load(scripts)?,
            Event::Order(ToWorker::Alone, _) => {
                toolbox.siblings.iter().for_each(|siblings| siblings.answer(Answer::Alone));
            }
            Event::Order(..) => {
                let text = "the supervisor gave an order that makes no sense now".to_owned();
                reporter.log(Level::Error, text);
            }
            Event::Orphaned => {
                orphaned = true;
                serving.resume(worker.reload.cease());
                toolbox.siblings.iter().for_each(|siblings| siblings.close(Answer::Alone));
            }
            Event::Nothing if worker.connections.open() > 0 => lonely = Duration::ZERO,
            Event::Nothing => lonely += LOOK,
        }
        let cause = worker.monitor.cause().filter(|cause| orphaned && cause.is_urgent());
        if let Some(cause) = cause {
            let grace = worker.settings.limits.grace(cause);
            return Ok(End { cause, grace: Duration::from_secs(grace.into()) });
        }
        if lonely >= LONELINESS {
            return Ok(End { cause: Cause::ShutdownSignal, grace: Duration::ZERO });
        }
    }
}

impl Serving {
    /// Begins to watch the limits, now that the supervisor may be asked for another worker.
    fn monitor(&mut self) -> std::io::Result<()> {
        self.worker.monitor.start(&self.toolbox, self.stacks.take(), self.has_lock)
    }

    /// Loads scripts, as other workers have, while requests run.
    fn load(&self, scripts: Vec<Vec<u8>>) -> std::io::Result<()> {
        let (toolbox, monitor) = (Arc::clone(&self.toolbox), Arc::clone(&self.worker.monitor));
        let load = move || {
            monitor.note_loading();
            if Python::attach(|py| toolbox.scripts.load_as_others(py, &scripts)) {
                monitor.note_loaded();
            }
        };
        std::thread::Builder::new().name("wsgi-loader".to_owned()).spawn(load).map(drop)
    }

    /// Runs requests that have been held back for another worker.
    fn resume(&self, held: Vec<Job>) {
        for job in held {
            // Only a job that may be refused comes back, and these have waited already.
            let _ = self.worker.queue.push(job, false);
        }
        // The runners are watched while jobs wait.
        self.worker.connections.wake();
    }

    /// Begins nothing new, waits for what is running, and tells the application of the end. From
    /// here on the watching thread sees to it that the process ends, whatever Python does.
    fn drain(self, end: &End, interpreter: &Interpreter) {
        let worker = &self.worker;
        worker.monitor.begin_end(end.grace);
        if let Some(telemetry) = &self.toolbox.telemetry {
            telemetry.stopping(end.cause);
        }
        worker.connections.close();
        // Panics abort, so the thread has ended in good order.
        let _ = self.io.join();
        // Not sooner: they come back over the listening socket, to somebody else.
        let held = worker.reload.cease();
        self.toolbox.siblings.iter().for_each(|siblings| siblings.close(Answer::Leave));
        // Who is stuck begins nothing any more.
        let queued = if end.cause.is_urgent() { worker.queue.withdraw() } else { Vec::new() };
        held.into_iter().chain(queued).for_each(|job| job.connection.say_goodbye());

        let deadline = Instant::now() + end.grace;
        let left = || deadline.saturating_duration_since(Instant::now());
        while !worker.queue.wait_until_quiet(left().min(LOOK))
            && !left().is_zero()
            && !worker.monitor.only_stale_requests_run()
        {}
        worker.monitor.begin_end(Duration::ZERO);
        interpreter.stopping(end.cause);
        while !worker.queue.wait_until_quiet(LOOK) {}
        while worker.returning.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        worker.monitor.report_deserted();
        if let Some(telemetry) = &self.toolbox.telemetry {
            telemetry.stopped();
        }
    }
}
