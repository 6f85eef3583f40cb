//! One request and its response, over a connection to a worker: the response goes to the client as
//! it comes, the request body to the worker as its application reads.

mod body;
mod budget;
mod client;
mod delivery;
mod file;
mod response;
mod spool;
mod waiting;
mod window;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use channel::{Bytes, Inbox, Window};
use tracing::{error, info};
use wire::exchange::{FromWorker, Purpose};

pub use self::body::{Body, discard};
pub use self::delivery::Rest;

use self::delivery::Delivery;
use self::response::{keep_in_error_page, tell_of_redirects};
use super::account::Account;
use super::fault::Fault;
use super::presence::Presence;
use super::target::Target;
use super::turn::{Break, Halt, Outcome, Turn};
use super::windows::Windows;
use crate::ffi::bucket::ClientGone;
use crate::ffi::request::Request;
use crate::ffi::{AP_FILTER_ERROR, OK};
use headers::head::Head;

/// What takes the place of an application's response.
enum Page {
    /// httpd's own page for a status.
    Status(i32),
    /// What is at a path of this server.
    Redirect(Vec<u8>),
}

impl Page {
    fn outcome(self) -> Outcome {
        match self {
            Self::Status(status) => Outcome::Failed(status),
            Self::Redirect(location) => Outcome::Redirected(location),
        }
    }
}

