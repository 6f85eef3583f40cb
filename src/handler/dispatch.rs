//! Which worker runs a request: one that is known, another one where that one did not begin it, and
//! the right status when there is none.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, error, warn};
use wire::exchange::{Request as Message, ToWorker};

use super::crowd::Place;
use super::environ::Environ;
use super::exchange::{Body, Break, Exchange, Outcome};
use super::fate;
use super::target::Target;
use super::workers::{Connection, FULL_PATIENCE, Key, Unavailable, Workers, crowd, patience};
use crate::ffi::request::Request;
use crate::ffi::{HTTP_GATEWAY_TIME_OUT, HTTP_SERVICE_UNAVAILABLE, OK};
use crate::generation::{Generation, Link};
use crate::log::Throttle;

/// How long a request looks for a worker that begins it, when those it finds are leaving.
const SEARCH_PATIENCE: Duration = Duration::from_secs(15);

/// Room for most requests, in bytes: growing it piece by piece would cost as much as filling it.
const MESSAGE: usize = 4 << 10;

/// The application group whose workers something is sent to.
pub struct Destination {
    key: Key,
    link: Link,
    /// How much of its age a request has spent before it was ready to be sent.
    spent: Cell<Duration>,
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

/// Runs the request and passes its response on.
///
/// # Errors
/// The HTTP status of the page that httpd is to answer with.
pub fn run(
    request: Request<'_>,
    target: &Target,
    generation: &Generation,
    has_body: bool,
) -> Result<i32, i32> {
    let mut body = Body::new(request);
    if has_body {
        body.await_beginning()?;
    }
    let environ = Environ::of(request, target);
    let destination = Destination::new(
        target.process_group.clone(),
        target.application_group.clone(),
        target.link,
    );
    let spent = &destination.spent;
    spent.set(body.spent());
    // The worker counts queue-timeout= from then on.
    let received = || {
        let shift = target.link.queue_timeout.map_or(Duration::ZERO, |_| spent.get());
        request.received() + u64::try_from(shift.as_micros()).unwrap_or(0)
    };
    let whole_body = Cell::new(None);
    let message = |attempt: Attempt| {
        ToWorker::Request(Message {
            script: &target.script,
            callable: &target.callable,
            application_group: &target.application_group,
            https: environ.https,
            script_reloading: target.script_reloading,
            ignore_activity: target.ignore_activity,
            may_refuse: attempt.may_refuse,
            may_wait: attempt.may_wait,
            connects: attempt.connects,
            restarts: attempt.restarts,
            received: received(),
            has_body,
            whole_body: whole_body.get(),
            environ: environ.entries(),
        })
    };
    // A safe method may be asked for twice (RFC 9110, section 9.2.2).
    let repeatable = matches!(request.method(), b"GET" | b"HEAD");
    // Held also while a client takes its time for the rest of a response.
    let place = destination.take_place();
    let may_wait = place.may_wait;
    let mut rest = None;
    let converse = |connection: &mut Connection, send: Sending<'_>| {
        if has_body && let Err(status) = body.await_whole(connection.windows.body()) {
            return Outcome::Failed(status);
        }
        spent.set(body.spent());
        whole_body.set(body.whole());
        let outcome = send(connection).map_or_else(
            |outcome| outcome,
            |()| {
                let Connection { stream, inbox, worker, windows, .. } = connection;
                let outcome;
                let exchange =
                    Exchange::new(request, target, stream, worker, windows, &mut body, may_wait);
                (outcome, rest) = exchange.run(inbox);
                outcome
            },
        );
        if !outcome.is_final() {
            body.take_back(connection.windows.body().as_deref());
        }
        outcome
    };
    let answer =
        deliver(request, &destination, generation, (repeatable, may_wait), message, converse);
    // The worker is free by now, and its connection another request's.
    if let Some(rest) = rest {
        rest.pass();
    }
    answer
}

/// Sends over a connection what a worker is asked for.
pub type Sending<'a> = &'a dyn Fn(&mut Connection) -> Result<(), Outcome>;

