//! Takes one measurement: load from `wrk`, processor time and memory from `/proc`.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::contenders::Server;
use super::rows::Row;
use crate::shell;

/// Between two looks whether servers still work.
const PAUSE: Duration = Duration::from_millis(100);

/// The share of a processor above which they do: the kernel counts hundredths of a second.
const BUSY: f64 = 0.15;

/// How long they may go on with what nobody waits for any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one run brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Requests per second.
    pub rate: f64,
    /// 99th percentile of the latency.
    pub latency: Duration,
    /// Processor time of the whole server side per request, in microseconds.
    pub processor: f64,
    /// Proportional set size of the whole server side, in bytes.
    pub memory: u64,
    /// Responses that did not come, or came with another status.
    pub errors: u64,
    /// From the start of the programs to the first answer.
    pub start: Duration,
}

/// Puts a server under load.
pub fn wrk(server: &Server, row: &Row, duration: Duration) -> Result<Sample> {
    let processes = server.processes();
    let before = processor_time(&processes);
    let said = shell::capture(
        Command::new("wrk")
            .args(["--threads", "1", "--connections", &row.clients.to_string()])
            .args(["--duration", &format!("{}s", duration.as_secs()), "--timeout", "10s"])
            .arg("--script")
            .arg(shell::root().join("xtask/bench/wrk.lua"))
            .args([server.url(), "--".to_owned(), row.post.to_string()])
            .arg(row.header_sets.to_string()),
    )?;
    let spent = processor_time(&processes) - before;
    let (requests, mut sample) =
        parse(&said).with_context(|| format!("wrk says what we do not understand: {said}"))?;
    ensure!(requests > 0.0, "not one request was answered");
    sample.processor = spent / requests;
    sample.memory = memory(&processes);
    Ok(sample)
}

/// Waits until servers have nothing to do any more: what `wrk` was not answered when its time was over is
/// computed all the same, and would be at the expense of whoever is measured next.
pub fn settle(servers: &[Server]) {
    let processes: Vec<_> = servers.iter().flat_map(Server::processes).collect();
    let deadline = Instant::now() + PATIENCE;
    let mut before = processor_time(&processes);
    while Instant::now() < deadline {
        thread::sleep(PAUSE);
        let now = processor_time(&processes);
        if now - before < BUSY * PAUSE.as_micros() as f64 {
            return;
        }
        before = now;
    }
}

/// The line that `wrk.lua` writes: requests, their time and the percentile in microseconds, errors.
fn parse(said: &str) -> Option<(f64, Sample)> {
    let line = said.lines().find_map(|line| line.strip_prefix("result "))?;
    let mut numbers = line.split_whitespace().map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let (requests, duration, latency, errors) = (next()? as f64, next()?, next()?, next()?);
    let rate = requests / Duration::from_micros(duration).as_secs_f64();
    let latency = Duration::from_micros(latency);
    Some((requests, Sample { rate, latency, errors, ..Sample::default() }))
}

/// What these processes have used so far, in user and in kernel mode, in microseconds.
fn processor_time(processes: &[i32]) -> f64 {
    // Linux tells it in hundredths of a second (sysconf _SC_CLK_TCK is 100 everywhere).
    let ticks: u64 = processes.iter().filter_map(|pid| ticks(*pid)).sum();
    ticks as f64 * 10_000.0
}

fn ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): the name may hold anything; utime and stime are fields 14 and 15, the state is 3.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Memory of these processes in bytes; what they share with each other and with others is counted
/// once.
fn memory(processes: &[i32]) -> u64 {
    let pss = |pid: &i32| -> Option<u64> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_whitespace().next()?.parse().ok()
    };
    processes.iter().filter_map(pss).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says() {
        let (requests, sample) = parse("Running\nresult 5000 2000000 1500 3\nx").unwrap();
        assert_eq!((requests, sample.rate, sample.errors), (5000.0, 2500.0, 3));
        assert_eq!(sample.latency, Duration::from_micros(1500));
        assert!(parse("unable to connect").is_none());
    }

    #[test]
    fn this_process() {
        let here = [std::process::id().cast_signed()];
        assert!(memory(&here) > 100_000);
        assert!(ticks(here[0]).is_some());
        assert_eq!(ticks(i32::MAX), None);
    }
}
