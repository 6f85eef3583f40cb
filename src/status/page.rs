//! `wsgi-status`: a page for people. It holds all that it needs, and is whole without its script.

use std::fmt::Write;
use std::time::SystemTime;

use metrics::{Group, Health, Lost, Metrics, Running, Sample, Summary};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use super::plot::{self, Line, figure, per_second};
use super::send;
use super::table::{self, escaped, has_something, row, size};
use crate::ffi::HTTP_SERVICE_UNAVAILABLE;
use crate::ffi::request::Request;
use crate::generation::metrics;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Nothing is loaded from elsewhere. No other style and script applies than these, by their SHA-256, which
/// `build.rs` computes, and the script may ask this server alone. No other page can frame this one.
const POLICY: &str = concat!(
    "default-src 'none'; style-src '",
    env!("PAGE_STYLE"),
    "'; script-src '",
    env!("PAGE_SCRIPT"),
    "'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
);

/// Groups that have drawings of their own on a page about all. Those come first that need attention.
const CARDS: usize = 12;

/// Requests, and ends of workers, that are listed.
const MOST_REQUESTS: usize = 50;
const MOST_LOSSES: usize = 20;

/// Sends the page. `?group=NAME` is about one process group.
pub fn show(request: Request<'_>) -> i32 {
    let Some(metrics) = metrics() else { return HTTP_SERVICE_UNAVAILABLE };
    let mut summary = Summary::of(metrics);
    let asked = request.query().and_then(group_in);
    if let Some(asked) = &asked {
        summary.groups.retain(|group| group.process_group == *asked);
    }
    let page = Page { metrics, summary, asked };
    request.headers_out().set(c"Content-Security-Policy", POLICY.as_bytes());
    request.headers_out().set(c"X-Content-Type-Options", b"nosniff");
    request.headers_out().set(c"Referrer-Policy", b"no-referrer");
    send(request, "text/html; charset=utf-8", page.html().as_bytes())
}

/// What the page is made of.
struct Page<'m> {
    metrics: &'m Metrics,
    /// The groups that it is about.
    summary: Summary,
    /// The process group that is asked for.
    asked: Option<String>,
}

impl Page<'_> {
    fn html(&self) -> String {
        let mut text = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>WSGI applications</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <h1>WSGI applications</h1>\n<p><span id=\"live\" role=\"status\"></span></p>\n<main>\n"
        );
        if let Some(asked) = &self.asked {
            let name = escaped(asked);
            let _ = writeln!(text, "<p>Process group {name}. <a href=\"?\">All groups</a></p>");
        }
        self.state(&mut text);
        self.cards(&mut text);
        self.table(&mut text);
        self.requests(&mut text);
        self.losses(&mut text);
        let _ = write!(text, "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n");
        text
    }

    fn state(&self, text: &mut String) {
        let health = Health::of(self.metrics);
        if health.problems.is_empty() {
            text.push_str("<p class=\"ready\">Ready.</p>\n");
        }
        for problem in health.problems.iter().take(MOST_LOSSES) {
            let _ = writeln!(text, "<p class=\"not\">{}</p>", escaped(problem));
        }
        if let Some(more) = more(health.problems.len(), MOST_LOSSES) {
            let _ = writeln!(text, "<p class=\"not\">{more}</p>");
        }
        let sum = |value: fn(&Group) -> u64| self.summary.groups.iter().map(value).sum::<u64>();
        text.push_str("<ul class=\"totals\">");
        for (name, value) in [
            ("application groups", self.shown().count() as u64),
            ("threads", sum(|group| group.threads)),
            ("busy", sum(Group::busy)),
            ("requests waiting", sum(Group::waiting)),
            ("requests", sum(Group::requests)),
            ("server errors", sum(Group::errors)),
            ("refused", sum(Group::refused)),
        ] {
            let _ = write!(text, "<li><b>{value}</b> {name}</li>");
        }
        text.push_str("</ul>\n");
    }

    fn shown(&self) -> impl Iterator<Item = &Group> {
        self.summary.groups.iter().filter(|group| has_something(group))
    }

    /// Drawings of the groups that need attention most.
    fn cards(&self, text: &mut String) {
        let mut groups: Vec<_> = self.shown().collect();
        let need =
            |group: &&Group| std::cmp::Reverse((group.waiting(), group.busy(), group.requests()));
        groups.sort_by_key(need);
        text.push_str("<h2>The last hour</h2>\n<div class=\"cards\">\n");
        let room = if self.asked.is_some() { groups.len() } else { CARDS };
        for group in groups.iter().take(room) {
            self.card(text, group);
        }
        text.push_str("</div>\n");
        if groups.len() > room {
            text.push_str(
                "<p>These are the busiest ones. Each row of the table leads to those of its group.</p>\n",
            );
        }
    }

    fn card(&self, text: &mut String, group: &Group) {
        let application = group.application_group.as_deref().unwrap_or("–");
        let _ = write!(
            text,
            "<section class=\"card\"><h3>{} <small>{}</small></h3>\n<div class=\"plots\">\n",
            escaped(&group.process_group),
            escaped(application)
        );
        let history = self.metrics.history(group.place);
        let requests = [
            Line { class: "a", value: |sample| per_second(sample.requests) },
            Line { class: "e", value: |sample| per_second(sample.errors) },
        ];
        text.push_str(&figure(&history, "Requests/s", &requests, |value| format!("{value:.1}")));
        let times = [
            Line { class: "a", value: |sample| milliseconds(sample, 0) },
            Line { class: "b", value: |sample| milliseconds(sample, 1) },
            Line { class: "c", value: |sample| milliseconds(sample, 2) },
        ];
        text.push_str(&figure(&history, "Time 50, 95, 99 %", &times, |value| match value {
            1000.0.. => format!("{:.1} s", value / 1e3),
            _ => format!("{value:.1} ms"),
        }));
        let waiting = [Line { class: "c", value: |sample| sample.waiting.into() }];
        text.push_str(&figure(&history, "Waiting", &waiting, |value| format!("{value}")));
        let memory = [Line { class: "b", value: |sample| f64::from(sample.resident) * 1024.0 }];
        text.push_str(&figure(&history, "Memory", &memory, size));
        text.push_str("</div></section>\n");
    }

    fn table(&self, text: &mut String) {
        let spark = |group: &Group| {
            let name = percent_encode(group.process_group.as_bytes(), NON_ALPHANUMERIC);
            let drawing = plot::spark(&self.metrics.history(group.place));
            format!("<a href=\"?group={name}\">{drawing}plots</a>")
        };
        let column = table::Column { head: "Last hour", cell: &spark };
        let table = table::groups(&self.summary, Some(column));
        let _ = write!(text, "<h2>Groups</h2>\n<div class=\"scroll\">\n{table}</div>\n");
    }

    fn requests(&self, text: &mut String) {
        let running = self.metrics.running();
        let ours = running.into_iter().filter_map(|it| Some((self.summary.group(it.place)?, it)));
        let ours: Vec<_> = ours.collect();
        text.push_str("<h2>Running requests</h2>\n");
        if ours.is_empty() {
            return text.push_str("<p>None.</p>\n");
        }
        let head =
            ["Age", "Phase", "Process group", "Application group", "Worker", "Id", "Request"];
        begin_list(text, &head);
        let now = now().as_micros();
        for (group, running) in ours.iter().take(MOST_REQUESTS) {
            row(text, request(group, running, now).into_iter());
        }
        end_list(text, more(ours.len(), MOST_REQUESTS));
        text.push_str("<p><code>wsgictl stacks GROUP</code> tells where they are in Python.</p>\n");
    }

    fn losses(&self, text: &mut String) {
        let losses = self.metrics.losses();
        let ours = losses.iter().filter_map(|it| Some((self.summary.group(it.place)?, it)));
        let ours: Vec<_> = ours.collect();
        text.push_str("<h2>Workers that were lost</h2>\n");
        if ours.is_empty() {
            return text.push_str("<p>None.</p>\n");
        }
        let head =
            ["When", "Process group", "Application group", "Worker", "Cause", "What happened"];
        begin_list(text, &head);
        for (group, lost) in ours.iter().take(MOST_LOSSES) {
            row(text, loss(group, lost).into_iter());
        }
        end_list(text, more(ours.len(), MOST_LOSSES));
    }
}

