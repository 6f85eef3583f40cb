//! One request and its response, over a connection to a worker: the response goes to the client as
//! it comes, the request body to the worker as its application reads.

mod body;
mod client;
mod delivery;
mod file;
mod response;
mod spool;
mod waiting;
mod window;

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use channel::{Bytes, Inbox, Window};
use tracing::error;
use wire::exchange::{FromWorker, Purpose, Refusal};

pub use self::body::Body;
pub use self::delivery::Rest;

use self::client::Presence;
use self::delivery::Delivery;
use self::response::keep_in_error_page;
use super::head::Head;
use super::target::Target;
use super::windows::Windows;
use super::workers::FULL_PATIENCE;
use crate::ffi::bucket::ClientGone;
use crate::ffi::log::{log_request, log_request_from};
use crate::ffi::request::Request;
use crate::ffi::{AP_FILTER_ERROR, HTTP_BAD_GATEWAY, HTTP_INTERNAL_SERVER_ERROR};

/// What happened to a worker that httpd does not wait for any more.
pub const STOPPING: &str = "was not waited for any longer: httpd has told its child process to end";

/// How an exchange ended.
pub enum Outcome {
    /// The response is complete, and the connection can serve another request.
    Complete,
    /// The response has ended, well or not, and the log says why; the connection is of no use any
    /// more.
    Answered(Result<i32, i32>),
    /// The application failed before its response began; the connection is fine.
    Failed(i32),
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
    /// The connection is of no use any more, and nobody has been told why.
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
    /// Whether nobody else will be asked.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Complete | Self::Answered(_) | Self::Failed(_))
    }

    /// What a worker says that does not begin what it was sent, as its first word.
    pub fn of_first(message: &FromWorker<'_>) -> Option<Self> {
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

/// A request on its way, and what is known of its response.
pub struct Exchange<'r, 'c> {
    request: Request<'r>,
    worker: &'c UnixStream,
    /// Its process id, once it has said it.
    pid: &'c mut Option<u32>,
    /// How long the worker may say nothing (`socket-timeout=`, or httpd's `Timeout`).
    patience: Duration,
    /// How old the request may be before a worker has accepted it (`queue-timeout=`); afterwards
    /// the worker sees to that.
    queue_timeout: Option<Duration>,
    /// Until when a worker has to have accepted it, if it may not wait for that.
    accepted_by: Option<Instant>,
    /// `WSGIErrorOverride`.
    overrides_errors: bool,
    /// The status of a response that httpd's own page takes the place of.
    page: Option<i32>,
    response: Delivery<'r>,
    body: &'c mut Body<'r>,
    /// The response's head has been handed to httpd.
    begun: bool,
    /// Bytes of body that the announced length still allows.
    allowance: Option<u64>,
    /// The announced length has been exceeded, which is said once.
    exceeded: bool,
    /// Any answer at all has come: the request has been begun.
    heard: bool,
    /// A piece of the body has come.
    has_data: bool,
    /// The end of the response has been handed to httpd; the worker's is still to come.
    complete: bool,
    /// Memory in which the worker may put pieces of the response.
    window: Option<&'c Window>,
    /// How many bytes of it have been passed on, and not given back.
    used: usize,
    /// Memory for pieces of the request body.
    body_window: Option<&'c mut Window>,
    /// What the next request on this connection could use.
    wanted: &'c mut Option<Purpose>,
    /// Where the client is, as long as its end of the connection is worth watching.
    client: Option<BorrowedFd<'r>>,
    presence: Presence,
}

impl<'r, 'c> Exchange<'r, 'c> {
    /// Starts on a request that has been sent over `worker`.
    pub fn new(
        request: Request<'r>,
        target: &Target,
        worker: &'c UnixStream,
        pid: &'c mut Option<u32>,
        windows: &'c mut Windows,
        body: &'c mut Body<'r>,
        may_wait: bool,
    ) -> Self {
        Self {
            request,
            worker,
            pid,
            patience: target.link.socket_timeout.unwrap_or_else(|| request.server().timeout()),
            queue_timeout: target.link.queue_timeout,
            accepted_by: (!may_wait).then(|| Instant::now() + FULL_PATIENCE),
            overrides_errors: target.error_override,
            page: None,
            response: Delivery::new(request, target.link.response_socket_timeout),
            body,
            begun: false,
            allowance: None,
            exceeded: false,
            heard: false,
            has_data: false,
            complete: false,
            window: windows.response.as_ref().map(|counted| &counted.window),
            used: 0,
            body_window: windows.body.as_mut().map(|counted| &mut counted.window),
            wanted: &mut windows.wanted,
            client: request.client_socket(),
            presence: Presence::There,
        }
    }

    /// Passes on what comes into `inbox` until the exchange has ended. What the client has not taken
    /// by then is left to be passed.
    pub fn run(mut self, inbox: &mut Inbox) -> (Outcome, Option<Rest<'r>>) {
        loop {
            let outcome = match self.take_messages(inbox) {
                Ok(Some(outcome)) => break (outcome, self.response.into_rest()),
                Ok(None) => self.receive(inbox),
                Err(ClientGone) => self.note_absence(Presence::Gone),
            };
            if let Err(outcome) = outcome {
                break (outcome, self.response.into_rest());
            }
        }
    }

    /// Acts on all messages that have been received. `Some` ends the exchange.
    fn take_messages(&mut self, inbox: &mut Inbox) -> Result<Option<Outcome>, ClientGone> {
        loop {
            let message = match inbox.next::<FromWorker<'_>>() {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(self.give_back_much().err()),
                Err(problem) => {
                    let why = format!("sends what is no message ({problem})");
                    return Ok(Some(self.broken(HTTP_BAD_GATEWAY, &why)));
                }
            };
            let outcome = match message {
                FromWorker::File { offset, length } => {
                    let file = inbox.take_descriptor();
                    self.send_file(file.as_ref(), offset, length)?
                }
                FromWorker::End => match inbox.take_descriptor() {
                    None => self.act(&FromWorker::End)?,
                    Some(_) => {
                        let why = "sends a descriptor that no frame announces";
                        Some(self.broken(HTTP_BAD_GATEWAY, why))
                    }
                },
                message => self.act(&message)?,
            };
            if outcome.is_some() {
                return Ok(outcome);
            }
        }
    }

    fn act(&mut self, message: &FromWorker<'_>) -> Result<Option<Outcome>, ClientGone> {
        if let FromWorker::Welcome { worker } = message {
            *self.pid = Some(*worker);
            return Ok(None);
        }
        // What is printed while a script is loaded does not say whether the request is begun.
        let is_word = !matches!(message, FromWorker::Log { .. } | FromWorker::LogFrom { .. });
        if is_word
            && !std::mem::replace(&mut self.heard, true)
            && let Some(outcome) = Outcome::of_first(message)
        {
            return Ok(Some(outcome));
        }
        match message {
            FromWorker::Refused(refusal) => {
                let why = format!("refuses: {refusal:?}");
                return Ok(Some(self.broken(HTTP_INTERNAL_SERVER_ERROR, &why)));
            }
            FromWorker::Goodbye => {
                return Ok(Some(self.broken(HTTP_BAD_GATEWAY, "left")));
            }
            FromWorker::Log { level, text } => log_request(self.request, level.number(), text),
            FromWorker::LogFrom { level, path, line, text } => {
                log_request_from(self.request, level.number(), (path, *line), text);
            }
            FromWorker::Verdict(_) | FromWorker::NeedVariable(_) => {
                let why = "takes a request for a question";
                return Ok(Some(self.broken(HTTP_BAD_GATEWAY, why)));
            }
            FromWorker::NeedBody { at_most, all } => return Ok(self.send_body(*at_most, *all)),
            FromWorker::Head { .. } if self.begun => {
                return Ok(Some(self.broken(HTTP_BAD_GATEWAY, "sends a second head")));
            }
            FromWorker::Head { .. } if self.page.is_some() => {
                return Ok(Some(self.broken(HTTP_BAD_GATEWAY, "sends a second head")));
            }
            FromWorker::Data(_) | FromWorker::DataAt { .. } if self.page.is_some() => {}
            FromWorker::End if self.page.is_some() => {
                let status = self.page.unwrap_or(HTTP_INTERNAL_SERVER_ERROR);
                return Ok(Some(Outcome::Failed(status)));
            }
            FromWorker::Head { .. } if self.body.is_answered() => {
                self.page = Some(AP_FILTER_ERROR);
            }
            FromWorker::Head { status, headers } => match Head::check(status, headers) {
                Ok(head) if self.overrides_errors && head.code >= 400 => {
                    keep_in_error_page(self.request, headers);
                    self.page = Some(head.code.into());
                }
                Ok(head) => self.begin(&head),
                Err(problem) => {
                    error!("The application's response cannot be sent: {problem}.");
                    return Ok(Some(Outcome::Answered(Err(HTTP_INTERNAL_SERVER_ERROR))));
                }
            },
            FromWorker::EarlyHints { .. } | FromWorker::Data(_) | FromWorker::DataAt { .. }
                if self.complete =>
            {
                return Ok(Some(self.broken(HTTP_BAD_GATEWAY, "goes on after the end")));
            }
            FromWorker::EarlyHints { .. } if self.begun => {}
            FromWorker::EarlyHints { headers } => self.send_hints(headers),
            FromWorker::Data(_) | FromWorker::DataAt { .. } | FromWorker::End if !self.begun => {
                return Ok(Some(self.broken(HTTP_BAD_GATEWAY, "sends a body without a head")));
            }
            FromWorker::Data(data) => {
                self.note_data(data.len());
                self.send_data(Bytes::from(*data))?;
            }
            FromWorker::DataAt { offset, len } => return self.send_from_window(*offset, *len),
            FromWorker::End => return Ok(Some(self.end())),
            FromWorker::Failed { status } => return Ok(Some(self.failed(*status))),
            FromWorker::File { .. } | FromWorker::Welcome { .. } => {
                unreachable!("taken before, with what they bring")
            }
        }
        Ok(None)
    }

    /// How old the request is, but for the time that its body has been awaited.
    fn age(&self) -> Duration {
        self.request.age().saturating_sub(self.body.spent())
    }

    /// The worker has gone. Before its welcome it has begun nothing on this connection.
    fn lost(&mut self, why: &str) -> Outcome {
        if self.pid.is_none() {
            return Outcome::NotBegun(format!("its worker {why}"));
        }
        let untouched = !self.begun
            && self.page.is_none()
            && !self.body.is_given()
            && !self.response.has_passed();
        let answer = self.break_off(HTTP_BAD_GATEWAY);
        Outcome::Broken(Break { why: why.to_owned(), lost: true, answer, untouched })
    }
}
