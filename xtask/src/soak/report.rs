//! Prints what was lost, and keeps the table in `docs/`.

use std::time::Duration;

use anyhow::Result;

use super::load::{CLIENTS, Tally};
use super::row::{FULL, Outcome};
use super::site::{PROCESSES, Server, THREADS};
use crate::record::{self, with_commas};

/// Where the table is kept.
pub const FILE: &str = "docs/reliability.md";

/// Outcomes of ours and of mod_wsgi's.
#[derive(Debug)]
pub struct Results {
    servers: Vec<String>,
    ours: Vec<Outcome>,
    theirs: Vec<Outcome>,
}

impl Results {
    /// None yet.
    pub fn new(servers: &[Server]) -> Results {
        let servers = servers.iter().map(Server::to_string).collect();
        Results { servers, ours: Vec::new(), theirs: Vec::new() }
    }

    /// Adds one.
    pub fn add(&mut self, server: &Server, outcome: Outcome) {
        if server.is_ours() { &mut self.ours } else { &mut self.theirs }.push(outcome);
    }

    /// The rows in which we lost more than we promise.
    pub fn broken_promises(&self) -> impl Iterator<Item = &'static str> {
        let broken = self.ours.iter().filter(|outcome| !outcome.keeps_promise());
        broken.map(|outcome| outcome.fault.name())
    }

    /// Puts the table into `docs/`.
    pub fn write(&self) -> Result<()> {
        let mut text = format!(
            "{}, with {}. Each row: {} times, {} s apart, under the load of {CLIENTS} clients that \
             send one request per connection, one in four a POST; the application takes 10 ms and \
             answers 16 KiB; {PROCESSES} processes of {THREADS} threads; event MPM. The worst \
             latency stands before that of {} s without any fault on the same server, in \
             brackets; throughput is that of the good answers, compared with the same.\n\n\
             | what happens | lost | may be | worst, ms | throughput | mod_wsgi: lost | worst, ms | throughput |\n\
             |---|---:|---|---:|---:|---:|---:|---:|\n",
            record::conditions(),
            self.servers.join(" and "),
            FULL.times,
            FULL.pause.as_secs_f64(),
            FULL.undisturbed.as_secs(),
        );
        for ours in &self.ours {
            let theirs = self.theirs.iter().find(|theirs| theirs.fault == ours.fault);
            let dash = || "–".to_owned();
            let [their_lost, their_worst, their_throughput] =
                theirs.map_or_else(|| [dash(), dash(), dash()], cells);
            let [lost, worst, throughput] = cells(ours);
            text += &format!(
                "| {} | {lost} | {} | {worst} | {throughput} | {their_lost} | {their_worst} | \
                 {their_throughput} |\n",
                ours.fault.title(),
                ours.fault.promise().text(),
            );
        }
        record::write(FILE, "soak", &text)?;
        println!("Written to {FILE}.");
        Ok(())
    }
}

/// What was lost, the worst latency, the throughput.
fn cells(outcome: &Outcome) -> [String; 3] {
    let Outcome { disturbed, undisturbed, .. } = outcome;
    [
        lost(disturbed),
        format!("{} ({})", millis(disturbed.worst), millis(undisturbed.worst)),
        format!("{:.0} %", 100.0 * outcome.throughput()),
    ]
}

/// `47 of 5,012 (503: 40, no answer: 7)`.
fn lost(tally: &Tally) -> String {
    let requests = with_commas(tally.requests as f64);
    if tally.lost() == 0 {
        return format!("0 of {requests}");
    }
    let statuses = tally.statuses.iter().filter(|(status, _)| **status != 200);
    let mut parts: Vec<_> = statuses.map(|(status, count)| (status.to_string(), *count)).collect();
    let answered: usize = parts.iter().map(|(_, count)| count).sum();
    if tally.lost() > answered {
        parts.push(("no whole answer".to_owned(), tally.lost() - answered));
    }
    let parts: Vec<_> = parts.iter().map(|(what, count)| format!("{what}: {count}")).collect();
    format!("{} of {requests} ({})", tally.lost(), parts.join(", "))
}

fn millis(duration: Duration) -> String {
    with_commas(duration.as_secs_f64() * 1e3)
}

/// Prints a row as soon as it is known.
pub fn print(server: &Server, outcome: &Outcome) {
    let Outcome { fault, undisturbed, disturbed, .. } = outcome;
    println!("{}, {}", fault.title(), server.name());
    tally("  undisturbed", undisturbed);
    tally("  disturbed  ", disturbed);
    let verdict = match (server.is_ours(), outcome.keeps_promise()) {
        (false, _) => "",
        (true, true) => "; the promise is kept",
        (true, false) => "; MORE THAN PROMISED",
    };
    println!("  throughput {:.2}{verdict}", outcome.throughput());
}

/// Prints what became of requests.
pub fn tally(title: &str, tally: &Tally) {
    let statuses: Vec<_> =
        tally.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
    println!(
        "{title} {} requests ({}), lost {} GET and {} POST, worst {} ms, {:.0} requests/s",
        tally.requests,
        statuses.join(", "),
        tally.lost_gets,
        tally.lost_posts,
        millis(tally.worst),
        tally.rate(),
    );
    for (reason, count) in &tally.reasons {
        println!("    {count} × {reason}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_in_words() {
        let mut tally = Tally { requests: 5012, ..Tally::default() };
        tally.statuses.insert(200, 4965);
        assert_eq!(lost(&tally), "0 of 5,012");
        tally.statuses.insert(503, 40);
        tally.lost_gets = 47;
        assert_eq!(lost(&tally), "47 of 5,012 (503: 40, no whole answer: 7)");
    }
}
