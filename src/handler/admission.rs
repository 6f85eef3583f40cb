//! Which requests may wait when httpd's threads run short. Each request that runs or waits holds one:
//! those that have to wait for a worker leave some to those of other groups.
//!
//! A stream of HTTP/2 holds none. It has one of mod_http2's own workers, of which other connections wait
//! for none that this one's has: what comes first gets the next that is free, and a connection whose
//! streams do not get on gets few (`h2_mplx.c`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::ffi::scoreboard::busy_threads;
use crate::ffi::server::mpm_limits;

/// A group may wait as long as it holds at most this many threads for each one that is free. So a
/// group that waits alone gets seven eighths of them, two get fourteen fifteenths together, and
/// however many groups wait, one thread is left.
const SHARE: usize = 7;

/// Requests of all groups that hold a thread of this child.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Requests of an application group that hold a thread of this child.
pub type Admission = Arc<AtomicUsize>;

/// What a request holds as long as it runs or waits.
#[derive(Debug)]
pub struct Permit {
    /// Where its thread of httpd is counted, if it has one.
    thread: Option<Admission>,
    /// Whether it may be held while no worker has begun the request.
    pub may_wait: bool,
    /// Whether a worker can have a thread free for the request: its group has more than the requests
    /// before it hold. What workers say of themselves does not count here.
    pub may_run: bool,
}

impl Permit {
    /// A stream's, which holds nothing that others could want.
    pub fn of_stream() -> Self {
        Self { thread: None, may_wait: true, may_run: true }
    }

    /// Counts one more request of the group, whose workers run `capacity` at a time. Where the group
    /// is `alone`, there is nobody to leave threads to. As long as it `grows` towards its capacity, its
    /// requests wait for workers that are being started: threads that they hold are those that they
    /// will hold anyway.
    pub fn take(admission: Admission, capacity: usize, alone: bool, grows: bool) -> Self {
        // One after the other, so that of many that come at once as many may wait as may.
        let of_group = admission.fetch_add(1, Ordering::Relaxed) + 1;
        let of_all = HELD.fetch_add(1, Ordering::Relaxed) + 1;
        let (children, threads) = *limits();
        let may_wait = alone
            || grows && of_group <= capacity
            || is_fair(of_group, threads.saturating_sub(of_all))
            || {
                // This child has hardly any left, but others may have, or may be started yet. With
                // prefork, that is all that there is to look at.
                let all = children * threads;
                all.saturating_sub(busy_threads()) >= all / (SHARE + 1)
            };
        Self { thread: Some(admission), may_wait, may_run: may_wait || of_group <= capacity }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(admission) = &self.thread {
            admission.fetch_sub(1, Ordering::Relaxed);
            HELD.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn is_fair(of_group: usize, free: usize) -> bool {
    of_group <= SHARE * free
}

/// The most children, and the threads in each.
fn limits() -> &'static (usize, usize) {
    static LIMITS: OnceLock<(usize, usize)> = OnceLock::new();
    LIMITS.get_or_init(|| {
        let (children, threads) = mpm_limits();
        (children as usize, threads as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups that never finish a request take turns, until none of them may wait any more.
    fn held(groups: usize, threads: usize) -> Vec<usize> {
        let mut held = vec![0; groups];
        loop {
            let before = held.clone();
            for group in 0..groups {
                let free = threads.saturating_sub(held.iter().sum::<usize>() + 1);
                if is_fair(held[group] + 1, free) {
                    held[group] += 1;
                }
            }
            if held == before {
                return held;
            }
        }
    }

    #[test]
    fn groups_that_are_stuck_share_what_they_may_have() {
        assert_eq!(held(1, 64), [56]);
        assert_eq!(held(3, 64), [21, 20, 20]);
        assert_eq!(held(100, 64).iter().sum::<usize>(), 63);
        for (groups, threads) in [(1, 2), (2, 3), (1, 25), (3, 25), (40, 25)] {
            assert!(held(groups, threads).iter().sum::<usize>() < threads);
        }
    }
}
