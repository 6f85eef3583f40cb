//! Which runner takes which job, as a state machine without threads, locks or Python.
//!
//! The interpreter's lock admits one runner at a time, so waking a runner per job would only make
//! them queue for it. A runner that finishes takes the next job itself, still holding the lock. At
//! most one further runner, the standby, is awake and waits for the lock: it gets it the moment the
//! application blocks. A standby that finds more jobs than its own wakes the next one.

use std::collections::VecDeque;

/// Number of a runner, from 0.
pub type RunnerId = usize;

/// Who waits, who runs, and what is to be done.
#[derive(Debug)]
pub struct Schedule<T> {
    runners: usize,
    /// Parked runners; the last one to park is the first to wake, as its caches are warm.
    parked: Vec<RunnerId>,
    jobs: VecDeque<T>,
    running: usize,
    /// Runners that were woken and have not asked for a job yet.
    standbys: usize,
    max_standbys: usize,
}

impl<T> Schedule<T> {
    /// All runners start parked. `one_at_a_time`: there is an interpreter lock.
    pub fn new(runners: usize, one_at_a_time: bool) -> Self {
        Self {
            runners,
            parked: (0..runners).rev().collect(),
            jobs: VecDeque::new(),
            running: 0,
            standbys: 0,
            max_standbys: if one_at_a_time { 1 } else { runners },
        }
    }

    /// Adds a job. Returns the runner to wake, if one is needed.
    pub fn push(&mut self, job: T) -> Option<RunnerId> {
        self.jobs.push_back(job);
        self.next_standby()
    }

    /// A woken runner is ready to run, lock in hand. Returns its job and the runner to wake. Without
    /// a job it is parked.
    pub fn begin(&mut self, runner: RunnerId) -> (Option<T>, Option<RunnerId>) {
        self.standbys -= 1;
        let job = self.jobs.pop_front();
        match job {
            Some(_) => self.running += 1,
            None => self.parked.push(runner),
        }
        (job, self.next_standby())
    }

    /// A runner has finished its job. Returns its next one; without one it is parked.
    pub fn next(&mut self, runner: RunnerId) -> Option<T> {
        let job = self.jobs.pop_front();
        if job.is_none() {
            self.running -= 1;
            self.parked.push(runner);
        }
        job
    }

    /// Jobs that are running or waiting.
    pub fn load(&self) -> usize {
        self.running + self.jobs.len()
    }

    /// Whether a job that came now would find a runner that does nothing else.
    pub fn has_free_runner(&self) -> bool {
        self.load() < self.runners
    }

    fn next_standby(&mut self) -> Option<RunnerId> {
        if self.standbys < self.jobs.len().min(self.max_standbys) {
            let runner = self.parked.pop()?;
            self.standbys += 1;
            return Some(runner);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_job_wakes_one_runner_and_parks_it_again() {
        let mut schedule = Schedule::new(3, true);
        assert_eq!(schedule.push('a'), Some(0));
        assert_eq!(schedule.begin(0), (Some('a'), None));
        assert_eq!(schedule.next(0), None);
        assert_eq!(schedule.load(), 0);
        assert_eq!(schedule.push('b'), Some(0), "the last to park is the first to wake");
    }

    #[test]
    fn while_the_application_computes_only_one_standby_is_awake() {
        let mut schedule = Schedule::new(4, true);
        assert_eq!(schedule.push('a'), Some(0));
        assert_eq!(schedule.begin(0), (Some('a'), None));
        assert_eq!(schedule.push('b'), Some(1));
        for job in ['c', 'd', 'e'] {
            assert_eq!(schedule.push(job), None);
        }
        // Runner 0 never lets go of the lock and does it all.
        for job in ['b', 'c', 'd', 'e'] {
            assert_eq!(schedule.next(0), Some(job));
        }
        assert_eq!(schedule.next(0), None);
        assert_eq!(schedule.begin(1), (None, None), "the standby finds nothing and parks");
        assert_eq!(schedule.push('f'), Some(1));
    }

    #[test]
    fn when_the_application_blocks_the_standby_runs_and_wakes_the_next() {
        let mut schedule = Schedule::new(3, true);
        assert_eq!(schedule.push('a'), Some(0));
        for job in ['b', 'c', 'd'] {
            assert_eq!(schedule.push(job), None);
        }
        assert_eq!(schedule.begin(0), (Some('a'), Some(1)));
        assert_eq!(schedule.begin(1), (Some('b'), Some(2)));
        assert_eq!(schedule.begin(2), (Some('c'), None), "there is no fourth runner");
        assert!(!schedule.has_free_runner());
        assert_eq!(schedule.next(1), Some('d'));
        assert_eq!(schedule.load(), 3);
    }

    #[test]
    fn without_an_interpreter_lock_every_job_wakes_a_runner() {
        let mut schedule = Schedule::new(3, false);
        let woken: Vec<_> = ['a', 'b', 'c', 'd'].map(|job| schedule.push(job)).to_vec();
        assert_eq!(woken, [Some(0), Some(1), Some(2), None]);
    }

    #[test]
    fn a_job_never_waits_while_all_runners_sleep() {
        // Every interleaving of a few pushes, begins and nexts, by exhaustive search.
        fn explore(steps: &mut Vec<u8>, left: usize) {
            check(steps);
            if left > 0 {
                for choice in 0..5 {
                    steps.push(choice);
                    explore(steps, left - 1);
                    steps.pop();
                }
            }
        }
        fn check(steps: &[u8]) {
            let mut schedule = Schedule::new(2, true);
            let (mut awake, mut busy) = (Vec::new(), Vec::new());
            for step in steps {
                match *step {
                    0 => awake.extend(schedule.push(())),
                    1 | 2 if usize::from(step - 1) < awake.len() => {
                        let runner = awake.remove((step - 1).into());
                        let (job, wake) = schedule.begin(runner);
                        busy.extend(job.map(|()| runner));
                        awake.extend(wake);
                    }
                    3 | 4 if usize::from(step - 3) < busy.len() => {
                        let runner = busy[usize::from(step - 3)];
                        if schedule.next(runner).is_none() {
                            busy.retain(|other| *other != runner);
                        }
                    }
                    _ => {}
                }
                let waiting = schedule.load() - busy.len();
                let asleep = 2 - awake.len() - busy.len();
                assert!(waiting == 0 || !awake.is_empty() || asleep == 0, "{steps:?}");
                assert!(awake.len() <= 1, "{steps:?}");
            }
        }
        explore(&mut Vec::new(), 8);
    }
}
