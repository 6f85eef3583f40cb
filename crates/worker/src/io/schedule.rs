//! Which runner takes which job, as a state machine without threads, locks or Python.
//!
//! The interpreter's lock admits one runner at a time, so waking a runner per job would only make
//! them queue for it. A runner that finishes takes the next job itself, still holding the lock.
//! Further runners are of use only when those at work are blocked: whoever sees that they are asks
//! for a standby. One that is woken while the others compute does harm: after CPython's switch
//! interval it takes the lock in the middle of another's request, which then has to wait its turn.
//!
//! Nor does one runner do everything while the application computes: the kernel lets each thread that
//! wakes go before one that has used up its share. Runners take turns, between two requests.

use std::collections::VecDeque;

/// Number of a runner, from 0.
pub type RunnerId = usize;

/// Who waits, who runs, and what is to be done.
#[derive(Debug)]
pub struct Schedule<T> {
    runners: usize,
    policy: Policy,
    /// Parked runners; the last one to park is the first to wake, as its caches are warm.
    parked: Vec<RunnerId>,
    jobs: VecDeque<T>,
    running: Vec<RunnerId>,
    /// Of these, who is done, as others may hear at any moment.
    ending: Vec<RunnerId>,
    /// Runners that were woken and have not asked for a job yet.
    standbys: usize,
    taken: u64,
}

/// When a runner is woken for a job that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// At once: there is no interpreter lock.
    Parallel,
    /// At once, but one after the other: each is woken when the one before has the lock.
    Eager,
    /// When none is at work, or [`Schedule::relieve`] says that those at work are blocked.
    Patient,
}

/// Runners at work while jobs wait that a parked one could take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// Who is at work.
    pub running: Vec<RunnerId>,
    /// How many jobs have been taken so far.
    pub taken: u64,
    /// Whether a woken runner is on its way already.
    pub standby: bool,
}

impl<T> Schedule<T> {
    /// All runners start parked.
    pub fn new(runners: usize, policy: Policy) -> Self {
        Self {
            runners,
            policy,
            parked: (0..runners).rev().collect(),
            jobs: VecDeque::new(),
            running: Vec::new(),
            ending: Vec::new(),
            standbys: 0,
            taken: 0,
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
        let job = self.take();
        match job {
            Some(_) => self.running.push(runner),
            None => self.parked.push(runner),
        }
        (job, self.next_standby())
    }

    /// A runner is about to say that it has finished its job. Who hears of that, and sends the next
    /// one, has to find room for it.
    pub fn end(&mut self, runner: RunnerId) {
        self.ending.push(runner);
    }

    /// That has to wait.
    pub fn go_on(&mut self, runner: RunnerId) {
        self.ending.retain(|other| *other != runner);
    }

    /// A runner has finished its job. Returns its next one; without one it is parked.
    pub fn next(&mut self, runner: RunnerId) -> Option<T> {
        self.go_on(runner);
        let job = self.take();
        if job.is_none() {
            self.running.retain(|other| *other != runner);
            self.parked.push(runner);
        }
        job
    }

    /// A runner has finished its job, and its shift. Returns the runner to wake, which goes on in
    /// its place while it is parked; without one it has to ask for its next job itself.
    pub fn hand_over(&mut self, runner: RunnerId) -> Option<RunnerId> {
        let alone = self.running == [runner] && self.standbys == 0;
        if self.policy != Policy::Patient || !alone || self.jobs.is_empty() {
            return None;
        }
        let next = self.wake()?;
        self.running.clear();
        self.ending.clear();
        self.parked.push(runner);
        Some(next)
    }

    /// Who is to be watched, as jobs wait that parked runners could take.
    pub fn backlog(&self) -> Option<Backlog> {
        (self.policy == Policy::Patient && self.has_backlog()).then(|| Backlog {
            running: self.running.clone(),
            taken: self.taken,
            standby: self.standbys > 0,
        })
    }

    /// The runners at work have been seen not to need the lock. Returns the runner to wake.
    pub fn relieve(&mut self) -> Option<RunnerId> {
        if self.standbys == 0 && self.has_backlog() { self.wake() } else { None }
    }

    /// From now on nobody watches the runners.
    pub fn unwatch(&mut self) -> Option<RunnerId> {
        if self.policy == Policy::Patient {
            self.policy = Policy::Eager;
        }
        self.next_standby()
    }

    /// Takes back the jobs that nobody has begun.
    pub fn withdraw(&mut self) -> Vec<T> {
        self.jobs.drain(..).collect()
    }

    /// Jobs that are running or waiting.
    pub fn load(&self) -> usize {
        self.running.len() + self.jobs.len()
    }

    /// Jobs that others have to wait for, or to wait with.
    pub fn pending(&self) -> usize {
        self.load() - self.ending.len()
    }

    /// The jobs that wait.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.jobs.iter()
    }