/// A request on its way, and what is known of its response.
pub struct Exchange<'r, 'c> {
    request: Request<'r>,
    turn: Turn<'r, 'c>,
    account: Option<&'c Account>,
    /// `WSGIErrorOverride`.
    overrides_errors: bool,
    /// `WSGILocationRedirect`.
    redirects: bool,
    /// What takes the place of the response.
    page: Option<Page>,
    response: Delivery<'r>,
    body: &'c mut Body<'r>,
    /// The response's head has been handed to httpd.
    begun: bool,
    /// No body can follow the head.
    bodiless: bool,
    /// The client wants a part of the response, and gets one only of a file.
    only_file_ranges: bool,
    /// Bytes of body that the announced length still allows.
    allowance: Option<u64>,
    /// The announced length has been exceeded, which is said once.
    exceeded: bool,
    /// How many early hints have been sent, and their bytes.
    hints: (usize, usize),
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
    /// Starts on a request that a worker has been sent, for its `turn`.
    pub fn new(
        request: Request<'r>,
        target: &Target,
        (turn, account): (Turn<'r, 'c>, Option<&'c Account>),
        windows: &'c mut Windows,
        body: &'c mut Body<'r>,
    ) -> Self {
        Self {
            request,
            turn,
            account,
            overrides_errors: target.error_override,
            redirects: target.location_redirect,
            page: None,
            response: Delivery::new(request, target.options.response_socket_timeout),
            body,
            begun: false,
            bodiless: false,
            only_file_ranges: false,
            allowance: None,
            exceeded: false,
            hints: (0, 0),
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
                Ok(None) => self.receive(inbox).map_err(|halt| self.halt(halt)),
                Err(ClientGone) => {
                    self.note_absence(Presence::Gone).map_err(|halt| self.halt(halt))
                }
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
                Ok(None) => return Ok(self.give_back_much().err().map(|halt| self.halt(halt))),
                Err(problem) => {
                    let why = format!("sends what is no message ({problem})");
                    return Ok(Some(self.nonsense(why)));
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
                        Some(self.nonsense(why))
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
        match self.turn.hear(message) {
            Ok(true) => return Ok(None),
            Ok(false) => {}
            Err(halt) => return Ok(Some(self.halt(halt))),
        }
        match message {
            FromWorker::Ran { begun, ended } => {
                if let Some(account) = self.account {
                    account.note_run(*begun, *ended);
                }
            }
            FromWorker::Refused(refusal) => {
                let why = format!("refuses: {refusal:?}");
                return Ok(Some(self.broken(Fault::ApplicationFailed, &why)));
            }
            FromWorker::Goodbye => {
                return Ok(Some(self.nonsense("left")));
            }
            FromWorker::Verdict(_) | FromWorker::NeedVariable(_) => {
                let why = "takes a request for a question";
                return Ok(Some(self.nonsense(why)));
            }
            FromWorker::NeedBody { at_most, all } => return Ok(self.send_body(*at_most, *all)),
            FromWorker::Head { .. } if self.begun => {
                return Ok(Some(self.nonsense("sends a second head")));
            }
            FromWorker::Head { .. } if self.page.is_some() => {
                return Ok(Some(self.nonsense("sends a second head")));
            }
            FromWorker::Data(_) | FromWorker::DataAt { .. } if self.page.is_some() => {}
            FromWorker::End | FromWorker::Failed { .. } if self.page.is_some() => {
                return Ok(self.page.take().map(Page::outcome));
            }
            FromWorker::Head { .. } if self.body.is_answered() => {
                self.page = Some(Page::Status(AP_FILTER_ERROR));
            }
            FromWorker::Head { status, headers } => match Head::check(status, headers) {
                Ok(head) if self.overrides_errors && head.code >= 400 => {
                    keep_in_error_page(self.request, headers);
                    self.page = Some(Page::Status(head.code.into()));
                }
                Ok(head) => match head.local_location() {
                    Some(location) if self.redirects => self.redirect(&head, location),
                    location => {
                        location.into_iter().for_each(tell_of_redirects);
                        self.begin(&head);
                    }
                },
                Err(problem) => {
                    error!("The application's response cannot be sent: {problem}.");
                    return Ok(Some(Outcome::Answered(Err(Fault::ApplicationFailed.status()))));
                }
            },
            FromWorker::EarlyHints { .. } | FromWorker::Data(_) | FromWorker::DataAt { .. }
                if self.complete && !self.is_over() =>
            {
                return Ok(Some(self.nonsense("goes on after the end")));
            }
            FromWorker::EarlyHints { .. } if self.begun => {}
            FromWorker::EarlyHints { headers } => self.send_hints(headers),
            FromWorker::Data(_) | FromWorker::DataAt { .. } | FromWorker::End if !self.begun => {
                return Ok(Some(self.nonsense("sends a body without a head")));
            }
            FromWorker::Data(data) => {
                self.note_data(data.len());
                self.send_data(Bytes::from(*data))?;
            }
            FromWorker::DataAt { offset, len } => return self.send_from_window(*offset, *len),
            FromWorker::End => return Ok(Some(self.end())),
            FromWorker::Failed { status } => return Ok(Some(self.failed(*status))),
            FromWorker::File { .. }
            | FromWorker::Welcome { .. }
            | FromWorker::Log { .. }
            | FromWorker::LogFrom { .. }
            | FromWorker::Record { .. } => {
                unreachable!("taken before")
            }
        }
        Ok(None)
    }

    /// Whether a response can have no (more) body, whatever its application returns.
    fn is_over(&self) -> bool {
        self.bodiless || self.allowance == Some(0)
    }

    /// How old the request is, but for the time that its body has been awaited.
    fn age(&self) -> Duration {
        self.request.age().saturating_sub(self.body.spent())
    }

    /// The exchange cannot go on.
    fn halt(&mut self, halt: Halt) -> Outcome {
        match halt {
            Halt::NotBegun(outcome) => outcome,
            // Whatever has become of the worker, its answer is complete.
            Halt::Broken { why, .. } if self.is_whole() => {
                let worker = self.turn.pid().map_or(String::new(), |pid| format!(" {pid}"));
                info!("The response was complete when its worker{worker} {why}.");
                self.finish();
                match self.page.take() {
                    None => Outcome::Answered(Ok(OK)),
                    Some(Page::Status(status)) => Outcome::Answered(Err(status)),
                    Some(Page::Redirect(location)) => Outcome::Redirected(location),
                }
            }
            Halt::Broken { fault, why, lost } => {
                // What has been answered, as far as it is, is asked for only once.
                let untouched = !self.turn.is_heard();
                let answer = self.break_off(fault.status());
                Outcome::Broken(Break { why, lost, answer, untouched })
            }
        }
    }

    /// The exchange cannot go on, and the worker is at fault: it is there, but says what it should not.
    fn nonsense(&mut self, why: impl Into<String>) -> Outcome {
        self.broken(Fault::WorkerFailed, why)
    }

    fn broken(&mut self, fault: Fault, why: impl Into<String>) -> Outcome {
        self.halt(Halt::Broken { fault, why: why.into(), lost: false })
    }
}
