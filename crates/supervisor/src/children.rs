//! Child processes: workers, and the orphans of applications, which come to us because we are
//! their subreaper.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::logic::Exit;

/// What this program is called with to signal a process.
pub const SIGNAL: &str = "--signal";

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
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
        && rustix::process::kill_process(pid, signal) == Err(Errno::PERM)
    {
        signal_as_its_user(pid, signal);
    }
}

/// Without CAP_KILL, a process of that user's has to do it. Nobody waits for it.
fn signal_as_its_user(pid: Pid, signal: Signal) {
    let number = pid.as_raw_nonzero().to_string();
    let Ok(owner) = std::fs::metadata(format!("/proc/{number}")) else { return };
    let signal = signal.as_raw().to_string();
    let mut program = Command::new("/proc/self/exe");
    program.args([SIGNAL, &number, &signal]).uid(owner.uid()).gid(owner.gid());
    // The user can stop it as well as the worker itself: then nothing is won and nothing lost.
    let _ = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}

/// The program that signals: `SIGNAL`, the process and the signal's number are its arguments.
pub fn signal_and_end(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut number = || arguments.next()?.parse().ok();
    if let (Some(pid), Some(signal)) = (number().and_then(Pid::from_raw), number())
        && let Some(signal) = Signal::from_named_raw(signal)
        && rustix::process::kill_process(pid, signal).is_ok()
    {
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// Notes what the system knows of a worker: its memory and the processor time that it has used
/// (proc_pid_stat(5)).
pub fn measure(worker: &mut wire::admin::Worker) {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.pid)).unwrap_or_default();
    // The name, in parentheses, may have spaces. The state, which follows it, is field 3.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let field = |number: usize| -> u64 {
        let mut fields = fields.split_ascii_whitespace();
        fields.nth(number - 3).and_then(|field| field.parse().ok()).unwrap_or(0)
    };
    worker.memory = field(24) * rustix::param::page_size() as u64;
    worker.cpu = (field(14) + field(15)) * 1000 / rustix::param::clock_ticks_per_second();
}

/// Our children: workers, and what has come to us.
pub fn all() -> Vec<u32> {
    let pid = std::process::id();
    // Read until its end, it lists all: nobody else adds children to us while we do not fork.
    let children = std::fs::read_to_string(format!("/proc/self/task/{pid}/children"));
    let children = children.unwrap_or_default();
    children.split_ascii_whitespace().filter_map(|child| child.parse().ok()).collect()
}