    /// Takes away jobs that wait. A standby that finds none is parked again.
    pub fn take_waiting(&mut self, which: impl Fn(&T) -> bool) -> Vec<T> {
        let (taken, kept): (Vec<T>, Vec<T>) =
            std::mem::take(&mut self.jobs).into_iter().partition(which);
        self.jobs = kept.into();
        taken
    }

    /// Whether a job that came now would find a runner that does nothing else.
    pub fn has_free_runner(&self) -> bool {
        self.pending() < self.runners
    }

    fn take(&mut self) -> Option<T> {
        let job = self.jobs.pop_front()?;
        self.taken += 1;
        Some(job)
    }

    fn has_backlog(&self) -> bool {
        self.jobs.len() > self.standbys && !self.parked.is_empty()
    }

    fn next_standby(&mut self) -> Option<RunnerId> {
        let most = match self.policy {
            Policy::Parallel => self.runners,
            Policy::Eager => 1,
            Policy::Patient => usize::from(self.running.is_empty()),
        };
        if self.standbys < self.jobs.len().min(most) { self.wake() } else { None }
    }

    fn wake(&mut self) -> Option<RunnerId> {
        let runner = self.parked.pop()?;
        self.standbys += 1;
        Some(runner)
    }
}

#[cfg(test)]
mod tests {
    use super::Policy::{Eager, Parallel, Patient};
    use super::*;

    #[test]
    fn one_job_wakes_one_runner_and_parks_it_again() {
        for policy in [Parallel, Eager, Patient] {
            let mut schedule = Schedule::new(3, policy);
            assert_eq!(schedule.push('a'), Some(0));
            assert_eq!(schedule.begin(0), (Some('a'), None));
            assert_eq!(schedule.next(0), None);
            assert_eq!(schedule.load(), 0);
            assert_eq!(schedule.push('b'), Some(0), "the last to park is the first to wake");
        }
    }

    #[test]
    fn while_the_application_computes_nobody_else_wakes() {
        let mut schedule = Schedule::new(4, Patient);
        assert_eq!(schedule.push('a'), Some(0));
        assert_eq!(schedule.begin(0), (Some('a'), None));
        for job in ['b', 'c', 'd'] {
            assert_eq!(schedule.push(job), None);
        }
        let backlog = Backlog { running: vec![0], taken: 1, standby: false };
        assert_eq!(schedule.backlog(), Some(backlog));
        for job in ['b', 'c', 'd'] {
            assert_eq!(schedule.next(0), Some(job));
        }
        assert_eq!(schedule.backlog(), None);
        assert_eq!(schedule.next(0), None);
    }

    #[test]
    fn when_the_application_blocks_one_runner_after_the_other_is_woken() {
        let mut schedule = Schedule::new(3, Patient);
        assert_eq!(schedule.push('a'), Some(0));
        assert_eq!(schedule.relieve(), None, "there is no other job");
        for job in ['b', 'c', 'd'] {
            assert_eq!(schedule.push(job), None);
        }
        assert_eq!(schedule.begin(0), (Some('a'), None));
        assert_eq!(schedule.relieve(), Some(1));
        assert_eq!(schedule.relieve(), None, "one is awake already");
        assert!(schedule.backlog().unwrap().standby);
        assert_eq!(schedule.begin(1), (Some('b'), None));
        assert_eq!(schedule.relieve(), Some(2));
        assert_eq!(schedule.begin(2), (Some('c'), None));
        assert_eq!(schedule.backlog(), None, "there is no fourth runner");
        assert!(!schedule.has_free_runner());
        assert_eq!(schedule.next(1), Some('d'));
        assert_eq!(schedule.load(), 3);
    }

