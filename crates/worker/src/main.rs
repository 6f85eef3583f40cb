//! `wsgi-worker`: embeds CPython and runs the WSGI applications of one application group.
//!
//! The main thread sets up the process and Python as the supervisor says, starts the threads that
//! serve, and waits for the order to finish.
#![deny(unsafe_code)]

mod client;
mod connection;
mod control;
mod exchange;
mod failure;
mod fast;
mod ffi;
mod forked;
mod gate;
mod hooks;
mod incoming;
mod interpreter;
mod io;
mod lines;
mod meter;
mod module;
mod outgoing;
mod process_log;
mod queue;
mod reload;
mod reply;
mod runner;
mod schedule;
mod script;
mod service;
mod signals;
mod watch;
mod worker;
mod wsgi;

use std::error::Error;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pyo3::prelude::*;
use wire::Secret;
use wire::control::{FromWorker, Settings, ToWorker};
use wire::exchange::Level;

use crate::connection::Connections;
use crate::control::{Control, ControlError, Event, Reporter};
use crate::fast::Fast;
use crate::gate::{Complaints, Gate};
use crate::interpreter::Interpreter;
use crate::io::Io;
use crate::queue::Queue;
use crate::reload::Reload;
use crate::runner::Toolbox;
use crate::schedule::Policy;
use crate::signals::Signals;
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
    let settings = match control.next(None)? {
        Event::Order(ToWorker::Configure(settings), _) => settings,
        Event::Order(..) | Event::Signal | Event::Orphaned | Event::Nothing => return Ok(()),
    };
    set_up_process(&settings)?;
    let signals = Signals::catch()?;
    let interpreter = Interpreter::start(&settings)?;
    let runs_exit_handlers = !settings.python.skip_exit_handlers;
    reporter.send(&FromWorker::Ready { python: interpreter.version() });

    match control.next(None)? {
        Event::Order(ToWorker::Assign { application_group, secret, preload }, Some(listener)) => {
            let toolbox = Python::attach(|py| {
                interpreter.assign(py, &application_group)?;
                Toolbox::new(py, &application_group)
            })?;
            if settings.threads == 0 {
                service::run(control, reporter, &interpreter, &toolbox, &preload)?;
            } else {
                Python::attach(|py| {
                    preload.iter().for_each(|script| toolbox.preload(py, script));
                });
                let assigned = Assigned { application_group, secret, listener };
                let serving = serve(&interpreter, *settings, toolbox, assigned, reporter)?;
                signals.dispatch()?;
                reporter.send(&FromWorker::Serving);
                wait_for_the_end(&mut control, reporter, &serving)?;
                serving.drain();
            }
        }
        Event::Order(..) | Event::Signal | Event::Orphaned | Event::Nothing => {}
    }
    reporter.send(&FromWorker::Drained);
    if runs_exit_handlers {
        interpreter.finish();
    }
    process_log::write_all_rests();
    ffi::exit_now(0)
}

fn set_up_process(settings: &Settings) -> Result<(), String> {
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

/// A worker at work.
struct Serving {
    worker: Arc<Worker>,
    toolbox: Arc<Toolbox>,
    io: JoinHandle<()>,
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
    toolbox: Toolbox,
    Assigned { application_group, secret, listener }: Assigned,
    reporter: &Reporter,
) -> Result<Serving, Box<dyn Error>> {
    let toolbox = Arc::new(toolbox);
    let has_lock = Python::attach(|py| interpreter.has_lock(py))?;
    let name = format!(
        "application group '{}' of process group '{}'",
        String::from_utf8_lossy(&application_group),
        String::from_utf8_lossy(&settings.process_group),
    );
    let gate = Gate::new(&settings, secret);
    let complaints = Complaints::new(reporter.clone(), name);
    let threads = usize::from(settings.threads.max(1));
    let policy = match has_lock {
        false => Policy::Parallel,
        true if Fast::Watch.is_on() => Policy::Patient,
        true => Policy::Eager,
    };
    let worker = Arc::new(Worker {
        settings,
        application_group,
        queue: Queue::new(threads, policy),
        threads: (0..threads).map(|_| Thread::default()).collect(),
        reload: Reload::new(reporter.clone()),
        connections: Connections::new()?,
        paused: AtomicBool::new(false),
        returning: AtomicUsize::new(0),
        proven: AtomicBool::new(false),
        reporter: reporter.clone(),
    });
    runner::start(&worker, &toolbox)?;
    let io = Io::new(Arc::clone(&worker), listener, gate, complaints)?;
    let io = std::thread::Builder::new().name("wsgi-io".to_owned()).spawn(|| io.run())?;
    Ok(Serving { worker, toolbox, io })
}

/// Waits until the worker shall serve no longer: by order, by signal, or because supervisor and
/// httpd are both gone.
fn wait_for_the_end(
    control: &mut Control,
    reporter: &Reporter,
    serving: &Serving,
) -> Result<(), ControlError> {
    let Serving { worker, toolbox, .. } = serving;
    let mut orphaned = false;
    let mut lonely = Duration::ZERO;
    loop {
        match control.next(orphaned.then_some(LOOK))? {
            Event::Order(ToWorker::Drain { .. }, _) | Event::Signal => return Ok(()),
            Event::Order(ToWorker::Keep, _) => {
                serving.resume(Python::attach(|py| worker.reload.keep(py, &toolbox.scripts)));
            }
            Event::Order(..) => {
                let text = "the supervisor gave an order that makes no sense now".to_owned();
                reporter.log(Level::Error, text);
            }
            Event::Orphaned => {
                orphaned = true;
                serving.resume(Python::attach(|py| worker.reload.cease(py)));
            }
            Event::Nothing if worker.connections.open() > 0 => lonely = Duration::ZERO,
            Event::Nothing => lonely += LOOK,
        }
        if lonely >= LONELINESS {
            return Ok(());
        }
    }
}

impl Serving {
    /// Runs requests that have been held back for another worker.
    fn resume(&self, held: Vec<Job>) {
        for job in held {
            // Only a job that may be refused comes back, and these have waited already.
            let _ = self.worker.queue.push(job, false);
        }
        // The runners are watched while jobs wait.
        self.worker.connections.wake();
    }

    /// Begins nothing new, and waits for what is running.
    fn drain(self) {
        self.worker.connections.close();
        // Panics abort, so the thread has ended in good order.
        let _ = self.io.join();
        // Not sooner: they come back over the listening socket, to somebody else.
        let held = Python::attach(|py| self.worker.reload.cease(py));
        held.into_iter().for_each(|job| job.connection.say_goodbye());
        self.worker.queue.wait_until_quiet();
        while self.worker.returning.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
    }
}
