//! Groups as `status` and `top` print them.

use std::sync::atomic::Ordering::Relaxed;

use metrics::{Group, Summary};
use serde::Serialize;

use crate::table::{plain, quantile, size};

/// A group in JSON.
#[derive(Debug, Serialize)]
pub struct Facts {
    server: String,
    process_group: String,
    /// None: what belongs to no application group.
    application_group: Option<String>,
    workers: u64,
    workers_serving: u64,
    threads: u64,
    threads_busy: u64,
    requests_in_flight: u64,
    requests_waiting: u64,
    requests: u64,
    server_errors: u64,
    refused: u64,
    restarts: u64,
    resident_bytes: u64,
    /// Upper bounds in seconds; none: nothing, or beyond 60 s.
    application_seconds_p50: Option<f64>,
    application_seconds_p99: Option<f64>,
    queue_seconds_p99: Option<f64>,
}

/// The groups of that process group, or of all, that there is something to tell of: as a rule a process
/// group has everything in its application groups.
pub fn of<'s>(summary: &'s Summary, process_group: Option<&str>) -> Vec<&'s Group> {
    let is_asked = |group: &&Group| process_group.is_none_or(|name| group.process_group == name);
    let tells = |group: &&Group| {
        let events = group.requests() + group.refused() + group.restarts();
        group.application_group.is_some() || workers(group) + events > 0
    };
    summary.groups.iter().filter(is_asked).filter(tells).collect()
}

/// Head of [`row`].
pub const HEAD: [&str; 12] = [
    "GROUP",
    "APPLICATION",
    "WORKERS",
    "BUSY",
    "WAITING",
    "MEMORY",
    "REQUESTS",
    "5XX",
    "REFUSED",
    "RESTARTS",
    "P50",
    "P99",
];

/// A group in a table.
pub fn row(group: &Group) -> [String; 12] {
    [
        plain(&group.process_group),
        plain(group.application_group.as_deref().unwrap_or("-")),
        workers(group).to_string(),
        format!("{}/{}", group.busy(), group.threads),
        group.waiting().to_string(),
        size(group.slot.resident.load(Relaxed)),
        group.requests().to_string(),
        group.errors().to_string(),
        group.refused().to_string(),
        group.restarts().to_string(),
        quantile(&group.slot.application, 0.5),
        quantile(&group.slot.application, 0.99),
    ]
}

/// A group in JSON.
pub fn facts(group: &Group) -> Facts {
    let slot = group.slot;
    Facts {
        server: group.server.clone(),
        process_group: group.process_group.clone(),
        application_group: group.application_group.clone(),
        workers: workers(group),
        workers_serving: slot.workers_serving.load(Relaxed),
        threads: group.threads,
        threads_busy: group.busy(),
        requests_in_flight: group.in_flight,
        requests_waiting: group.waiting(),
        requests: group.requests(),
        server_errors: group.errors(),
        refused: group.refused(),
        restarts: group.restarts(),
        resident_bytes: slot.resident.load(Relaxed),
        application_seconds_p50: slot.application.quantile(0.5),
        application_seconds_p99: slot.application.quantile(0.99),
        queue_seconds_p99: slot.queued.quantile(0.99),
    }
}

fn workers(group: &Group) -> u64 {
    group.slot.workers_serving.load(Relaxed) + group.slot.workers_other.load(Relaxed)
}
