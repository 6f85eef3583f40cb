//! Turns samples into medians, ratios and verdicts, and keeps them in `docs/`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::contenders::Contender;
use super::install::Installed;
use super::measure::Sample;
use super::plot;
use super::rows::{Goal, Kind, Row};
use crate::record::{self, with_commas};
use crate::shell;

/// Where the table is kept.
const FILE: &str = "docs/performance.md";

/// Where the picture is kept.
const PICTURE: &str = "docs/performance.svg";

/// Whom all others are compared with.
const BASE: Contender = Contender::Daemon;

/// What a contender did in a row.
#[derive(Debug)]
pub struct Entry {
    /// Who.
    pub contender: Contender,
    /// What each round brought; nothing when it cannot serve this at all.
    pub samples: Vec<Sample>,
}

impl Entry {
    /// For a contender that will be measured.
    pub fn new(contender: Contender) -> Entry {
        Entry { contender, samples: Vec::new() }
    }

    /// The entry of a contender, which is there.
    pub fn of(entries: &mut [Entry], contender: Contender) -> &mut Entry {
        let mut matching = entries.iter_mut().filter(|entry| entry.contender == contender);
        matching.next().expect("each contender that runs has an entry")
    }

    /// Medians of all that was measured.
    pub fn median(&self) -> Option<Sample> {
        let median = |value: fn(&Sample) -> f64| {
            let mut values: Vec<f64> = self.samples.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            let (upper, lower) = (values.len() / 2, values.len().saturating_sub(1) / 2);
            Some((values.get(upper)? + values.get(lower)?) / 2.0)
        };
        Some(Sample {
            rate: median(|sample| sample.rate)?,
            latency: Duration::from_secs_f64(median(|sample| sample.latency.as_secs_f64())?),
            processor: median(|sample| sample.processor)?,
            memory: median(|sample| sample.memory as f64)? as u64,
            start: Duration::from_secs_f64(median(|sample| sample.start.as_secs_f64())?),
            errors: self.samples.iter().map(|sample| sample.errors).sum(),
        })
    }
}