fn begin_list(text: &mut String, head: &[&str]) {
    text.push_str("<div class=\"scroll\">\n<table class=\"left\">\n<thead><tr>");
    for column in head {
        let _ = write!(text, "<th scope=\"col\">{column}</th>");
    }
    text.push_str("</tr></thead>\n<tbody>\n");
}

fn end_list(text: &mut String, more: Option<String>) {
    text.push_str("</tbody>\n</table>\n</div>\n");
    if let Some(more) = more {
        let _ = writeln!(text, "<p>{more}</p>");
    }
}

/// A sentence about those that are not listed.
fn more(all: usize, listed: usize) -> Option<String> {
    let more = all.checked_sub(listed).filter(|more| *more > 0)?;
    Some(format!("And {more} more."))
}

fn request(group: &Group, running: &Running, now: u128) -> [String; 7] {
    let age = now.saturating_sub(running.began.into()) as f64 / 1e6;
    [
        format!("{age:.1} s"),
        running.phase.name().to_owned(),
        escaped(&group.process_group),
        escaped(group.application_group.as_deref().unwrap_or("–")),
        running.worker.map_or_else(|| "–".to_owned(), |worker| worker.to_string()),
        escaped(running.id.as_deref().unwrap_or("–")),
        escaped(&running.line),
    ]
}

fn loss(group: &Group, lost: &Lost) -> [String; 6] {
    [
        ago(now().as_secs().saturating_sub(lost.time)),
        escaped(&group.process_group),
        escaped(group.application_group.as_deref().unwrap_or("–")),
        lost.worker.map_or_else(|| "–".to_owned(), |worker| worker.to_string()),
        format!("<span class=\"loss\">{}</span>", lost.cause.name()),
        escaped(&lost.story),
    ]
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

fn milliseconds(sample: &Sample, quantile: usize) -> f64 {
    f64::from(sample.application[quantile]) / 1e3
}

fn now() -> std::time::Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// The process group that a query string names.
fn group_in(query: &[u8]) -> Option<String> {
    let query = str::from_utf8(query).ok()?;
    let value = query.split('&').find_map(|pair| pair.strip_prefix("group="))?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}
