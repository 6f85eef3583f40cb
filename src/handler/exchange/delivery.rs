//! The way of a response to the client: what is passed to httpd now, and what has to wait until a
//! slow client takes more.
//!
//! httpd's core output filter (`ap_core_output_filter`) sends what the client's socket has room for,
//! and holds back the rest. It waits for the client, and the thread with it, only when it is told
//! to flush, or holds `FlushMaxThreshold` bytes that are in memory. So pieces stay below that, unless
//! the socket has room for more, none is passed while something is held back, and nothing is flushed
//! before the socket has room. What comes meanwhile goes to a spool, so that the worker's thread is
//! soon free for other requests.
//!
//! A stream of HTTP/2 has no socket of its own, and httpd does not tell how much its client has
//! taken. Of it a first piece is passed, which its buffer has room for (`H2StreamMaxMemSize`); then
//! all is spooled until the worker has nothing more for a moment, or the spool is full.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use channel::Bytes;
use tracing::{debug, error};

use super::spool::{Part, Spool};
use crate::ffi::bucket::{Brigade, ClientGone, Sendfile, Then};
use crate::ffi::connection::ClientLimit;
use crate::ffi::request::Request;
use crate::ffi::socket;

/// Most bytes that are passed at a time to a socket that may not have room for them. The head of the
/// response and the framing go on top.
const PIECE: usize = 56 << 10;

/// What is left to them of `FlushMaxThreshold`, which is 65,535 bytes unless configured.
const OVERHEAD: usize = 7 << 10;

/// How many bytes a socket that poll(2) calls writable takes, at least. A third of its buffer is free
/// then (`sk_stream_is_writeable` in Linux's include/net/sock.h), and buffers begin with some 80 KiB.
const ROOM: usize = 8 << 10;

/// How many bytes httpd adds to a piece, at most: a chunk's length, a record's header.
const FRAMING: usize = 64;

/// A worker that sends as fast as it can pauses for less than this.
const PAUSE: Duration = Duration::from_millis(20);

/// Pieces of a body of so many bytes and more are not copied to be gathered. httpd holds back less
/// than that as long as there may be more (`THRESHOLD_MIN_WRITE`).
const GATHER: usize = 4096;

/// A response on its way.
pub(super) struct Delivery<'r> {
    request: Request<'r>,
    brigade: Brigade<'r>,
    /// Where the client is, if no other request has the same connection.
    socket: Option<BorrowedFd<'r>>,
    /// Bounds the time that the client has to receive, from when the response begins.
    timeout: Option<Duration>,
    limit: Option<ClientLimit<'r>>,
    /// Bytes in the brigade.
    gathered: usize,
    /// How many bytes the client's socket certainly has room for.
    room: usize,
    /// While the client lags, what comes goes in here.
    spool: Option<Spool>,
    /// Bytes have been handed to httpd that it may still hold back.
    unflushed: bool,
    /// Something has gone down the output filters: the head is, or is about to be, on its way.
    passed: bool,
    /// They have been told to let go of what they have.
    flushed: bool,
    /// Nothing is passed before all of it has come.
    held: bool,
    /// Nobody receives any more.
    gone: bool,
    /// Since when the client has taken nothing of what is ready for it.
    waiting: Option<Instant>,
    /// What is to follow what is spooled.
    ending: Option<Then>,
}

/// What the client still has to take of a response when its worker has ended it.
pub struct Rest<'r> {
    delivery: Delivery<'r>,
    ending: Then,
}

impl<'r> Delivery<'r> {
    /// Of a response that has not begun. The client may take nothing for as long as `timeout`, or
    /// else httpd's `Timeout`.
    pub fn new(request: Request<'r>, timeout: Option<Duration>) -> Self {
        Self {
            request,
            brigade: Brigade::new(request),
            socket: request.client_socket().filter(|_| !request.is_stream()),
            timeout,
            limit: None,
            gathered: 0,
            room: 0,
            spool: None,
            unflushed: false,
            passed: false,
            flushed: false,
            held: false,
            gone: false,
            waiting: None,
            ending: None,
        }
    }

    /// The response's head has been handed to httpd. It goes with the first piece of the body, or with
    /// the end: until then, a page may take its place.
    pub fn begin(&mut self) {
        self.limit = self.timeout.and_then(|limit| self.request.limit_client(limit));
    }

    /// Passes nothing before the end: for a response that is not long.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// The client has gone: nothing is passed any more.
    pub fn give_up(&mut self) {
        self.gone = true;
        self.brigade.clear();
        (self.gathered, self.spool) = (0, None);
    }

