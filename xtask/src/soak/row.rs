//! One row of the table: a fault, ten times, under load.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testkit::until;

use super::faults::Fault;
use super::load::{self, Tally};
use super::site::{Server, Site};

/// How much is done for a row.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often the fault happens.
    pub times: usize,
    /// From one time to the next.
    pub pause: Duration,
    /// Whether workers that are to take the place of others serve before the next time, on a
    /// machine that is as slow as it likes.
    pub recovers: bool,
    /// How long the server is watched undisturbed before.
    pub undisturbed: Duration,
}

/// For the table.
pub const FULL: Effort = Effort {
    times: 10,
    pause: Duration::from_millis(700),
    recovers: false,
    undisturbed: Duration::from_secs(3),
};

/// What came of a row.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What happened.
    pub fault: Fault,
    /// How often.
    pub times: usize,
    /// Without it.
    pub undisturbed: Tally,
    /// With it.
    pub disturbed: Tally,
}

impl Outcome {
    /// Whether no more was lost than was promised.
    pub fn keeps_promise(&self) -> bool {
        self.fault.promise().is_kept(&self.disturbed, self.times)
    }

    /// How much of the undisturbed throughput was left.
    pub fn throughput(&self) -> f64 {
        self.disturbed.rate() / self.undisturbed.rate().max(f64::MIN_POSITIVE)
    }
}

/// Runs a row on a server of its own.
///
/// # Errors
/// When the server does not serve at all, or leaves something behind.
pub fn run(server: &Server, fault: Fault, effort: Effort) -> Result<Outcome> {
    let options = if server.is_ours() { fault.options() } else { "" };
    // What a group that keeps failing does is told at level debug.
    let level = if effort.recovers { "LogLevel wsgi:debug\n" } else { "" };
    let site = Site::start(server, options, &[level, fault.conf()].concat())?;
    let (port, path) = (site.port(), fault.path());
    load::during(port, path, || thread::sleep(effort.undisturbed / 3));
    let (undisturbed, ()) = load::during(port, path, || thread::sleep(effort.undisturbed));
    let (disturbed, struck) = load::during(port, path, || {
        for _ in 0..effort.times {
            let next = Instant::now() + effort.pause;
            let (text, count) = fault.recovery();
            let before = site.count_in_log(text);
            fault.strike(&site)?;
            if effort.recovers {
                let recovered = until(|| (site.count_in_log(text) >= before + count).then_some(()));
                recovered.context("it does not recover")?;
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        anyhow::Ok(())
    });
    struck.with_context(|| format!("the server does not survive: {}", fault.title()))?;
    site.stop(server)?;
    Ok(Outcome { fault, times: effort.times, undisturbed, disturbed })
}
