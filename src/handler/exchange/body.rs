//! The request body: its beginning is awaited before a worker is asked, the rest is pulled from the
//! client when the application reads, and no sooner.

use std::cell::Cell;
use std::time::{Duration, Instant};

use channel::{Bytes, Window};
use tracing::{debug, info};
use wire::exchange::{Purpose, ToWorker};
use wire::{Header, Message};

use super::{Exchange, Outcome};
use crate::ffi::bucket::{BodyError, Brigade, ClientGone};
use crate::ffi::request::Request;
use crate::ffi::{AP_FILTER_ERROR, HTTP_BAD_REQUEST};
use crate::handler::presence::{Presence, look_at};
use crate::handler::windows::LARGE;

/// Most bytes of a request body that are read at a time.
const BODY_PIECE: usize = 128 << 10;

/// How much of a body that is not wanted is taken, in bytes, and for how long.
const MOST_DISCARDED: usize = 128 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(30);

thread_local! {
    /// Where a piece of a body is read to. Taking new memory for each piece and giving it back costs
    /// more than copying it: the C library trims its heap, and the kernel clears new pages.
    static PIECE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The body of a request, whichever worker is asked to run that.
pub struct Body<'r> {
    request: Request<'r>,
    exists: bool,
    /// Made when something is first read.
    brigade: Option<Brigade<'r>>,
    /// Why nothing further can be read.
    error: Option<BodyError>,
    /// A worker has been given some of it.
    given: bool,
    /// A worker has been told that there is nothing more.
    ended: bool,
    /// How long the client took to send what has been awaited.
    spent: Duration,
    /// When something was last read.
    last_read: Option<Instant>,
    /// How long it is, if all of it is in the window.
    whole: Option<u32>,
    /// How much of it the application has read, in bytes.
    pulled: u64,
}

impl<'r> Body<'r> {
    /// A body of which nothing has been read, if there is one.
    pub fn new(request: Request<'r>, exists: bool) -> Self {
        Self {
            request,
            exists,
            brigade: None,
            error: None,
            given: false,
            ended: false,
            spent: Duration::ZERO,
            last_read: None,
            whole: None,
            pulled: 0,
        }
    }

    /// Waits for a body of known length, or for its first part, so that a client that is slow to
    /// send it holds no thread of Python. Not where the client waits for something itself: for
    /// permission (`Expect`), or, with a body of no known length, possibly for an answer.
    ///
    /// # Errors
    /// httpd's status for a body that cannot be read. The log has been told.
    pub fn await_beginning(&mut self) -> Result<(), i32> {
        let Some(length) = self.length_to_await() else {
            return Ok(());
        };
        let wanted = length.min(BODY_PIECE as u64) as usize;
        self.await_with(|brigade| brigade.read_ahead(wanted))
    }

    /// Waits for all of a body of known length that the window has room for, and puts it there: then
    /// its reader waits for nobody. Where there is no window yet, or the body is longer, it is
    /// pulled.
    ///
    /// # Errors
    /// As [`Self::await_beginning`].
    pub fn await_whole(&mut self, window: Option<&mut Window>) -> Result<(), i32> {
        self.whole = None;
        let length = self.length_to_await().filter(|_| !self.given && self.error.is_none());
        let (Some(length), Some(window)) = (length, window) else {
            return Ok(());
        };
        let size = window.size();
        if length > size as u64 {
            return Ok(());
        }
        let mut len = 0;
        let mut surplus = Vec::new();
        // A filter may make something longer of it, so that only its end is the end.
        self.await_with(|brigade| {
            while surplus.is_empty()
                && brigade.read((size - len).max(1), true, |piece| {
                    let (fits, rest) = piece.split_at(piece.len().min(size - len));
                    window.write(len, fits);
                    len += fits.len();
                    surplus.extend_from_slice(rest);
                })?
            {}
            Ok(())
        })?;
        self.whole = u32::try_from(len).ok();
        if !surplus.is_empty() {
            self.unread(Bytes::from(&surplus[..]));
            self.take_back(Some(window));
        }
        Ok(())
    }

    /// How long the body is, if it is in the window whole.
    pub fn whole(&self) -> Option<u32> {
        self.whole
    }

