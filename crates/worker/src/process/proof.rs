//! That the worker serves: the supervisor is told when a first request has been answered, and then once
//! in a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wire::control::FromWorker;

use super::control::Reporter;

/// How long it is not told again.
const INTERVAL: Duration = Duration::from_secs(10);

/// Given with the first request: from then on the worker's death counts differently. Given again while
/// requests come.
#[derive(Debug)]
pub struct Proof {
    epoch: Instant,
    /// When it is to be given, in milliseconds since `epoch`.
    due: AtomicU64,
    reporter: Reporter,
}

impl Proof {
    /// To be given through `reporter`.
    pub fn new(reporter: Reporter) -> Self {
        Self { epoch: Instant::now(), due: AtomicU64::new(0), reporter }
    }

    /// Whether it has to be given.
    pub fn is_due(&self) -> bool {
        self.due.load(Ordering::Relaxed) <= self.now()
    }

    /// A request has been answered. Not to be called while attached to Python.
    pub fn give(&self) {
        let (now, due) = (self.now(), self.due.load(Ordering::Relaxed));
        let next = now + INTERVAL.as_millis() as u64;
        // Of those that are about to give it, one does.
        if due <= now
            && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.reporter.send(&FromWorker::Proven);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
