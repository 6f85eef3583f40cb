//! The conversation with the supervisor: one question, one answer.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use channel::Inbox;
use metrics::Metrics;
use wire::admin::{FromAdmin, ToAdmin};

use crate::find;
use crate::table::or_global;

/// How long the supervisor may take to answer a question, which it does at once.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the supervisor's sockets are: a prefix, or any of the usual ones.
#[derive(Debug)]
pub struct Place(pub Option<PathBuf>);

impl Place {
    /// Asks about a process group, or about all. `timeout`: how long the answer may take.
    ///
    /// # Errors
    /// There is no supervisor, no such group, or no answer.
    pub fn ask(
        &self,
        question: &ToAdmin<'_>,
        group: Option<&OsStr>,
        timeout: Duration,
    ) -> Result<(FromAdmin, Inbox)> {
        let supervisor = find::supervisor(self.0.as_deref())?;
        channel::send_message(&supervisor, question).context("cannot ask the supervisor")?;
        let mut inbox = Inbox::with_descriptors();
        let answer: FromAdmin = inbox.wait(&supervisor, timeout).context("no answer")?;
        match answer {
            FromAdmin::UnknownGroup { process_groups } => {
                let asked = group.map(OsStr::to_string_lossy).unwrap_or_default();
                let names: Vec<_> = process_groups.iter().map(|name| or_global(name)).collect();
                bail!("there is no process group '{asked}', only {}", names.join(", "))
            }
            FromAdmin::WrongVersion { version: theirs } => {
                let ours = wire::VERSION;
                bail!(
                    "the supervisor speaks version {theirs} of the protocol, this is {ours}; use the \
                     wsgictl beside its mod_wsgi_rs.so"
                )
            }
            answer => Ok((answer, inbox)),
        }
    }

    /// The memory in which requests and workers are counted.
    ///
    /// # Errors
    /// As [`Self::ask`], or there is none.
    pub fn metrics(&self) -> Result<Metrics> {
        let question = ToAdmin::Metrics { version: wire::VERSION };
        let (answer, mut inbox) = self.ask(&question, None, ANSWER_TIMEOUT)?;
        match answer {
            FromAdmin::Metrics => {
                let memory = inbox.take_descriptor().context("the answer lacks its memory")?;
                Metrics::adopt(memory).context("cannot read the metrics")
            }
            FromAdmin::NoMetrics => bail!("httpd has no memory for metrics: see its error log"),
            _ => bail!("the supervisor answers something else"),
        }
    }
}

/// The name of a process group as the supervisor has it.
pub fn name(group: &OsStr) -> &[u8] {
    match group.as_bytes() {
        b"%{GLOBAL}" => b"",
        name => name,
    }
}