    /// How much of it a worker has been given, in bytes.
    pub fn received(&self) -> u64 {
        self.pulled + self.whole.map_or(0, u64::from)
    }

    /// No worker has begun the request: another one gets the body, over another connection.
    pub fn take_back(&mut self, window: Option<&Window>) {
        if let Some(len) = self.whole.take()
            && let Some(data) = window.and_then(|window| window.bytes(0, len))
        {
            self.unread(data);
        }
    }

    fn unread(&mut self, data: Bytes<'_>) {
        self.brigade.get_or_insert_with(|| Brigade::new(self.request)).unread(data);
    }

    /// The length of a body that may be awaited.
    fn length_to_await(&self) -> Option<u64> {
        // That of a client of HTTP/1.0 means nothing, but it may well wait, too.
        let expects = self.request.headers_in().get(c"Expect").is_some();
        self.request.body_length().filter(|_| !expects)
    }

    fn await_with(
        &mut self,
        read: impl FnOnce(&mut Brigade<'r>) -> Result<(), BodyError>,
    ) -> Result<(), i32> {
        let start = Instant::now();
        let brigade = self.brigade.get_or_insert_with(|| Brigade::new(self.request));
        read(brigade).map_err(|BodyError { status, text }| {
            tell(&text, !look_at(self.request.client_socket()).is_empty());
            status
        })?;
        self.spent += start.elapsed();
        self.last_read = Some(Instant::now());
        Ok(())
    }

    /// How long the client took to send what has been awaited: that is no waiting in a queue.
    pub fn spent(&self) -> Duration {
        self.spent
    }

    /// How long ago something was last read, unless that was the last that can be.
    pub(super) fn idle(&self) -> Option<Duration> {
        self.last_read.filter(|_| self.error.is_none()).map(|at| at.elapsed())
    }

    /// Whether the application has all of it, or there is none.
    pub(super) fn is_read(&self) -> bool {
        !self.exists
            || self.ended
            || self.whole.is_some()
            || self.request.body_length().is_some_and(|length| length <= self.pulled)
    }

    /// Nothing more of it is wanted.
    pub(super) fn discard(&self) {
        if self.exists && self.error.is_none() {
            discard(self.request);
        }
    }

    /// Another request takes the place of this one, on the same connection: nothing of the body may be
    /// taken for a part of what follows.
    pub fn finish(&self) {
        let is_there = self.exists && (self.error.is_some() || self.request.expects_continue());
        if is_there || self.exists && !drain(self.request) {
            self.request.close_connection();
        }
    }

    /// Why nothing further can be read.
    pub(super) fn error(&self) -> Option<&BodyError> {
        self.error.as_ref()
    }

    /// Whether httpd has found fault with the body while it read it, and has sent a page about that
    /// itself (`bail_out_on_error` in http_filters.c). Nothing may follow that.
    pub(super) fn is_answered(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.status == AP_FILTER_ERROR)
    }

    /// Reads the next piece into the window, or into `data`, which is empty, without one. Waits for
    /// it if need be, and for `all` of it where that is asked for.
    fn next(
        &mut self,
        window: Option<&mut Window>,
        at_most: u32,
        all: bool,
        data: &mut Vec<u8>,
    ) -> Result<Pulled, BodyError> {
        let at_most = at_most.max(1) as usize;
        let brigade = self.brigade.get_or_insert_with(|| Brigade::new(self.request));
        let Some(window) = window else {
            let at_most = at_most.min(BODY_PIECE);
            let more = brigade.read(at_most, all, |piece| data.extend_from_slice(piece))?;
            self.pulled += data.len() as u64;
            return Ok(if more { Pulled::InPiece } else { Pulled::End });
        };
        let mut len = 0;
        let more = brigade.read(at_most.min(window.size()), all, |piece| {
            window.write(len, piece);
            len += piece.len();
        })?;
        self.pulled += len as u64;
        let len = u32::try_from(len).expect("windows are below 4 GiB");
        Ok(if more { Pulled::InWindow(len) } else { Pulled::End })
    }
}

