//! `wsgictl`: reloads process groups without touching httpd, lists workers, and tells metrics.
#![forbid(unsafe_code)]

mod find;
mod status;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use channel::Inbox;
use clap::{Parser, Subcommand};
use metrics::{Format, Metrics, Summary};
use wire::admin::{FromAdmin, ToAdmin};

/// How long the supervisor may take to answer a question, which it does at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a reload may take: new workers load their scripts, and each set's one after the other.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(3600);

/// Of the default process group, and of the application group that all share.
const GLOBAL: &[u8] = b"%{GLOBAL}";

/// Reloads process groups of mod_wsgi-rs without touching httpd, and lists their workers.
///
/// The default process group is %{GLOBAL}. Only root and the user who started httpd may ask.
#[derive(Debug, Parser)]
#[command(name = "wsgictl", version)]
struct Arguments {
    /// What WSGISocketPrefix says, or `wsgi` in DefaultRuntimeDir, as a full path; without it, the
    /// places of the usual installations are tried
    #[arg(long, global = true, value_name = "PATH")]
    prefix: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replaces the workers of a process group, or of all, one after the other; no request is lost
    ///
    /// Prints how many have been replaced. If new code cannot be loaded, prints its traceback and
    /// exits with status 1; with reload=keep the code that was loaded before goes on.
    Reload {
        /// The process group
        group: Option<OsString>,
        /// Waits until the workers have been replaced, which is the default
        #[arg(long, conflicts_with = "no_wait")]
        wait: bool,
        /// Returns as soon as the supervisor has begun
        #[arg(long)]
        no_wait: bool,
    },
    /// Lists the workers of a process group, or of all
    Status {
        /// The process group
        group: Option<OsString>,
        /// Prints JSON: an object with `version`, the version of this format, and `workers`
        #[arg(long)]
        json: bool,
    },
    /// Writes all metrics, in the format of OpenMetrics
    Metrics,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistakes. Standard output may be closed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("wsgictl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let group = match &arguments.command {
        Command::Reload { group, .. } | Command::Status { group, .. } => group.as_deref(),
        Command::Metrics => None,
    };
    let process_group = group.map(|group| match group.as_bytes() {
        GLOBAL => b"",
        name => name,
    });
    let version = wire::VERSION;
    let (question, timeout) = match arguments.command {
        Command::Status { .. } => (ToAdmin::Status { version, process_group }, ANSWER_TIMEOUT),
        Command::Metrics => (ToAdmin::Metrics { version }, ANSWER_TIMEOUT),
        Command::Reload { no_wait: true, .. } => {
            (ToAdmin::Reload { version, process_group, wait: false }, ANSWER_TIMEOUT)
        }
        Command::Reload { .. } => {
            (ToAdmin::Reload { version, process_group, wait: true }, RELOAD_TIMEOUT)
        }
    };
    let supervisor = find::supervisor(arguments.prefix.as_deref())?;
    channel::send_message(&supervisor, &question).context("cannot ask the supervisor")?;
    let mut inbox = Inbox::with_descriptors();
    let answer: FromAdmin = inbox.wait(&supervisor, timeout).context("no answer")?;
    match answer {
        FromAdmin::Reloading => Ok(ExitCode::SUCCESS),
        FromAdmin::Reloaded { replaced, failures } => {
            failures.iter().for_each(|failure| eprintln!("{failure}"));
            println!("{}", summary(replaced, failures.len()));
            Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        FromAdmin::Workers(workers) => {
            let json = matches!(arguments.command, Command::Status { json: true, .. });
            status::print(&workers, json).context("cannot write to standard output")?;
            Ok(ExitCode::SUCCESS)
        }
        FromAdmin::Metrics => {
            let memory = inbox.take_descriptor().context("the answer lacks its memory")?;
            let metrics = Metrics::adopt(memory).context("cannot read the metrics")?;
            let text = metrics::write(&Summary::of(&metrics), Format::OpenMetrics);
            std::io::stdout()
                .write_all(text.as_bytes())
                .context("cannot write to standard output")?;
            Ok(ExitCode::SUCCESS)
        }
        FromAdmin::NoMetrics => bail!("httpd has no memory for metrics: see its error log"),
        FromAdmin::UnknownGroup { process_groups } => {
            let asked = group.map(|group| group.to_string_lossy()).unwrap_or_default();
            let names: Vec<_> = process_groups.iter().map(|name| status::or_global(name)).collect();
            bail!("there is no process group '{asked}', only {}", names.join(", "))
        }
        FromAdmin::WrongVersion { version: theirs } => {
            bail!(
                "the supervisor speaks version {theirs} of the protocol, this is {version}; use the \
                 wsgictl beside its mod_wsgi_rs.so"
            )
        }
    }
}

/// What came of a reload, in a sentence.
fn summary(replaced: u32, failures: usize) -> String {
    let replaced = match replaced {
        1 => "1 worker has been replaced".to_owned(),
        many => format!("{many} workers have been replaced"),
    };
    match failures {
        0 => replaced,
        _ => format!("{replaced}; new code could not be loaded, see above"),
    }
}
