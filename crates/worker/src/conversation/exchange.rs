//! One request's conversation with the httpd child, as the Python objects of the request share it.
//!
//! # Locks
//! Whoever is attached to Python takes a lock of this file only through `lock_py_attached`, so that
//! nobody waits for it while holding Python's. No Python code runs while one is held: not even an
//! object is dropped, as a destructor could print, and printing takes a lock.

mod reading;

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyDict;
use rustix::event::PollFlags;
use rustix::net::Shutdown;
use wire::exchange::{FromWorker, Level, Refusal, Verdict};

use crate::clock::{Times, now};
use crate::conversation::client::Client;
use crate::conversation::connection::Connection;
use crate::conversation::incoming::{BodyIs, Incoming};
use crate::conversation::meter::Meter;
use crate::conversation::outgoing::Outgoing;
use crate::conversation::particulars::Particulars;
use crate::conversation::reply::{Head, Reply, ReplyError, Surplus};
use crate::conversation::send_queue::SendQueue;
use crate::conversation::sender::Sender;
use crate::forked::has_forked;
use crate::lines::Source;
use crate::process::log;
use crate::process::proof::Proof;
use crate::slot::Slot;

/// In bytes: a block for which the window has no room goes out in parts of this size. Before each of
/// them it is worth a look whether httpd has given back a part of the window.
const PART: usize = 256 << 10;
/// In microseconds: blocks that follow each other no slower than this are left to the sender.
const QUICK: u64 = 1000;

/// The requests that are running.
static ACTIVE: Mutex<Vec<Arc<Exchange>>> = Mutex::new(Vec::new());

thread_local! {
    static CURRENT: RefCell<Option<Arc<Exchange>>> = const { RefCell::new(None) };
}

/// A request in progress, or one that is over but still referred to.
#[derive(Debug)]
pub struct Exchange {
    incoming: Mutex<Incoming>,
    send_queue: Arc<SendQueue>,
    /// Who sends small blocks that follow each other quickly.
    sender: Arc<Sender>,
    /// What is told of it when it is answered.
    proof: Arc<Proof>,
    /// When the last block came, in microseconds since the epoch.
    last_block: AtomicU64,
    reply: Mutex<Reply>,
    client: Arc<Client>,
    slot: Arc<Slot>,
    request_id: Option<Vec<u8>>,
    tries: (u32, u32),
    particulars: Option<Box<Particulars>>,
    /// When it reached which place. Of a question nothing is known.
    times: Times,
    /// When the first block of its response came, in microseconds since the epoch; 0 before.
    first_block: AtomicU64,
    /// What the application keeps for as long as the request runs.
    data: Mutex<Option<Py<PyDict>>>,
    /// What it reads and writes.
    pub meter: Meter,
}

/// What is known of a request before it is begun.
#[derive(Debug, Default)]
pub struct About {
    /// Where the request body is.
    pub body: BodyIs,
    /// Whether the method is HEAD.
    pub is_head: bool,
    /// httpd's id of the request in its logs.
    pub request_id: Option<Vec<u8>>,
    /// How often a worker was asked to run it, and how often one about to end did not begin it.
    pub tries: (u32, u32),
    /// How long it has waited for Python's lock, where somebody wants to know.
    pub waited: Option<Duration>,
    /// What is reported of it if it is slow.
    pub particulars: Option<Box<Particulars>>,
    /// When it reached which place. Of a question nothing is known.
    pub times: Times,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The response is complete.
    Complete,
    /// A question about the request is answered.
    Verdict(Verdict<'static>),
    /// It is not; with this status if nothing of it has been sent.
    Failed(u16),
    /// It has not been begun: another worker is to run it. Nothing but log lines has been sent.
    NotBegun,
}

/// How urgent a piece of the response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// More will follow at once.
    Gather,
    /// The application may compute for long before the next one.
    Send,
}

impl Exchange {
    /// Starts on a request whose frame has been taken from the connection's inbox.
    pub fn new(
        mut connection: Connection,
        about: About,
        buffer: Vec<u8>,
        (slot, sender, proof): (Arc<Slot>, Arc<Sender>, Arc<Proof>),
    ) -> Self {
        let About { body, is_head, request_id, tries, waited, particulars, times } = about;
        let meter = Meter::default();
        if let Some(waited) = waited {
            meter.lock.add_time(waited);
        }
        let mut outgoing = Outgoing::new(Arc::clone(&connection.socket), buffer);
        outgoing.use_window(connection.windows.response.take());
        let client = Arc::<Client>::default();
        Self {
            incoming: Mutex::new(Incoming::new(
                connection,
                body,
                Arc::clone(&client),
                Arc::clone(&slot),
            )),
            send_queue: Arc::new(SendQueue::new(outgoing)),
            sender,
            proof,
            last_block: AtomicU64::new(0),
            reply: Mutex::new(Reply::new(is_head)),
            client,
            slot,
            request_id,
            tries,
            particulars,
            times,
            first_block: AtomicU64::new(0),
            data: Mutex::new(None),
            meter,
        }
    }

