//! All groups in a table, for our page and for that of mod_status.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use metrics::{Group, Histogram, Summary};

const COLUMNS: [&str; 16] = [
    "Server",
    "Process group",
    "Application group",
    "Workers",
    "Memory",
    "Threads",
    "Busy",
    "Waiting",
    "Requests",
    "5xx",
    "Refused",
    "Restarts",
    "Queue 50 %",
    "99 %",
    "Application 50 %",
    "99 %",
];

/// So many of them are names.
const NAMES: usize = 3;

/// A column that stands behind the names.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    /// What stands above it.
    pub head: &'a str,
    /// What stands in it, as HTML.
    pub cell: &'a dyn Fn(&Group) -> String,
}

/// A row for each group.
pub fn groups(summary: &Summary, more: Option<Column<'_>>) -> String {
    let mut text =
        "<table>\n<caption>Counts since httpd was started. Times are upper bounds, of 50 and \
                    99 of 100 requests.</caption>\n<thead><tr>"
            .to_owned();
    let (names, numbers) = COLUMNS.split_at(NAMES);
    let more_head = more.map(|column| column.head);
    for column in names.iter().copied().chain(more_head).chain(numbers.iter().copied()) {
        let _ = write!(text, "<th scope=\"col\">{column}</th>");
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for group in summary.groups.iter().filter(|group| has_something(group)) {
        let mut cells = cells(group).to_vec();
        cells.splice(NAMES..NAMES, more.map(|column| (column.cell)(group)));
        row(&mut text, cells.into_iter());
    }
    text.push_str("</tbody>\n</table>\n");
    text
}

/// A row of cells, which are HTML.
pub fn row(text: &mut String, cells: impl Iterator<Item = String>) {
    text.push_str("<tr>");
    for cell in cells {
        let _ = write!(text, "<td>{cell}</td>");
    }
    text.push_str("</tr>\n");
}

/// As a rule, a process group has everything in its application groups.
pub fn has_something(group: &Group) -> bool {
    let events = group.requests() + group.refused() + group.restarts();
    group.application_group.is_some() || workers(group) + events > 0
}

fn workers(group: &Group) -> u64 {
    let slot = group.slot;
    slot.workers_serving.load(Relaxed) + slot.workers_other.load(Relaxed)
}

fn cells(group: &Group) -> [String; 16] {
    [
        escaped(&group.server),
        escaped(&group.process_group),
        escaped(group.application_group.as_deref().unwrap_or("–")),
        workers(group).to_string(),
        size(group.slot.resident.load(Relaxed) as f64),
        group.threads.to_string(),
        group.busy().to_string(),
        group.waiting().to_string(),
        group.requests().to_string(),
        group.errors().to_string(),
        group.refused().to_string(),
        group.restarts().to_string(),
        time(&group.slot.queued, 0.5),
        time(&group.slot.queued, 0.99),
        time(&group.slot.application, 0.5),
        time(&group.slot.application, 0.99),
    ]
}

/// Of bytes.
pub fn size(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}

/// The bound of a quantile.
fn time(histogram: &Histogram, part: f64) -> String {
    match histogram.quantile(part) {
        _ if histogram.count() == 0 => "–".to_owned(),
        None => "&gt; 60 s".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds} s"),
    }
}

/// Text as it stands in HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
