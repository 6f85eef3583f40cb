//! One request and its response, over a connection to a worker: the response goes to the client as
//! it comes, the request body to the worker as its application reads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use channel::Inbox;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use tracing::{debug, error, info};
use wire::exchange::{FromWorker, Refusal, ToWorker};

use super::head::Head;
use super::target::Target;
use crate::ffi::bucket::{BodyError, Brigade, ClientGone, Then};
use crate::ffi::log::{log_request, log_request_from};
use crate::ffi::request::Request;
use crate::ffi::{
    AP_FILTER_ERROR, HTTP_BAD_GATEWAY, HTTP_BAD_REQUEST, HTTP_GATEWAY_TIME_OUT,
    HTTP_INTERNAL_SERVER_ERROR, OK,
};

/// Larger pieces of a body are not copied to be gathered.
const GATHER: usize = 4096;

/// Most bytes of a request body that are read at a time.
const BODY_PIECE: u32 = 64 << 10;

/// A client that closes its direction this soon after its request may only have nothing more to say,
/// as one at the end of a pipe, and wait for the answer. Later it is one that goes away.
const HALF_CLOSE: Duration = Duration::from_secs(1);

/// Headers of an application's error that httpd's page for it needs, too.
fn keep_in_error_page(request: Request<'_>, headers: &[(&[u8], &[u8])]) {
    const KEPT: [&[u8]; 4] = [b"www-authenticate", b"proxy-authenticate", b"allow", b"retry-after"];
    for (name, value) in headers {
        if KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept)) {
            request.err_headers_out().add(name, value);
        }
    }
}

/// How an exchange ended.
pub enum Outcome {
    /// The response is complete, and the connection can serve another request.
    Complete,
    /// The response has begun, or cannot be given; the connection is of no use any more.
    Answered(Result<i32, i32>),
    /// The application failed before its response began; the connection is fine.
    Failed(i32),
    /// The worker has no free thread: another one may.
    Busy,
    /// The worker does not know the secret: what is known of the group has changed since.
    Outdated,
    /// The worker will not begin the request.
    NotBegun(String),
    /// The worker has gone, and may have begun the request.
    Lost(String),
}

/// A request on its way, and what is known of its response.
pub struct Exchange<'r, 'c> {
    request: Request<'r>,
    worker: &'c UnixStream,
    /// How long the worker may say nothing (`socket-timeout=`, or httpd's `Timeout`).
    patience: Duration,
    /// `WSGIErrorOverride`.
    overrides_errors: bool,
    /// The status of a response that httpd's own page takes the place of.
    page: Option<i32>,
    response: Brigade<'r>,
    /// Made when the application first reads.
    body: Option<Brigade<'r>>,
    body_error: Option<BodyError>,
    /// The response's head has been handed to httpd.
    begun: bool,
    /// Bytes have been handed to httpd that it may still hold back.
    unflushed: bool,
    /// Something has gone down the output filters: the head is, or is about to be, on its way.
    passed: bool,
    /// The response has a Content-Length.
    announced: bool,
    /// Bytes of body that the announced length still allows.
    allowance: Option<u64>,
    /// The announced length has been exceeded, which is said once.
    exceeded: bool,
    /// Any message at all has come: the request has been begun.
    heard: bool,
    /// A piece of the body has come.
    has_data: bool,
    /// The end of the response has been handed to httpd; the worker's is still to come.
    complete: bool,
    /// Where the client is, as long as its end of the connection is worth watching.
    client: Option<BorrowedFd<'r>>,
    presence: Presence,
}

/// Whether there is anybody to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// As far as we know.
    There,
    /// The client has closed its direction. It may still read.
    HungUp,
    /// Nothing can reach the client. What the worker sends is dropped, up to its end.
    Gone,
}

