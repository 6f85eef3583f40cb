//! The limits of this worker in numbers. Those after which it is replaced are spread, so that the
//! workers of a set do not reach them together.

use std::time::Duration;

use wire::limits::Limits;

/// How far a limit may be from what is configured: a tenth in either direction.
const SPREAD: u64 = 10;

/// The limits, ready to compare with.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// `maximum-requests=`, spread.
    pub maximum_requests: Option<u64>,
    /// `restart-interval=`, spread.
    pub restart_interval: Option<Duration>,
    /// `inactivity-timeout=`.
    pub inactivity_timeout: Option<Duration>,
    /// `request-timeout=`, scaled by the number of threads.
    pub request_timeout: Option<Duration>,
    /// `slow-request=`.
    pub slow_request: Option<Duration>,
    /// `interrupt-timeout=`.
    pub interrupt_timeout: Option<Duration>,
    /// `deadlock-timeout=`.
    pub deadlock_timeout: Option<Duration>,
    /// `startup-timeout=`.
    pub startup_timeout: Option<Duration>,
    /// `shutdown-timeout=`.
    pub shutdown_timeout: Option<Duration>,
    /// `memory-max=`, in bytes.
    pub memory_max: Option<u64>,
}

impl Bounds {
    /// Those of a worker with so many threads. `chance` gives random numbers.
    pub fn new(limits: &Limits, threads: u16, mut chance: impl FnMut() -> u64) -> Self {
        let mut spread = |number: u32| {
            let number = u64::from(number);
            let reach = number / SPREAD;
            number - reach + chance() % (2 * reach + 1)
        };
        let seconds = |number: u32| (number > 0).then(|| Duration::from_secs(number.into()));
        Self {
            maximum_requests: (limits.maximum_requests > 0)
                .then(|| spread(limits.maximum_requests)),
            // In milliseconds: workers that start together would else often agree on a second.
            restart_interval: (limits.restart_interval > 0).then(|| {
                Duration::from_millis(spread(limits.restart_interval.saturating_mul(1000)))
            }),
            inactivity_timeout: seconds(limits.inactivity_timeout),
            // A worker with more threads can bear more of them waiting for something.
            request_timeout: seconds(limits.request_timeout)
                .map(|timeout| timeout.mul_f64(1.0 + f64::from(threads.max(1)).ln())),
            slow_request: (limits.slow_request > 0)
                .then(|| Duration::from_millis(limits.slow_request.into())),
            interrupt_timeout: seconds(limits.interrupt_timeout),
            deadlock_timeout: seconds(limits.deadlock_timeout),
            startup_timeout: seconds(limits.startup_timeout),
            shutdown_timeout: seconds(limits.shutdown_timeout),
            memory_max: (limits.memory_max > 0).then_some(limits.memory_max),
        }
    }
}

/// A random number; the same one where the system has none.
pub fn chance() -> u64 {
    let mut bytes = [0; 8];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_spread_by_a_tenth_and_small_ones_are_exact() {
        let limits = Limits { maximum_requests: 1000, restart_interval: 60, ..Limits::default() };
        let bounds: Vec<_> = (0..5000).map(|n| Bounds::new(&limits, 1, || n * 7919)).collect();
        let requests = || bounds.iter().filter_map(|bounds| bounds.maximum_requests);
        assert_eq!((requests().min(), requests().max()), (Some(900), Some(1100)));
        let interval = || bounds.iter().filter_map(|bounds| bounds.restart_interval);
        assert!(interval().all(|time| (54_000..=66_000).contains(&time.as_millis())));
        let limits = Limits { maximum_requests: 9, ..Limits::default() };
        assert_eq!(Bounds::new(&limits, 1, || 12345).maximum_requests, Some(9));
    }

    #[test]
    fn requests_of_many_threads_have_longer() {
        let limits = Limits { request_timeout: 10, ..Limits::default() };
        let seconds = |threads| {
            Bounds::new(&limits, threads, || 0)
                .request_timeout
                .map(|time| time.as_secs_f64().round())
        };
        assert_eq!((seconds(1), seconds(15)), (Some(10.0), Some(37.0)));
        assert_eq!(Bounds::new(&Limits::default(), 1, || 0).request_timeout, None);
    }
}
