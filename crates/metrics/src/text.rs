//! The exposition formats of Prometheus.
//!
//! Well-kept crates write OpenMetrics alone, and httpd's users have tools that read only the older text
//! format: the two differ in what a counter is called in its `# TYPE` line.

use std::fmt::Write;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::layout::{BOUNDS, Cause, Class, Histogram, Reason, Reload, Slot};
use crate::summary::{Group, Summary};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Format {
    /// The one that a client gets who accepts this (`Accept:`).
    pub fn accepted(accept: &[u8]) -> Self {
        let wanted = b"application/openmetrics-text";
        let is_wanted = accept.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted));
        if is_wanted { Self::OpenMetrics } else { Self::Text }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes all metrics.
pub fn write(summary: &Summary, format: Format) -> String {
    let row = |group| Row { group, labels: labels(group) };
    let rows: Vec<_> = summary.groups.iter().map(row).collect();
    let text = String::with_capacity(rows.len() * ROOM);
    let mut writer = Writer { text, numbers: itoa::Buffer::new(), format, rows: &rows };
    writer.all();
    writer.text.push_str("# EOF\n");
    writer.text
}

/// What a group takes at most, in bytes.
const ROOM: usize = 16 << 10;

/// A group, and its labels.
struct Row<'a> {
    group: &'a Group,
    labels: String,
}

impl Row<'_> {
    /// What its lines of this name begin with.
    fn start(&self, name: &str) -> String {
        [name, "{", &self.labels].concat()
    }

    /// Whether there is something to tell. As a rule, no request belongs to a process group alone.
    fn is_about(&self, about: About) -> bool {
        let group = self.group;
        let has_requests =
            || group.application_group.is_some() || group.requests() + group.refused() > 0;
        about == About::Workers || has_requests()
    }
}

/// The labels of a group. Never a process id: a series lasts as long as its group.
fn labels(group: &Group) -> String {
    let application = group.application_group.as_deref().unwrap_or_default();
    let (server, process) = (&group.server, &group.process_group);
    format!(
        r#"server="{}",process_group="{}",application_group="{}""#,
        escaped(server),
        escaped(process),
        escaped(application)
    )
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

struct Writer<'a> {
    text: String,
    numbers: itoa::Buffer,
    format: Format,
    rows: &'a [Row<'a>],
}

/// Which groups a metric is told of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// Those that have requests.
    Requests,
    /// All.
    Workers,
}