/// Sends a message to a worker, and to another one as long as none begins what it asks for.
/// `message` makes what is sent; `converse` has it sent, and does the rest. What is
/// `repeatable` is sent again, once, if a worker is lost that may have begun it; it waits for a
/// worker only if it `may_wait`.
///
/// # Errors
/// The HTTP status of the page that httpd is to answer with.
pub fn deliver<'m>(
    request: Request<'_>,
    destination: &Destination,
    generation: &Generation,
    (repeatable, may_wait): (bool, bool),
    message: impl Fn(Attempt) -> ToWorker<'m>,
    mut converse: impl FnMut(&mut Connection, Sending<'_>) -> Outcome,
) -> Result<i32, i32> {
    let key = &destination.key;
    let deadline = Instant::now() + SEARCH_PATIENCE;
    let mut may_reuse = true;
    let mut lost_once = false;
    let mut attempt = Attempt { may_wait, ..Attempt::default() };
    let age = || request.age().saturating_sub(destination.spent.get());
    let is_late = || destination.link.queue_timeout.is_some_and(|limit| age() >= limit);
    loop {
        if is_late() {
            return Err(late(destination));
        }
        let found = find(generation, destination, age(), attempt.may_wait, may_reuse);
        let (workers, mut connection) = found.map_err(|problem| match is_late() {
            true => late(destination),
            false => unavailable(request, destination, &problem),
        })?;
        attempt.may_refuse = connection.reused && workers.have_choice();
        attempt.connects += 1;
        let send = |connection: &mut Connection| {
            let mut bytes = std::mem::take(&mut connection.greeting);
            bytes.reserve(MESSAGE);
            let memory = connection.windows.offer(&mut bytes);
            wire::encode(&message(attempt), &mut bytes);
            let sent = match memory {
                None => channel::send(&connection.stream, &bytes),
                Some(memory) => channel::send_with_descriptor(&connection.stream, &bytes, memory),
            };
            // Only part of the frame has arrived, if any: no worker begins that.
            sent.map_err(|error| Outcome::NotBegun(format!("cannot be sent ({error})")))
        };
        match converse(&mut connection, &send) {
            Outcome::Complete => {
                workers.keep(connection);
                return Ok(OK);
            }
            Outcome::Answered(status) => return status,
            Outcome::Failed(status) => {
                workers.keep(connection);
                return Err(status);
            }
            Outcome::Busy => may_reuse = false,
            Outcome::Full => {
                // One that no worker has accepted goes away with the request that waits in it.
                if connection.worker.is_some() {
                    workers.keep(connection);
                }
                let problem =
                    if attempt.may_wait { Unavailable::Full } else { Unavailable::Crowded };
                return Err(unavailable(request, destination, &problem));
            }
            Outcome::Late => {
                if connection.worker.is_some() {
                    workers.keep(connection);
                }
                return Err(late(destination));
            }
            Outcome::Outdated if Instant::now() < deadline => workers.forget(key),
            Outcome::Outdated => {
                error!("{destination}: its workers do not accept our secret.");
                return Err(HTTP_SERVICE_UNAVAILABLE);
            }
            Outcome::NotBegun(why) if Instant::now() < deadline => {
                attempt.restarts += 1;
                // Nobody has even said who he is: the supervisor knows whether anybody will.
                if connection.worker.is_none() {
                    workers.forget(key);
                }
                debug!("The request is sent to another worker: {why}.");
            }
            Outcome::NotBegun(why) => {
                error!("{destination}: no worker has begun the request: {why}.");
                return Err(HTTP_SERVICE_UNAVAILABLE);
            }
            // The worker may have begun it.
            Outcome::Broken(Break { lost: true, untouched: true, why, .. })
                if !lost_once && repeatable =>
            {
                let worker = name(connection.worker);
                warn!("{destination}: {worker} {why}; the request is sent to another worker.");
                lost_once = true;
                // Not on an idle connection: a dying process closes one after the other, so that
                // the next one may be its own and still look good.
                may_reuse = false;
            }
            Outcome::Broken(broken) => {
                return tell(request, destination, generation, connection.worker, broken);
            }
        }
    }
}

