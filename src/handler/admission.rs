//! Which requests may wait when httpd's threads run short. Each request that runs or waits holds one:
//! those that have to wait for a worker leave some to those that need not.

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

/// A thread that a request holds.
#[derive(Debug)]
pub struct Permit {
    admission: Admission,
    /// Whether it may be held while no worker has begun the request.
    pub may_wait: bool,
    /// Whether a worker can have a thread free for the request: its group has more than the requests
    /// before it hold. What workers say of themselves does not count here.
    pub may_run: bool,
}

impl Permit {
    /// Counts one more request of the group, whose workers run `capacity` at a time. As long as the
    /// group `grows` towards that, its requests wait for workers that are being started: threads that
    /// they hold are those that they will hold anyway.
    pub fn take(admission: Admission, capacity: usize, grows: bool) -> Self {
        // One after the other, so that of many that come at once as many may wait as may.
        let of_group = admission.fetch_add(1, Ordering::Relaxed) + 1;
        let of_all = HELD.fetch_add(1, Ordering::Relaxed) + 1;
        let (children, threads) = *limits();
        let may_wait =
            grows && of_group <= capacity || is_fair(of_group, threads.saturating_sub(of_all)) || {
                // This child has hardly any left, but others may have, or may be started yet. With
                // prefork, that is all that there is to look at.
                let all = children * threads;
                all.saturating_sub(busy_threads()) >= all / (SHARE + 1)
            };
        Self { admission, may_wait, may_run: may_wait || of_group <= capacity }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.fetch_sub(1, Ordering::Relaxed);
        HELD.fetch_sub(1, Ordering::Relaxed);
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
