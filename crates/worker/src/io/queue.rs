//! The queue between the I/O thread and the runners: the schedule behind a lock, and the wake-ups.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::io::schedule::{Backlog, Policy, RunnerId, Schedule};

/// Jobs of type `T` for a fixed number of runners.
///
/// Its lock is held for moments only and never while waiting for anything else, so that a thread
/// may take it while it holds Python's.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Vec<Condvar>,
    quiet: Condvar,
}

#[derive(Debug)]
struct State<T> {
    schedule: Schedule<T>,
    woken: Vec<bool>,
    /// Threads in [`Queue::wait_until_quiet`]: without any, nobody need be told.
    awaiting_quiet: usize,
}

impl<T> Queue<T> {
    /// See [`Schedule::new`].
    pub fn new(runners: usize, policy: Policy) -> Self {
        Self {
            state: Mutex::new(State {
                schedule: Schedule::new(runners, policy),
                woken: vec![false; runners],
                awaiting_quiet: 0,
            }),
            wake: (0..runners).map(|_| Condvar::new()).collect(),
            quiet: Condvar::new(),
        }
    }

    /// Adds a job. With `only_if_free` it is given back when it would have to wait.
    ///
    /// # Errors
    /// The job.
    pub fn push(&self, job: T, only_if_free: bool) -> Result<(), T> {
        let mut state = self.lock();
        if only_if_free && !state.schedule.has_free_runner() {
            return Err(job);
        }
        let runner = state.schedule.push(job);
        self.wake(state, runner);
        Ok(())
    }

    /// Waits until `runner` is woken. Not to be called while attached to Python.
    pub fn wait(&self, runner: RunnerId) {
        let mut state = self.lock();
        while !state.woken[runner] {
            state = self.wake[runner].wait(state).expect("runners do not panic");
        }
        state.woken[runner] = false;
    }

    /// The first job of `runner` since it was woken. Without one it has to [`Self::wait`] again.
    pub fn begin(&self, runner: RunnerId) -> Option<T> {
        let mut state = self.lock();
        let (job, next) = state.schedule.begin(runner);
        self.wake(state, next);
        job
    }

    /// See [`Schedule::hand_over`]. Returns whether `runner` has to [`Self::wait`].
    pub fn hand_over(&self, runner: RunnerId) -> bool {
        let mut state = self.lock();
        let next = state.schedule.hand_over(runner);
        self.wake(state, next);
        next.is_some()
    }

    /// See [`Schedule::end`].
    pub fn end(&self, runner: RunnerId) {
        self.lock().schedule.end(runner);
    }

    /// See [`Schedule::go_on`].
    pub fn go_on(&self, runner: RunnerId) {
        self.lock().schedule.go_on(runner);
    }

    /// The next job of `runner`, which has finished one. Without one it has to [`Self::wait`].
    pub fn next(&self, runner: RunnerId) -> Option<T> {
        let mut state = self.lock();
        let job = state.schedule.next(runner);
        self.note_quiet(&state);
        job
    }

    /// See [`Schedule::backlog`].
    pub fn backlog(&self) -> Option<Backlog> {
        self.lock().schedule.backlog()
    }

    /// See [`Schedule::relieve`].
    pub fn relieve(&self) {
        let mut state = self.lock();
        let runner = state.schedule.relieve();
        self.wake(state, runner);
    }

    /// See [`Schedule::unwatch`].
    pub fn unwatch(&self) {
        let mut state = self.lock();
        let runner = state.schedule.unwatch();
        self.wake(state, runner);
    }

    /// Takes away the jobs that wait and are `late`.
    pub fn take_late(&self, late: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let taken = state.schedule.take_waiting(late);
        self.note_quiet(&state);
        taken
    }

    /// The least of what `of` says about jobs that wait.
    pub fn first_waiting<O: Ord>(&self, of: impl Fn(&T) -> O) -> Option<O> {
        self.lock().schedule.waiting().map(of).min()
    }

    /// Jobs that are running or waiting.
    pub fn load(&self) -> usize {
        self.lock().schedule.load()
    }

    /// See [`Schedule::pending`].
    pub fn pending(&self) -> usize {
        self.lock().schedule.pending()
    }

    /// Waits until no job is running or waiting, but not longer than `patience`. Returns whether
    /// that is so.
    pub fn wait_until_quiet(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        state.awaiting_quiet += 1;
        let quiet = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.schedule.load() == 0 || left.is_zero() {
                break state.schedule.load() == 0;
            }
            state = self.quiet.wait_timeout(state, left).expect("runners do not panic").0;
        };
        state.awaiting_quiet -= 1;
        quiet
    }

    /// Takes back the jobs that nobody has begun.
    pub fn withdraw(&self) -> Vec<T> {
        self.lock().schedule.withdraw()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("runners do not panic")
    }

    /// Telling takes a system call, whoever listens.
    fn note_quiet(&self, state: &State<T>) {
        if state.awaiting_quiet > 0 && state.schedule.load() == 0 {
            self.quiet.notify_all();
        }
    }

    /// Wakes `runner` after letting go of the lock, which it wants next.
    fn wake(&self, mut state: MutexGuard<'_, State<T>>, runner: Option<RunnerId>) {
        if let Some(runner) = runner {
            state.woken[runner] = true;
            drop(state);
            self.wake[runner].notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn jobs_that_wait_for_each_other_get_a_runner_each() {
        const RUNNERS: usize = 12;
        let barrier = Barrier::new(RUNNERS);
        let queue = Queue::new(RUNNERS, Policy::Eager);
        std::thread::scope(|scope| {
            for runner in 0..RUNNERS {
                let (queue, barrier) = (&queue, &barrier);
                scope.spawn(move || {
                    queue.wait(runner);
                    // Nobody finishes before all have begun, so each has a job.
                    queue.begin(runner).unwrap();
                    barrier.wait();
                    assert_eq!(queue.next(runner), None);
                });
            }
            for _ in 0..RUNNERS {
                queue.push((), false).unwrap();
            }
        });
        assert!(queue.wait_until_quiet(Duration::from_secs(60)));
    }

    #[test]
    fn a_job_that_would_have_to_wait_can_be_refused() {
        let queue = Queue::new(1, Policy::Patient);
        queue.push('a', true).unwrap();
        assert_eq!(queue.push('b', true), Err('b'));
        queue.push('c', false).unwrap();
        queue.wait(0);
        assert_eq!(queue.begin(0), Some('a'));
        assert_eq!(queue.next(0), Some('c'));
        assert_eq!(queue.next(0), None);
        queue.push('d', true).unwrap();
    }
    #[test]
    fn jobs_that_are_late_are_taken_away_from_the_others() {
        let queue = Queue::new(1, Policy::Eager);
        (1..=4).for_each(|job| queue.push(job, false).unwrap());
        queue.wait(0);
        assert_eq!(queue.begin(0), Some(1));
        assert_eq!(queue.first_waiting(|job| *job), Some(2));
        assert_eq!(queue.take_late(|job| job % 2 == 0), [2, 4]);
        assert_eq!(queue.next(0), Some(3));
        assert_eq!(queue.next(0), None);
        assert!(queue.wait_until_quiet(Duration::from_secs(60)));
    }
}
