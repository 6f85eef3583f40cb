//! The section about workers on the page of mod_status, and the lines in its list for programs (`?auto`).

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use metrics::{Group, Summary};

use super::table;
use crate::ffi::request::Request;
use crate::generation::metrics;

/// What is told of a group.
type Value = fn(&Group) -> u64;

/// mod_status makes its page. `short`: the list of `Key: value` lines.
pub fn show(_: Request<'_>, short: bool) -> String {
    let Some(metrics) = metrics() else { return String::new() };
    let summary = Summary::of(metrics);
    if !short {
        return format!("<hr />\n<h2>WSGI</h2>\n{}\n", table::groups(&summary, None));
    }
    let mut text = String::new();
    let keys: [(&str, Value); 9] = [
        ("WSGIRequests", Group::requests),
        ("WSGIServerErrors", Group::errors),
        ("WSGIRefused", Group::refused),
        ("WSGIInFlight", |group| group.in_flight),
        ("WSGIWaiting", Group::waiting),
        ("WSGIThreads", |group| group.threads),
        ("WSGIBusyThreads", Group::busy),
        ("WSGIWorkers", |group| group.slot.workers_serving.load(Relaxed)),
        ("WSGIRestarts", Group::restarts),
    ];
    for (key, value) in keys {
        let _ = writeln!(text, "{key}: {}", summary.groups.iter().map(value).sum::<u64>());
    }
    text
}
