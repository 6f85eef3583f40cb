//! How often, how much and how long a request reads and writes, for those who subscribed to events.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pyo3::Python;

/// What `request_finished` tells of a request. Measures nothing until it is switched on.
#[derive(Debug, Default)]
pub struct Meter {
    on: AtomicBool,
    /// Reads of the request body.
    pub input: Flow,
    /// Writes of the response body.
    pub output: Flow,
    /// Waits for Python's lock.
    pub lock: Flow,
    /// When the application was called, in microseconds since the epoch; 0 before.
    called: AtomicU64,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Flow {
    count: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Meter {
    /// Begins to measure.
    pub fn switch_on(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    /// The application is called now, in microseconds since the epoch.
    pub fn note_call(&self, now: u64) {
        self.called.store(now, Ordering::Relaxed);
    }

    /// When it was called; 0 before.
    pub fn called(&self) -> u64 {
        self.called.load(Ordering::Relaxed)
    }

    /// The time now, if anybody wants to know.
    pub fn start(&self) -> Option<Instant> {
        self.on.load(Ordering::Relaxed).then(Instant::now)
    }

    /// Runs `wait` without Python's lock, and measures how long it takes to have it back.
    pub fn detached<R: Send>(&self, py: Python<'_>, wait: impl Send + FnOnce() -> R) -> R {
        if !self.on.load(Ordering::Relaxed) {
            return py.detach(wait);
        }
        let (result, wants_back) = py.detach(|| (wait(), Instant::now()));
        self.lock.add(Some(wants_back), 0);
        result
    }
}

impl Flow {
    /// Counts a piece of so many bytes that took since `start`.
    pub fn add(&self, start: Option<Instant>, bytes: usize) {
        if let Some(start) = start {
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            self.add_time(start.elapsed());
        }
    }

    /// Counts what took so long.
    pub fn add_time(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// How often, how many bytes, how many seconds.
    pub fn sums(&self) -> (u64, u64, f64) {
        let time = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
        let (count, bytes) = (&self.count, &self.bytes);
        (count.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed), time.as_secs_f64())
    }
}
