//! The workers as `wsgictl status` prints them: a table for people, JSON for programs.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use wire::admin;

/// Version of the JSON. It grows when a field goes or changes its meaning, not when one is added.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize)]
struct Status<'w> {
    version: u32,
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
    resident_bytes: u64,
    cpu_seconds: f64,
    /// `sys.version`; none until Python runs.
    python: Option<&'w str>,
}

/// Prints the workers.
pub fn print(workers: &[admin::Worker], json: bool) -> io::Result<()> {
    let workers: Vec<_> = workers.iter().map(Worker::of).collect();
    let mut out = io::stdout().lock();
    if json {
        let status = Status { version: FORMAT, workers };
        serde_json::to_writer_pretty(&mut out, &status)?;
        return writeln!(out);
    }
    let head = ["GROUP", "APPLICATION", "PID", "STATE", "AGE", "MEMORY", "CPU", "PYTHON"];
    let rows: Vec<_> =
        [head.map(str::to_owned)].into_iter().chain(workers.iter().map(Worker::row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// A name as users write it.
pub fn or_global(name: &[u8]) -> Cow<'_, str> {
    match name {
        [] => "%{GLOBAL}".into(),
        // What would steer a terminal is no part of a name.
        name => String::from_utf8_lossy(name).replace(char::is_control, "?").into(),
    }
}

impl<'w> Worker<'w> {
    fn of(worker: &'w admin::Worker) -> Self {
        Self {
            process_group: or_global(&worker.process_group),
            application_group: worker.application_group.as_deref().map(or_global),
            pid: worker.pid,
            state: worker.state.name(),
            age_seconds: worker.age,
            resident_bytes: worker.memory,
            cpu_seconds: worker.cpu as f64 / 1000.0,
            python: Some(worker.python.as_str()).filter(|python| !python.is_empty()),
        }
    }

    fn row(&self) -> [String; 8] {
        let version = self.python.and_then(|python| python.split_whitespace().next());
        [
            self.process_group.to_string(),
            self.application_group.as_deref().unwrap_or("-").to_owned(),
            self.pid.to_string(),
            self.state.to_owned(),
            age(self.age_seconds),
            format!("{} MiB", self.resident_bytes >> 20),
            format!("{:.1} s", self.cpu_seconds),
            version.unwrap_or("-").replace(char::is_control, "?"),
        ]
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