/// Says in one line why a request that was begun will not be finished.
fn tell(
    request: Request<'_>,
    destination: &Destination,
    generation: &Generation,
    worker: Option<u32>,
    Break { why, lost, mut answer, .. }: Break,
) -> Result<i32, i32> {
    let what = match worker.filter(|_| lost) {
        None => why,
        Some(pid) => {
            let fate = fate::ask(generation, destination.link, pid);
            if fate.too_slow {
                answer = answer.map_err(|_| HTTP_GATEWAY_TIME_OUT);
            }
            fate.unless_known(&why)
        }
    };
    error!(
        "{destination}: {} {what}, while it ran '{}', received {:.1} s ago.",
        name(worker),
        String::from_utf8_lossy(request.line()),
        request.age().as_secs_f64(),
    );
    answer
}

/// A worker as it stands in log lines.
fn name(worker: Option<u32>) -> String {
    worker.map_or_else(|| "a worker".to_owned(), |pid| format!("worker {pid}"))
}

/// A connection to a worker of the application group.
fn find(
    generation: &Generation,
    Destination { key, link, .. }: &Destination,
    age: Duration,
    may_wait: bool,
    may_reuse: bool,
) -> Result<(Arc<Workers>, Connection), Unavailable> {
    let link = *link;
    let workers = || {
        let patience = patience(link, age);
        if may_wait {
            return Workers::of(generation, key, link, patience);
        }
        let found = Workers::of(generation, key, link, patience.min(FULL_PATIENCE));
        found.map_err(|problem| match problem {
            Unavailable::NoSupervisor { .. } => Unavailable::Crowded,
            problem => problem,
        })
    };
    let connect = |workers: &Workers| match workers.connect(may_wait) {
        Err(Unavailable::Full) if !may_wait => Err(Unavailable::Crowded),
        connection => connection,
    };
    let found = workers()?;
    if let Some(connection) = may_reuse.then(|| found.reuse()).flatten() {
        return Ok((found, connection));
    }
    match connect(&found) {
        Ok(connection) => Ok((found, connection)),
        // The workers' socket has gone, with the supervisor that made it or by its order: ask anew.
        Err(Unavailable::NoConnection { source, .. }) if is_gone(&source) => {
            found.forget(key);
            let found = workers()?;
            let connection = connect(&found)?;
            Ok((found, connection))
        }
        Err(problem) => Err(problem),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// There is no worker for the request: says so, and when to try again.
fn unavailable(request: Request<'_>, destination: &Destination, problem: &Unavailable) -> i32 {
    static FULL: Throttle = Throttle::new();
    let retry_after = match problem {
        Unavailable::Refused { retry_after, .. } => *retry_after,
        _ => 1,
    };
    request.err_headers_out().set(c"Retry-After", retry_after.to_string().as_bytes());
    // This happens to many at a time.
    let more = match problem {
        Unavailable::Full | Unavailable::Crowded => FULL.pass(),
        _ => Some(String::new()),
    };
    if let Some(more) = more {
        error!("{destination}: {problem}{more}");
    }
    HTTP_SERVICE_UNAVAILABLE
}

/// The request has waited for too long, and has not been begun.
fn late(destination: &Destination) -> i32 {
    static LATE: Throttle = Throttle::new();
    if let Some(more) = LATE.pass() {
        let limit = destination.link.queue_timeout.unwrap_or_default().as_secs();
        error!(
            "{destination}: no thread was free for a request within queue-timeout={limit}{more}"
        );
    }
    HTTP_GATEWAY_TIME_OUT
}

impl Destination {
    /// The workers of this application group, to be spoken with like this.
    pub fn new(process_group: Vec<u8>, application_group: Vec<u8>, link: Link) -> Self {
        Self { key: (process_group, application_group), link, spent: Cell::default() }
    }

    /// Takes a thread of this child for a request that goes there.
    pub fn take_place(&self) -> Place {
        Place::take(crowd(&self.key))
    }
}

impl fmt::Display for Destination {
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