impl<'r, 'c> Exchange<'r, 'c> {
    /// Starts on a request that has been sent over `worker`.
    pub fn new(request: Request<'r>, target: &Target, worker: &'c UnixStream) -> Self {
        Self {
            request,
            worker,
            patience: target.link.socket_timeout.unwrap_or_else(|| request.server().timeout()),
            overrides_errors: target.error_override,
            page: None,
            response: Brigade::new(request),
            body: None,
            body_error: None,
            begun: false,
            unflushed: false,
            passed: false,
            announced: false,
            allowance: None,
            exceeded: false,
            heard: false,
            has_data: false,
            complete: false,
            client: request.client_socket(),
            presence: Presence::There,
        }
    }

    /// Passes on what comes into `inbox` until the exchange has ended.
    pub fn run(mut self, inbox: &mut Inbox) -> Outcome {
        loop {
            let outcome = match self.take_messages(inbox) {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => self.receive(inbox),
                Err(ClientGone) => self.note_absence(Presence::Gone),
            };
            if let Err(outcome) = outcome {
                return outcome;
            }
        }
    }

    /// Acts on all messages that have been received. `Some` ends the exchange.
    fn take_messages(&mut self, inbox: &mut Inbox) -> Result<Option<Outcome>, ClientGone> {
        loop {
            let message = match inbox.next::<FromWorker<'_>>() {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(None),
                Err(problem) => {
                    let why = format!("a worker sends what is no message ({problem})");
                    return Ok(Some(self.broken(HTTP_BAD_GATEWAY, &why)));
                }
            };
            let outcome = if let FromWorker::File { offset, length } = message {
                let file = inbox.take_descriptor();
                self.send_file(file.as_ref(), offset, length)?
            } else {
                self.act(&message)?
            };
            if outcome.is_some() {
                return Ok(outcome);
            }
        }
    }

    fn act(&mut self, message: &FromWorker<'_>) -> Result<Option<Outcome>, ClientGone> {
        let heard = std::mem::replace(&mut self.heard, true);
        match message {
            FromWorker::Refused(Refusal::Busy) if !heard => return Ok(Some(Outcome::Busy)),
            FromWorker::Refused(refusal @ (Refusal::Draining | Refusal::WrongGroup)) if !heard => {
                return Ok(Some(Outcome::NotBegun(format!("its worker answers {refusal:?}"))));
            }
            FromWorker::Goodbye if !heard => {
                return Ok(Some(Outcome::NotBegun("its worker is leaving".into())));
            }
            FromWorker::Refused(Refusal::NotAuthentic) if !heard => {
                return Ok(Some(Outcome::Outdated));
            }
            FromWorker::Refused(refusal) => {
                let why = format!("a worker refuses: {refusal:?}");
                return Ok(Some(self.broken(HTTP_INTERNAL_SERVER_ERROR, &why)));
            }
            FromWorker::Goodbye => {
                return Ok(Some(self.broken(HTTP_BAD_GATEWAY, "its worker left")));
            }
            FromWorker::Log { level, text } => log_request(self.request, level.number(), text),
            FromWorker::LogFrom { level, path, line, text } => {
                log_request_from(self.request, level.number(), (path, *line), text);
            }
            FromWorker::NeedBody { at_most } => return self.send_body(*at_most),
            FromWorker::Head { .. } if self.begun => {
                return Ok(Some(self.broken(HTTP_BAD_GATEWAY, "a worker sends a second head")));
            }
            FromWorker::Head { .. } if self.page.is_some() => {
                return Ok(Some(self.broken(HTTP_BAD_GATEWAY, "a worker sends a second head")));
            }
            FromWorker::Data(_) if self.page.is_some() => {}
            FromWorker::End if self.page.is_some() => {
                let status = self.page.unwrap_or(HTTP_INTERNAL_SERVER_ERROR);
                return Ok(Some(Outcome::Failed(status)));
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
            FromWorker::EarlyHints { .. } | FromWorker::Data(_) if self.complete => {
                return Ok(Some(self.broken(HTTP_BAD_GATEWAY, "a worker goes on after the end")));
            }
            FromWorker::EarlyHints { .. } if self.begun => {}
            FromWorker::EarlyHints { headers } => self.send_hints(headers),
            FromWorker::Data(_) | FromWorker::End if !self.begun => {
                return Ok(Some(
                    self.broken(HTTP_BAD_GATEWAY, "a worker sends a body without a head"),
                ));
            }
            FromWorker::Data(data) => self.send_data(data)?,
            FromWorker::End => return self.end().map(Some),
            FromWorker::Failed { status } => return Ok(Some(self.failed(*status))),
            FromWorker::File { .. } => unreachable!("files are taken with their descriptors"),
        }
        Ok(None)
    }

    fn send_hints(&self, headers: &[(&[u8], &[u8])]) {
        match Head::check_hints(headers) {
            Ok(_) if self.presence == Presence::Gone => {}
            Ok(hints) => self.request.send_interim(103, b"103 Early Hints", &hints),
            Err(problem) => error!("The application's early hints cannot be sent: {problem}."),
        }
    }

    fn begin(&mut self, head: &Head<'_>) {
        // A client that waits for "100 Continue" has not sent its body, and need not any more:
        // httpd must not wait for it to reuse the connection.
        if self.request.expects_continue() {
            self.request.close_connection();
        }
        head.apply(self.request);
        self.begun = true;
        self.unflushed = true;
        self.announced = head.content_length.is_some();
        // Of a response without a body, the length says what another one would have had.
        let announced = head.content_length.filter(|_| head.allows_body());
        self.allowance = announced.filter(|_| !self.request.is_header_only());
    }

    fn send_data(&mut self, data: &[u8]) -> Result<(), ClientGone> {
        let allowed = self.allowance.map_or(data.len(), |allowance| {
            data.len().min(usize::try_from(allowance).unwrap_or(usize::MAX))
        });
        if let Some(allowance) = &mut self.allowance {
            *allowance -= allowed as u64;
        }
        if allowed < data.len() && !std::mem::replace(&mut self.exceeded, true) {
            error!(
                "The application's response is longer than its Content-Length; it is cut there."
            );
        }
        self.unflushed = true;
        self.has_data = true;
        match &data[..allowed] {
            data if data.len() < GATHER => self.response.push(data),
            data => self.pass(data, Then::More)?,
        }
        Ok(())
    }

    /// Sends a file as the body. A worker may pass any descriptor, and say anything about it.
    fn send_file(
        &mut self,
        file: Option<&OwnedFd>,
        offset: u64,
        length: u64,
    ) -> Result<Option<Outcome>, ClientGone> {
        if !self.begun || self.has_data || self.complete {
            return Ok(Some(self.broken(HTTP_BAD_GATEWAY, "a worker sends a file out of turn")));
        }
        let Some(file) = file.filter(|file| holds(file, offset, length)) else {
            let why = "a worker sends a file that is none, or shorter than it says";
            return Ok(Some(self.broken(HTTP_BAD_GATEWAY, why)));
        };
        let allowed = self.allowance.map_or(length, |allowance| length.min(allowance));
        let missing = self.allowance.map_or(0, |allowance| allowance - allowed);
        if allowed > 0
            && let Err(problem) = self.response.push_file(file, offset, allowed)
        {
            self.response.clear();
            let why = format!("the file of a response cannot be sent ({problem})");
            return Ok(Some(self.broken(HTTP_INTERNAL_SERVER_ERROR, &why)));
        }
        if allowed < length {
            error!("The application's file is longer than its Content-Length; it is cut there.");
        }
        let then = if missing == 0 { Then::End } else { Then::Broken };
        if missing > 0 {
            error!("The application's file is {missing} bytes shorter than its Content-Length.");
            self.request.close_connection();
        }
        self.complete = true;
        self.unflushed = false;
        self.pass(&[], then)?;
        Ok(None)
    }

    fn end(&mut self) -> Result<Outcome, ClientGone> {
        if self.complete || self.presence == Presence::Gone {
            return Ok(Outcome::Complete);
        }
        match self.allowance {
            None | Some(0) => {
                self.pass(&[], Then::End)?;
                Ok(Outcome::Complete)
            }
            Some(missing) => {
                error!(
                    "The application's response is {missing} bytes shorter than its Content-Length."
                );
                Ok(self.break_off(HTTP_INTERNAL_SERVER_ERROR, Outcome::Failed))
            }
        }
    }

    /// The application failed, and its log lines have told why.
    fn failed(&mut self, status: u16) -> Outcome {
        if self.complete || self.presence == Presence::Gone {
            return Outcome::Complete;
        }
        // What went wrong with the request body is the better answer, if that was why.
        let status = self.body_error.as_ref().map_or(i32::from(status), |error| error.status);
        let status = if (400..600).contains(&status) { status } else { HTTP_INTERNAL_SERVER_ERROR };
        self.break_off(status, Outcome::Failed)
    }

    /// The exchange cannot go on, and neither can its connection.
    fn broken(&mut self, status: i32, why: &str) -> Outcome {
        error!("{why}, while it ran '{}'.", String::from_utf8_lossy(self.request.line()));
        self.break_off(status, |status| Outcome::Answered(Err(status)))
    }

    /// There is no (further) response. As long as nothing of it has gone towards the client, it gets
    /// a page with `status`; afterwards it must see that the response is incomplete.
    fn break_off(&mut self, status: i32, page: fn(i32) -> Outcome) -> Outcome {
        if self.complete {
            return Outcome::Answered(Ok(OK));
        }
        if !self.passed {
            return page(status);
        }
        self.request.close_connection();
        // A client that has gone as well needs no telling.
        let _ = self.pass(&[], Then::Broken);
        let delimited = self.announced || self.request.is_chunked() || self.request.is_stream();
        if !delimited && !self.request.is_header_only() {
            self.request.reset_connection();
        }
        // After OK, httpd itself would end an HTTP/2 stream as if all were well
        // (`ap_finalize_request_protocol`).
        Outcome::Answered(Ok(if self.request.is_stream() { AP_FILTER_ERROR } else { OK }))
    }

    fn pass(&mut self, data: &[u8], then: Then) -> Result<(), ClientGone> {
        if self.presence == Presence::Gone {
            return Ok(());
        }
        self.passed = true;
        self.response.pass(data, then)
    }

    /// The client is not there any more, as far as `presence` says. The worker is told, and the
    /// exchange goes on to its end: the application's log lines have to go somewhere.
    fn note_absence(&mut self, presence: Presence) -> Result<(), Outcome> {
        if presence == self.presence || self.presence == Presence::Gone {
            return Ok(());
        }
        let certain = presence == Presence::Gone;
        if certain {
            debug!("The client closed the connection before the response was complete.");
            self.request.close_connection();
            self.response.clear();
            self.client = None;
        }
        self.presence = presence;
        channel::send_message(self.worker, &ToWorker::ClientGone { certain })
            .map_err(|_| self.lost("its worker closed the connection"))
    }

    /// What a poll of the client's socket means.
    fn presence(&self, found: PollFlags) -> Presence {
        if found.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            Presence::Gone
        } else if !found.contains(PollFlags::RDHUP) {
            self.presence
        } else if self.request.age() < HALF_CLOSE {
            Presence::HungUp
        } else {
            Presence::Gone
        }
    }

    /// Looks whether the client has gone while httpd was reading from it.
    fn look_for_client(&mut self) -> Result<(), Outcome> {
        let Some(client) = self.client else {
            return Ok(());
        };
        let mut sources = [PollFd::new(&client, PollFlags::RDHUP)];
        let _ = poll(&mut sources, Some(&Timespec::default()));
        let presence = self.presence(sources[0].revents());
        self.note_absence(presence)
    }

    /// The application reads: the next piece of the request body goes to the worker.
    fn send_body(&mut self, at_most: u32) -> Result<Option<Outcome>, ClientGone> {
        // What the client has been promised so far may be what it waits for.
        self.flush()?;
        if self.presence == Presence::Gone && self.body_error.is_none() {
            let text = "Connection was terminated".to_owned();
            self.body_error = Some(BodyError { status: HTTP_BAD_REQUEST, text });
        }
        let mut data = Vec::new();
        let mut failed = false;
        let brigade = self.body.get_or_insert_with(|| Brigade::new(self.request));
        let reply = match &self.body_error {
            Some(error) => ToWorker::BodyFailed { reason: &error.text },
            None => match brigade.read(at_most.clamp(1, BODY_PIECE), &mut data) {
                Ok(true) => ToWorker::Body(&data),
                Ok(false) => ToWorker::BodyEnd,
                Err(error) => {
                    failed = true;
                    ToWorker::BodyFailed { reason: &self.body_error.insert(error).text }
                }
            },
        };
        let mut bytes = Vec::new();
        wire::encode(&reply, &mut bytes);
        if failed {
            // First, so that the worker knows why the body ends.
            if let Err(outcome) = self.look_for_client() {
                return Ok(Some(outcome));
            }
            let text = self.body_error.as_ref().map_or("", |error| &error.text);
            match self.presence {
                Presence::There => info!("The request body cannot be read: {text}."),
                Presence::HungUp | Presence::Gone => debug!("The request body ends: {text}."),
            }
        }
        Ok(match channel::send(self.worker, &bytes) {
            Ok(()) => None,
            Err(_) => Some(self.lost("its worker closed the connection")),
        })
    }

    fn flush(&mut self) -> Result<(), ClientGone> {
        if self.begun && std::mem::replace(&mut self.unflushed, false) {
            self.pass(&[], Then::Flush)?;
        }
        Ok(())
    }

    /// Receives more; before it has to wait, what has come so far goes to the client.
    fn receive(&mut self, inbox: &mut Inbox) -> Result<(), Outcome> {
        let deadline = Instant::now() + self.patience;
        // Nothing has come yet when the request has only just been sent.
        let mut look = self.heard;
        loop {
            match std::mem::replace(&mut look, true).then(|| inbox.try_receive(self.worker)) {
                None => {}
                Some(Ok(0)) => return Err(self.lost("its worker closed the connection")),
                Some(Ok(_)) => return Ok(()),
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Some(Err(error)) => {
                    return Err(self.lost(&format!("the connection to its worker broke ({error})")));
                }
            }
            if let Err(ClientGone) = self.flush() {
                self.note_absence(Presence::Gone)?;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let patience = self.patience.as_secs();
                let why = format!(
                    "nothing has come from the worker for {patience} s (Timeout or socket-timeout=)"
                );
                return Err(self.broken(HTTP_GATEWAY_TIME_OUT, &why));
            }
            let timeout =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            // Bytes from the client are not waited for: they are its next request. An end that is
            // known already would be found again and again.
            let watched = match self.presence {
                Presence::There => PollFlags::RDHUP,
                Presence::HungUp | Presence::Gone => PollFlags::empty(),
            };
            let worker = self.worker.as_fd();
            let client = self.client.filter(|_| !self.complete);
            let count = 1 + usize::from(client.is_some());
            let client = client.unwrap_or(worker);
            let mut sources = [PollFd::new(&worker, PollFlags::IN), PollFd::new(&client, watched)];
            match poll(&mut sources[..count], Some(&timeout)) {
                Ok(_) if count > 1 => {
                    let presence = self.presence(sources[1].revents());
                    self.note_absence(presence)?;
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(self.lost(&format!("poll: {error}"))),
            }
        }
    }

    fn lost(&mut self, why: &str) -> Outcome {
        if self.heard { self.broken(HTTP_BAD_GATEWAY, why) } else { Outcome::Lost(why.to_owned()) }
    }
}

/// Whether this is a plain file that has these bytes.
fn holds(file: &OwnedFd, offset: u64, length: u64) -> bool {
    let Ok(stat) = rustix::fs::fstat(file) else {
        return false;
    };
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && offset.checked_add(length).is_some_and(|end| end <= size)
}
