//! That the worker serves: the supervisor is told when a first request has been answered.

use std::sync::atomic::{AtomicBool, Ordering};

use wire::control::FromWorker;

use super::control::Reporter;

/// Given once. From then on the worker's death counts differently.
#[derive(Debug)]
pub struct Proof {
    given: AtomicBool,
    reporter: Reporter,
}

impl Proof {
    /// To be given through `reporter`.
    pub fn new(reporter: Reporter) -> Self {
        Self { given: AtomicBool::new(false), reporter }
    }

    /// Whether it still has to be given.
    pub fn is_due(&self) -> bool {
        !self.given.load(Ordering::Relaxed)
    }

    /// A request has been answered. Not to be called while attached to Python.
    pub fn give(&self) {
        if !self.given.swap(true, Ordering::Relaxed) {
            self.reporter.send(&FromWorker::Proven);
        }
    }
}