    /// httpd's id of the request in its logs.
    pub fn request_id(&self) -> Option<&[u8]> {
        self.request_id.as_deref()
    }

    /// When it reached which place. Of a question nothing is known.
    pub fn times(&self) -> Times {
        self.times
    }

    /// When the first block of its response came that was not one of several at once, in microseconds
    /// since the epoch.
    pub fn first_block(&self) -> Option<u64> {
        Some(self.first_block.load(Ordering::Relaxed)).filter(|time| *time > 0)
    }

    /// How often a worker was asked to run it, and how often one about to end did not begin it.
    pub fn tries(&self) -> (u32, u32) {
        self.tries
    }

    /// What is reported of it if it is slow.
    pub fn particulars(&self) -> Option<&Particulars> {
        self.particulars.as_deref()
    }

    /// The dictionary in which the application keeps what belongs to the request.
    pub fn data(&self, py: Python<'_>) -> Py<PyDict> {
        let mut data = self.data.lock_py_attached(py).expect("nobody panics in here");
        data.get_or_insert_with(|| PyDict::new(py).unbind()).clone_ref(py)
    }

    /// All requests that are running.
    pub fn all_active(py: Python<'_>) -> Vec<Arc<Self>> {
        ACTIVE.lock_py_attached(py).expect("nobody panics in here").clone()
    }

    /// The request that a runner runs, for a thread that is not attached to Python.
    pub fn of_runner(slot: &Slot) -> Option<Arc<Self>> {
        let active = ACTIVE.lock().expect("nobody panics in here");
        active.iter().find(|exchange| std::ptr::eq(exchange.slot(), slot)).cloned()
    }

    /// All requests that are running, for a thread that is not attached to Python.
    pub fn all_active_detached() -> Vec<Arc<Self>> {
        ACTIVE.lock().expect("nobody panics in here").clone()
    }

    /// The runner that runs it.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Ends the request with this status from outside, as far as that is possible without waiting
    /// for anybody: the process is about to end. Not to be called while attached to Python.
    pub fn give_up(&self, status: u16) {
        if let Some(mut outgoing) = self.send_queue.try_to_send() {
            let refuse = |_: &OwnedFd| Err(io::ErrorKind::WouldBlock.into());
            outgoing.push(&FromWorker::Failed { status });
            // So that nobody tries the connection once more.
            outgoing.finish(&FromWorker::Goodbye, &mut { refuse });
        }
    }

    /// The status code of the response, once there is one.
    pub fn status(&self, py: Python<'_>) -> Option<u16> {
        self.replying(py).code()
    }

    /// The request that this thread runs.
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Makes this the request that this thread runs.
    pub fn enter(self: &Arc<Self>, py: Python<'_>) {
        CURRENT.set(Some(Arc::clone(self)));
        ACTIVE.lock_py_attached(py).expect("nobody panics in here").push(Arc::clone(self));
    }

    /// Ends the request. `ends` is told when httpd may hear of that from now on, and when it does not
    /// for the moment, as there is no room for the last word. Returns the connection, unless it is of
    /// no use any more, and the buffer.
    pub fn leave(
        &self,
        py: Python<'_>,
        outcome: Outcome,
        ends: impl Fn(bool),
    ) -> (Option<Connection>, Vec<u8>) {
        CURRENT.set(None);
        let mut active = ACTIVE.lock_py_attached(py).expect("nobody panics in here");
        let place = active.iter().position(|other| std::ptr::eq(&**other, self));
        let entry = place.map(|place| active.swap_remove(place));
        drop(active);
        drop(entry);
        let data = self.data.lock_py_attached(py).expect("nobody panics in here").take();
        drop(data);
        let last = match outcome {
            Outcome::Complete => FromWorker::End,
            Outcome::Verdict(verdict) => FromWorker::Verdict(verdict),
            Outcome::Failed(status) => FromWorker::Failed { status },
            Outcome::NotBegun => FromWorker::Refused(Refusal::Draining),
        };
        let mut outgoing = self.sending(py);
        if self.times.taken > 0 && matches!(last, FromWorker::End | FromWorker::Failed { .. }) {
            outgoing.push(&FromWorker::Ran { begun: self.times.taken, ended: now() });
        }
        let socket = outgoing.socket();
        let mut wait = self.detached(py);
        ends(true);
        let buffer = outgoing.finish(&last, &mut |socket: &OwnedFd| {
            ends(false);
            wait(socket)
        });
        drop(wait);
        let broken = outgoing.is_broken();
        let window = outgoing.take_window();
        drop(outgoing);
        let mut connection = match self.incoming.try_lock() {
            Ok(mut incoming) => incoming.finish(),
            // Some other thread of the application is still reading. What it asked for will come
            // some time, so the connection cannot serve another request. This ends its wait.
            Err(TryLockError::WouldBlock) => {
                if let Some(socket) = socket {
                    let _ = rustix::net::shutdown(&*socket, Shutdown::Both);
                }
                None
            }
            Err(TryLockError::Poisoned(_)) => unreachable!("panics abort"),
        };
        if let Some(connection) = &mut connection {
            connection.windows.response = window;
        }
        (connection.filter(|_| !broken), buffer)
    }

