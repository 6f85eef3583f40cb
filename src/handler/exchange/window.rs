//! Pieces of the response that the worker has put into the window.

use std::io;

use channel::Bytes;
use wire::exchange::{Purpose, ToWorker};

use super::{Exchange, Outcome};
use crate::ffi::bucket::ClientGone;
use crate::handler::turn::{Halt, Turn};
use crate::handler::windows::LARGE;

impl Exchange<'_, '_> {
    /// Sends a piece of the body that stands in the window. A worker may say anything about where
    /// that is, and change it while it is sent.
    pub(super) fn send_from_window(
        &mut self,
        offset: u32,
        len: u32,
    ) -> Result<Option<Outcome>, ClientGone> {
        let Some(window) = self.window else {
            let why = "sends from a window that it has not";
            return Ok(Some(self.nonsense(why)));
        };
        let Some(data) = window.bytes(offset, len) else {
            return Ok(Some(self.nonsense("sends from outside of its window")));
        };
        // A filter that looks for something must not find it changed.
        let sent = if self.request.has_content_filter() {
            let mut copy = Vec::new();
            data.append_to(&mut copy);
            self.send_data(Bytes::from(&copy[..]))
        } else {
            self.send_data(data)
        };
        self.used += len as usize;
        sent?;
        Ok(None)
    }

    /// Tells the worker what it can use again, if that is much. Not between pieces that are here
    /// already: the end may be among them, after which nobody asks.
    pub(super) fn give_back_much(&mut self) -> Result<(), Halt> {
        if self.window.is_some_and(|window| self.used >= window.size() / 2) {
            return self.give_back();
        }
        Ok(())
    }

    /// Tells the worker what it can use of the window again.
    pub(super) fn give_back(&mut self) -> Result<(), Halt> {
        // More than the window has is for nobody but a worker that has lost count.
        let Ok(len @ 1..) = u32::try_from(std::mem::take(&mut self.used)) else {
            return Ok(());
        };
        match channel::send_message(self.turn.stream, &ToWorker::Taken { len }) {
            // It has waited for a worker that does not read.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(Turn::nonsense("does not read what it is told"))
            }
            // A worker that has sent everything may close the connection. What it has sent is here.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Notes that a piece of the response has come over the socket.
    pub(super) fn note_data(&mut self, len: usize) {
        if len >= LARGE && self.window.is_none() {
            *self.wanted = Some(Purpose::Response);
        }
    }
}
