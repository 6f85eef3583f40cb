//! Whether the runners at work are blocked, so that a job that waits needs another one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::io::queue::Queue;

/// How soon after a runner was woken to look whether it is blocked as well.
const SOON: Duration = Duration::from_micros(100);
/// How often to look at runners that compute.
const SELDOM: Duration = Duration::from_millis(1);
/// After so long without a job being taken another runner is woken all the same: short requests are
/// not to wait for the end of a long computation, nor for one that has let go of the lock.
const WAKE_TIMEOUT: Duration = Duration::from_millis(25);

/// What the kernel says about a thread.
#[derive(Debug, Default)]
pub struct Thread(OnceLock<Option<File>>);

impl Thread {
    /// Makes this the calling thread.
    pub fn enter(&self) {
        self.0.get_or_init(|| File::open("/proc/thread-self/stat").ok());
    }

    /// Whether it sleeps. One that cannot be watched counts as doing so.
    ///
    /// Its processor time would tell less: a thread that finds no free processor, which on a busy
    /// machine is common, gets none and yet is not blocked.
    fn is_blocked(&self) -> bool {
        let Some(Some(stat)) = self.0.get() else { return true };
        let mut start = [0; 64];
        let Ok(length) = stat.read_at(&mut start, 0) else { return true };
        // proc(5): the name may hold anything; the state is the field behind it.
        let name_end = start[..length].iter().rposition(|byte| *byte == b')');
        name_end.and_then(|end| start.get(end + 2)) != Some(&b'R')
    }
}

/// Looks at the runners, now and then, while jobs wait.
#[derive(Debug)]
pub struct Watch {
    next: Instant,
    interval: Duration,
    /// How many jobs had been taken, and when that was first seen.
    taken: (u64, Instant),
}

impl Watch {
    /// Has not looked yet.
    pub fn new(now: Instant) -> Self {
        Self { next: now, interval: SOON, taken: (0, now) }
    }

    /// Looks, if it is time, and wakes a runner where one is of use. Returns when to look again.
    pub fn look<T>(
        &mut self,
        queue: &Queue<T>,
        threads: &[Thread],
        now: Instant,
    ) -> Option<Instant> {
        let backlog = queue.backlog()?;
        if now < self.next {
            return Some(self.next);
        }
        if backlog.taken != self.taken.0 {
            self.taken = (backlog.taken, now);
        }
        let stuck = now - self.taken.1 >= WAKE_TIMEOUT;
        let is_blocked = |runner: &usize| threads[*runner].is_blocked();
        if !backlog.standby && (stuck || backlog.running.iter().all(is_blocked)) {
            queue.relieve();
            self.taken.1 = now;
            self.interval = SOON;
        } else {
            self.interval = (2 * self.interval).min(SELDOM);
        }
        self.next = now + self.interval;
        Some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::io::schedule::Policy;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// Computes until `done`.
    fn compute_until(done: &AtomicBool) {
        let start = Instant::now();
        while !done.load(Ordering::Relaxed) && start.elapsed() < DEADLINE {}
    }

    /// Sleeps until `done`.
    fn sleep_until(done: &AtomicBool) {
        while !done.load(Ordering::Relaxed) {
            thread::park_timeout(DEADLINE);
        }
    }

    #[test]
    fn a_thread_that_computes_is_told_from_one_that_waits() {
        let runner: &Thread = Box::leak(Box::default());
        let computed: &AtomicBool = Box::leak(Box::default());
        thread::spawn(|| {
            runner.enter();
            compute_until(computed);
            sleep_until(&AtomicBool::new(false));
        });
        let start = Instant::now();
        for blocked in [false, true] {
            while runner.is_blocked() != blocked {
                assert!(start.elapsed() < DEADLINE, "blocked is never {blocked}");
                thread::yield_now();
            }
            computed.store(true, Ordering::Relaxed);
        }
    }

    /// Has one runner stay with the first of two jobs until the other one is done.
    fn second_runner_is_woken_while_the_first_one(works_until: fn(&AtomicBool)) {
        let queue: &Queue<()> = Box::leak(Box::new(Queue::new(2, Policy::Patient)));
        let threads: &[Thread] = vec![Thread::default(), Thread::default()].leak();
        let done: &AtomicBool = Box::leak(Box::default());
        let first = thread::spawn(move || {
            threads[0].enter();
            queue.wait(0);
            queue.begin(0).expect("the first job");
            works_until(done);
            assert_eq!(queue.next(0), None);
        });
        thread::spawn(move || {
            threads[1].enter();
            queue.wait(1);
            queue.begin(1).expect("the second job");
            done.store(true, Ordering::Relaxed);
            first.thread().unpark();
            assert_eq!(queue.next(1), None);
        });
        queue.push((), false).expect("there is room");
        queue.push((), false).expect("there is room");
        let start = Instant::now();
        let mut watch = Watch::new(start);
        while !done.load(Ordering::Relaxed) {
            assert!(start.elapsed() < DEADLINE, "nobody was woken");
            watch.look(queue, threads, Instant::now());
            thread::yield_now();
        }
        assert!(queue.wait_until_quiet(DEADLINE));
    }

    #[test]
    fn a_job_behind_a_blocked_one_gets_a_runner() {
        second_runner_is_woken_while_the_first_one(sleep_until);
    }

    #[test]
    fn a_job_behind_a_long_computation_gets_a_runner() {
        second_runner_is_woken_while_the_first_one(compute_until);
    }
}