    /// Whether the request is over, or another process's affair.
    pub fn is_over(&self, py: Python<'_>) -> bool {
        has_forked() || self.gathering(py).is_over()
    }

    /// Takes what the application wrote to be logged. Returns whether the request still takes it.
    pub fn log(&self, py: Python<'_>, source: Source, bytes: &[u8]) -> bool {
        if self.is_over(py) {
            return false;
        }
        self.sending(py).log(source, bytes, &mut self.detached(py));
        true
    }

    /// Takes what is to be logged of how the request fails. It goes out with what comes next, so that
    /// httpd does not take up what has been gathered of a response before it hears of the failure.
    pub fn log_failure(&self, py: Python<'_>, bytes: &[u8]) {
        if self.is_over(py) {
            return;
        }
        let mut outgoing = self.gathering(py);
        if log::records().is_some() {
            let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            outgoing.gather_record(Source::Errors.level(), ("", ""), text);
        } else {
            outgoing.gather_log(Source::Errors, bytes);
        }
    }

    /// Logs a record with the request as it is, also one with several lines. `of` is the name of its
    /// level, and of its logger. Returns whether the request still takes it.
    pub fn log_record(&self, py: Python<'_>, level: Level, of: (&str, &str), text: &[u8]) -> bool {
        if self.is_over(py) {
            return false;
        }
        self.sending(py).log_record(level, of, text, &mut self.detached(py));
        true
    }

    /// Logs what there is of an unfinished line.
    pub fn flush_log(&self, py: Python<'_>, source: Source) {
        if !has_forked() {
            self.sending(py).flush_log(source, &mut self.detached(py));
        }
    }

    /// Logs lines with the request, at this level. Returns whether the request still takes them.
    /// `place` is the source file and line that they come from, where known.
    pub fn log_at(
        &self,
        py: Python<'_>,
        level: Level,
        text: &[u8],
        place: (Option<&str>, u32),
    ) -> bool {
        if self.is_over(py) {
            return false;
        }
        self.sending(py).log_at(level, text, place, &mut self.detached(py));
        true
    }

