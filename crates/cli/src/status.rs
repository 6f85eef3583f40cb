//! `wsgictl status`: groups and workers, as tables for people and as JSON for programs.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Write};

use anyhow::{Result, bail};
use metrics::{Running, Summary};
use serde::Serialize;
use wire::admin::{self, FromAdmin, ToAdmin};

use crate::groups::{self, Facts};
use crate::supervisor::{ANSWER_TIMEOUT, Place, name};
use crate::table::{self, age, or_global, plain, size};

/// Version of the JSON. It grows when a field goes or changes its meaning, not when one is added.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize)]
struct Status<'w> {
    version: u32,
    groups: Vec<Facts>,
    workers: Vec<Worker<'w>>,
}

#[derive(Debug, Serialize)]
struct Worker<'w> {
    process_group: Cow<'w, str>,
    /// None while it waits for one.
    application_group: Option<Cow<'w, str>>,
    pid: u32,
    state: &'static str,
    age_seconds: u64,
    /// Requests that it has.
    requests_in_flight: usize,
    resident_bytes: u64,
    /// Its share of memory that others have, too. None: the system does not tell us.
    proportional_bytes: Option<u64>,
    cpu_seconds: f64,
    /// `sys.version`; none until Python runs.
    python: Option<&'w str>,
}

/// Prints groups and workers.
///
/// # Errors
/// As [`Place::ask`], or standard output's.
pub fn print(place: &Place, group: Option<&OsStr>, json: bool) -> Result<()> {
    let version = wire::VERSION;
    let question = ToAdmin::Status { version, process_group: group.map(name) };
    let (answer, _) = place.ask(&question, group, ANSWER_TIMEOUT)?;
    let FromAdmin::Workers(workers) = answer else {
        bail!("the supervisor answers something else")
    };
    let metrics = place.metrics()?;
    let (summary, running) = (Summary::of(&metrics), metrics.running());
    let workers: Vec<_> = workers.iter().map(|worker| Worker::of(worker, &running)).collect();
    let asked = group.map(|group| or_global(name(group)));
    let groups = groups::of(&summary, asked.as_deref());
    let mut out = io::stdout().lock();
    if json {
        let groups = groups.into_iter().map(groups::facts).collect();
        serde_json::to_writer_pretty(&mut out, &Status { version: FORMAT, groups, workers })?;
        return Ok(writeln!(out)?);
    }
    table::write(&mut out, groups::HEAD, groups.into_iter().map(groups::row))?;
    writeln!(out)?;
    let head = ["GROUP", "APPLICATION", "PID", "STATE", "AGE", "BUSY", "MEMORY", "CPU", "PYTHON"];
    Ok(table::write(&mut out, head, workers.iter().map(Worker::row))?)
}

impl<'w> Worker<'w> {
    fn of(worker: &'w admin::Worker, running: &[Running]) -> Self {
        let of_worker = |request: &&Running| request.worker == Some(worker.pid);
        Self {
            process_group: or_global(&worker.process_group),
            application_group: worker.application_group.as_deref().map(or_global),
            pid: worker.pid,
            state: worker.state.name(),
            age_seconds: worker.age,
            requests_in_flight: running.iter().filter(of_worker).count(),
            resident_bytes: worker.memory,
            proportional_bytes: proportional_memory(worker.pid),
            cpu_seconds: worker.cpu as f64 / 1000.0,
            python: Some(worker.python.as_str()).filter(|python| !python.is_empty()),
        }
    }

    fn row(&self) -> [String; 9] {
        let version = self.python.and_then(|python| python.split_whitespace().next());
        [
            self.process_group.to_string(),
            self.application_group.as_deref().unwrap_or("-").to_owned(),
            self.pid.to_string(),
            self.state.to_owned(),
            age(self.age_seconds),
            self.requests_in_flight.to_string(),
            size(self.resident_bytes),
            format!("{:.1} s", self.cpu_seconds),
            plain(version.unwrap_or("-")),
        ]
    }
}

/// `Pss` of a process, in bytes, which root may know (proc_pid_smaps(5)).
fn proportional_memory(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}