impl Writer<'_> {
    fn all(&mut self) {
        let (requests, workers) = (About::Requests, About::Workers);
        let classes = Class::ALL.iter().map(|class| class.name());
        let help = "Requests that have ended, by status class.";
        self.counters("wsgi_requests", help, requests, ("class", classes), |slot| &slot.requests);
        let reasons = Reason::ALL.iter().map(|reason| reason.name());
        let (name, help) = ("wsgi_refused_requests", "Requests that no worker has begun.");
        self.counters(name, help, requests, ("reason", reasons), |slot| &slot.refused);
        let causes = Cause::ALL.iter().map(|cause| cause.name());
        let (name, help) = ("wsgi_worker_restarts", "Workers that ended or were replaced.");
        self.counters(name, help, workers, ("cause", causes), |slot| &slot.restarts);
        let results = Reload::ALL.iter().map(|result| result.name());
        let (name, help) = ("wsgi_worker_reloads", "Replacements for changed code.");
        self.counters(name, help, workers, ("result", results), |slot| &slot.reloads);
        let help = "Bytes of request bodies that have been passed on.";
        let name = "wsgi_request_body_bytes";
        self.values(name, "counter", help, requests, |group| load(&group.slot.received_bytes));
        let help = "Bytes of response bodies that have been sent.";
        let name = "wsgi_response_body_bytes";
        self.values(name, "counter", help, requests, |group| load(&group.slot.sent_bytes));

        let help = "Time that clients took to send a body that is awaited.";
        self.histograms("wsgi_request_receive_seconds", help, |slot| &slot.receiving);
        let help = "Time from then on until a thread of the application had the request.";
        self.histograms("wsgi_request_queue_seconds", help, |slot| &slot.queued);
        let help = "Time in the application, which includes what it reads and writes.";
        self.histograms("wsgi_request_application_seconds", help, |slot| &slot.application);
        let help = "Time from the application's end to the last byte of the response.";
        self.histograms("wsgi_response_send_seconds", help, |slot| &slot.sending);
        let help = "Time until a worker was ready.";
        self.histograms("wsgi_worker_start_seconds", help, |slot| &slot.starting);

        let help = "Requests that are with a worker, or wait for one.";
        self.values("wsgi_requests_in_flight", "gauge", help, requests, |group| group.in_flight);
        let help = "Requests in flight beyond the threads that there are.";
        self.values("wsgi_requests_waiting", "gauge", help, requests, Group::waiting);
        let help = "Threads that have a request, as far as there are requests.";
        self.values("wsgi_threads_busy", "gauge", help, requests, Group::busy);
        let help = "Threads without a request.";
        let free = |group: &Group| group.threads - group.busy();
        self.values("wsgi_threads_free", "gauge", help, requests, free);
        let help = "Workers that take requests.";
        let serving = |group: &Group| load(&group.slot.workers_serving);
        self.values("wsgi_workers_serving", "gauge", help, workers, serving);
        let help = "Workers that may take requests when the load needs them.";
        let most = |group: &Group| load(&group.slot.workers_most);
        self.values("wsgi_workers_most", "gauge", help, workers, most);
        let help = "Workers that start, wait for an application group, or end.";
        let other = |group: &Group| load(&group.slot.workers_other);
        self.values("wsgi_workers_other", "gauge", help, workers, other);
        let help = "Resident memory of the workers, looked at every ten seconds or so.";
        let resident = |group: &Group| load(&group.slot.resident);
        self.values("wsgi_workers_resident_bytes", "gauge", help, workers, resident);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // In OpenMetrics a counter's samples have a suffix that its name has not.
        let suffix = match self.format {
            Format::Text if kind == "counter" => "_total",
            Format::Text | Format::OpenMetrics => "",
        };
        let _ = writeln!(self.text, "# HELP {name}{suffix} {help}");
        let _ = writeln!(self.text, "# TYPE {name}{suffix} {kind}");
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit));
        if let Some(unit) = unit.filter(|_| self.format == Format::OpenMetrics) {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }

    /// One line, of which `start` is all up to the labels that the lines of a group differ in, and `label` is
    /// the rest up to the value. There are more than a hundred lines of a group, and thousands of groups:
    /// so without `write!`, which takes three times as long.
    fn sample(&mut self, start: &str, label: &str, value: u64) {
        self.text.push_str(start);
        self.text.push_str(label);
        self.text.push_str(self.numbers.format(value));
        self.text.push('\n');
    }

    fn counters<'s, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        about: About,
        (label, values): (&str, impl Iterator<Item = &'s str>),
        counts: impl Fn(&'static Slot) -> &'static [AtomicU64; N],
    ) {
        self.head(name, "counter", help);
        let name = format!("{name}_total");
        let values: Vec<_> = values.map(|value| format!(",{label}=\"{value}\"}} ")).collect();
        for row in self.rows.iter().filter(|row| row.is_about(about)) {
            let start = row.start(&name);
            for (value, count) in values.iter().zip(counts(row.group.slot)) {
                self.sample(&start, value, load(count));
            }
        }
    }

    fn values(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        about: About,
        value: impl Fn(&Group) -> u64,
    ) {
        self.head(name, kind, help);
        let suffix = if kind == "counter" { "_total" } else { "" };
        let name = format!("{name}{suffix}");
        for row in self.rows.iter().filter(|row| row.is_about(about)) {
            self.sample(&row.start(&name), "} ", value(row.group));
        }
    }

    fn histograms(
        &mut self,
        name: &str,
        help: &str,
        histogram: impl Fn(&'static Slot) -> &'static Histogram,
    ) {
        self.head(name, "histogram", help);
        let bounds = BOUNDS.map(|bound| format!("{:?}", bound as f64 / 1e6));
        let bounds = bounds.into_iter().chain(["+Inf".to_owned()]);
        let bounds: Vec<_> = bounds.map(|bound| format!(",le=\"{bound}\"}} ")).collect();
        let [bucket_name, count_name] = ["bucket", "count"].map(|part| format!("{name}_{part}"));
        for row in self.rows {
            let (histogram, start) = (histogram(row.group.slot), row.start(&bucket_name));
            if row.group.application_group.is_none() && histogram.count() == 0 {
                continue;
            }
            let mut below = 0;
            for (bucket, bound) in histogram.buckets.iter().zip(&bounds) {
                below += load(bucket);
                self.sample(&start, bound, below);
            }
            // What has been added since is not in the buckets either.
            self.sample(&row.start(&count_name), "} ", below);
            let labels = &row.labels;
            let _ = writeln!(self.text, "{name}_sum{{{labels}}} {}", histogram.sum());
        }
    }
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Relaxed)
}
