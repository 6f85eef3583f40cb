//! How long a request may wait until it is begun: `queue-timeout=`.

use std::time::Duration;

use crate::ffi::request::Request;

/// The time that a request may spend in queues. httpd watches it until a worker has accepted the
/// request, and that worker afterwards: one of them at a time.
#[derive(Clone, Copy)]
pub struct QueueTime<'r> {
    request: Request<'r>,
    limit: Option<Duration>,
    /// What of the request's age is no waiting in a queue.
    excluded: Duration,
}

impl<'r> QueueTime<'r> {
    /// Of a request that has been received and may wait for `limit`, if that is bounded.
    pub fn new(request: Request<'r>, limit: Option<Duration>) -> Self {
        Self { request, limit, excluded: Duration::ZERO }
    }

    /// So much of the request's age went by before it was ready to be sent, as its client took time
    /// to send it.
    pub fn exclude(&mut self, excluded: Duration) {
        self.excluded = excluded;
    }

    /// `queue-timeout=`.
    pub fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// How much longer the request may wait. `None`: for ever.
    pub fn left(&self) -> Option<Duration> {
        let age = self.request.age().saturating_sub(self.excluded);
        self.limit.map(|limit| limit.saturating_sub(age))
    }

    /// Whether the request has waited for too long.
    pub fn is_over(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// From when on a worker counts its age, in microseconds since the epoch.
    pub fn received(&self) -> u64 {
        let shift = self.limit.map_or(Duration::ZERO, |_| self.excluded);
        self.request.received() + u64::try_from(shift.as_micros()).unwrap_or(0)
    }
}
