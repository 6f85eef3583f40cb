//! Starts the process of a worker: its descriptors, and the copy of this process that becomes it.
//!
//! Nothing here waits. Everything that depends on the group's user (the directory service, the
//! user's files, an interpreter on whatever file system) is done in that copy, see [`crate::launch`].

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;
use rustix::process::Rlimit;
use wire::generation::Group;

use crate::installed::Installed;
use crate::launch::Launch;
use crate::sys;

/// A process that becomes a worker, or says why it cannot.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id.
    pub pid: u32,
    /// Our end of its standard input.
    pub control: UnixStream,
    /// What it writes to its standard output.
    pub stdout: OwnedFd,
    /// What it writes to its standard error.
    pub stderr: OwnedFd,
}

/// Starts a worker of `group` with the descriptor limit that httpd has.
///
/// # Errors
/// A sentence about what the system refuses to make.
pub fn spawn(group: &Group, installed: &Installed, descriptors: Rlimit) -> Result<Spawned, String> {
    let failed = |error: io::Error| format!("cannot make a process for a worker: {error}");
    let (stdout, stdout_end) = pipe().map_err(failed)?;
    let (stderr, stderr_end) = pipe().map_err(failed)?;
    let (control, stdin) = UnixStream::pair().map_err(failed)?;
    let stdin = OwnedFd::from(stdin);
    let launch = Launch { group, installed, descriptors };
    let pid = sys::fork(|| launch.run([&stdin, &stdout_end, &stderr_end])).map_err(failed)?;
    Ok(Spawned { pid, control, stdout, stderr })
}

/// A pipe, reading end first, of which we read without waiting.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
    Ok((read, write))
}
