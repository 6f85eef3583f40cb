//! A worker's life: it is configured, given an application group, serves, and is drained.
//!
//! The main thread sets up the process and Python as the supervisor says, starts the threads that
//! serve, and waits for the order to finish.

use std::error::Error;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use wire::Secret;
use wire::control::{FromWorker, Settings, ToWorker};
use wire::exchange::Level;
use wire::limits::Cause;

use crate::conversation::sender::Sender;
use crate::ffi;
use crate::io::authentication::{Authenticator, Complaints};
use crate::io::connections::Connections;
use crate::io::intake::{Intake, Job};
use crate::io::queue::Queue;
use crate::io::schedule::Policy;
use crate::io::thread::Io;
use crate::io::watch::Thread;
use crate::monitor::{Monitor, Stacks};
use crate::process::control::{Control, ControlError, Event, Reporter, Signal};
use crate::process::proof::Proof;
use crate::process::title::Title;
use crate::process::{log, setup, threads};
use crate::python::context::Context;
use crate::python::interpreter::Interpreter;
use crate::python::peers::{Answer, Peers};
use crate::python::reload::Reload;
use crate::python::signals::Signals;
use crate::python::{module, service};
use crate::runner::Runners;
use crate::telemetry::Telemetry;
use crate::worker::Worker;

/// How long no connection must have been open before a worker without a supervisor ends.
const LONELINESS: Duration = Duration::from_secs(1);
/// How often such a worker looks.
const LOOK: Duration = Duration::from_millis(100);

/// What has been done before Python runs, where that must be.
struct Prepared {
    control: Control,
    settings: Box<Settings>,
    title: Title,
}

static PREPARED: Mutex<Option<Prepared>> = Mutex::new(None);

/// Takes up the conversation with the supervisor, whose socket is this process's standard input, and
/// confines the process to `root`, the group's `chroot=`. For a program that is about to start Python;
/// [`main`] goes on from here.
///
/// # Errors
/// What is wrong, which the supervisor has been told.
pub fn prepare(root: Option<OwnedFd>) -> Result<(), String> {
    let prepared = Prepared::begin().map_err(|error| error.to_string())?;
    let reporter = prepared.control.reporter();
    if let Some(root) = root {
        setup::enter_root(&prepared.settings, root).inspect_err(|problem| {
            reporter.failed(problem.clone());
        })?;
    }
    *PREPARED.lock().expect("panics abort") = Some(prepared);
    Ok(())
}

/// Runs a worker in the Python of this process, to be called on its main thread and not attached to
/// Python. Standard input is the socket of the supervisor. Returns after an orderly end, when Python is
/// to end as it does by itself: it closes the files that are open, and the C library runs its exit
/// handlers.
pub fn main() {
    if let Err(error) = serve_supervisor() {
        eprintln!("wsgi-worker: {error}");
        ffi::exit_now(1);
    }
}

fn serve_supervisor() -> Result<(), ControlError> {
    let prepared = PREPARED.lock().expect("panics abort").take();
    let Prepared { control, settings, title } = prepared.map_or_else(Prepared::begin, Ok)?;
    title.set(settings.display_name.as_deref());
    let reporter = control.reporter();
    module::report_to(&reporter);
    run(control, settings, &reporter).or_else(|error| {
        let error = error.downcast::<ControlError>().map(|error| *error);
        match error {
            Ok(error) => Err(error),
            Err(error) => {
                reporter.failed(error.to_string());
                ffi::exit_now(1)
            }
        }
    })
}

impl Prepared {
    fn begin() -> Result<Self, ControlError> {
        abort_on_panic();
        setup::hide();
        let title = Title::find();
        let mut control = Control::take_stdin()?;
        match control.next(None)? {
            Event::Order(ToWorker::Configure(settings), _) => Ok(Self { control, settings, title }),
            // There is nothing to do any more.
            Event::Order(..) | Event::Signal(_) | Event::Orphaned | Event::Nothing => {
                ffi::exit_now(0)
            }
        }
    }
}