    /// Sends an interim response with these headers.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn hint(&self, py: Python<'_>, headers: &[(Vec<u8>, Vec<u8>)]) -> Result<(), ReplyError> {
        if self.is_over(py) {
            return Err(ReplyError::Over);
        }
        let headers = headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let mut outgoing = self.sending(py);
        outgoing.push(&FromWorker::EarlyHints { headers });
        outgoing.flush(&mut self.detached(py)).map_err(ReplyError::from)
    }

    /// How much of a file that has `rest` bytes left would be the response body, if it can be one:
    /// nothing has been sent yet, and the length is right.
    pub fn file_length(&self, py: Python<'_>, rest: u64) -> Option<u64> {
        if self.is_over(py) { None } else { self.replying(py).file_length(rest) }
    }

    /// Sends a part of a file as the whole response body, after status and headers.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn send_file(
        &self,
        py: Python<'_>,
        file: &OwnedFd,
        part: (u64, u64),
    ) -> Result<(), ReplyError> {
        let length = usize::try_from(part.1).ok();
        let start = self.meter.start();
        let mut reply = self.replying(py);
        let mut outgoing = self.sending(py);
        reply.commit(length, &mut outgoing)?;
        reply.fulfil();
        outgoing.send_file(file, part, &mut self.detached(py)).map_err(ReplyError::from)?;
        self.meter.output.add(start, length.unwrap_or(usize::MAX));
        Ok(())
    }

    /// Whether status and headers are on their way and cannot be replaced any more.
    pub fn is_committed(&self, py: Python<'_>) -> bool {
        self.replying(py).is_committed()
    }

    /// Notes status and headers. They go out with the first piece of the body.
    pub fn start(&self, py: Python<'_>, head: Head) {
        self.replying(py).start(head);
    }

    /// Puts status and headers on their way, if they are not. `body` is the length of the whole
    /// response body, where it is known.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn commit(&self, py: Python<'_>, body: Option<usize>) -> Result<(), ReplyError> {
        if self.is_over(py) {
            return Err(ReplyError::Over);
        }
        let mut reply = self.replying(py);
        let mut outgoing = self.sending(py);
        reply.commit(body, &mut outgoing)
    }

    /// Sends a piece of the response body, after status and headers. Returns whether the response
    /// was already as long as its Content-Length, for the first piece of which that is true.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn send(
        &self,
        py: Python<'_>,
        block: &[u8],
        urgency: Urgency,
    ) -> Result<Surplus, ReplyError> {
        if self.is_over(py) {
            return Err(ReplyError::Over);
        }
        let start = self.meter.start();
        let sender = if urgency == Urgency::Send { self.look_at_clock() } else { None };
        let mut reply = self.replying(py);
        let mut outgoing = if sender.is_some() { self.gathering(py) } else { self.sending(py) };
        reply.commit(None, &mut outgoing)?;
        if self.client.is_lost() {
            return Err(ReplyError::Broken(io::ErrorKind::BrokenPipe.into()));
        }
        let (block, surplus) = reply.admit(block);
        // The last block goes out now: the application may end the process behind it.
        let is_last = urgency == Urgency::Send && reply.is_fulfilled();
        let is_left = sender.filter(|_| !is_last && outgoing.gather_block(block));
        drop(outgoing);
        if is_last {
            self.prove(py);
        }
        match is_left {
            Some(sender) => self.send_queue.leave_to(sender),
            None => self.send_now(py, block, urgency)?,
        }
        self.slot.touch();
        self.meter.output.add(start, block.len());
        Ok(surplus)
    }

    /// Does what is to be done now and then while blocks come. Returns who sends this one, if it
    /// comes so soon after the last one that it is not worth a system call of its own.
    fn look_at_clock(&self) -> Option<&Sender> {
        let now = now();
        if self.client.look_is_due(now) {
            self.look();
        }
        let last = self.last_block.swap(now, Ordering::Relaxed);
        if last == 0 {
            self.first_block.store(now, Ordering::Relaxed);
        }
        let pause = now.saturating_sub(last);
        (pause < QUICK).then_some(&*self.sender)
    }

    fn send_now(&self, py: Python<'_>, block: &[u8], urgency: Urgency) -> Result<(), ReplyError> {
        let mut outgoing = self.sending(py);
        let mut wait = self.detached(py);
        let fits = outgoing.has_room_for(block.len());
        for part in block.chunks(if fits { block.len().max(1) } else { PART }) {
            if !outgoing.has_room_for(part.len()) {
                self.look();
                outgoing.note_taken(self.client.taken());
            }
            outgoing.push_data(part, &mut wait)?;
        }
        if urgency == Urgency::Send {
            outgoing.flush(&mut wait)?;
        }
        Ok(())
    }

    /// Sends what has been gathered.
    pub fn flush(&self, py: Python<'_>) {
        // A connection that broke shows at the next piece, or does not matter any more.
        if !has_forked() {
            let _ = self.sending(py).flush(&mut self.detached(py));
        }
    }

    /// The application has answered, whatever it does from now on.
    pub fn prove(&self, py: Python<'_>) {
        if self.proof.is_due() && !has_forked() {
            py.detach(|| self.proof.give());
        }
    }

    /// How many bytes a response lacks, measured by its Content-Length, if it has not been begun and
    /// all of its body is so long.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn lacks(&self, py: Python<'_>, body: usize) -> Result<u64, ReplyError> {
        self.replying(py).lacks(body)
    }

    /// How many bytes the response lacks, measured by its Content-Length.
    pub fn missing(&self, py: Python<'_>) -> u64 {
        self.replying(py).missing()
    }

    /// Locks what goes out, to gather only.
    fn gathering(&self, py: Python<'_>) -> MutexGuard<'_, Outgoing> {
        self.send_queue.outgoing().lock_py_attached(py).expect("nobody panics while sending")
    }

    /// Locks what goes out, to send it.
    fn sending(&self, py: Python<'_>) -> MutexGuard<'_, Outgoing> {
        loop {
            let outgoing = self.gathering(py);
            if !outgoing.is_lent() {
                return outgoing;
            }
            drop(outgoing);
            py.detach(|| drop(self.send_queue.to_send()));
        }
    }

    /// Waits for room with Python's lock released.
    fn detached<'a>(&'a self, py: Python<'a>) -> impl FnMut(&OwnedFd) -> io::Result<()> + 'a {
        let wait = |socket: &OwnedFd| self.slot.wait_for(socket.as_fd(), PollFlags::OUT);
        move |socket| self.meter.detached(py, || wait(socket))
    }

    fn replying(&self, py: Python<'_>) -> MutexGuard<'_, Reply> {
        self.reply.lock_py_attached(py).expect("nobody panics while replying")
    }
}
