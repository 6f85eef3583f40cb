//! `wsgictl stacks`: what each thread of Python does.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Write};

use anyhow::{Result, bail};
use serde::Serialize;
use wire::admin::{FromAdmin, ToAdmin, WorkerStacks};

use crate::supervisor::{ANSWER_TIMEOUT, Place, name};
use crate::table::{or_global, plain};

/// Version of the JSON. It grows when a field goes or changes its meaning, not when one is added.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize)]
struct Stacks<'w> {
    version: u32,
    workers: Vec<Worker<'w>>,
}

#[derive(Debug, Serialize)]
struct Worker<'w> {
    process_group: Cow<'w, str>,
    /// None while it waits for one.
    application_group: Option<Cow<'w, str>>,
    pid: u32,
    state: &'static str,
    /// What else there is to say, as sentences.
    notes: &'w [String],
    threads: Vec<Thread<'w>>,
}

#[derive(Debug, Serialize)]
struct Thread<'w> {
    name: &'w str,
    /// Method and path of the request that it runs.
    request: Option<&'w str>,
    /// How old that is.
    age_seconds: Option<f64>,
    /// What the system says of the thread.
    system: Option<&'w str>,
    /// Innermost first.
    frames: &'w [String],
}

/// Prints the threads of all workers of a process group, or of all groups.
///
/// # Errors
/// As [`Place::ask`], or standard output's.
pub fn print(place: &Place, group: Option<&OsStr>, json: bool) -> Result<()> {
    let version = wire::VERSION;
    let question = ToAdmin::Stacks { version, process_group: group.map(name) };
    let (answer, _) = place.ask(&question, group, ANSWER_TIMEOUT)?;
    let FromAdmin::Stacks(workers) = answer else { bail!("the supervisor answers something else") };
    let workers: Vec<_> = workers.iter().map(Worker::of).collect();
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &Stacks { version: FORMAT, workers })?;
        return Ok(writeln!(out)?);
    }
    for (place, worker) in workers.iter().enumerate() {
        if place > 0 {
            writeln!(out)?;
        }
        worker.write(&mut out)?;
    }
    Ok(())
}

impl<'w> Worker<'w> {
    fn of(worker: &'w WorkerStacks) -> Self {
        let threads = worker.stacks.iter().map(|stack| Thread {
            name: &stack.thread,
            request: stack.request.as_deref(),
            age_seconds: stack.request.as_ref().map(|_| stack.age as f64 / 1e3),
            system: Some(stack.system.as_str()).filter(|system| !system.is_empty()),
            frames: &stack.frames,
        });
        Self {
            process_group: or_global(&worker.process_group),
            application_group: worker.application_group.as_deref().map(or_global),
            pid: worker.pid,
            state: worker.state.name(),
            notes: &worker.notes,
            threads: threads.collect(),
        }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let application = self.application_group.as_deref().unwrap_or("-");
        let (group, pid, state) = (&self.process_group, self.pid, self.state);
        writeln!(out, "worker {pid}  {group}  {application}  {state}")?;
        for note in self.notes {
            writeln!(out, "  {}", plain(note))?;
        }
        for thread in &self.threads {
            write!(out, "  thread {}", plain(thread.name))?;
            if let (Some(request), Some(age)) = (thread.request, thread.age_seconds) {
                write!(out, ": {} ({age:.1} s)", plain(request))?;
            }
            if let Some(system) = thread.system {
                write!(out, ", {}", plain(system))?;
            }
            writeln!(out)?;
            for frame in thread.frames {
                writeln!(out, "    {}", plain(frame))?;
            }
        }
        if self.threads.is_empty() && self.notes.is_empty() {
            writeln!(out, "  No thread runs Python.")?;
        }
        Ok(())
    }
}
