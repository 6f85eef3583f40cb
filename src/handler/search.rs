//! The search for a worker that begins a request or a question: one that is known, another one where
//! that one did not begin it, and the right status when there is none.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Flight, Place, Reason};
use tracing::{debug, error, warn};

use super::account;
use super::admission::Permit;
use super::exit_reason;
use super::fault::Fault;
use super::peer::Peer;
use super::queue::QueueTime;
use super::turn::{Break, Outcome, Turn};
use super::workers::{ACCEPT_TIMEOUT, Connection, Key, Unavailable, Workers, admission};
use crate::ffi::OK;
use crate::ffi::request::Request;
use crate::generation::{Capacity, ConnectionOptions, Generation};
use crate::log::Throttle;

/// The shortest `connect-timeout=` that is kept to: without any time no worker is found.
const LEAST: Duration = Duration::from_secs(1);

/// So often a request may come to workers that are about to end before it takes breath: more is not
/// what happens to a group that is well.
const RESTARTS_AT_ONCE: u32 = 5;

/// The first pause after that. It doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The application group whose workers something is sent to.
pub struct Destination<'s> {
    key: Key,
    /// The script that is to run there, where clients may have made up the name of the application group.
    script: Option<&'s [u8]>,
    options: ConnectionOptions,
    /// Where what becomes of it is counted.
    pub place: Option<Place>,
    capacity: Capacity,
}

/// One of the times that a worker is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attempt {
    /// Whether it may send us to another one.
    pub may_refuse: bool,
    /// Whether it may let us wait until one of its threads is free.
    pub may_wait: bool,
    /// How many there were, this one included.
    pub connects: u32,
    /// In how many of them a worker that was about to end did not begin.
    pub restarts: u32,
}

/// A search that goes on until a worker has begun what it is sent. Its caller takes the
/// [next worker](Self::next_worker), sends it something, and lets the search
/// [judge](Self::judge) what came of it.
pub struct Search<'r, 's> {
    request: Request<'r>,
    destination: &'s Destination<'s>,
    generation: &'s Generation,
    /// A worker that is lost after it may have begun is followed by another one, once.
    repeatable: bool,
    /// The thread that the request holds.
    permit: Permit,
    /// How long the request may wait to be begun.
    pub queue: QueueTime<'r>,
    /// Until when a worker has to have begun it.
    deadline: Instant,
    may_reuse: bool,
    lost_once: bool,
    attempt: Attempt,
    workers: Option<Arc<Workers>>,
    /// It is with the workers, or waits for them.
    pub flight: Option<Flight>,
}

impl<'r, 's> Search<'r, 's> {
    /// Begins to search. What is `repeatable` may be begun twice.
    pub fn new(
        request: Request<'r>,
        destination: &'s Destination<'s>,
        generation: &'s Generation,
        repeatable: bool,
    ) -> Self {
        let permit = match request.is_stream() {
            true => Permit::of_stream(),
            false => {
                let (admission, known) = admission(&destination.key);
                let alone = known == 1 && generation.named_groups <= 1;
                let Capacity { requests, .. } = destination.capacity;
                Permit::take(admission, requests, alone, destination.grows())
            }
        };
        let options = &destination.options;
        // httpd's own limit for those that it waits for, unless more has been asked for.
        let longest = request.server().timeout().max(options.connect_timeout.unwrap_or_default());
        Self {
            request,
            destination,
            generation,
            repeatable,
            queue: QueueTime::new(request, destination.options.queue_timeout),
            deadline: Instant::now() + longest,
            may_reuse: true,
            lost_once: false,
            attempt: Attempt { may_wait: permit.may_wait, ..Attempt::default() },
            permit,
            workers: None,
            flight: destination.place.and_then(|place| account::take_off(request, place)),
        }
    }

    /// The attempt that [`Self::next_worker`] was last asked for.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// A connection to a worker that may begin the request.
    ///
    /// # Errors
    /// The HTTP status of the page that httpd is to answer with. The log has been told.
    pub fn next_worker(&mut self) -> Result<Connection, i32> {
        self.pause()?;
        if self.queue.is_over() {
            return Err(self.late());
        }
        if !self.permit.may_run {
            return Err(self.unavailable(&Unavailable::NotAdmitted));
        }
        let (workers, connection) = self.find().map_err(|problem| match self.queue.is_over() {
            true => self.late(),
            false => self.unavailable(&problem),
        })?;
        self.attempt.may_refuse = connection.reused && workers.have_choice();
        self.attempt.connects += 1;
        self.workers = Some(workers);
        Ok(connection)
    }

    /// Waits for a moment before the next of many attempts. Workers cannot keep this thread busy.
    fn pause(&self) -> Result<(), i32> {
        let many = self.attempt.restarts.saturating_sub(RESTARTS_AT_ONCE);
        if many == 0 {
            return Ok(());
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << many.min(10)).min(LONGEST_PAUSE);
        match self.queue.wait_for(&[], pause) {
            Ok(_) => Ok(()),
            Err(why) => Err(self.unavailable(&Unavailable::GivenUp(why))),
        }
    }

