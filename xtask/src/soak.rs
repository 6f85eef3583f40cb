//! `cargo xtask soak`: what is lost when things go wrong under load, of ours and of mod_wsgi's.

mod faults;
mod graceful;
mod load;
mod mix;
mod report;
mod row;
mod site;
mod slow;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lexopt::{Arg, ValueExt};

use faults::Fault;
use report::Results;
use row::FULL;
use site::Server;

use crate::dist::Profile;
use crate::{dist, originals, python, requirements, stage};

/// What is asked for.
#[derive(Debug, Default)]
struct Options {
    theirs: bool,
    record: bool,
    only: Option<Fault>,
    graceful: Option<usize>,
    slow: Option<usize>,
    minutes: Option<u64>,
    seed: Option<u64>,
    /// A folder that holds our module already.
    dist: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: lexopt::Parser) -> Result<()> {
    let options = parse(arguments)?;
    let ours = match &options.dist {
        Some(folder) => Server::Ours(std::path::absolute(folder)?),
        None => build()?,
    };
    if let Some(times) = options.graceful {
        return graceful::run(&ours, times, options.record);
    }
    if let Some(clients) = options.slow {
        return slow::run(&ours, clients, slow::DURATION, options.record);
    }
    let theirs = (options.theirs || options.record).then(mod_wsgi).transpose()?;
    if let Some(minutes) = options.minutes {
        let server = theirs.as_ref().unwrap_or(&ours);
        return mix::run(server, Duration::from_secs(60 * minutes), options.seed);
    }
    let servers = match theirs {
        Some(theirs) if options.record => vec![ours, theirs],
        Some(theirs) => vec![theirs],
        None => vec![ours],
    };
    let mut results = Results::new(&servers);
    for fault in Fault::ALL {
        if options.only.is_some_and(|only| only != fault) {
            continue;
        }
        for server in &servers {
            if server.is_ours() || fault.suits_theirs() {
                let outcome = row::run(server, fault, FULL)
                    .with_context(|| format!("{}, {}", fault.name(), server.name()))?;
                report::print(server, &outcome);
                results.add(server, outcome);
            }
        }
    }
    if options.record {
        ensure!(options.only.is_none(), "only the whole table is recorded");
        results.write()?;
    }
    let broken: Vec<_> = results.broken_promises().collect();
    ensure!(broken.is_empty(), "more was lost than promised: {}", broken.join(", "));
    Ok(())
}

fn parse(mut arguments: lexopt::Parser) -> Result<Options> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("theirs") => options.theirs = true,
            Arg::Long("record") => options.record = true,
            Arg::Long("row") => {
                let name = arguments.value()?;
                let known = Fault::ALL.into_iter().find(|fault| name == *fault.name());
                let names = Fault::ALL.map(Fault::name).join(", ");
                let fault = known.with_context(|| format!("no such row; there are: {names}"));
                options.only = Some(fault?);
            }
            Arg::Long("graceful") => options.graceful = Some(arguments.value()?.parse()?),
            Arg::Long("slow") => options.slow = Some(arguments.value()?.parse()?),
            Arg::Long("minutes") => options.minutes = Some(arguments.value()?.parse()?),
            Arg::Long("seed") => options.seed = Some(arguments.value()?.parse()?),
            Arg::Long("dist") => options.dist = Some(arguments.value()?.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.minutes.is_some() && (options.record || options.only.is_some()) {
        bail!("--minutes goes with --seed and --theirs only");
    }
    Ok(options)
}

/// Builds our module.
fn build() -> Result<Server> {
    requirements::ensure()?;
    let folder = stage::ensure()?.join("dist");
    dist::build(&folder, &[python::default()?], Profile::Release)?;
    Ok(Server::Ours(folder))
}

/// Installs the release of PyPI's mod_wsgi that we compare with.
fn mod_wsgi() -> Result<Server> {
    Ok(Server::Theirs(originals::pypi(&stage::ensure()?, &python::default()?)?))
}
