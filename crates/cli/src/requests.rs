//! `wsgictl requests`: what runs, and what waits for a worker.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::time::SystemTime;

use anyhow::{Result, bail};
use metrics::{Running, Summary};
use serde::Serialize;

use crate::supervisor::{Place, name};
use crate::table::{self, or_global, plain};

/// Version of the JSON. It grows when a field goes or changes its meaning, not when one is added.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize)]
struct Requests {
    version: u32,
    requests: Vec<Request>,
}

/// A request.
#[derive(Debug, Serialize)]
pub struct Request {
    process_group: String,
    application_group: Option<String>,
    age_seconds: f64,
    phase: &'static str,
    /// Process id of the worker that has it.
    worker: Option<u32>,
    /// Process id of httpd's child.
    child: u32,
    method: String,
    /// Without a query string.
    path: String,
    request_id: Option<String>,
}

/// Head of [`Request::row`].
pub const HEAD: [&str; 8] =
    ["AGE", "PHASE", "GROUP", "APPLICATION", "WORKER", "METHOD", "PATH", "ID"];

/// Prints the requests, the oldest first.
///
/// # Errors
/// As [`Place::ask`], there is no such group, or standard output's.
pub fn print(place: &Place, group: Option<&OsStr>, json: bool) -> Result<()> {
    let metrics = place.metrics()?;
    let summary = Summary::of(&metrics);
    let asked = group.map(|group| or_global(name(group)).into_owned());
    if let Some(asked) = &asked
        && !summary.groups.iter().any(|group| group.process_group == *asked)
    {
        let mut names: Vec<_> = summary.groups.iter().map(|it| it.process_group.as_str()).collect();
        names.dedup();
        bail!("there is no process group '{asked}', only {}", names.join(", "));
    }
    let mut requests = of(&summary, metrics.running());
    requests.retain(|request| asked.as_ref().is_none_or(|asked| request.process_group == *asked));
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &Requests { version: FORMAT, requests })?;
        return Ok(writeln!(out)?);
    }
    Ok(table::write(&mut out, HEAD, requests.iter().map(Request::row))?)
}

/// The requests of the groups that there are.
pub fn of(summary: &Summary, running: Vec<Running>) -> Vec<Request> {
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let now = u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX);
    let known = running.into_iter().filter_map(|running| {
        let group = summary.group(running.place)?;
        let (method, path) = running.line.split_once(' ').unwrap_or((&running.line, ""));
        Some(Request {
            process_group: group.process_group.clone(),
            application_group: group.application_group.clone(),
            age_seconds: now.saturating_sub(running.began) as f64 / 1e6,
            phase: running.phase.name(),
            worker: running.worker,
            child: running.child,
            method: method.to_owned(),
            path: path.to_owned(),
            request_id: running.id.clone(),
        })
    });
    known.collect()
}

impl Request {
    /// In a table.
    pub fn row(&self) -> [String; 8] {
        [
            format!("{:.1} s", self.age_seconds),
            self.phase.to_owned(),
            plain(&self.process_group),
            plain(self.application_group.as_deref().unwrap_or("-")),
            self.worker.map_or_else(|| "-".to_owned(), |worker| worker.to_string()),
            self.method.clone(),
            self.path.clone(),
            self.request_id.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }
}