    #[test]
    fn who_is_about_to_be_heard_of_as_finished_is_free() {
        let mut schedule = Schedule::new(1, Patient);
        assert_eq!(schedule.push('a'), Some(0));
        assert_eq!(schedule.begin(0), (Some('a'), None));
        schedule.end(0);
        assert!(schedule.has_free_runner());
        assert_eq!((schedule.load(), schedule.pending()), (1, 0));
        schedule.go_on(0);
        assert!(!schedule.has_free_runner());
        schedule.end(0);
        assert_eq!(schedule.push('b'), None);
        assert_eq!((schedule.load(), schedule.pending()), (2, 1));
        assert_eq!(schedule.next(0), Some('b'));
        assert_eq!((schedule.load(), schedule.pending()), (1, 1));
        schedule.push('c');
        schedule.end(0);
        assert_eq!(schedule.hand_over(0), None, "there is nobody else");
        assert_eq!(schedule.next(0), Some('c'));
        assert_eq!((schedule.load(), schedule.pending()), (1, 1));
    }

    #[test]
    fn at_the_end_of_a_shift_another_runner_goes_on() {
        let mut schedule = Schedule::new(2, Patient);
        assert_eq!(schedule.push('a'), Some(0));
        assert_eq!(schedule.begin(0), (Some('a'), None));
        assert_eq!(schedule.hand_over(0), None, "there is nothing to go on with");
        assert_eq!(schedule.push('b'), None);
        assert_eq!(schedule.push('c'), None);
        assert_eq!(schedule.hand_over(0), Some(1));
        assert_eq!(schedule.begin(1), (Some('b'), None));
        assert_eq!(schedule.relieve(), Some(0));
        assert_eq!(schedule.hand_over(1), None, "somebody is on the way already");
    }

    #[test]
    fn where_nobody_watches_a_standby_is_awake_while_jobs_wait() {
        let mut schedule = Schedule::new(3, Patient);
        assert_eq!(schedule.push('a'), Some(0));
        assert_eq!(schedule.begin(0), (Some('a'), None));
        assert_eq!(schedule.push('b'), None);
        assert_eq!(schedule.unwatch(), Some(1));
        assert_eq!(schedule.backlog(), None);
        assert_eq!(schedule.push('c'), None, "one is awake already");
        assert_eq!(schedule.begin(1), (Some('b'), Some(2)));
        assert_eq!(schedule.next(1), Some('c'));
        assert_eq!(schedule.begin(2), (None, None), "the standby finds nothing and parks");
    }

    #[test]
    fn without_an_interpreter_lock_every_job_wakes_a_runner() {
        let mut schedule = Schedule::new(3, Parallel);
        let woken: Vec<_> = ['a', 'b', 'c', 'd'].map(|job| schedule.push(job)).to_vec();
        assert_eq!(woken, [Some(0), Some(1), Some(2), None]);
        assert_eq!(schedule.backlog(), None);
    }

    #[test]
    fn a_job_never_waits_while_all_runners_sleep() {
        // Every interleaving of a few steps, by exhaustive search.
        fn explore(policy: Policy, steps: &mut Vec<u8>, left: usize) {
            check(policy, steps);
            if left > 0 {
                for choice in 0..7 {
                    steps.push(choice);
                    explore(policy, steps, left - 1);
                    steps.pop();
                }
            }
        }
        fn check(policy: Policy, steps: &[u8]) {
            let mut schedule = Schedule::new(2, policy);
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
                    5 if policy == Patient => awake.extend(schedule.relieve()),
                    6 if !busy.is_empty() => {
                        if let Some(next) = schedule.hand_over(busy[0]) {
                            busy.remove(0);
                            awake.push(next);
                        }
                    }
                    _ => {}
                }
                let waiting = schedule.load() - busy.len();
                let asleep = 2 - awake.len() - busy.len();
                let watched = schedule.backlog().is_some_and(|backlog| !backlog.running.is_empty());
                let cared_for = waiting == 0 || !awake.is_empty() || watched || asleep == 0;
                assert!(cared_for, "{policy:?} {steps:?}");
                assert!(policy == Parallel || awake.len() <= 1, "{policy:?} {steps:?}");
            }
        }
        for policy in [Parallel, Eager, Patient] {
            explore(policy, &mut Vec::new(), 6);
        }
    }
}
