//! The threads that run the application.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use wire::control::Settings;
use wire::exchange::ToWorker;

use crate::clock::now;
use crate::clock::{Times, seconds};
use crate::conversation::connection::Connection;
use crate::conversation::exchange::{About, Exchange, Outcome};
use crate::conversation::incoming::BodyIs;
use crate::conversation::sender::Sender as BlockSender;
use crate::ffi::{let_others_go_first, raise_in_thread, thread_state};
use crate::forked::has_forked;
use crate::io::intake::Job;
use crate::io::schedule::RunnerId;
use crate::process::threads;
use crate::python::context::Context;
use crate::python::hooks::Call;
use crate::python::script::ScriptError;
use crate::slot::Slot;
use crate::worker::Worker;
use crate::wsgi::failure::Failures;
use crate::wsgi::{Constants, Environ, Errors, Extensions, Input, respond};

/// In bytes. Python code recurses deeply; this is what the main thread of a program has.
const STACK: usize = 8 << 20;

/// With less, a thread could not even log that it has too little.
const LEAST_STACK: usize = 128 << 10;

/// How many threads a worker has, or may come to have, beside its runners and the application's own.
const OTHER_THREADS: usize = 8;

/// So many runners are waited for where the user has as many threads as may be just now: without one, the
/// worker is none, and a group that asks for few should get them.
const WORTH_WAITING: usize = 8;

/// After so long another runner goes on, whose share of the processor is not used up.
const SHIFT: Duration = Duration::from_micros(500);

/// Threads that wait for the worker whose requests they are to run.
#[derive(Debug)]
pub struct Runners {
    threads: Vec<Sender<Arc<Worker>>>,
    /// Why there are not as many as there should be.
    pub refused: Option<io::Error>,
}

impl Runners {
    /// Makes `threads=` threads, or as many as the system gives (`RLIMIT_NPROC`, `pids.max`), less what
    /// the rest of the worker needs.
    ///
    /// # Errors
    /// The system's, where there can be none.
    pub fn make(settings: &Settings) -> io::Result<Self> {
        let stack = settings.stack_size.and_then(|bytes| usize::try_from(bytes).ok());
        let stack = stack.unwrap_or(STACK).max(LEAST_STACK);
        let mut runners = Self { threads: Vec::new(), refused: None };
        for id in 0..usize::from(settings.threads.max(1)) {
            let (thread, worker) = mpsc::channel::<Arc<Worker>>();
            let name = format!("wsgi-{}", id + 1);
            // Without a worker it was one too many.
            let body = move || {
                if let Ok(worker) = worker.recv() {
                    run(&worker, id);
                }
            };
            let spawned = if id < WORTH_WAITING {
                threads::start(&name, Some(stack), body)
            } else {
                std::thread::Builder::new().name(name).stack_size(stack).spawn(body)
            };
            match spawned {
                Ok(_) => runners.threads.push(thread),
                Err(error) => {
                    let made = runners.threads.len();
                    // Some are left to other groups of the user, too.
                    let left = made.saturating_sub(OTHER_THREADS.max(made / 4)).max(1);
                    runners.threads.truncate(left);
                    runners.refused = Some(error);
                    break;
                }
            }
        }
        match runners.refused.take_if(|_| runners.threads.is_empty()) {
            Some(error) => Err(error),
            None => Ok(runners),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Gives them their worker, which knows how many they are.
    pub fn start(self, worker: &Arc<Worker>) {
        for thread in self.threads {
            thread.send(Arc::clone(worker)).expect("the thread waits");
        }
    }
}

fn run(worker: &Worker, id: RunnerId) {
    let Worker { intake, context, .. } = worker;
    intake.threads[id].enter();
    let_others_go_first();
    // Attached for good, so that thread-local data of the application lives as long as the thread.
    Python::attach(|py| {
        let constants = Constants::new(py, &intake.settings, &intake.application_group, id + 1)
            .expect("a few strings can be made");
        let monitor = &intake.monitor;
        let slot = Arc::clone(&monitor.slots[id]);
        let ident = thread_ident(py).expect("every thread has a number");
        slot.identify(ident, thread_state(py));
        let sender = Arc::clone(&worker.sender);
        let buffer = Vec::new();
        let mut runner =
            Runner { worker, context, id, slot, sender, environ: Environ::new(constants), buffer };
        loop {
            let is_watched = context.telemetry.is_some() || context.subscribers.exist(py);
            let woken = py.detach(|| {
                intake.queue.wait(id);
                is_watched.then(Instant::now)
            });
            let mut waited = woken.map(|woken| woken.elapsed());
            let mut job = intake.queue.begin(id);
            let start = Instant::now();
            while let Some(taken) = job {
                if intake.is_late(&taken) {
                    py.detach(|| intake.give_up(taken));
                    job = intake.queue.next(id);
                    continue;
                }
                let Some(taken) = worker.reload.admit(py, &context.scripts, taken) else {
                    job = intake.queue.next(id);
                    continue;
                };
                let connection = runner.serve(py, taken, waited.take());
                // The runner counts as free before the peer can send more, or that would be
                // refused as too much.
                intake.returning.fetch_add(1, Ordering::SeqCst);
                let relieved = start.elapsed() >= SHIFT && intake.queue.hand_over(id);
                job = if relieved { None } else { intake.queue.next(id) };
                if let Some(connection) = connection {
                    intake.connections.put_back(connection);
                }
                intake.returning.fetch_sub(1, Ordering::SeqCst);
                if intake.paused.load(Ordering::SeqCst) {
                    intake.connections.wake();
                }
            }
        }
    });
}

/// The number by which Python knows this thread.
fn thread_ident(py: Python<'_>) -> PyResult<u64> {
    py.import("threading")?.call_method0("get_ident")?.extract()
}

/// What the worker itself wants to know of an environ. Of equal names the last one counts.
#[derive(Default)]
struct Known<'a> {
    method: &'a [u8],
    uri: &'a [u8],
    request_id: Option<&'a [u8]>,
}

impl<'a> Known<'a> {
    fn of(environ: &[(&'a [u8], &'a [u8])]) -> Self {
        let mut known = Self::default();
        for (name, value) in environ {
            match *name {
                b"REQUEST_METHOD" => known.method = value,
                b"REQUEST_URI" => known.uri = value,
                b"mod_wsgi.request_id" => known.request_id = Some(value),
                _ => {}
            }
        }
        known
    }
}

/// One runner's own things.
struct Runner<'t> {
    worker: &'t Worker,
    context: &'t Context,
    id: RunnerId,
    /// How others see what this runner does.
    slot: Arc<Slot>,
    sender: Arc<BlockSender>,
    environ: Environ,
    /// Where frames are gathered, kept from request to request.
    buffer: Vec<u8>,
}

