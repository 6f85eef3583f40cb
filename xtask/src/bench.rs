//! `cargo xtask bench`: how fast each row of a table is served, by us and by everything that people
//! would use instead, in turns.

mod contenders;
mod install;
mod measure;
mod plot;
mod report;
mod rows;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lexopt::Arg;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use contenders::{Contender, Server};
use measure::Sample;
use report::{Entry, Results};
use rows::{Kind, ROWS, Row};

use crate::dist::Profile;
use crate::{dist, python, requirements, stage};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Effort {
    rounds: usize,
    duration: Duration,
}

/// For a table that can be relied on.
const FULL: Effort = Effort { rounds: 5, duration: Duration::from_secs(1) };

/// For a look.
const QUICK: Effort = Effort { rounds: 2, duration: Duration::from_secs(1) };

/// Starts in each round: one takes a fraction of a second, and varies by a tenth.
const STARTS: usize = 4;

/// Set by a signal that wants us to end: the servers are stopped first.
#[derive(Clone, Debug, Default)]
struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    fn check(&self) -> Result<()> {
        ensure!(!self.0.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }
}

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let (mut effort, mut only, mut contenders) = (FULL, Vec::new(), Contender::ALL.to_vec());
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("quick") => {
                effort = QUICK;
                contenders.retain(|contender| !contender.is_optional());
            }
            Arg::Long("row") => only.push(arguments.value()?.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    let rows: Vec<&Row> =
        ROWS.iter().filter(|row| only.is_empty() || only.iter().any(|it| it == row.name)).collect();
    if rows.len() < only.len() {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        bail!("there is no such row; there are: {}", names.join(", "));
    }

    requirements::ensure()?;
    requirements::ensure_tool("wrk", "it puts the servers under load")?;
    let python = python::default()?;
    let stage = stage::ensure()?;
    dist::build(&stage.join("dist"), std::slice::from_ref(&python), Profile::Release)?;
    let installed = install::everything(&stage, &python)?;
    contenders.retain(|contender| match contender.missing(&installed) {
        None => true,
        Some(why) => {
            println!("Skipping {}: {why}", contender.name());
            false
        }
    });

    let interrupted = Interrupted::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted.0))?;
    }
    let mut results = Results::new(&installed, effort.rounds, effort.duration);
    for row in rows {
        println!("\n{}", row.title);
        let entries = match row.kind {
            Kind::ColdStart => cold_start(row, &contenders, &installed, effort, &interrupted),
            _ => load(row, &contenders, &installed, effort, &interrupted),
        };
        results.add(row, entries.with_context(|| format!("the row {}", row.name))?);
        print!("{}", results.table(row));
    }
    // What is kept is measured in full, and in one run.
    if only.is_empty() && effort == FULL {
        results.write()?;
    }
    Ok(())
}

/// Measures a row under load: one contender after the other, round by round, so that all of them
/// meet the same weather.
fn load(
    row: &'static Row,
    contenders: &[Contender],
    installed: &install::Installed,
    effort: Effort,
    interrupted: &Interrupted,
) -> Result<Vec<Entry>> {
    let mut servers = Vec::new();
    let mut entries = Vec::new();
    for contender in contenders.iter().filter(|contender| row.suits(**contender)) {
        interrupted.check()?;
        let server = Server::start(*contender, row, installed)?;
        match server.wait_until_ready() {
            Ok(()) => servers.push(server),
            Err(error) => {
                println!("  {} fails: {error:#}", contender.name());
                entries.push(Entry::new(*contender));
            }
        }
    }
    for server in &servers {
        measure::wrk(server, row, row.stretch * Duration::from_secs(1))?;
        entries.push(Entry::new(server.contender));
    }
    for round in 0..effort.rounds {
        for turn in 0..servers.len() {
            let server = &servers[(turn + round) % servers.len()];
            interrupted.check()?;
            measure::settle(&servers);
            let sample = measure::wrk(server, row, row.stretch * effort.duration)?;
            Entry::of(&mut entries, server.contender).samples.push(sample);
        }
    }
    for server in servers {
        let contender = server.contender;
        server.stop().with_context(|| format!("stopping {}", contender.name()))?;
    }
    Ok(entries)
}

/// Measures from the start of the programs to the first answer.
fn cold_start(
    row: &'static Row,
    contenders: &[Contender],
    installed: &install::Installed,
    effort: Effort,
    interrupted: &Interrupted,
) -> Result<Vec<Entry>> {
    let suitable: Vec<_> =
        contenders.iter().copied().filter(|contender| row.suits(*contender)).collect();
    let mut entries: Vec<_> = suitable.iter().copied().map(Entry::new).collect();
    for round in 0..=effort.rounds * STARTS {
        for turn in 0..suitable.len() {
            let contender = &suitable[(turn + round) % suitable.len()];
            interrupted.check()?;
            let server = Server::start(*contender, row, installed)?;
            server.wait_until_ready()?;
            let sample = Sample { start: server.started.elapsed(), ..Sample::default() };
            server.stop()?;
            // The first time fills the system's caches.
            if round > 0 {
                Entry::of(&mut entries, *contender).samples.push(sample);
            }
        }
    }
    Ok(entries)
}
