//! Which programs that applications started are their own masters: those that have left the session of
//! their worker (setsid(2)), and those that ignore the hangup with which sessions end (`nohup`). They
//! are left alone. The others end with the generation of the worker.

use std::collections::BTreeSet;

use crate::children;

/// SIGHUP in the masks of proc_pid_status(5).
const HANGUP: u64 = 1 << (libc::SIGHUP - 1);

/// The sessions of workers that have ended, as long as programs may be in them. A worker leads a session
/// of its own, whose number is its process id, and is no other process's while there is a program in it.
#[derive(Debug, Default)]
pub struct Sessions {
    left: BTreeSet<u32>,
}

impl Sessions {
    /// A worker has been reaped; whether we have children that are not workers and ours.
    pub fn worker_ended(&mut self, pid: u32, has_orphans: bool) {
        // What is left of its session has come to us, or is below what has.
        if !has_orphans {
            return;
        }
        self.left.insert(pid);
        let sessions = sessions();
        self.left.retain(|session| sessions.contains(session));
    }

    /// Whether a child that is no worker ends with the generation.
    pub fn is_bound(&self, child: u32) -> bool {
        let in_session = session_of(child).is_some_and(|session| self.left.contains(&session));
        in_session && !ignores_hangup(child)
    }
}

/// The sessions of all processes.
fn sessions() -> BTreeSet<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(session_of).collect()
}

/// As proc_pid_stat(5) tells it. getsid(2) tells 0 of the kernel's threads, and of processes that came
/// from outside of a container, which rustix's type has no place for.
fn session_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may have anything in it: state, parent, process group, session.
    let (_, rest) = stat.rsplit_once(')')?;
    let session = rest.split_ascii_whitespace().nth(3)?.parse().ok()?;
    (session != 0).then_some(session)
}

fn ignores_hangup(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & HANGUP != 0)
}

/// Sends SIGTERM to the children that end with the generation, and returns how many those are, and how
/// many are left alone. `ours` are neither.
pub fn end_left_over(sessions: &Sessions, ours: &[u32]) -> (usize, usize) {
    let left: Vec<_> = children::all().into_iter().filter(|child| !ours.contains(child)).collect();
    let (bound, free): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|child| sessions.is_bound(*child));
    bound.iter().for_each(|child| children::signal(*child, rustix::process::Signal::TERM));
    (bound.len(), free.len())
}
