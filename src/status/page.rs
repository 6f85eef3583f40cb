//! `wsgi-status`: a page for people. It holds all that it needs, and no script.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use metrics::{Group, Health, Histogram, Summary};

use super::send;
use crate::ffi::HTTP_SERVICE_UNAVAILABLE;
use crate::ffi::request::Request;
use crate::generation::metrics;

const STYLE: &str = "\
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}
body{margin:2rem auto;max-width:90rem;padding:0 1rem}
h1{font-size:1.4rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
caption{text-align:left;padding:.5rem 0;opacity:.75}
th,td{padding:.35rem .7rem;text-align:right;border-bottom:1px solid #8884;white-space:nowrap}
th:nth-child(-n+3),td:nth-child(-n+3){text-align:left}
td{font-variant-numeric:tabular-nums}
p.ready{color:#18794e}p.not{color:#c62a2f}
@media(prefers-color-scheme:dark){p.ready{color:#4cc38a}p.not{color:#ff6369}}
";

/// Nothing is loaded, nothing runs, and no other style applies than this one, by its SHA-256. No other
/// page can frame this one.
const POLICY: &str = "default-src 'none'; style-src 'sha256-ncko+Oopbn3aJsNGhqWMdwLcP/DQGDKxPz/MF1PrfJ4='; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sends the page.
pub fn show(request: Request<'_>) -> i32 {
    let Some(metrics) = metrics() else { return HTTP_SERVICE_UNAVAILABLE };
    let (summary, health) = (Summary::of(metrics), Health::of(metrics));
    let mut state = String::new();
    if health.problems.is_empty() {
        state.push_str("<p class=\"ready\">Ready.</p>\n");
    }
    for problem in &health.problems {
        let _ = writeln!(state, "<p class=\"not\">{}</p>", escaped(problem));
    }
    let table = table(&summary);
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>WSGI applications</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>WSGI applications</h1>\n{state}<div class=\"scroll\">\n{table}</div>\n</body>\n</html>\n"
    );
    request.headers_out().set(c"Content-Security-Policy", POLICY.as_bytes());
    request.headers_out().set(c"X-Content-Type-Options", b"nosniff");
    request.headers_out().set(c"Referrer-Policy", b"no-referrer");
    send(request, "text/html; charset=utf-8", page.as_bytes())
}

/// All groups, a row for each.
pub fn table(summary: &Summary) -> String {
    let mut text =
        "<table>\n<caption>Counts since httpd was started. Times are upper bounds, of 50 and \
                    99 of 100 requests.</caption>\n<thead><tr>"
            .to_owned();
    for column in [
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
    ] {
        let _ = write!(text, "<th scope=\"col\">{column}</th>");
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    // As a rule, a process group has everything in its application groups.
    let tells = |group: &&Group| {
        let slot = group.slot;
        let workers = slot.workers_serving.load(Relaxed) + slot.workers_other.load(Relaxed);
        let events = group.requests() + group.refused() + group.restarts();
        group.application_group.is_some() || workers + events > 0
    };
    for group in summary.groups.iter().filter(tells) {
        row(&mut text, group);
    }
    text.push_str("</tbody>\n</table>\n");
    text
}

fn row(text: &mut String, group: &Group) {
    let names = [
        group.server.as_str(),
        group.process_group.as_str(),
        group.application_group.as_deref().unwrap_or("–"),
    ];
    let workers = &group.slot.workers_serving;
    let workers = workers.load(Relaxed) + group.slot.workers_other.load(Relaxed);
    let numbers = [
        workers.to_string(),
        format!("{:.1} MiB", group.slot.resident.load(Relaxed) as f64 / f64::from(1 << 20)),
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
    ];
    text.push_str("<tr>");
    for cell in names.map(escaped).into_iter().chain(numbers) {
        let _ = write!(text, "<td>{cell}</td>");
    }
    text.push_str("</tr>\n");
}

/// The bound of a quantile.
fn time(histogram: &Histogram, part: f64) -> String {
    match histogram.quantile(part) {
        _ if histogram.count() == 0 => "–".to_owned(),
        None => "> 60 s".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds} s"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