    /// The turn of a worker that has just been found.
    pub fn turn<'c>(&'c self, connection: (&'c UnixStream, &'c mut Peer)) -> Turn<'r, 'c> {
        let socket_timeout = self.destination.options.socket_timeout;
        let queue = (self.queue, self.permit.may_wait);
        Turn::new(self.request, connection, socket_timeout, queue, self.flight.as_ref())
    }

    /// Judges what came of the worker's turn: either that ends the search, with what the handler
    /// returns, or the next worker is to be asked.
    pub fn judge(
        &mut self,
        connection: Connection,
        outcome: Outcome,
    ) -> ControlFlow<Result<i32, i32>> {
        let destination = self.destination;
        match outcome {
            Outcome::Complete => {
                self.keep(connection);
                return ControlFlow::Break(Ok(OK));
            }
            Outcome::Answered(status) => return ControlFlow::Break(status),
            Outcome::Redirected(_) => return ControlFlow::Break(Ok(OK)),
            Outcome::Failed(status) => {
                self.keep(connection);
                return ControlFlow::Break(Err(status));
            }
            Outcome::Busy if self.attempt.may_refuse => self.may_reuse = false,
            Outcome::Busy => {
                let why = "turns away what it has to run".to_owned();
                let answer = Err(Fault::WorkerFailed.status());
                let broken = Break { why, lost: false, answer, untouched: true };
                return ControlFlow::Break(self.tell(connection.worker.pid(), broken));
            }
            Outcome::Full => {
                self.keep_accepted(connection);
                let problem = match self.permit.may_wait {
                    true => Unavailable::Full,
                    false => Unavailable::NotAdmitted,
                };
                return ControlFlow::Break(Err(self.unavailable(&problem)));
            }
            Outcome::Late => {
                self.keep_accepted(connection);
                return ControlFlow::Break(Err(self.late()));
            }
            Outcome::Outdated if Instant::now() < self.deadline => {
                self.attempt.restarts += 1;
                self.forget();
            }
            Outcome::Outdated => {
                error!("{destination}: its workers do not accept our secret.");
                return ControlFlow::Break(Err(Fault::Unavailable.status()));
            }
            Outcome::NotBegun(why) if Instant::now() < self.deadline => {
                self.attempt.restarts += 1;
                // No worker has even said which one it is: the supervisor knows whether any will.
                if connection.worker.pid().is_none() {
                    self.forget();
                }
                debug!("The request is sent to another worker: {why}.");
            }
            Outcome::NotBegun(why) => {
                error!("{destination}: no worker has begun the request: {why}.");
                return ControlFlow::Break(Err(Fault::Unavailable.status()));
            }
            // The worker may have begun it.
            Outcome::Broken(Break { lost: true, untouched: true, why, .. })
                if !self.lost_once && self.repeatable =>
            {
                let worker = name(connection.worker.pid());
                warn!("{destination}: {worker} {why}; the request is sent to another worker.");
                self.lost_once = true;
                // Not on an idle connection: a dying process closes one after the other, so that
                // the next one may be its own and still look good.
                self.may_reuse = false;
            }
            Outcome::Broken(broken) => {
                return ControlFlow::Break(self.tell(connection.worker.pid(), broken));
            }
        }
        if let Some(flight) = &self.flight {
            flight.waiting();
        }
        ControlFlow::Continue(())
    }

    fn keep(&self, connection: Connection) {
        if let Some(workers) = &self.workers {
            workers.keep(connection);
        }
    }

    /// A connection that no worker has accepted goes away with the request that waits in it.
    fn keep_accepted(&self, connection: Connection) {
        if connection.worker.pid().is_some() {
            self.keep(connection);
        }
    }

    fn forget(&self) {
        if let Some(workers) = &self.workers {
            workers.forget(&self.destination.key);
        }
    }

    /// A connection to a worker of the application group.
    fn find(&self) -> Result<(Arc<Workers>, Connection), Unavailable> {
        let may_wait = self.permit.may_wait;
        let silence = self.destination.options.socket_timeout;
        let silence = silence.unwrap_or_else(|| self.request.server().timeout());
        let connect = |workers: &Workers| match workers.connect(&self.queue, may_wait, silence) {
            Err(Unavailable::Full) if !may_wait => Err(Unavailable::NotAdmitted),
            connection => connection,
        };
        let found = self.find_workers()?;
        if let Some(connection) = self.may_reuse.then(|| found.reuse()).flatten() {
            return Ok((found, connection));
        }
        match connect(&found) {
            Ok(connection) => Ok((found, connection)),
            // The workers' socket has gone, with the supervisor that made it or by its order: ask
            // anew.
            Err(Unavailable::NoConnection { source, .. }) if is_gone(&source) => {
                found.forget(&self.destination.key);
                let found = self.find_workers()?;
                let connection = connect(&found)?;
                Ok((found, connection))
            }
            Err(problem) => Err(problem),
        }
    }

    fn find_workers(&self) -> Result<Arc<Workers>, Unavailable> {
        let Destination { key, script, options, .. } = self.destination;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = options.connect_timeout.map_or(left, |limit| limit.max(LEAST).min(left));
        let timeout = self.queue.left().map_or(timeout, |left| left.min(timeout));
        let timeout = if self.permit.may_wait { timeout } else { timeout.min(ACCEPT_TIMEOUT) };
        let found = Workers::of(self.generation, (key, *script), *options, (&self.queue, timeout));
        if self.permit.may_wait {
            return found;
        }
        found.map_err(|problem| match problem {
            Unavailable::NoSupervisor { .. } => Unavailable::NotAdmitted,
            problem => problem,
        })
    }

    /// Says in one line why a request that was begun will not be finished.
    fn tell(
        &self,
        worker: Option<u32>,
        Break { why, lost, mut answer, .. }: Break,
    ) -> Result<i32, i32> {
        let destination = self.destination;
        let what = match worker.filter(|_| lost) {
            None => why,
            Some(pid) => {
                let exit_reason = exit_reason::ask(self.generation, destination.options, pid);
                if exit_reason.too_slow {
                    answer = answer.map_err(|_| Fault::TimedOut.status());
                }
                exit_reason.unless_known(&why)
            }
        };
        error!(
            "{destination}: {} {what}, while it ran '{}', received {:.1} s ago.",
            name(worker),
            String::from_utf8_lossy(self.request.line()),
            self.request.age().as_secs_f64(),
        );
        answer
    }

    /// There is no worker for the request: says so, and when to try again.
    fn unavailable(&self, problem: &Unavailable) -> i32 {
        static FULL: Throttle = Throttle::new();
        self.count_refusal(match problem {
            Unavailable::Full => Reason::Full,
            Unavailable::NotAdmitted => Reason::NoThread,
            Unavailable::Refused { .. } | Unavailable::NoConnection { .. } => Reason::NoWorker,
            Unavailable::NoSupervisor { .. } => Reason::NoSupervisor,
            Unavailable::GivenUp(_) => Reason::GivenUp,
        });
        if let Unavailable::GivenUp(why) = problem {
            debug!("No worker has begun the request: {why}.");
            return Fault::Unavailable.status();
        }
        let retry_after = match problem {
            Unavailable::Refused { retry_after, .. } => *retry_after,
            _ => 1,
        };
        self.request.err_headers_out().set(c"Retry-After", retry_after.to_string().as_bytes());
        // This happens to many at a time.
        let more = match problem {
            Unavailable::Full | Unavailable::NotAdmitted => FULL.pass(),
            _ => Some(String::new()),
        };
        if let Some(more) = more {
            error!("{}: {problem}{more}", self.destination);
        }
        Fault::Unavailable.status()
    }

    fn count_refusal(&self, reason: Reason) {
        if let Some(slot) = self.destination.place.and_then(account::slot) {
            slot.count_refusal(reason);
        }
    }

    /// The request has waited for too long, and has not been begun.
    fn late(&self) -> i32 {
        static LATE: Throttle = Throttle::new();
        self.count_refusal(Reason::QueueTimeout);
        if let Some(more) = LATE.pass() {
            let (destination, limit) = (self.destination, self.queue.limit().unwrap_or_default());
            let limit = limit.as_secs();
            error!(
                "{destination}: no thread was free for a request within \
                 queue-timeout={limit}{more}"
            );
        }
        Fault::TimedOut.status()
    }
}

impl<'s> Destination<'s> {
    /// Whether further workers can be started for requests that wait.
    fn grows(&self) -> bool {
        let has_room = |place| account::slot(place).is_some_and(|slot| !slot.is_full());
        self.capacity.follows_load && self.place.is_some_and(has_room)
    }

    /// The workers of this application group, to be spoken with like this, which can do so much. They are
    /// to run `script`, which counts where clients may have made up the name.
    pub fn new(
        (process_group, application_group): Key,
        script: Option<&'s [u8]>,
        (options, capacity): (ConnectionOptions, Capacity),
    ) -> Self {
        let place = account::place(&process_group, &application_group);
        let key = (process_group, application_group);
        Self { key, script, options, capacity, place }
    }
}

impl fmt::Display for Destination<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |bytes: &[u8]| match bytes {
            b"" => "%{GLOBAL}".to_owned(),
            name => String::from_utf8_lossy(name).into_owned(),
        };
        write!(
            formatter,
            "Process group '{}', application group '{}'",
            name(&self.key.0),
            name(&self.key.1)
        )
    }
}

/// A worker as it stands in log lines.
fn name(worker: Option<u32>) -> String {
    worker.map_or_else(|| "a worker".to_owned(), |pid| format!("worker {pid}"))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
