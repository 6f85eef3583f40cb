//! One worker's turn at a request or a question: the rules that both have in common.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use channel::Inbox;
use metrics::Flight;
use tracing::debug;
use wire::exchange::{FromWorker, Refusal};

use super::fault::Fault;
use super::peer::Peer;
use super::queue::{GivenUp, QueueTime};
use super::workers::ACCEPT_TIMEOUT;
use crate::ffi::log::{log_request, log_request_from};
use crate::ffi::request::Request;
use crate::ffi::stopping;

/// What happened to a worker that httpd does not wait for any more.
pub const STOPPING: &str = "was not waited for any longer: httpd has told its child process to end";

/// How a worker's turn ended.
pub enum Outcome {
    /// The answer is complete, and the connection can serve another request.
    Complete,
    /// The response has ended, well or not, and the log says why; the connection is of no use any
    /// more.
    Answered(Result<i32, i32>),
    /// The application failed before its response began; the connection is fine.
    Failed(i32),
    /// What is at this path of the server takes the place of the response; nothing is known of the
    /// connection.
    Redirected(Vec<u8>),
    /// The worker has no free thread: another one may.
    Busy,
    /// The worker does not know the secret: what is known of the group has changed since.
    Outdated,
    /// The worker will not begin the request.
    NotBegun(String),
    /// As many requests wait as may.
    Full,
    /// The request has waited longer than `queue-timeout=` without being begun.
    Late,
    /// The connection is of no use any more, and the log does not say why yet.
    Broken(Break),
}

/// A request that its worker had begun, or may have begun, and will not finish.
pub struct Break {
    /// What happened to the worker named in front of it.
    pub why: String,
    /// Whether the worker's process has probably ended.
    pub lost: bool,
    /// What the handler returns: a response that was under way is over, another status makes a page.
    pub answer: Result<i32, i32>,
    /// Whether another worker could be asked: nothing of a response has come, and nothing of the
    /// request body has gone.
    pub untouched: bool,
}

impl Outcome {
    /// Whether no other worker will be asked.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Complete | Self::Answered(_) | Self::Failed(_) | Self::Redirected(_))
    }

    /// What a worker says that does not begin what it was sent, as its first word.
    fn of_first(message: &FromWorker<'_>) -> Option<Self> {
        Some(match message {
            FromWorker::Refused(Refusal::Busy) => Self::Busy,
            FromWorker::Refused(Refusal::NotAuthentic) => Self::Outdated,
            FromWorker::Refused(Refusal::Full) => Self::Full,
            FromWorker::Refused(Refusal::Late) => Self::Late,
            FromWorker::Refused(refusal @ (Refusal::Draining | Refusal::WrongGroup)) => {
                Self::NotBegun(format!("its worker answers {refusal:?}"))
            }
            FromWorker::Goodbye => Self::NotBegun("its worker is leaving".into()),
            _ => return None,
        })
    }
}

/// Why a turn is over before its answer.
pub enum Halt {
    /// The worker has not begun.
    NotBegun(Outcome),
    /// It has, or may have.
    Broken {
        /// What is wrong.
        fault: Fault,
        /// What happened to the worker named in front of it.
        why: String,
        /// Whether the worker's process has probably ended.
        lost: bool,
    },
}

/// What is known of a worker that has been sent something.
pub struct Turn<'r, 'c> {
    request: Request<'r>,
    /// The connection to it.
    pub stream: &'c UnixStream,
    /// The worker itself.
    peer: &'c mut Peer,
    /// How long the worker may say nothing (`socket-timeout=`, or httpd's `Timeout`).
    silence: Duration,
    /// Until when it has to say something.
    deadline: Instant,
    queue: QueueTime<'r>,
    /// Until when it has to have accepted the request, if that may not wait.
    accepted_by: Option<Instant>,
    /// It has said something that is no log line.
    heard: bool,
    /// How others see the request.
    flight: Option<&'c Flight>,
}

impl<'r, 'c> Turn<'r, 'c> {
    /// Of a worker that is being sent something for `request`. It waits in the worker's queue as
    /// long as `queue` has it, if it `may_wait` there.
    pub fn new(
        request: Request<'r>,
        (stream, peer): (&'c UnixStream, &'c mut Peer),
        socket_timeout: Option<Duration>,
        (queue, may_wait): (QueueTime<'r>, bool),
        flight: Option<&'c Flight>,
    ) -> Self {
        if let (Some(flight), Some(worker)) = (flight, peer.pid()) {
            flight.accepted(worker);
        }
        let now = Instant::now();
        let silence = socket_timeout.unwrap_or_else(|| request.server().timeout());
        let accepted_by = (!may_wait).then(|| now + ACCEPT_TIMEOUT);
        let deadline = now + silence;
        Self { request, stream, peer, silence, deadline, queue, accepted_by, heard: false, flight }
    }

    /// The worker's process id, once it has said it.
    pub fn pid(&self) -> Option<u32> {
        self.peer.pid()
    }

    /// What becomes readable when the worker's process has ended.
    pub fn process(&self) -> Option<BorrowedFd<'_>> {
        self.peer.process()
    }

