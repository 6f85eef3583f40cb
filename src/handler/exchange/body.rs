//! The request body: pulled from the client when the application reads, and no sooner.

use std::cell::Cell;

use channel::Window;
use tracing::{debug, info};
use wire::exchange::{Purpose, ToWorker};
use wire::{Header, Message};

use super::client::Presence;
use super::{Exchange, Outcome};
use crate::ffi::HTTP_BAD_REQUEST;
use crate::ffi::bucket::{BodyError, Brigade, ClientGone};
use crate::handler::windows::LARGE;

/// Most bytes of a request body that are read at a time.
const BODY_PIECE: usize = 128 << 10;

thread_local! {
    /// Where a piece of a body is read to. Taking new memory for each piece and giving it back costs
    /// more than copying it: the C library trims its heap, and the kernel clears new pages.
    static PIECE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Exchange<'_, '_> {
    /// The application reads: the next piece of the request body goes to the worker.
    pub(super) fn send_body(
        &mut self,
        at_most: u32,
        all: bool,
    ) -> Result<Option<Outcome>, ClientGone> {
        // What the client has been promised so far may be what it waits for.
        self.response.settle()?;
        if self.presence == Presence::Gone && self.body_error.is_none() {
            let text = "Connection was terminated".to_owned();
            self.body_error = Some(BodyError { status: HTTP_BAD_REQUEST, text });
        }
        let mut data = PIECE.take();
        data.clear();
        let mut failed = false;
        let brigade = self.body.get_or_insert_with(|| Brigade::new(self.request));
        let reply = match &self.body_error {
            Some(error) => ToWorker::BodyFailed { reason: &error.text },
            None => match pull(brigade, self.body_window.as_deref_mut(), at_most, all, &mut data) {
                Ok(Pulled::InWindow(len)) => ToWorker::BodyAt { len },
                Ok(Pulled::InPiece) => {
                    if data.len() >= LARGE {
                        *self.wanted = Some(Purpose::Body);
                    }
                    ToWorker::Body(&data)
                }
                Ok(Pulled::End) => ToWorker::BodyEnd,
                Err(error) => {
                    failed = true;
                    ToWorker::BodyFailed { reason: &self.body_error.insert(error).text }
                }
            },
        };
        // The body itself is sent from where it is.
        let mut bytes = Vec::new();
        match &reply {
            ToWorker::Body(data) => header(&reply, data.len()).encode(&mut bytes),
            reply => wire::encode(reply, &mut bytes),
        }
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
        // A worker that reads no further may have said why: that is found by who receives next.
        let _ = channel::send_both(self.worker, &bytes, &data);
        PIECE.set(data);
        Ok(None)
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

/// Reads a piece of the body into the window, or into `data` without one.
fn pull(
    brigade: &mut Brigade<'_>,
    window: Option<&mut Window>,
    at_most: u32,
    all: bool,
    data: &mut Vec<u8>,
) -> Result<Pulled, BodyError> {
    let at_most = at_most.max(1) as usize;
    let Some(window) = window else {
        let at_most = at_most.min(BODY_PIECE);
        let more = brigade.read(at_most, all, |piece| data.extend_from_slice(piece))?;
        return Ok(if more { Pulled::InPiece } else { Pulled::End });
    };
    let mut len = 0;
    let more = brigade.read(at_most.min(window.size()), all, |piece| {
        window.write(len, piece);
        len += piece.len();
    })?;
    let len = u32::try_from(len).expect("windows are below 4 GiB");
    Ok(if more { Pulled::InWindow(len) } else { Pulled::End })
}

/// The header of a frame whose payload has this length.
fn header(message: &ToWorker<'_>, len: usize) -> Header {
    let len = u32::try_from(len).expect("pieces are below 4 GiB");
    Header { len, kind: message.kind(), descriptors: message.descriptors() }
}