    /// Sends a piece of the body. This alone decides whether it is passed now, or spooled.
    pub fn send(&mut self, data: Bytes<'_>) -> Result<(), ClientGone> {
        if self.gone {
            return Ok(());
        }
        if self.held {
            self.gathered += data.len();
            self.brigade.push(data);
            return Ok(());
        }
        self.unflushed = true;
        let largest = self.largest();
        let mut rest = data;
        while !rest.is_empty() {
            if self.must_wait() {
                self.spool.get_or_insert_default().push(rest);
                return Ok(());
            }
            if rest.len() < GATHER && self.gathered < largest / 4 {
                self.brigade.push(rest);
                self.gathered += rest.len();
                return Ok(());
            }
            let most = if rest.len() > largest { self.roomiest(largest) } else { largest };
            let (now, later) = rest.split_at(most.saturating_sub(self.gathered));
            self.pass(now, Then::More)?;
            rest = later;
        }
        Ok(())
    }

    /// Sends a part of a file as the whole body.
    pub fn send_file(
        &mut self,
        part: Option<(&OwnedFd, u64, u64)>,
        sendfile: Sendfile,
        then: Then,
    ) -> Result<(), FileError> {
        if let Some((file, offset, length)) = part
            && let Err(problem) = self.brigade.push_file(file, offset, length, sendfile)
        {
            self.brigade.clear();
            return Err(FileError::Unusable(problem));
        }
        self.unflushed = false;
        self.pass(&[], then).map_err(FileError::ClientGone)
    }

    /// Whether all that has come is gathered, and nothing has been passed.
    pub fn has_gathered(&self) -> bool {
        self.gathered > 0 && !self.passed && !self.held && self.spool.is_none()
    }

    /// Lets httpd begin a response of no announced length before its end: otherwise its filter
    /// `CONTENT_LENGTH` would announce one if, by chance, all of the response came in one go.
    pub fn begin_stream(&mut self) -> Result<(), ClientGone> {
        // Filters that change the body may keep it, and the head, until they are told to flush.
        match self.request.has_content_filter() {
            true if !self.flushed => self.pass(&[], Then::Flush),
            false if !self.passed => self.pass(&[], Then::More),
            _ => Ok(()),
        }
    }

    /// Ends the response, well or not; what is spooled and what follows it are left to
    /// [`Delivery::into_rest`].
    pub fn end(&mut self, then: Then) -> Result<(), ClientGone> {
        if self.spool.as_ref().is_some_and(|spool| !spool.is_empty()) {
            self.ending = Some(then);
            return Ok(());
        }
        self.finish(then)
    }

    /// Passes the end. httpd would make a page of a failure that it hears of before the head, and what
    /// it has not sent is lost with a connection that is reset.
    fn finish(&mut self, then: Then) -> Result<(), ClientGone> {
        if then == Then::Broken {
            self.pass(&[], Then::Flush)?;
        }
        self.pass(&[], then)
    }

