//! The time as the worker tells it: microseconds since the epoch.

/// When a request reached which place, in microseconds since the epoch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// httpd received it.
    pub received: u64,
    /// The worker's I/O thread had it.
    pub queued: u64,
    /// A runner took it.
    pub taken: u64,
}

/// The time in microseconds since the epoch.
pub fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A time as Python's `time.time()` has it.
pub fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}
