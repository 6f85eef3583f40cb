//! What was counted in the last hour: samples of each group, which the supervisor takes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use crate::layout::{BOUNDS, Histogram, INTERVAL, SAMPLES};
use crate::summary::Group;
use crate::table::{Metrics, Place};
use crate::{Slot, Summary};

/// What was counted of a group in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// Requests that ended.
    pub requests: u32,
    /// Those of them that ended with an error of the server.
    pub errors: u32,
    /// Half of them, 95 and 99 of 100 had left the application after so many microseconds.
    pub application: [u32; 3],
    /// Requests for which there was no thread, at the end of the interval.
    pub waiting: u32,
    /// Resident memory of the workers, in KiB.
    pub resident: u32,
}

/// How far apart samples are.
pub const EVERY: Duration = Duration::from_secs(INTERVAL);

/// Takes the samples. One process does.
#[derive(Debug, Default)]
pub struct Sampler {
    /// What had been counted of each slot by the last time.
    before: BTreeMap<usize, Counts>,
    last: Option<u64>,
}

type Buckets = [u64; BOUNDS.len() + 1];

/// What only grows.
#[derive(Debug, Clone, Default)]
struct Counts {
    requests: u64,
    errors: u64,
    application: Buckets,
}

impl Sampler {
    /// Takes a sample of each group for the interval that has just ended, once. The first time nothing is
    /// known of what was before.
    pub fn take(&mut self, metrics: &Metrics) {
        self.take_at(metrics, now() / INTERVAL);
    }

    /// As [`Self::take`], for the interval with this number since the epoch.
    pub fn take_at(&mut self, metrics: &Metrics, interval: u64) {
        if self.last.replace(interval) == Some(interval) {
            return;
        }
        let summary = Summary::of(metrics);
        let is_first = self.before.is_empty();
        let before = std::mem::take(&mut self.before);
        for group in &summary.groups {
            let counts = Counts::of(group);
            match before.get(&group.place.index()) {
                Some(before) => store(metrics, group, interval, &counts.since(before)),
                // It is new, so that all has been counted since.
                None if !is_first => store(metrics, group, interval, &counts),
                None => {}
            }
            self.before.insert(group.place.index(), counts);
        }
    }
}

fn store(metrics: &Metrics, group: &Group, interval: u64, counts: &Counts) {
    let samples = &metrics.layout().histories[group.place.index()].samples;
    let sample = &samples[(interval as usize) % SAMPLES];
    // What is half written is no sample.
    sample.interval.store(0, Relaxed);
    sample.requests.store(small(counts.requests), Relaxed);
    sample.errors.store(small(counts.errors), Relaxed);
    for (kept, part) in sample.application.iter().zip([0.5, 0.95, 0.99]) {
        kept.store(quantile(&counts.application, part), Relaxed);
    }
    sample.waiting.store(small(group.waiting()), Relaxed);
    sample.resident.store(small(group.slot.resident.load(Relaxed) >> 10), Relaxed);
    sample.interval.store(small(interval), Relaxed);
}

impl Counts {
    fn of(group: &Group) -> Self {
        let Slot { application, .. } = group.slot;
        Self {
            requests: group.requests(),
            errors: group.errors(),
            application: counts(application),
        }
    }

    fn since(&self, before: &Self) -> Self {
        let mut application = self.application;
        for (now, before) in application.iter_mut().zip(before.application) {
            *now = now.saturating_sub(before);
        }
        Self {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            application,
        }
    }
}

fn counts(histogram: &Histogram) -> Buckets {
    std::array::from_fn(|place| histogram.buckets[place].load(Relaxed))
}

/// Within how many microseconds this part of all was, on the assumption that a bucket is filled evenly,
/// as `histogram_quantile` of Prometheus has it. 0: there was nothing.
fn quantile(buckets: &Buckets, part: f64) -> u32 {
    let wanted = buckets.iter().sum::<u64>() as f64 * part;
    let (mut below, mut start) = (0.0, 0);
    for (bucket, bound) in buckets.iter().zip(BOUNDS) {
        let count = *bucket as f64;
        if count > 0.0 && below + count >= wanted {
            let within = (wanted - below) / count * (bound - start) as f64;
            return (start as f64 + within) as u32;
        }
        below += count;
        start = bound;
    }
    if buckets.iter().all(|bucket| *bucket == 0) { 0 } else { start as u32 }
}

impl Metrics {
    /// The samples of the last hour, the oldest first. `None`: none was taken then.
    pub fn history(&self, place: Place) -> Vec<Option<Sample>> {
        self.history_at(place, now() / INTERVAL)
    }

    /// As [`Self::history`], up to this interval.
    pub(crate) fn history_at(&self, place: Place, last: u64) -> Vec<Option<Sample>> {
        let samples = &self.layout().histories[place.index()].samples;
        let first = last.saturating_sub(SAMPLES as u64 - 1);
        let intervals = first..=last;
        intervals
            .map(|interval| {
                let sample = &samples[(interval as usize) % SAMPLES];
                let load = |value: &std::sync::atomic::AtomicU32| value.load(Relaxed);
                let is_there = || load(&sample.interval) == small(interval);
                is_there().then(|| Sample {
                    requests: load(&sample.requests),
                    errors: load(&sample.errors),
                    application: sample.application.each_ref().map(load),
                    waiting: load(&sample.waiting),
                    resident: load(&sample.resident),
                })
            })
            .collect()
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// In seconds since the epoch.
fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let mut buckets = [0; BOUNDS.len() + 1];
        assert_eq!(quantile(&buckets, 0.5), 0);
        buckets[1] = 100;
        assert_eq!(quantile(&buckets, 0.5), 1750);
        assert_eq!(quantile(&buckets, 0.99), 2485);
        buckets = [0; BOUNDS.len() + 1];
        buckets[BOUNDS.len()] = 1;
        assert_eq!(quantile(&buckets, 0.5), 60_000_000);
    }
}
