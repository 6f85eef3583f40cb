//! Faults at random, for a long time.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::faults::{Fault, Promise};
use super::site::{Server, Site};
use super::{load, report};

/// Between two faults, at most.
const LONGEST_PAUSE: u64 = 1500;

/// Faults that can happen to one server one after the other, in any order. A worker that dies while
/// no other serves yet may take requests along that were sent to it as their second one, so those
/// that kill are given time by `LONGEST_PAUSE` only on average: what is lost to them is counted,
/// and bounded by their number.
const FAULTS: [Fault; 11] = [
    Fault::Graceful,
    Fault::Touch,
    Fault::Terminate,
    Fault::Kill,
    Fault::Crash,
    Fault::KillSupervisor,
    Fault::Pause,
    Fault::Leave,
    Fault::Descriptors,
    Fault::Fork,
    Fault::Threads,
];

/// Runs them for so long.
///
/// # Errors
/// When the server does not survive, or loses more than what its dying workers were running.
pub fn run(server: &Server, duration: Duration, seed: Option<u64>) -> Result<()> {
    let seed = seed.unwrap_or_else(|| rand::rng().random());
    println!("{} for {} s, with --seed {seed}", server.name(), duration.as_secs());
    let mut random = SmallRng::seed_from_u64(seed);
    let faults: Vec<_> =
        FAULTS.into_iter().filter(|fault| server.is_ours() || fault.suits_theirs()).collect();
    let site = Site::start(server, "", "")?;
    let mut struck: BTreeMap<&str, usize> = BTreeMap::new();
    let mut may_be_lost = 0;
    let (tally, outcome) = load::during(site.port(), "/", || -> Result<()> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            let fault = faults[random.random_range(0..faults.len())];
            fault.strike(&site).with_context(|| format!("at {}", fault.title()))?;
            *struck.entry(fault.name()).or_default() += 1;
            if let Promise::Running(each) = fault.promise() {
                may_be_lost += each;
            }
            thread::sleep(Duration::from_millis(random.random_range(0..LONGEST_PAUSE)));
        }
        Ok(())
    });
    println!("  {struck:?}");
    report::tally("  in total", &tally);
    outcome?;
    site.stop(server)?;
    ensure!(
        !server.is_ours() || tally.lost() <= may_be_lost,
        "{} requests were lost; dying workers explain {may_be_lost} at most",
        tally.lost()
    );
    Ok(())
}