/// As long as a request may take.
const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// A thread that is gone would leave requests and locks behind; the supervisor starts a new worker.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// Returns only when there is nothing to serve; a worker that has served ends in here.
fn run(
    mut control: Control,
    settings: Box<Settings>,
    reporter: &Reporter,
) -> Result<(), Box<dyn Error>> {
    setup::set_locale(&settings, reporter);
    let signals = Signals::catch()?;
    let interpreter = Python::attach(|py| Interpreter::prepare(py, &settings))
        .map_err(|error| format!("Python runs, but cannot be set up: {error}"))?;
    if let Some(home) = &settings.python_home
        && let Some(prefix) = Python::attach(|py| interpreter.other_prefix(py, home))?
    {
        let text = format!(
            "python-home={} is not used: Python runs with the packages in {}, as it finds no pyvenv.cfg \
             where it was to run; make the environment anew",
            home.display(),
            prefix.display()
        );
        reporter.log(Level::Warning, text);
    }
    // Who subscribed to the end is told in any case, as with mod_wsgi.
    let runs_exit_handlers = !settings.python.skip_exit_handlers;
    reporter.send(&FromWorker::Ready { python: interpreter.version() });

    let context = match next_order(&mut control)? {
        Event::Order(
            ToWorker::Assign { application_group, secret, preload, interpreter: own },
            Some(listener),
        ) => {
            let name = describe(&settings.process_group, &application_group);
            let monitor = Arc::new(Monitor::new(&settings, name, reporter.clone())?);
            let keeps = settings.threads > 0 && settings.reload == wire::control::Reload::Keep;
            let peers = keeps.then(|| Arc::new(Peers::new(reporter.clone())));
            let context = Python::attach(|py| {
                interpreter.assign(py, &application_group, &settings.python, &own)?;
                let has_others = settings.threads > 0 && settings.processes > 1;
                let python = &settings.python;
                Context::new(py, &application_group, python, peers, has_others, reporter.clone())
            })?;
            if settings.threads == 0 {
                service::run(control, reporter, &interpreter, &context, &preload)?;
                interpreter.stopping(Cause::ShutdownSignal);
                Some(Arc::new(context))
            } else {
                Python::attach(|py| match keeps {
                    true => context.scripts.load_all(py, &preload, || monitor.note_loaded()),
                    false => {
                        preload.iter().for_each(|script| context.preload(py, &monitor, script));
                        Ok(())
                    }
                })?;
                let assigned = Assigned { application_group, secret, listener };
                let mut serving =
                    serve(&interpreter, *settings, context, assigned, monitor, reporter)?;
                signals.dispatch()?;
                reporter.send(&FromWorker::Serving);
                serving.monitor()?;
                let context = Arc::clone(&serving.worker.context);
                let end = wait_for_the_end(&mut control, reporter, &serving)?;
                serving.drain(&end, &interpreter);
                Some(context)
            }
        }
        _ => {
            interpreter.stopping(Cause::ShutdownSignal);
            None
        }
    };
    reporter.send(&FromWorker::Drained);
    if !runs_exit_handlers {
        log::write_all_rests();
        ffi::exit_now(0);
    }
    interpreter.finish();
    if let Some(context) = context {
        Python::attach(|py| context.scripts.let_go(py));
    }
    log::write_all_rests();
    Ok(())
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
    mut settings: Settings,
    mut context: Context,
    Assigned { application_group, secret, listener }: Assigned,
    monitor: Arc<Monitor>,
    reporter: &Reporter,
) -> Result<Serving, Box<dyn Error>> {
    context.telemetry = Python::attach(|py| {
        Telemetry::start(py, &settings, &application_group, &monitor, reporter)
    })?;
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
    let authenticator = Authenticator::new(&settings, secret);
    let complaints = Complaints::new(reporter.clone(), monitor.name().to_owned());
    let sender = Sender::start()?;
    let runners = Runners::make(&settings)?;
    let threads = runners.count();
    if let Some(error) = &runners.refused {
        let (name, wanted) = (monitor.name(), settings.threads);
        reporter.log(
            Level::Error,
            format!(
                "{name}: threads={wanted} is more than its user may have (RLIMIT_NPROC, pids.max): it \
                 serves with {threads}; {error}"
            ),
        );
        settings.threads = u16::try_from(threads).unwrap_or(u16::MAX);
    }
    let policy = if has_lock { Policy::Patient } else { Policy::Parallel };
    let reload = settings.reload;
    let intake = Arc::new(Intake {
        settings,
        application_group,
        queue: Queue::new(threads, policy),
        threads: (0..threads).map(|_| Thread::default()).collect(),
        monitor,
        connections: Connections::new()?,
        paused: AtomicBool::new(false),
        returning: AtomicUsize::new(0),
    });
    let worker = Arc::new(Worker {
        intake: Arc::clone(&intake),
        context: Arc::new(context),
        reload: Reload::new(reporter.clone(), reload),
        sender,
        proof: Arc::new(Proof::new(reporter.clone())),
    });
    runners.start(&worker);
    let io = Io::new(intake, listener, authenticator, complaints)?;
    let io = threads::start("wsgi-io", None, || io.run())?;
    Ok(Serving { worker, io, stacks, has_lock })
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
    let worker = &serving.worker;
    let context = &worker.context;
    let mut orphaned = false;
    let mut lonely = Duration::ZERO;
    loop {
        match control.next(orphaned.then_some(LOOK))? {
            Event::Order(ToWorker::Drain { grace }, _) => {
                let changed = worker.reload.has_reported().then_some(Cause::ScriptReload);
                let cause =
                    worker.intake.monitor.cause().or(changed).unwrap_or(Cause::ShutdownSignal);
                return Ok(End { cause, grace: Duration::from_secs(grace.into()) });
            }
            Event::Signal(Signal::Shutdown) => {
                worker.intake.monitor.note_shutdown();
                return Ok(End { cause: Cause::ShutdownSignal, grace: Duration::ZERO });
            }
            Event::Signal(Signal::Eviction) => {
                worker.intake.monitor.ask(worker.intake.monitor.eviction())
            }
            Event::Signal(Signal::CpuTime) => worker.intake.monitor.ask(Cause::CpuTimeLimit),
            Event::Order(ToWorker::Retire, _) => worker.intake.monitor.ask(Cause::ReloadOrder),
            Event::Order(ToWorker::Keep, _) => {
                worker.intake.monitor.keep();
                serving.resume(Python::attach(|py| worker.reload.keep(py, &context.scripts)));
            }
            Event::Order(ToWorker::Load { scripts }, _) => serving.load(scripts)?,
            Event::Order(ToWorker::Stacks { ticket }, _) => {
                worker.intake.monitor.ask_for_stacks(ticket);
            }
            Event::Order(ToWorker::Alone, _) => {
                context.peers.iter().for_each(|peers| peers.answer(Answer::Alone));
            }
            Event::Order(ToWorker::Dismiss, _) => {
                if worker.intake.queue.load() == 0 {
                    // A request that comes at this moment has all the time that it needs.
                    return Ok(End { cause: Cause::InactivityTimeout, grace: A_DAY });
                }
                reporter.send(&FromWorker::Busy);
            }
            Event::Order(..) => {
                let text = "the supervisor gave an order that makes no sense now".to_owned();
                reporter.log(Level::Error, text);
            }
            Event::Orphaned => {
                orphaned = true;
                serving.resume(worker.reload.cease());
                context.peers.iter().for_each(|peers| peers.close(Answer::Alone));
            }
            Event::Nothing if worker.intake.connections.open() > 0 => lonely = Duration::ZERO,
            Event::Nothing => lonely += LOOK,
        }
        let cause = worker.intake.monitor.cause().filter(|cause| orphaned && cause.is_urgent());
        if let Some(cause) = cause {
            let grace = worker.intake.settings.limits.grace(cause);
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
        self.worker.intake.monitor.start(
            Arc::clone(&self.worker.context),
            self.stacks.take(),
            self.has_lock,
        )
    }

    /// Loads scripts, as other workers have, while requests run.
    fn load(&self, scripts: Vec<Vec<u8>>) -> std::io::Result<()> {
        let (context, monitor) =
            (Arc::clone(&self.worker.context), Arc::clone(&self.worker.intake.monitor));
        let load = move || {
            monitor.note_loading();
            if Python::attach(|py| context.scripts.load_as_others(py, &scripts)) {
                monitor.note_loaded();
            }
        };
        threads::start("wsgi-loader", None, load).map(drop)
    }

    /// Runs requests that have been held back for another worker.
    fn resume(&self, held: Vec<Job>) {
        for job in held {
            // Only a job that may be refused comes back, and these have waited already.
            let _ = self.worker.intake.queue.push(job, false);
        }
        // The runners are watched while jobs wait.
        self.worker.intake.connections.wake();
    }

    /// Begins nothing new, waits for what is running, and tells the application of the end. From
    /// here on the watching thread sees to it that the process ends, whatever Python does.
    fn drain(self, end: &End, interpreter: &Interpreter) {
        let worker = &self.worker;
        worker.intake.monitor.begin_end(end.grace);
        if let Some(telemetry) = &self.worker.context.telemetry {
            telemetry.stopping(end.cause);
        }
        worker.intake.connections.close();
        // Panics abort, so the thread has ended in good order.
        let _ = self.io.join();
        // Not sooner: they come back over the listening socket, to somebody else.
        let held = worker.reload.cease();
        self.worker.context.peers.iter().for_each(|peers| peers.close(Answer::Leave));
        // Who is stuck begins nothing any more.
        let queued =
            if end.cause.is_urgent() { worker.intake.queue.withdraw() } else { Vec::new() };
        held.into_iter().chain(queued).for_each(|job| job.connection.say_goodbye());

        let deadline = Instant::now() + end.grace;
        let left = || deadline.saturating_duration_since(Instant::now());
        while !worker.intake.queue.wait_until_quiet(left().min(LOOK))
            && !left().is_zero()
            && !worker.intake.monitor.only_stale_requests_run()
        {}
        worker.intake.monitor.begin_end(Duration::ZERO);
        interpreter.stopping(end.cause);
        while !worker.intake.queue.wait_until_quiet(LOOK) {}
        while worker.intake.returning.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        worker.intake.monitor.report_deserted();
        if let Some(telemetry) = &self.worker.context.telemetry {
            telemetry.stopped();
        }
    }
}
