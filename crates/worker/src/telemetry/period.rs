//! What the requests of one runner have come to since the last report, and how long their stages
//! took.

use std::time::Instant;

/// The stages of a request: until a worker of ours has it, in the worker's queue, until the
/// application begins, in the application, all of it; waits for Python's lock; reads and writes.
pub const STAGES: usize = 8;
/// How many durations a histogram tells apart.
const BUCKETS: usize = 65;
const PARTS: u32 = 4;
const OCTAVES: u32 = 16;

/// How long one stage took.
#[derive(Debug, Clone)]
pub struct Stage {
    total: f64,
    count: u32,
    /// The shortest and the longest time in seconds, if there were any.
    pub range: Option<(f64, f64)>,
    /// How many took how long.
    pub buckets: [i32; BUCKETS],
}

/// What a request came to. Times are seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// How long each stage took.
    pub stages: [f64; STAGES],
    /// The status of the response.
    pub status: u16,
    /// Bytes and reads of the request body.
    pub input: (u64, u64),
    /// Bytes and writes of the response body.
    pub output: (u64, u64),
    /// Processor time of its thread, in user and in system mode.
    pub cpu: (f64, f64),
}

/// The sums of a runner.
#[derive(Debug, Clone)]
pub struct Period {
    /// When it began.
    pub since: Instant,
    /// The stages.
    pub stages: [Stage; STAGES],
    /// Responses by the first digit of their status.
    pub statuses: [u64; 5],
    /// Bytes and reads of request bodies.
    pub input: (u64, u64),
    /// Bytes and writes of response bodies.
    pub output: (u64, u64),
    /// Requests that have ended.
    pub completed: u32,
    /// Seconds in which a request ran, of those that have ended.
    pub busy: f64,
    /// Processor time of these.
    pub cpu: f64,
    /// How long the longest of them ran.
    pub longest: f64,
}

impl Default for Stage {
    fn default() -> Self {
        Self { total: 0.0, count: 0, range: None, buckets: [0; BUCKETS] }
    }
}

impl Stage {
    fn add(&mut self, seconds: f64) {
        // Clocks of two processes may disagree by a little.
        let seconds = seconds.max(0.0);
        self.total += seconds;
        self.count += 1;
        let (least, most) = self.range.unwrap_or((seconds, seconds));
        self.range = Some((least.min(seconds), most.max(seconds)));
        self.buckets[bucket(seconds)] += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.total += other.total;
        self.count += other.count;
        self.range = match (self.range, other.range) {
            (Some((least, most)), Some((less, more))) => Some((least.min(less), most.max(more))),
            (ours, theirs) => ours.or(theirs),
        };
        self.buckets.iter_mut().zip(other.buckets).for_each(|(ours, theirs)| *ours += theirs);
    }

    /// The mean in seconds; 0 of none.
    pub fn mean(&self) -> f64 {
        self.total / f64::from(self.count.max(1))
    }
}

/// Which bucket counts a duration: four for each doubling from a millisecond on, the first also for
/// all that is shorter, and the last for all that is longer.
fn bucket(seconds: f64) -> usize {
    let ratio = (seconds * 1000.0).max(1.0);
    // Saturates.
    let octave = (ratio as u64).ilog2().min(OCTAVES);
    let within = ratio / f64::from(1_u32 << octave) - 1.0;
    let part = if octave < OCTAVES { (within * f64::from(PARTS)) as u32 } else { 0 };
    (octave * PARTS + part) as usize
}

impl Period {
    /// With nothing in it.
    pub fn new(since: Instant) -> Self {
        Self {
            since,
            stages: Default::default(),
            statuses: [0; 5],
            input: (0, 0),
            output: (0, 0),
            completed: 0,
            busy: 0.0,
            cpu: 0.0,
            longest: 0.0,
        }
    }

    /// Adds a request whose application ran from `began` until `now`.
    pub fn add(&mut self, sample: &Sample, began: Instant, now: Instant) {
        self.stages.iter_mut().zip(sample.stages).for_each(|(stage, time)| stage.add(time));
        let class = usize::from(sample.status / 100);
        self.statuses[if (1..=5).contains(&class) { class - 1 } else { 4 }] += 1;
        self.input = sum(self.input, sample.input);
        self.output = sum(self.output, sample.output);
        self.completed += 1;
        self.busy += now.saturating_duration_since(began.max(self.since)).as_secs_f64();
        self.cpu += sample.cpu.0 + sample.cpu.1;
        self.longest = self.longest.max(now.saturating_duration_since(began).as_secs_f64());
    }

    /// Adds what another runner did.
    pub fn merge(&mut self, other: &Self) {
        self.stages.iter_mut().zip(&other.stages).for_each(|(ours, theirs)| ours.merge(theirs));
        self.statuses.iter_mut().zip(other.statuses).for_each(|(ours, theirs)| *ours += theirs);
        self.input = sum(self.input, other.input);
        self.output = sum(self.output, other.output);
        self.completed += other.completed;
        self.busy += other.busy;
        self.cpu += other.cpu;
        self.longest = self.longest.max(other.longest);
    }
}

fn sum(one: (u64, u64), other: (u64, u64)) -> (u64, u64) {
    (one.0 + other.0, one.1 + other.1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn four_buckets_for_each_doubling_from_a_millisecond_on() {
        let millis = [0.0, 0.5, 1.0, 1.24, 1.25, 1.9, 2.0, 3.9, 4.0, 65535.0, 65536.0, 1e12];
        let buckets = millis.map(|millis| bucket(millis / 1000.0));
        assert_eq!(buckets, [0, 0, 0, 0, 1, 3, 4, 7, 8, 63, 64, 64]);
    }

    #[test]
    fn requests_add_up() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut period = Period::new(at(10.0));
        let sample = |status| Sample {
            stages: [0.5; STAGES],
            status,
            input: (7, 1),
            output: (5, 2),
            cpu: (0.25, 0.5),
        };
        // One began in the period before; its time counts from then on only.
        period.add(&sample(200), at(9.0), at(10.5));
        let mut other = Period::new(at(10.0));
        other.add(&sample(404), at(10.0), at(11.0));
        other.add(&sample(0), at(11.0), at(11.25));
        period.merge(&other);
        assert_eq!(period.statuses, [0, 1, 0, 1, 1]);
        assert_eq!((period.input, period.output, period.completed), ((21, 3), (15, 6), 3));
        assert!((period.busy - 1.75).abs() < 1e-6, "{}", period.busy);
        assert!((period.longest - 1.5).abs() < 1e-6, "{}", period.longest);
        assert_eq!((period.cpu, period.stages[3].mean()), (2.25, 0.5));
        assert_eq!(period.stages[0].range, Some((0.5, 0.5)));
        assert_eq!(period.stages[0].buckets.iter().sum::<i32>(), 3);
        assert_eq!(Period::new(start).stages[0].range, None);
    }
}
