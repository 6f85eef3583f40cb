//! The request body: pulled from the client when the application reads, and no sooner.

use tracing::{debug, info};
use wire::exchange::ToWorker;

use super::client::Presence;
use super::{Exchange, Outcome};
use crate::ffi::HTTP_BAD_REQUEST;
use crate::ffi::bucket::{BodyError, Brigade, ClientGone};

/// Most bytes of a request body that are read at a time.
const BODY_PIECE: u32 = 64 << 10;

impl Exchange<'_, '_> {
    /// The application reads: the next piece of the request body goes to the worker.
    pub(super) fn send_body(&mut self, at_most: u32) -> Result<Option<Outcome>, ClientGone> {
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
            Err(_) => Some(self.lost("closed the connection")),
        })
    }
}
