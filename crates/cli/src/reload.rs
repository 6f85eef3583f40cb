//! `wsgictl reload`: has workers replaced.

use std::ffi::OsStr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use wire::admin::{FromAdmin, ToAdmin};

use crate::supervisor::{ANSWER_TIMEOUT, Place, name};

/// How long a reload may take: new workers load their scripts, and each set's one after the other.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(3600);

/// Reloads a process group, or all, and waits for the end of that if `wait`.
///
/// # Errors
/// As [`Place::ask`].
pub fn run(place: &Place, group: Option<&OsStr>, wait: bool) -> Result<ExitCode> {
    let version = wire::VERSION;
    let question = ToAdmin::Reload { version, process_group: group.map(name), wait };
    let timeout = if wait { RELOAD_TIMEOUT } else { ANSWER_TIMEOUT };
    match place.ask(&question, group, timeout)?.0 {
        FromAdmin::Reloading => Ok(ExitCode::SUCCESS),
        FromAdmin::Reloaded { replaced, failures } => {
            failures.iter().for_each(|failure| eprintln!("{failure}"));
            println!("{}", summary(replaced, failures.len()));
            Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => bail!("the supervisor answers something else"),
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
