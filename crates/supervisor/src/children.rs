//! Child processes: workers, and the orphans of applications, which come to us because we are
//! their subreaper.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::logic::Exit;

/// Takes the status of one child that has ended, if there is one.
pub fn reap() -> Option<(u32, Exit)> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let exit = match (status.exit_status(), status.terminating_signal()) {
                    (Some(status), _) => Exit::Status(status),
                    (None, Some(signal)) if dumped_core(status) => Exit::CoreDump(signal),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => continue,
                };
                return Some((pid.as_raw_nonzero().get().unsigned_abs(), exit));
            }
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// `WCOREDUMP` (wait(2)).
fn dumped_core(status: WaitStatus) -> bool {
    status.as_raw() & 0x80 != 0
}

/// Sends a signal to a child that has not been reaped. One that has ended does not care.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Sends SIGTERM to all children that are left, but for some, and returns how many those were.
pub fn terminate_left_over(except: &[u32]) -> usize {
    let pid = std::process::id();
    // Read until its end, it lists all: nobody else adds children to us while we do not fork.
    let children = std::fs::read_to_string(format!("/proc/self/task/{pid}/children"));
    let children: Vec<u32> = children
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|child| child.parse().ok())
        .filter(|child| !except.contains(child))
        .collect();
    children.iter().for_each(|child| signal(*child, Signal::TERM));
    children.len()
}