impl Runner<'_> {
    /// Runs one request. Returns the connection, if it is still of use.
    fn serve(
        &mut self,
        py: Python<'_>,
        Job { mut connection, script, reloading, queued, .. }: Job,
        waited: Option<Duration>,
    ) -> Option<Connection> {
        let taken = now();
        let slot = Arc::clone(&self.slot);
        let request = match connection.inbox.next() {
            Ok(Some(ToWorker::Request(request))) => request,
            Ok(Some(ToWorker::Ask(inquiry))) => {
                let known = Known::of(&inquiry.environ);
                slot.begin(known.method, known.uri, false);
                let call = Call::new(py, &inquiry, &mut self.environ);
                return self.run(py, connection, About::default(), |runner, exchange| match call {
                    Ok(call) => call.answer(py, runner.context, exchange, &script, reloading),
                    Err(error) => {
                        let failures = &runner.context.failures;
                        failures.log(py, exchange, "cannot begin", &script, &error);
                        Outcome::Failed(500)
                    }
                });
            }
            _ => unreachable!("the I/O thread queues connections with a request in front"),
        };
        let times = Times { received: request.received, queued, taken };
        let telemetry = self.context.telemetry.as_deref();
        let callable = request.callable.to_vec();
        let known = Known::of(&request.environ);
        let about = About {
            body: match request.whole_body {
                _ if !request.has_body => BodyIs::None,
                None => BodyIs::Elsewhere,
                Some(len) => BodyIs::InWindow(len),
            },
            is_head: known.method == b"HEAD",
            request_id: known.request_id.map(<[u8]>::to_vec),
            tries: (request.connects, request.restarts),
            waited,
            particulars: telemetry.and_then(|it| it.particulars(&request, times, slot.number)),
            taken,
        };
        slot.begin(known.method, known.uri, request.ignore_activity);
        let environ = self.environ.build(py, &request, times, self.worker.intake.monitor.served());
        self.run(py, connection, about, |runner, exchange| {
            let measured = telemetry.map(|telemetry| (telemetry, telemetry.begin(exchange)));
            let outcome = match environ {
                Ok(environ) => runner.answer(py, exchange, &script, &callable, reloading, environ),
                Err(error) => {
                    runner.context.failures.log(py, exchange, "cannot begin", &script, &error);
                    Outcome::Failed(500)
                }
            };
            if let Some((telemetry, measure)) = measured
                && !has_forked()
            {
                telemetry.end(py, exchange, &measure, times, &outcome);
            }
            outcome
        })
    }

    /// Lets `body` have its conversation over the connection, which is given back if it is still of
    /// use.
    fn run(
        &mut self,
        py: Python<'_>,
        connection: Connection,
        about: About,
        body: impl FnOnce(&Self, &Arc<Exchange>) -> Outcome,
    ) -> Option<Connection> {
        let buffer = std::mem::take(&mut self.buffer);
        let (slot, sender) = (Arc::clone(&self.slot), Arc::clone(&self.sender));
        let proof = Arc::clone(&self.worker.proof);
        let exchange = Arc::new(Exchange::new(connection, about, buffer, (slot, sender, proof)));
        exchange.enter(py);
        let outcome = body(self, &exchange);
        if has_forked() {
            eprintln!("a process that the application forked came back from its request");
            crate::ffi::exit_now(1);
        }
        // Before anybody hears of the end, as the next request may bring the worker down.
        exchange.prove(py);
        let queue = &self.worker.intake.queue;
        let ends = |ends| if ends { queue.end(self.id) } else { queue.go_on(self.id) };
        let (connection, buffer) = exchange.leave(py, outcome, ends);
        if self.slot.end() {
            raise_in_thread(py, self.slot.ident(), None);
        }
        let monitor = &self.worker.intake.monitor;
        monitor.count_request();
        if exchange.has_lost_client() {
            monitor.count_deserted();
        }
        self.buffer = buffer;
        connection
    }

    fn answer(
        &self,
        py: Python<'_>,
        exchange: &Arc<Exchange>,
        script: &[u8],
        callable: &[u8],
        reloading: bool,
        environ: Bound<'_, PyDict>,
    ) -> Outcome {
        let Context { scripts, failures, .. } = self.context;
        let wants_reload = |globals: &Bound<'_, PyDict>| {
            let resource = || environ.as_any().get_item(intern!(py, "SCRIPT_FILENAME"));
            reloading && self.context.wants_reload(globals, exchange, script, resource)
        };
        self.worker.intake.monitor.note_loading();
        let application = match scripts.application(py, script, callable, wants_reload) {
            Ok(application) => {
                self.worker.intake.monitor.note_loaded();
                self.context.lacking.remove(py, script);
                application
            }
            Err(error) => {
                self.context.log_script_error(py, exchange, script, &error);
                return match error {
                    ScriptError::Script(_) => Outcome::Failed(500),
                    ScriptError::Elsewhere => Outcome::NotBegun,
                    ScriptError::Python(error) => Failures::outcome(py, &error),
                };
            }
        };
        if let Err(error) = self.add_streams(py, exchange, &environ) {
            failures.log(py, exchange, "cannot begin", script, &error);
            return Outcome::Failed(500);
        }
        let now = now();
        exchange.meter.note_call(now);
        let now = seconds(now);
        let observation =
            environ.set_item(intern!(py, "mod_wsgi.application_start"), now).and_then(|()| {
                self.context.subscribers.observe(&environ, &application, exchange.tries())
            });
        match observation {
            Ok(observation) => {
                respond(py, exchange, failures, script, &application, environ, observation)
            }
            Err(error) => {
                failures.log(py, exchange, "cannot begin", script, &error);
                Outcome::Failed(500)
            }
        }
    }

    fn add_streams(
        &self,
        py: Python<'_>,
        exchange: &Arc<Exchange>,
        environ: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let input = Bound::new(py, Input::new(Arc::clone(exchange)))?;
        environ.set_item(intern!(py, "wsgi.input"), input)?;
        Extensions::add_to(environ, exchange)?;
        Errors::add_to(environ, exchange)
    }
}