/// All rows measured so far.
#[derive(Debug)]
pub struct Results {
    conditions: String,
    rows: Vec<(&'static Row, Vec<Entry>)>,
}

impl Results {
    /// Starts with a description of machine and programs.
    pub fn new(installed: &Installed, rounds: usize, duration: Duration) -> Results {
        let versions: Vec<_> =
            installed.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let conditions = format!(
            "{}, with {}. Medians of \
             {rounds} rounds of {} s (4 s for large files and long computations; four starts), in each of which all take their turn. httpd has the event \
             MPM, one child of 64 threads and no access log; applications have 1 process of 15 \
             threads; `wrk` has 1 thread and, unless the row says otherwise, 32 connections that \
             are kept open. Processor time and memory (PSS) are those of httpd and everything \
             behind it. × compares with {} in the same row.",
            record::conditions(),
            versions.join(", "),
            duration.as_secs(),
            BASE.name(),
        );
        Results { conditions, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn add(&mut self, row: &'static Row, mut entries: Vec<Entry>) {
        entries.sort_by_key(|entry| Contender::ALL.iter().position(|one| *one == entry.contender));
        self.rows.push((row, entries));
    }

    /// The table of a row that was added.
    pub fn table(&self, row: &Row) -> String {
        let Some((_, entries)) = self.rows.iter().find(|(other, _)| other.name == row.name) else {
            return String::new();
        };
        let base = entries.iter().find(|entry| entry.contender == BASE).and_then(Entry::median);
        let ratio = |value: fn(&Sample) -> f64, sample: &Sample| match &base {
            Some(base) if value(base) > 0.0 => format!("{:.2}", value(sample) / value(base)),
            _ => "–".to_owned(),
        };
        let mut table = match row.kind {
            Kind::ColdStart => "| server | start, ms | × |\n|---|---:|---:|\n".to_owned(),
            _ => "| server | requests/s | × | p99, ms | CPU, µs/request | × | memory, MiB |\n\
                  |---|---:|---:|---:|---:|---:|---:|\n"
                .to_owned(),
        };
        for entry in entries {
            let name = entry.contender.name();
            table += &match (entry.median(), row.kind) {
                (None, Kind::ColdStart) => format!("| {name} | fails | |\n"),
                (None, _) => format!("| {name} | fails | | | | | |\n"),
                (Some(sample), Kind::ColdStart) => format!(
                    "| {name} | {} | {} |\n",
                    sample.start.as_millis(),
                    ratio(|sample| sample.start.as_secs_f64(), &sample)
                ),
                (Some(sample), _) => format!(
                    "| {name}{} | {} | {} | {:.1} | {} | {} | {:.0} |\n",
                    match sample.errors {
                        0 => String::new(),
                        errors => format!(" ({errors} errors)"),
                    },
                    with_commas(sample.rate),
                    ratio(|sample| sample.rate, &sample),
                    sample.latency.as_secs_f64() * 1e3,
                    with_commas(sample.processor),
                    ratio(|sample| sample.processor, &sample),
                    sample.memory as f64 / f64::from(1 << 20),
                ),
            };
        }
        let verdicts: Vec<_> =
            row.goals.iter().filter_map(|goal| self.verdict(row, goal)).collect();
        if !verdicts.is_empty() {
            table += &format!("\nGoals: {}.\n", verdicts.join("; "));
        }
        table
    }

    /// Whether a goal is met, in words.
    fn verdict(&self, row: &Row, goal: &Goal) -> Option<String> {
        let of = |row: &str, contender| {
            let (_, entries) = self.rows.iter().find(|(other, _)| other.name == row)?;
            entries.iter().find(|entry| entry.contender == contender)?.median()
        };
        let ours = of(row.name, Contender::Ours)?;
        let (met, text) = match *goal {
            Goal::Rate(factor, other) => {
                let reached = ours.rate / of(row.name, other)?.rate;
                let text = format!("{reached:.2} of {factor} × the requests/s of {}", other.name());
                (reached >= factor, text)
            }
            Goal::Processor(factor, other) => {
                let reached = ours.processor / of(row.name, other)?.processor;
                let text =
                    format!("{reached:.2} of at most {factor} × the CPU of {}", other.name());
                (reached <= factor, text)
            }
            Goal::Requests(rate) => {
                (ours.rate >= rate, format!("{:.0} of {rate} requests/s", ours.rate))
            }
            Goal::Scale(factor) => {
                let before = self.rows.iter().map(|(row, _)| row.name);
                let before = before.take_while(|name| *name != row.name).last()?;
                let reached = ours.rate / of(before, Contender::Ours)?.rate;
                (reached >= factor, format!("{reached:.2} of {factor} × the row before"))
            }
            Goal::Flat(factor, than, other) => {
                let growth = |contender| {
                    Some(of(row.name, contender)?.processor / of(than, contender)?.processor)
                };
                let (ours, others) = (growth(Contender::Ours)?, growth(other)?);
                let text = format!(
                    "{ours:.2} × the CPU of the row {than}, where {} has {others:.2} ×",
                    other.name()
                );
                (ours <= factor * others, text)
            }
            Goal::PerVariable(count, without, other) => {
                let cost = |contender| {
                    let more =
                        of(row.name, contender)?.processor - of(without, contender)?.processor;
                    Some(more / f64::from(count))
                };
                let (reached, limit) = (cost(Contender::Ours)?, cost(other)?);
                let text = format!(
                    "{reached:.2} of at most {limit:.2} µs of CPU for each variable, as with {}",
                    other.name()
                );
                (reached <= limit, text)
            }
            Goal::Latency => {
                let others = Contender::ALL
                    .into_iter()
                    .filter(|other| !matches!(other, Contender::Ours | Contender::Static));
                let latencies = others.filter_map(|other| Some(of(row.name, other)?.latency));
                let best = latencies.min()?;
                let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
                let text = format!("p99 {:.1} of at most {:.1} ms", ms(ours.latency), ms(best));
                (ours.latency <= best, text)
            }
            Goal::Memory(other) => {
                let reached = ours.memory as f64 / of(row.name, other)?.memory as f64;
                (reached <= 1.0, format!("{reached:.2} × the memory of {}", other.name()))
            }
            Goal::Start(other) => {
                let reached = ours.start.as_secs_f64() / of(row.name, other)?.start.as_secs_f64();
                (reached <= 1.0, format!("{reached:.2} × the start of {}", other.name()))
            }
        };
        Some(format!("{} ({text})", if met { "met" } else { "**missed**" }))
    }

    /// Puts tables and picture into `docs/`.
    pub fn write(&self) -> Result<()> {
        let mut text = format!("{}\n\n![]({})\n", self.conditions, "performance.svg");
        for (row, _) in &self.rows {
            text += &format!("\n### {}\n\n{}", row.title, self.table(row));
        }
        record::write(FILE, "bench", &text)?;
        let rows: Vec<_> =
            self.rows.iter().filter(|(row, _)| row.kind != Kind::ColdStart).collect();
        let bars = rows.iter().map(|(row, entries)| {
            let rate = |entry: &Entry| Some((entry.contender, entry.median()?.rate));
            (row.title, entries.iter().filter_map(rate).collect())
        });
        let picture = plot::bars(&bars.collect::<Vec<_>>(), BASE);
        fs::write(shell::root().join(PICTURE), picture)
            .with_context(|| format!("cannot write {PICTURE}"))?;
        println!("\nWritten to {FILE} and {PICTURE}.");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let mut entry = Entry::new(BASE);
        assert!(entry.median().is_none());
        for rate in [5.0, 1.0, 3.0] {
            entry.samples.push(Sample { rate, errors: 1, ..Sample::default() });
        }
        let median = entry.median().unwrap();
        assert_eq!((median.rate, median.errors), (3.0, 3));
        entry.samples.push(Sample { rate: 4.0, ..Sample::default() });
        assert_eq!(entry.median().unwrap().rate, 3.5);
    }
}
