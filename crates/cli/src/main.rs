//! `wsgictl`: tells what a running server does, and has process groups reloaded without touching httpd.
#![forbid(unsafe_code)]

mod find;
mod groups;
mod log;
mod options;
mod reload;
mod requests;
mod stacks;
mod status;
mod supervisor;
mod table;
mod top;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use metrics::{Format, Summary};

use self::options::{Arguments, Command};
use self::supervisor::Place;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistakes. Standard output may be closed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let place = Place(arguments.prefix);
    match run(&place, &arguments.command) {
        Ok(code) => code,
        Err(error) if is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wsgictl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(place: &Place, command: &Command) -> Result<ExitCode> {
    match command {
        Command::Reload { group, no_wait, .. } => {
            return reload::run(place, group.as_deref(), !no_wait);
        }
        Command::Status { group, json } => status::print(place, group.as_deref(), *json)?,
        Command::Requests { group, json } => requests::print(place, group.as_deref(), *json)?,
        Command::Stacks { group, json } => stacks::print(place, group.as_deref(), *json)?,
        Command::Top { interval, count } => top::run(place, *interval, *count)?,
        Command::Metrics => {
            let metrics = place.metrics()?;
            let text = metrics::write(&Summary::of(&metrics), Format::OpenMetrics);
            io::stdout().write_all(text.as_bytes())?;
        }
        Command::Log { level } => log::set(place, *level)?,
        Command::Completions { shell } => {
            let mut definition = Arguments::command();
            clap_complete::generate(*shell, &mut definition, "wsgictl", &mut io::stdout());
        }
        Command::Man { folder } => man(folder)
            .with_context(|| format!("cannot write manual pages to {}", folder.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn man(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Arguments::command(), folder)
}

/// Whether who read our output has had enough.
fn is_closed(error: &anyhow::Error) -> bool {
    let kind = error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}