/// Where a piece of the body has been read to.
enum Pulled {
    /// To the start of the window, so many bytes.
    InWindow(u32),
    /// To memory.
    InPiece,
    /// Nowhere: there is nothing more.
    End,
}

impl Exchange<'_, '_> {
    /// The application reads: the next piece of the request body goes to the worker.
    pub(super) fn send_body(&mut self, at_most: u32, all: bool) -> Option<Outcome> {
        // What the client has been promised so far may be what it waits for. The worker gets its
        // answer also where nobody waits any more.
        if let Err(ClientGone) = self.response.settle()
            && let Err(halt) = self.note_absence(Presence::Gone)
        {
            return Some(self.halt(halt));
        }
        if self.presence == Presence::Gone && self.body.error.is_none() {
            let text = "Connection was terminated".to_owned();
            self.body.error = Some(BodyError { status: HTTP_BAD_REQUEST, text });
        }
        self.body.given = true;
        let mut data = PIECE.take();
        data.clear();
        let mut failed = false;
        let pulled = match self.body.error.take() {
            Some(error) => Err(error),
            None => self
                .body
                .next(self.body_window.as_deref_mut(), at_most, all, &mut data)
                .inspect_err(|_| failed = true),
        };
        self.body.last_read = Some(Instant::now());
        // The worker has been waiting as well, but its end of the body is no work of its own.
        if !matches!(pulled, Ok(Pulled::End)) || !std::mem::replace(&mut self.body.ended, true) {
            self.turn.renew();
        }
        let reply = match pulled {
            Ok(Pulled::InWindow(len)) => ToWorker::BodyAt { len },
            Ok(Pulled::InPiece) => {
                if data.len() >= LARGE {
                    *self.wanted = Some(Purpose::Body);
                }
                ToWorker::Body(&data)
            }
            Ok(Pulled::End) => ToWorker::BodyEnd,
            Err(error) => ToWorker::BodyFailed { reason: &self.body.error.insert(error).text },
        };
        // The body itself is sent from where it is.
        let mut bytes = Vec::new();
        match &reply {
            ToWorker::Body(data) => header(&reply, data.len()).encode(&mut bytes),
            reply => wire::encode(reply, &mut bytes),
        }
        if failed {
            // First, so that the worker knows why the body ends.
            if let Err(halt) = self.look_for_client() {
                return Some(self.halt(halt));
            }
            let text = self.body.error.as_ref().map_or("", |error| &error.text);
            tell(text, self.presence != Presence::There);
        }
        // A worker that reads no further may have said why: that is found by who receives next.
        let _ = channel::send_both(self.turn.stream, &bytes, &data);
        PIECE.set(data);
        None
    }
}

/// Takes the rest of a request body that is not wanted from an HTTP/2 stream, within bounds: httpd
/// resets a stream whose client still sends when its response has ended (RFC 9113, section 8.1), and
/// clients then drop the answer. Over HTTP/1.1, httpd does this itself.
pub fn discard(request: Request<'_>) {
    if request.is_stream() && !request.expects_continue() {
        drain(request);
    }
}

/// Reads what is left of a request body, within bounds. Returns whether that was all.
fn drain(request: Request<'_>) -> bool {
    let deadline = Instant::now() + request.server().timeout().min(DISCARD_TIMEOUT);
    let mut brigade = Brigade::new(request);
    let mut left = MOST_DISCARDED;
    while left > 0 && Instant::now() < deadline {
        match brigade.read(left.min(BODY_PIECE), false, |piece| left -= piece.len()) {
            Ok(true) => {}
            Ok(false) => return true,
            Err(_) => return false,
        }
    }
    false
}

/// Tells the log why a body cannot be read. A client that goes away is no matter for it.
fn tell(text: &str, has_left: bool) {
    if has_left {
        debug!("The request body ends: {text}.");
    } else {
        info!("The request body cannot be read: {text}.");
    }
}

/// The header of a frame whose payload has this length.
fn header(message: &ToWorker<'_>, len: usize) -> Header {
    let len = u32::try_from(len).expect("pieces are below 4 GiB");
    Header { len, kind: message.kind(), descriptors: message.descriptors() }
}
