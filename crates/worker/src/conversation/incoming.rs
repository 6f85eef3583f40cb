//! The receiving half of a request's conversation: the request body, pulled as it is read.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use channel::Bytes;
use rustix::event::PollFlags;
use wire::exchange::{FromWorker, ToWorker};

use crate::conversation::client::Client;
use crate::conversation::connection::Connection;
use crate::conversation::send_queue::SendQueue;
use crate::slot::Slot;

/// How many bytes are asked for at a time, at least: what is not read yet waits here.
const LEAST_PULL: usize = 64 << 10;
/// How many bytes are asked for at a time, at most.
const MOST_PULL: usize = 1 << 20;

/// What an application reads as `wsgi.input`.
#[derive(Debug)]
pub struct Incoming {
    /// `None` once the request is over, or the connection broken.
    connection: Option<Connection>,
    /// What has been received and not been read, from `start` on.
    data: Vec<u8>,
    start: usize,
    /// What comes after it, in the window.
    in_window: Part,
    state: State,
    client: Arc<Client>,
    slot: Arc<Slot>,
    /// An answer of httpd may come that nobody waits for.
    is_out_of_step: bool,
}

/// Where a request body is when its request begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyIs {
    /// There is none.
    #[default]
    None,
    /// To be asked for.
    Elsewhere,
    /// At the start of the window, so long.
    InWindow(u32),
}

/// A part of the window for request bodies.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    start: u32,
    len: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Untouched,
    Open,
    Ended,
    Failed,
}

/// How much to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Everything.
    All,
    /// This many bytes, or what there is.
    Bytes(usize),
    /// One line, with its end.
    Line,
    /// One line, or this many bytes of it.
    LineWithin(usize),
}

/// Why there is nothing to read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The request is over.
    #[error("the request is over")]
    Over,
    /// What httpd said about the body, or that it is gone.
    #[error("{0}")]
    Failed(String),
    /// It failed before.
    #[error("input is already in error state")]
    FailedBefore,
    /// There is no memory for it.
    #[error("no memory")]
    NoMemory,
    /// The request has been interrupted, and Python is about to raise an exception.
    #[error("the request has been interrupted")]
    Interrupted,
}

impl Incoming {
    /// Starts on a request.
    pub fn new(connection: Connection, body: BodyIs, client: Arc<Client>, slot: Arc<Slot>) -> Self {
        let (state, len) = match body {
            BodyIs::None => (State::Ended, 0),
            BodyIs::Elsewhere => (State::Untouched, 0),
            BodyIs::InWindow(len) if has(&connection, len) => (State::Ended, len),
            BodyIs::InWindow(_) => (State::Failed, 0),
        };
        Self {
            connection: Some(connection),
            data: Vec::new(),
            start: 0,
            in_window: Part { start: 0, len },
            state,
            client,
            slot,
            is_out_of_step: false,
        }
    }

