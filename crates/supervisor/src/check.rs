//! `wsgi-supervisor check`: whether the Python of each group starts, for `apachectl configtest`.
//!
//! Each distinct one is started as for a worker, with the rights of the group's user, and ends when it
//! is ready. The answer is advice: what is wrong now may be right when a worker is needed.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use channel::{Inbox, ReceiveError};
use rustix::process::{Pid, Rlimit, Signal, WaitOptions};
use wire::control::{FromWorker, ToWorker};
use wire::generation::{Configuration, Group};

use crate::installed::Installed;
use crate::spawn::{Spawned, spawn};

/// How long a Python may take to start. Others wait for none: so many start side by side.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 8;

/// A sentence about each group whose Python does not start.
pub fn check(configuration: &Configuration, descriptors: Rlimit) -> Vec<String> {
    let installed = Installed::open();
    // Groups that differ in nothing that matters here are one.
    let mut distinct: Vec<(&Group, Vec<&Group>)> = Vec::new();
    for group in &configuration.groups {
        match distinct.iter_mut().find(|(first, _)| is_alike(first, group)) {
            Some((_, groups)) => groups.push(group),
            None => distinct.push((group, vec![group])),
        }
    }
    let mut problems = Vec::new();
    for some in distinct.chunks(AT_ONCE) {
        let started: Vec<_> =
            some.iter().map(|(group, _)| spawn(group, &installed, descriptors)).collect();
        let deadline = Instant::now() + START_TIMEOUT;
        for ((group, all), started) in some.iter().zip(started) {
            if let Err(problem) = started.and_then(|spawned| await_ready(group, spawned, deadline))
            {
                let sentence = |group: &&Group| {
                    format!("{}: its Python does not start: {problem}", name(group))
                };
                problems.extend(all.iter().map(sentence));
            }
        }
    }
    problems
}

/// Whether workers of two groups are started the same way.
fn is_alike(one: &Group, other: &Group) -> bool {
    let told = |group: &Group| {
        let settings = &group.settings;
        (
            settings.python_home.clone(),
            settings.root.clone(),
            settings.home.clone(),
            settings.python_path.clone(),
        )
    };
    one.identity == other.identity && told(one) == told(other)
}

fn await_ready(group: &Group, spawned: Spawned, deadline: Instant) -> Result<(), String> {
    let Spawned { pid, control, stdout: _stdout, stderr } = spawned;
    let settings = Box::new(group.settings.clone());
    let outcome = match channel::send_message(&control, &ToWorker::Configure(settings)) {
        // It may have said why before it ended.
        Ok(()) | Err(_) => answer(&control, deadline),
    };
    drop(control);
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It ends by itself, unless something in it does not.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
    }
    outcome.map_err(|problem| match problem {
        Some(problem) => problem,
        None => last_words(&stderr),
    })
}

/// Waits until Python runs. An error without a text: it has ended without a word to us.
fn answer(control: &UnixStream, deadline: Instant) -> Result<(), Option<String>> {
    let mut inbox = Inbox::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match inbox.wait(control, left) {
            Ok(FromWorker::Ready { .. }) => return Ok(()),
            Ok(FromWorker::Failed { reason }) => return Err(Some(reason)),
            Ok(_) => {}
            Err(ReceiveError::Timeout(_)) => {
                let seconds = START_TIMEOUT.as_secs();
                return Err(Some(format!(
                    "it has not started after {seconds} s; something in its environment hangs"
                )));
            }
            Err(_) => return Err(None),
        }
    }
}

/// The end of what a process wrote to its standard error.
fn last_words(stderr: &OwnedFd) -> String {
    const MOST: usize = 4096;
    let mut buffer = vec![0; MOST];
    let length = rustix::io::read(stderr, &mut buffer).unwrap_or(0);
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.last() {
        None => "it ends at once, without a word".to_owned(),
        Some(last) => (*last).to_owned(),
    }
}

/// The group as it stands in messages.
fn name(group: &Group) -> String {
    match group.settings.process_group.as_slice() {
        [] => "the default process group".to_owned(),
        name => format!("process group '{}'", String::from_utf8_lossy(name)),
    }
}
