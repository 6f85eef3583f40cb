//! What Python's garbage collector does. Whoever holds Python's lock anyway writes it down; the
//! reporter only reads, and so never waits for the lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use super::packet::{Kind, Packet};
use crate::clock::now;
use crate::clock::seconds;

/// Runs that are kept for the next report. More are counted alone.
const MOST_RUNS: usize = 256;

/// What is known of the collector.
#[derive(Debug, Default)]
pub struct Garbage {
    known: Mutex<Known>,
    /// Whether the reporter wants to know how things stand.
    wanted: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    runs: Vec<Run>,
    dropped: u64,
    /// When the run in progress began.
    begun: Option<(Instant, u64)>,
    standing: Option<Standing>,
}

/// One run of the collector.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: f64,
    duration: f64,
    generation: u64,
    collected: u64,
    uncollectable: u64,
}

/// How things stand, in the order of the fields: counts, thresholds, then of each generation the
/// number of collections, of objects collected, and of those that cannot be; whether the collector is
/// on, and how many objects are frozen.
#[derive(Debug, Clone, Copy)]
struct Standing([u64; 17]);

impl Garbage {
    /// Watches the collector from now on.
    ///
    /// # Errors
    /// Python's.
    pub fn watch(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let garbage = Arc::clone(self);
        let note = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            let (phase, info): (String, Bound<'_, PyDict>) = arguments.extract()?;
            garbage.note(arguments.py(), &phase, &info)
        };
        let note = PyCFunction::new_closure(py, None, None, note)?;
        py.import("gc")?.getattr("callbacks")?.call_method1("append", (note,))?;
        self.look(py)
    }

    /// What the collector calls before and after each run (`gc.callbacks`).
    fn note(&self, py: Python<'_>, phase: &str, info: &Bound<'_, PyDict>) -> PyResult<()> {
        if phase == "start" {
            self.lock().begun = Some((Instant::now(), now()));
            return Ok(());
        }
        let number = |name: &str| -> PyResult<u64> {
            info.get_item(name)?.map_or(Ok(0), |number| number.extract())
        };
        let (generation, collected) = (number("generation")?, number("collected")?);
        let uncollectable = number("uncollectable")?;
        {
            let mut known = self.lock();
            if let Some((begun, start)) = known.begun.take() {
                let (start, duration) = (seconds(start), begun.elapsed().as_secs_f64());
                let run = Run { start, duration, generation, collected, uncollectable };
                match known.runs.len() {
                    ..MOST_RUNS => known.runs.push(run),
                    _ => known.dropped += 1,
                }
            }
        }
        // The great ones are rare, and nothing else may run for a long time.
        if generation == 2 {
            self.wanted.store(true, Ordering::Relaxed);
        }
        self.look_if_wanted(py);
        Ok(())
    }

    /// Looks how things stand, if the reporter wants to know.
    pub fn look_if_wanted(&self, py: Python<'_>) {
        if self.wanted.swap(false, Ordering::Relaxed) {
            // A Python without these functions tells nothing.
            let _ = self.look(py);
        }
    }

    fn look(&self, py: Python<'_>) -> PyResult<()> {
        let gc = py.import("gc")?;
        let counts: [u64; 3] = gc.call_method0(intern!(py, "get_count"))?.extract()?;
        let thresholds: [u64; 3] = gc.call_method0(intern!(py, "get_threshold"))?.extract()?;
        let statistics: Vec<Bound<'_, PyDict>> =
            gc.call_method0(intern!(py, "get_stats"))?.extract()?;
        let mut numbers = counts.into_iter().chain(thresholds).collect::<Vec<_>>();
        for name in ["collections", "collected", "uncollectable"] {
            for generation in statistics.iter().take(3) {
                numbers.push(generation.get_item(name)?.map_or(Ok(0), |number| number.extract())?);
            }
        }
        let enabled: bool = gc.call_method0(intern!(py, "isenabled"))?.extract()?;
        numbers.push(enabled.into());
        numbers.push(gc.call_method0(intern!(py, "get_freeze_count"))?.extract()?);
        let standing = numbers.try_into().ok().map(Standing);
        self.lock().standing = standing;
        Ok(())
    }

    /// What there is to report, about the interpreter of this name.
    pub fn packets(&self, interpreter: &[u8]) -> Vec<Packet> {
        let (standing, dropped, runs) = {
            let mut known = self.lock();
            (known.standing, std::mem::take(&mut known.dropped), std::mem::take(&mut known.runs))
        };
        self.wanted.store(true, Ordering::Relaxed);
        let standing = standing.map(|Standing(numbers)| {
            let mut packet = Packet::new(Kind::Garbage);
            let fields = 300..;
            fields.zip(numbers).for_each(|(field, number)| packet.count(field, number));
            packet.count(317, dropped);
            packet
        });
        let runs = runs.iter().map(|run| {
            let mut packet = Packet::new(Kind::Collection);
            packet.float(320, run.start);
            packet.float(321, run.duration);
            packet.count(322, run.generation);
            packet.count(323, run.collected);
            packet.count(324, run.uncollectable);
            packet
        });
        let mut packets: Vec<_> = standing.into_iter().chain(runs).collect();
        packets.iter_mut().for_each(|packet| packet.text_if_any(8, interpreter));
        packets
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nobody panics in here")
    }
}
