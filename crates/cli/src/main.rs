//! `wsgictl`: reloads process groups without touching httpd, and lists workers.
#![forbid(unsafe_code)]

mod find;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use channel::Inbox;
use lexopt::Arg;
use wire::admin::{FromAdmin, ToAdmin, Worker};

const HELP: &str = "\
wsgictl [--prefix PATH] reload [GROUP]   replace the workers of a process group, or of all, one
                                         after the other; no request is lost
wsgictl [--prefix PATH] status           list the workers, a line for each: process group,
                                         application group, process id, state, age in seconds

--prefix PATH   what WSGISocketPrefix says, or `wsgi` in DefaultRuntimeDir, as a full path; without
                it, the places of the usual installations are tried
The default process group is %{GLOBAL}. Only root and the user who started httpd may ask.
";

/// How long the supervisor may take to answer, which it does at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of the default process group, and of the application group that all share.
const GLOBAL: &[u8] = b"%{GLOBAL}";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wsgictl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = lexopt::Parser::from_env();
    let (mut prefix, mut words) = (None, Vec::<OsString>::new());
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("prefix") => prefix = Some(PathBuf::from(arguments.value()?)),
            Arg::Long("help") | Arg::Short('h') => return print(HELP.as_bytes()),
            Arg::Value(word) => words.push(word),
            other => return Err(other.unexpected().into()),
        }
    }
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let version = wire::VERSION;
    let question = match *words {
        [b"status"] => ToAdmin::Status { version },
        [b"reload"] => ToAdmin::Reload { version, process_group: None },
        [b"reload", GLOBAL] => ToAdmin::Reload { version, process_group: Some(b"") },
        [b"reload", group] => ToAdmin::Reload { version, process_group: Some(group) },
        _ => bail!("neither `reload [GROUP]` nor `status`; --help tells more"),
    };
    let supervisor = find::supervisor(prefix.as_deref())?;
    channel::send_message(&supervisor, &question).context("cannot ask the supervisor")?;
    let answer: FromAdmin = Inbox::new().wait(&supervisor, PATIENCE).context("no answer")?;
    match answer {
        FromAdmin::Reloading => Ok(()),
        FromAdmin::Workers(workers) => print(&workers.iter().flat_map(line).collect::<Vec<u8>>()),
        FromAdmin::UnknownGroup { process_groups } => {
            let asked = words.last().map(|group| String::from_utf8_lossy(group));
            let names: Vec<_> = process_groups
                .iter()
                .map(|name| String::from_utf8_lossy(or_global(name)).into_owned())
                .collect();
            let asked = asked.unwrap_or_default();
            bail!("there is no process group '{asked}', only {}", names.join(", "))
        }
        FromAdmin::WrongVersion { version: theirs } => {
            bail!("the supervisor speaks version {theirs} of the protocol, this is {version}")
        }
    }
}

/// A worker as a line, its fields separated by tabs.
fn line(worker: &Worker) -> Vec<u8> {
    let application_group = worker.application_group.as_deref().map_or(&b"-"[..], or_global);
    let names = [or_global(&worker.process_group), application_group].join(&b'\t');
    let rest = format!("\t{}\t{}\t{}\n", worker.pid, worker.state.name(), worker.age);
    [names, rest.into_bytes()].concat()
}

fn or_global(name: &[u8]) -> &[u8] {
    if name.is_empty() { GLOBAL } else { name }
}

fn print(text: &[u8]) -> Result<()> {
    std::io::stdout().write_all(text).context("cannot write to standard output")
}
