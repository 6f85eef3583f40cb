//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::log::Level;

/// Tells what a running mod_wsgi-rs does, and has process groups reloaded without touching httpd.
///
/// The default process group is %{GLOBAL}. Only root and the user who started httpd may ask. What is told of
/// requests and groups is read from memory, and works while all applications hang.
#[derive(Debug, Parser)]
#[command(name = "wsgictl", version)]
pub struct Arguments {
    /// What WSGISocketPrefix says, or `wsgi` in DefaultRuntimeDir, as a full path; without it, the
    /// places of the usual installations are tried
    #[arg(long, global = true, value_name = "PATH")]
    pub prefix: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
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
    /// Tells how a process group, or all, and their workers are
    Status {
        /// The process group
        group: Option<OsString>,
        /// Prints JSON, as docs/wsgictl.md has it
        #[arg(long)]
        json: bool,
    },
    /// Lists the requests that are running, or wait for a worker, the oldest first
    ///
    /// Method and path are told, and nothing of headers, cookies and query strings.
    Requests {
        /// The process group
        group: Option<OsString>,
        /// Prints JSON, as docs/wsgictl.md has it
        #[arg(long)]
        json: bool,
    },
    /// Tells what each thread of Python does, also while C code holds Python's lock
    Stacks {
        /// The process group
        group: Option<OsString>,
        /// Prints JSON, as docs/wsgictl.md has it
        #[arg(long)]
        json: bool,
    },
    /// Shows groups and requests, again and again, until q is pressed
    Top {
        /// Seconds between two looks
        #[arg(long, short = 'd', default_value_t = 2.0, value_parser = seconds)]
        interval: f64,
        /// Ends after so many looks
        #[arg(long, short = 'n', value_name = "NUMBER")]
        count: Option<u32>,
    },
    /// Writes all metrics, in the format of OpenMetrics
    Metrics,
    /// Changes what mod_wsgi-rs itself logs, without a restart
    ///
    /// That is what the module and the supervisor say, not what applications do. It lasts until httpd is
    /// stopped, or until the next `wsgictl log`.
    Log {
        /// The least severe level that is logged; `configured`: that of LogLevel
        level: Level,
    },
    /// Prints what a shell reads to complete commands and options
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Writes the manual pages into a folder
    Man {
        /// The folder
        folder: PathBuf,
    },
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "a number of seconds is wanted".to_owned())?;
    match number {
        0.1..=3600.0 => Ok(number),
        _ => Err("from 0.1 to 3600".to_owned()),
    }
}