    /// Takes what httpd has said without being asked: that the client has gone, that it has passed on
    /// something. Does not wait.
    pub fn look(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        match connection.inbox.try_receive(&connection.socket) {
            Ok(0) => self.client.lose(),
            // Nothing has been asked for, so it can be nothing else.
            Ok(_) => while take_aside(connection, &self.client) {},
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                _ => self.client.lose(),
            },
        }
    }

    /// Ends the request, and gives the connection back unless it is of no use any more.
    pub fn finish(&mut self) -> Option<Connection> {
        self.data = Vec::new();
        (self.start, self.in_window) = (0, Part::default());
        let connection = self.connection.take()?;
        if self.is_out_of_step {
            connection.say_goodbye();
            return None;
        }
        Some(connection)
    }

    /// Asks for more as far as needed, until `amount` is here. Not to be called while attached to
    /// Python.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn wait(&mut self, amount: Amount, send_queue: &SendQueue) -> Result<(), InputError> {
        loop {
            if self.state == State::Failed {
                return Err(InputError::FailedBefore);
            }
            if self.ready(amount).is_some() {
                return Ok(());
            }
            self.pull(amount, send_queue)?;
        }
    }

    /// How many bytes satisfy `amount`, if they are here.
    pub fn ready(&mut self, amount: Amount) -> Option<usize> {
        // Lines are looked for in our own memory.
        if matches!(amount, Amount::Line | Amount::LineWithin(_)) {
            self.empty_window();
        }
        let here = self.here();
        let rest = &self.data[self.start..];
        let ended = match self.state {
            State::Ended => Some(here),
            State::Failed => return None,
            // Even a read of nothing begins the transfer: a client may be waiting for that.
            State::Untouched => return None,
            State::Open => None,
        };
        let line = || rest.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        match amount {
            Amount::All => ended,
            Amount::Bytes(len) if len <= here => Some(len),
            Amount::Bytes(_) => ended,
            Amount::Line => line().or(ended),
            Amount::LineWithin(len) => match line() {
                Some(end) => Some(end.min(len)),
                None if len <= rest.len() => Some(len),
                None => ended,
            },
        }
    }

    /// Takes so many of the bytes that are here, which are in one or two places.
    pub fn take<T>(&mut self, len: usize, take: impl FnOnce([Bytes<'_>; 2]) -> T) -> T {
        let own = Bytes::from(&self.data[self.start..]).split_at(len).0;
        let Part { start, len: left } = &mut self.in_window;
        let foreign = (len - own.len()).min(*left as usize) as u32;
        let window = self.connection.as_ref().and_then(|it| it.windows.body.as_ref());
        let nothing = Bytes::from(&[]);
        let part = window.and_then(|window| window.bytes(*start, foreign)).unwrap_or(nothing);
        let taken = take([own, part]);
        self.start += own.len();
        (*start, *left) = (*start + foreign, *left - foreign);
        if self.start == self.data.len() {
            self.data.clear();
            self.start = 0;
        }
        taken
    }

    /// How many bytes are here.
    fn here(&self) -> usize {
        self.data.len() - self.start + self.in_window.len as usize
    }

    /// Moves what is in the window to our own memory.
    fn empty_window(&mut self) {
        let Part { start, len } = std::mem::take(&mut self.in_window);
        let window = self.connection.as_ref().and_then(|it| it.windows.body.as_ref());
        if let Some(part) = window.and_then(|window| window.bytes(start, len)) {
            self.data.drain(..std::mem::take(&mut self.start));
            part.append_to(&mut self.data);
        }
    }

    /// Asks for one more piece, and waits for it.
    fn pull(&mut self, amount: Amount, send_queue: &SendQueue) -> Result<(), InputError> {
        if self.connection.is_none() {
            return Err(InputError::Over);
        }
        let is_line = matches!(amount, Amount::Line | Amount::LineWithin(_));
        let missing = match amount {
            Amount::All => MOST_PULL,
            Amount::Bytes(len) => len.saturating_sub(self.here()),
            Amount::Line | Amount::LineWithin(_) => LEAST_PULL,
        };
        let at_most = missing.clamp(LEAST_PULL, MOST_PULL);
        self.empty_window();
        self.state = State::Open;
        let outcome = self.ask(at_most as u32, at_most <= missing && !is_line, send_queue);
        if outcome.is_err() {
            self.state = State::Failed;
        }
        outcome
    }

    /// Asks what httpd knows of the connection by this name (`ssl_var_lookup`), and waits for the
    /// answer. Only of use while a hook runs. Not to be called while attached to Python.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn ask_variable(
        &mut self,
        name: &[u8],
        send_queue: &SendQueue,
    ) -> Result<Option<Vec<u8>>, InputError> {
        self.send(&FromWorker::NeedVariable(name), send_queue)?;
        let connection = self.connection.as_mut().ok_or(InputError::Over)?;
        if let Ok(Some(ToWorker::Variable(value))) = connection.inbox.next() {
            return Ok(value.map(<[u8]>::to_vec));
        }
        self.connection = None;
        send_queue.break_off();
        Err(InputError::Failed("httpd sent something unexpected".to_owned()))
    }

    /// Sends a question, and waits until the answer is there.
    fn send(
        &mut self,
        question: &FromWorker<'_>,
        send_queue: &SendQueue,
    ) -> Result<(), InputError> {
        let asked = {
            let slot = Arc::clone(&self.slot);
            let mut outgoing = send_queue.to_send();
            outgoing.push(question);
            outgoing.flush(&mut |socket| slot.wait_for(socket.as_fd(), PollFlags::OUT))
        };
        match asked.and_then(|()| self.await_answer()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                // The answer is still to come, and would be taken for one to the next request.
                self.is_out_of_step = true;
                return Err(InputError::Interrupted);
            }
            Err(_) => {
                self.connection = None;
                self.client.lose();
                send_queue.break_off();
                return Err(InputError::Failed("Connection was terminated".to_owned()));
            }
        }
        Ok(())
    }

    fn ask(&mut self, at_most: u32, all: bool, send_queue: &SendQueue) -> Result<(), InputError> {
        self.send(&FromWorker::NeedBody { at_most, all }, send_queue)?;
        let connection = self.connection.as_mut().ok_or(InputError::Over)?;
        match connection.inbox.next() {
            Ok(Some(ToWorker::Body(piece))) => {
                self.data.drain(..std::mem::take(&mut self.start));
                self.data.extend_from_slice(piece);
                return Ok(());
            }
            Ok(Some(ToWorker::BodyAt { len })) => {
                if has(connection, len) {
                    self.in_window = Part { start: 0, len };
                    return Ok(());
                }
            }
            Ok(Some(ToWorker::BodyEnd)) => {
                self.state = State::Ended;
                return Ok(());
            }
            Ok(Some(ToWorker::BodyFailed { reason })) => {
                return Err(InputError::Failed(reason.to_owned()));
            }
            Ok(_) | Err(_) => {}
        }
        self.connection = None;
        send_queue.break_off();
        Err(InputError::Failed("httpd sent something unexpected".to_owned()))
    }

    /// Waits until the answer is whole.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] when the request is; others when it never will be.
    fn await_answer(&mut self) -> io::Result<()> {
        loop {
            let connection = self.connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            await_message(connection, &self.slot)?;
            if !take_aside(connection, &self.client) {
                return Ok(());
            }
        }
    }
}

/// Whether so much can stand at the start of the window.
fn has(connection: &Connection, len: u32) -> bool {
    connection.windows.body.as_ref().is_some_and(|window| window.bytes(0, len).is_some())
}

/// Takes the next message, if it is one that comes without being asked for.
fn take_aside(connection: &mut Connection, client: &Client) -> bool {
    match connection.inbox.peek() {
        Ok(Some(ToWorker::ClientGone { certain })) => client.note(certain),
        Ok(Some(ToWorker::Taken { len })) => client.note_taken(len),
        _ => return false,
    }
    let _ = connection.inbox.next::<ToWorker<'_>>();
    true
}

/// Waits until a message is whole.
fn await_message(connection: &mut Connection, slot: &Slot) -> io::Result<()> {
    loop {
        match connection.inbox.ready::<ToWorker<'_>>() {
            // A message that cannot be one is for the caller to find.
            Ok(true) | Err(_) => return Ok(()),
            Ok(false) => {}
        }
        match connection.inbox.try_receive(&connection.socket) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                slot.wait_for(connection.socket.as_fd(), PollFlags::IN)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