    /// Whether the worker has answered anything.
    pub fn is_heard(&self) -> bool {
        self.heard
    }

    /// The response has begun.
    pub fn note_answer(&self) {
        if let Some(flight) = self.flight {
            flight.answering();
        }
    }

    /// The worker has got on: it has as much time as at first. Log lines are no progress.
    pub fn renew(&mut self) {
        self.deadline = Instant::now() + self.silence;
    }

    /// So long it was not the worker that was waited for.
    pub fn extend(&mut self, time: Duration) {
        self.deadline += time;
    }

    /// Hears what a worker may say whatever it was sent. Returns whether `message` was of that kind.
    ///
    /// # Errors
    /// The worker does not begin what it was sent.
    pub fn hear(&mut self, message: &FromWorker<'_>) -> Result<bool, Halt> {
        match message {
            FromWorker::Welcome { worker } => {
                if self.peer.pid().is_none() {
                    self.renew();
                }
                self.peer.introduce(*worker);
                if let Some(flight) = self.flight {
                    flight.accepted(*worker);
                }
            }
            // What is printed while a script is loaded does not say whether the request is begun.
            FromWorker::Log { level, text } => log_request(self.request, level.number(), text),
            FromWorker::LogFrom { level, path, line, text } => {
                log_request_from(self.request, level.number(), (path, *line), text);
            }
            message if !std::mem::replace(&mut self.heard, true) => {
                return match Outcome::of_first(message) {
                    Some(outcome) => Err(Halt::NotBegun(outcome)),
                    None => Ok(false),
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// How much longer the worker may say nothing, and not have accepted the request.
    ///
    /// # Errors
    /// There is no time left.
    pub fn time_left(&self, now: Instant) -> Result<Duration, Halt> {
        let mut left = self.deadline.saturating_duration_since(now);
        if self.peer.pid().is_none() {
            if let Some(queued) = self.queue.left() {
                if queued.is_zero() {
                    return Err(Halt::NotBegun(Outcome::Late));
                }
                left = left.min(queued);
            }
            if let Some(deadline) = self.accepted_by {
                let queued = deadline.saturating_duration_since(now);
                if queued.is_zero() {
                    return Err(Halt::NotBegun(Outcome::Full));
                }
                left = left.min(queued);
            }
        }
        if left.is_zero() {
            let silence = self.silence.as_secs();
            let why = format!("said nothing for {silence} s (Timeout or socket-timeout=)");
            return Err(Halt::Broken { fault: Fault::TimedOut, why, lost: false });
        }
        Ok(left)
    }

    /// Whether the turn may go on, however much the worker says meanwhile.
    ///
    /// # Errors
    /// There is no time left, or httpd does not wait any longer.
    pub fn check(&self) -> Result<(), Halt> {
        if stopping::is_stopping() {
            return Err(Self::stopping());
        }
        self.time_left(Instant::now()).map(drop)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// There is none, and will be none.
    pub fn next<'m>(&mut self, inbox: &'m mut Inbox) -> Result<FromWorker<'m>, Halt> {
        let garbage = |problem| Self::nonsense(format!("sends what is no message ({problem})"));
        while !inbox.ready::<FromWorker<'_>>().map_err(garbage)? {
            self.check()?;
            let has_ended = self.peer.has_ended();
            match inbox.try_receive(self.stream) {
                Ok(0) => return Err(self.lost("closed the connection")),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What it had sent before its end has been received.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && has_ended => {
                    return Err(self.lost("ended"));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                Err(error) => return Err(self.lost(&format!("broke the connection ({error})"))),
            }
        }
        // `ready` has just seen the frame; only its payload can still be at fault.
        match inbox.next() {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(self.lost("closed the connection")),
            Err(problem) => Err(garbage(problem)),
        }
    }

    /// Waits until the worker sends something, or ends.
    fn wait(&self) -> Result<(), Halt> {
        let left = self.time_left(Instant::now())?;
        let sources = [self.stream.as_fd(), self.process().unwrap_or(self.stream.as_fd())];
        match self.queue.wait_for(&sources, left) {
            Ok(_) => Ok(()),
            Err(GivenUp::Stopping) => Err(Self::stopping()),
            Err(GivenUp::ClientGone) => {
                debug!("The client closed the connection before there was an answer.");
                let status = Fault::Unavailable.status();
                Err(Halt::NotBegun(Outcome::Answered(Err(status))))
            }
        }
    }

    /// The worker has gone. Before its welcome it has begun nothing on this connection.
    pub fn lost(&self, why: &str) -> Halt {
        if self.peer.pid().is_none() {
            return Halt::NotBegun(Outcome::NotBegun(format!("its worker {why}")));
        }
        Halt::Broken { fault: Fault::WorkerFailed, why: why.to_owned(), lost: true }
    }

    /// The worker says something that it should not.
    pub fn nonsense(why: impl Into<String>) -> Halt {
        Halt::Broken { fault: Fault::WorkerFailed, why: why.into(), lost: false }
    }

    /// httpd does not wait any longer.
    pub fn stopping() -> Halt {
        Halt::Broken { fault: Fault::Stopping, why: STOPPING.into(), lost: false }
    }
}
