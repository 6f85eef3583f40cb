//! Patience: how long to wait before the next try, and how often to say the same thing.

use std::time::{Duration, Instant};

/// Wait before the second retry; the first one comes at once. It doubles from there.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How many workers may be replaced at once, one after the other, and how much later the next one
/// may come, whatever has become of the worker before it. A few that are killed one by one are not
/// felt; an application that brings down its worker, or makes it ask for another one, starts so many
/// and no more.
const BURST: u32 = 10;
const PACE: Duration = Duration::from_millis(500);

/// Failures in a row after which nobody is kept waiting for the next try.
const HOPELESS: u32 = 2;

/// When the workers of a group may be started again after some failed.
///
/// Workers that were started together fail together. They count as one failure: each worker
/// remembers the [`Backoff::round`] in which it was started, and a failure begins the next round.
#[derive(Debug, Default)]
pub struct Backoff {
    round: u64,
    failures: u32,
    until: Option<Instant>,
    /// When all replacements at [`PACE`] would be over: a leaky bucket.
    paced: Option<Instant>,
}

impl Backoff {
    /// The round to which workers started now belong.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// Failures in a row, by rounds.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A worker that was started in `round` failed.
    pub fn fail(&mut self, round: u64, now: Instant) {
        if round != self.round {
            return;
        }
        self.round += 1;
        self.pace(now);
        self.failures = self.failures.saturating_add(1);
        self.until = match self.failures {
            1 => None,
            failures => {
                Some(now + (FIRST_WAIT * 2_u32.pow((failures - 2).min(5))).min(LONGEST_WAIT))
            }
        };
    }

    /// A worker has to be replaced.
    pub fn pace(&mut self, now: Instant) {
        self.paced = Some(self.paced.map_or(now, |paced| paced.max(now)) + PACE);
    }

    /// Whether the next worker waits only because many have been replaced.
    pub fn is_pacing(&self, now: Instant) -> bool {
        self.pace_ends().is_some_and(|until| until > now)
            && self.until.is_none_or(|until| until <= now)
    }

    /// Whether the group has failed often enough that nobody should wait for it.
    pub fn keeps_failing(&self) -> bool {
        self.failures >= HOPELESS
    }

    fn pace_ends(&self) -> Option<Instant> {
        self.paced.and_then(|paced| paced.checked_sub(PACE * BURST))
    }

    /// A worker has proven that the group works.
    pub fn reset(&mut self) {
        (self.failures, self.until) = (0, None);
    }

    /// When the wait ends, if there is one now.
    pub fn wait(&self, now: Instant) -> Option<Instant> {
        self.until().filter(|until| *until > now)
    }

    /// When the last wait ends or ended.
    pub fn until(&self) -> Option<Instant> {
        self.until.max(self.pace_ends())
    }
}

/// Lets the first few of a kind of log line through at once, and then one per interval.
#[derive(Debug)]
pub struct Throttle {
    free: u32,
    interval: Duration,
    passed: u32,
    muted_until: Option<Instant>,
    withheld: u64,
}

impl Throttle {
    /// Lets `free` lines through, then one per `interval`.
    pub fn new(free: u32, interval: Duration) -> Self {
        Self { free, interval, passed: 0, muted_until: None, withheld: 0 }
    }

    /// Whether the next line would be withheld.
    pub fn is_muted(&self, now: Instant) -> bool {
        self.muted_until.is_some_and(|until| until > now)
    }

    /// Asks for permission to log a line. Returns what to append to it, which says how many lines
    /// were withheld before, or `None` when this one is to be withheld too.
    pub fn pass(&mut self, now: Instant) -> Option<String> {
        if self.is_muted(now) {
            self.withheld += 1;
            return None;
        }
        self.passed = self.passed.saturating_add(1);
        if self.passed >= self.free {
            self.muted_until = Some(now + self.interval);
        }
        Some(match std::mem::take(&mut self.withheld) {
            0 => String::new(),
            withheld => format!(" ({withheld} more like this since the last such line)"),
        })
    }

    /// Starts afresh: the trouble is over, and the next line is news.
    pub fn reset(&mut self) {
        *self = Self::new(self.free, self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_is_immediate_and_waits_double_up_to_half_a_minute() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9)
            .map(|_| {
                backoff.fail(backoff.round(), now);
                backoff.wait(now).map_or(0, |until| (until - now).as_secs())
            })
            .collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 30, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.wait(now), None);
        backoff.fail(backoff.round(), now);
        assert_eq!(backoff.wait(now), None, "the first retry after a reset is immediate again");
    }

    #[test]
    fn workers_started_together_fail_once() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let round = backoff.round();
        (0..5).for_each(|_| backoff.fail(round, now));
        assert_eq!(backoff.failures(), 1);
    }

    #[test]
    fn many_deaths_of_workers_that_worked_are_paced() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        (0..BURST).for_each(|_| backoff.pace(now));
        assert_eq!(backoff.wait(now), None);
        backoff.pace(now);
        assert!(backoff.wait(now) == Some(now + PACE) && backoff.is_pacing(now));
        backoff.reset();
        assert_eq!(backoff.wait(now), Some(now + PACE), "a success changes nothing about that");
        assert_eq!(backoff.wait(now + PACE), None);
        backoff.pace(now + PACE * BURST * 2);
        assert_eq!(backoff.wait(now + PACE * BURST * 2), None, "the burst comes back");
        assert!(!backoff.keeps_failing());
    }

    #[test]
    fn a_wait_ends() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        (0..2).for_each(|_| backoff.fail(backoff.round(), now));
        assert!(backoff.wait(now).is_some());
        assert_eq!(backoff.wait(now + FIRST_WAIT), None);
    }

    #[test]
    fn lines_beyond_the_free_ones_are_counted_instead() {
        let now = Instant::now();
        let mut throttle = Throttle::new(2, Duration::from_secs(60));
        assert_eq!(throttle.pass(now), Some(String::new()));
        assert_eq!(throttle.pass(now), Some(String::new()));
        assert_eq!(throttle.pass(now), None);
        assert_eq!(throttle.pass(now + Duration::from_secs(59)), None);
        let line = throttle.pass(now + Duration::from_secs(60)).unwrap();
        assert_eq!(line, " (2 more like this since the last such line)");
        assert_eq!(throttle.pass(now + Duration::from_secs(61)), None);
        throttle.reset();
        assert_eq!(throttle.pass(now + Duration::from_secs(62)), Some(String::new()));
    }
}