    /// What is to be passed as soon as the worker, and the connection to it, are free for other
    /// requests.
    pub fn into_rest(self) -> Option<Rest<'r>> {
        self.ending.map(|ending| Rest { delivery: self, ending })
    }

    /// Whether what has come so far can go to the client without asking whether it takes that.
    pub fn has_way(&self) -> bool {
        let fits =
            self.gathered < self.room && self.spool.is_none() && !self.request.is_held_back();
        self.unflushed && (fits || self.socket.is_none())
    }

    /// How long more should be waited for before that is passed on which has come so far: whether
    /// the client takes it cannot be known, and once it is spooled nobody waits for the client.
    pub fn pause(&self) -> Option<Duration> {
        (self.socket.is_none() && self.spool.is_some()).then_some(PAUSE)
    }

    /// Whether the client is to be asked whether it takes more.
    pub fn is_owed(&self) -> bool {
        self.socket.is_some() && self.unflushed && !self.gone
    }

    /// Whether the client takes less than the worker sends, and must get its turn all the same.
    pub fn lags(&self) -> bool {
        self.socket.is_some() && self.spool.is_some()
    }

    /// Whether more may come from the worker.
    pub fn has_room(&self) -> bool {
        self.spool.as_ref().is_none_or(|spool| !spool.is_full())
    }

    /// How much time the client has left to take something.
    pub fn time_left(&mut self, now: Instant) -> Duration {
        let timeout = self.timeout.unwrap_or_else(|| self.request.server().timeout());
        timeout.saturating_sub(now - *self.waiting.get_or_insert(now))
    }

    /// The client's socket has room: passes on what it takes.
    pub fn advance(&mut self) -> Result<(), ClientGone> {
        (self.waiting, self.room) = (None, ROOM);
        let mut has_used_room = self.request.is_held_back();
        if has_used_room {
            self.request.send_held_back()?;
        }
        while !self.request.is_held_back() && self.pass_spooled()? {
            has_used_room = true;
        }
        if self.request.is_held_back() {
            return Ok(());
        }
        self.spool = None;
        if has_used_room { Ok(()) } else { self.flush() }
    }

    /// Passes everything on, and waits for the client as long as that takes.
    pub fn settle(&mut self) -> Result<(), ClientGone> {
        while self.pass_spooled()? {}
        (self.spool, self.waiting) = (None, None);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), ClientGone> {
        if std::mem::replace(&mut self.unflushed, false) {
            self.pass(&[], Then::Flush)?;
        }
        Ok(())
    }

    /// Passes on a piece of what is spooled. Returns whether there was any.
    fn pass_spooled(&mut self) -> Result<bool, ClientGone> {
        let at_most = self.largest();
        let Some(spool) = self.spool.as_mut().filter(|spool| !spool.is_empty()) else {
            return Ok(false);
        };
        if self.gathered > 0 {
            self.pass(&[], Then::More)?;
            return Ok(true);
        }
        let mut piece = Vec::new();
        if let Err(problem) = spool.take(at_most, &mut piece) {
            return Err(self.lose(&problem));
        }
        self.pass(&piece[..], Then::More)?;
        Ok(true)
    }

    /// What has been spooled cannot be read: the client must see that its response is incomplete.
    fn lose(&self, problem: &io::Error) -> ClientGone {
        error!("A response to a slow client cannot be read from its temporary file: {problem}.");
        self.request.abort_connection();
        ClientGone
    }

    /// Whether what is passed now could make httpd wait.
    fn must_wait(&self) -> bool {
        self.spool.is_some()
            || match self.socket {
                Some(_) => self.request.is_held_back(),
                None => self.passed,
            }
    }

    /// How much can be passed without making httpd wait, if that is more than `largest`: the kernel
    /// keeps somewhat more with the bytes, and filters may add to them.
    fn roomiest(&self, largest: usize) -> usize {
        let room = self.socket.and_then(socket::room).unwrap_or(0);
        (room - room / 8).saturating_sub(OVERHEAD).max(largest)
    }

    fn largest(&self) -> usize {
        self.request.flush_threshold().saturating_sub(OVERHEAD).clamp(GATHER, PIECE)
    }

    fn pass<'d>(&mut self, data: impl Into<Bytes<'d>>, then: Then) -> Result<(), ClientGone> {
        if self.gone {
            return Ok(());
        }
        let data = data.into();
        let len = FRAMING + self.gathered + data.len();
        (self.passed, self.gathered, self.room) = (true, 0, self.room.saturating_sub(len));
        self.flushed |= then == Then::Flush;
        let passed = self.brigade.pass(data, then);
        // Filters may have kept the head until now, and httpd frames no response in chunks that is
        // known to be the last one of its connection.
        if then == Then::Broken {
            self.request.close_connection();
            if self.request.ends_with_connection() {
                self.request.reset_connection();
            }
        }
        passed
    }
}

/// Why a file is not sent.
pub(super) enum FileError {
    /// It cannot be passed to httpd.
    Unusable(String),
    /// Nobody takes it.
    ClientGone(ClientGone),
}

impl Rest<'_> {
    /// Passes it on, in a file: httpd does not wait for a client that is slow to take that. The
    /// event MPM needs no thread for it; the others wait when the handler has returned, and what has
    /// to be encrypted or compressed waits here.
    pub fn pass(mut self) {
        if let Err(ClientGone) = self.try_pass() {
            debug!("The client closed the connection before it had taken the whole response.");
        }
    }

    fn try_pass(&mut self) -> Result<(), ClientGone> {
        let delivery = &mut self.delivery;
        let part = delivery.spool.as_mut().and_then(Spool::take_file);
        if let Some(Part { file, offset, length, share }) = part {
            if let Err(problem) =
                delivery.brigade.push_file(&file, offset, length, Sendfile::Always)
            {
                return Err(delivery.lose(&io::Error::other(problem)));
            }
            // As long as httpd has the file.
            delivery.request.pool().keep(share);
        }
        // What could not be put into the file comes after it, and nothing comes after a reset.
        let resets = self.ending == Then::Broken && delivery.request.ends_with_connection();
        if resets || delivery.spool.as_ref().is_some_and(|spool| !spool.is_empty()) {
            delivery.pass(&[], Then::More)?;
            delivery.settle()?;
        }
        delivery.finish(self.ending)
    }
}
