//! The receiving half of a request's conversation: the request body, pulled as it is read.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use channel::Bytes;
use rustix::event::PollFlags;
use wire::exchange::{FromWorker, ToWorker};

use crate::client::Client;
use crate::connection::Connection;
use crate::monitor::Slot;
use crate::outlet::Outlet;

/// How much is asked for at a time, at least: what is not read yet waits here.
const LEAST_PULL: usize = 64 << 10;
/// How much is asked for at a time, at most.
const MOST_PULL: usize = 1 << 20;

/// What an application reads as `wsgi.input`.
#[derive(Debug)]
pub struct Incoming {
    /// `None` once the request is over, or the connection broken.
    connection: Option<Connection>,
    data: Vec<u8>,
    start: usize,
    state: State,
    client: Arc<Client>,
    slot: Arc<Slot>,
    /// An answer of httpd may come that nobody waits for.
    is_out_of_step: bool,
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
    /// The request has been interrupted, and Python is about to raise an exception.
    #[error("the request has been interrupted")]
    Interrupted,
}

impl Incoming {
    /// Starts on a request. Without a body there is nothing to ask for.
    pub fn new(
        connection: Connection,
        has_body: bool,
        client: Arc<Client>,
        slot: Arc<Slot>,
    ) -> Self {
        let state = if has_body { State::Untouched } else { State::Ended };
        Self {
            connection: Some(connection),
            data: Vec::new(),
            start: 0,
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
        self.start = 0;
        let connection = self.connection.take()?;
        if self.is_out_of_step {
            connection.say_goodbye();
            return None;
        }
        Some(connection)
    }

    /// Reads what can be had without asking for more.
    pub fn read_ready(&mut self, amount: Amount) -> Option<Vec<u8>> {
        let len = self.available(amount)?;
        Some(self.take(len))
    }

    /// Reads, and asks for more as far as needed. Not to be called while attached to Python.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn read(&mut self, amount: Amount, outlet: &Outlet) -> Result<Vec<u8>, InputError> {
        loop {
            if self.state == State::Failed {
                return Err(InputError::FailedBefore);
            }
            if let Some(data) = self.read_ready(amount) {
                return Ok(data);
            }
            self.pull(amount, outlet)?;
        }
    }

    /// How many bytes satisfy `amount`, if they are here.
    fn available(&self, amount: Amount) -> Option<usize> {
        let rest = &self.data[self.start..];
        let ended = match self.state {
            State::Ended => Some(rest.len()),
            State::Failed => return None,
            // Even a read of nothing begins the transfer: a client may be waiting for that.
            State::Untouched => return None,
            State::Open => None,
        };
        let line = || rest.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        match amount {
            Amount::All => ended,
            Amount::Bytes(len) if len <= rest.len() => Some(len),
            Amount::Bytes(_) => ended,
            Amount::Line => line().or(ended),
            Amount::LineWithin(len) => match line() {
                Some(end) => Some(end.min(len)),
                None if len <= rest.len() => Some(len),
                None => ended,
            },
        }
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        if self.start == 0 && len == self.data.len() {
            return std::mem::take(&mut self.data);
        }
        let taken = self.data[self.start..self.start + len].to_vec();
        self.start += len;
        if self.start == self.data.len() {
            self.data.clear();
            self.start = 0;
        }
        taken
    }

    /// Asks for one more piece, and waits for it.
    fn pull(&mut self, amount: Amount, outlet: &Outlet) -> Result<(), InputError> {
        if self.connection.is_none() {
            return Err(InputError::Over);
        }
        let is_line = matches!(amount, Amount::Line | Amount::LineWithin(_));
        let missing = match amount {
            Amount::All => MOST_PULL,
            Amount::Bytes(len) => len.saturating_sub(self.data.len() - self.start),
            Amount::Line | Amount::LineWithin(_) => LEAST_PULL,
        };
        let at_most = missing.clamp(LEAST_PULL, MOST_PULL);
        self.state = State::Open;
        let outcome = self.ask(at_most as u32, at_most <= missing && !is_line, outlet);
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
        outlet: &Outlet,
    ) -> Result<Option<Vec<u8>>, InputError> {
        self.send(&FromWorker::NeedVariable(name), outlet)?;
        let connection = self.connection.as_mut().ok_or(InputError::Over)?;
        if let Ok(Some(ToWorker::Variable(value))) = connection.inbox.next() {
            return Ok(value.map(<[u8]>::to_vec));
        }
        self.connection = None;
        outlet.break_off();
        Err(InputError::Failed("httpd sent something unexpected".to_owned()))
    }

    /// Sends a question, and waits until the answer is there.
    fn send(&mut self, question: &FromWorker<'_>, outlet: &Outlet) -> Result<(), InputError> {
        let asked = {
            let slot = Arc::clone(&self.slot);
            let mut outgoing = outlet.to_send();
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
                outlet.break_off();
                return Err(InputError::Failed("Connection was terminated".to_owned()));
            }
        }
        Ok(())
    }

    fn ask(&mut self, at_most: u32, all: bool, outlet: &Outlet) -> Result<(), InputError> {
        self.send(&FromWorker::NeedBody { at_most, all }, outlet)?;
        let connection = self.connection.as_mut().ok_or(InputError::Over)?;
        let piece = match connection.inbox.next() {
            Ok(Some(ToWorker::Body(piece))) => Some(Bytes::from(piece)),
            Ok(Some(ToWorker::BodyAt { len })) => {
                connection.windows.body.as_ref().and_then(|window| window.bytes(0, len))
            }
            Ok(Some(ToWorker::BodyEnd)) => {
                self.state = State::Ended;
                return Ok(());
            }
            Ok(Some(ToWorker::BodyFailed { reason })) => {
                return Err(InputError::Failed(reason.to_owned()));
            }
            Ok(_) | Err(_) => None,
        };
        let Some(piece) = piece else {
            self.connection = None;
            outlet.break_off();
            return Err(InputError::Failed("httpd sent something unexpected".to_owned()));
        };
        self.data.drain(..std::mem::take(&mut self.start));
        piece.append_to(&mut self.data);
        Ok(())
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
