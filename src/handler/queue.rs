//! How long a request may wait until it is begun: `queue-timeout=`.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::presence::Presence;
use crate::ffi::request::Request;
use crate::ffi::stopping;

/// Why a request is not waited for any longer, though it has time left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GivenUp {
    /// httpd ends this child.
    #[error("httpd has told its child process to end")]
    Stopping,
    /// There is no client to answer.
    #[error("the client has gone")]
    ClientGone,
}

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
        self.limit.map(|limit| limit.saturating_sub(self.waited()))
    }

    /// How long the request has been ready to be sent.
    fn waited(&self) -> Duration {
        self.request.age().saturating_sub(self.excluded)
    }

    /// Waits until one of `sources` is readable, at most for `time`. Returns whether one is.
    ///
    /// # Errors
    /// There is no more reason to wait.
    pub fn wait_for(&self, sources: &[BorrowedFd<'_>], time: Duration) -> Result<bool, GivenUp> {
        let deadline = Instant::now() + time;
        let client = self.request.client_socket();
        let stopping = stopping::descriptor();
        let mut presence = Presence::There;
        loop {
            if stopping::is_stopping() {
                return Err(GivenUp::Stopping);
            }
            let all = sources.iter().copied().chain(stopping);
            let mut watched: Vec<_> =
                all.map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)).collect();
            watched.extend(client.map(|it| PollFd::from_borrowed_fd(it, presence.watched())));
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut watched, Some(&timeout)) {
                Ok(0) => return Ok(false),
                Err(Errno::INTR) => continue,
                // Nothing can be waited for: the caller finds out what its sources have.
                Err(_) => return Ok(true),
                Ok(_) => {}
            }
            if watched[..sources.len()].iter().any(|source| !source.revents().is_empty()) {
                return Ok(true);
            }
            if client.is_some() {
                let found = watched.last().map_or(PollFlags::empty(), PollFd::revents);
                presence = presence.after(found, self.waited());
            }
            if presence == Presence::Gone {
                return Err(GivenUp::ClientGone);
            }
        }
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
