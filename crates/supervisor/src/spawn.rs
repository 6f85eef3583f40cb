//! Executes workers: user, environment, descriptors.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Gid, Uid};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Resource, Rlimit};
use wire::generation::{Group, Identity, Limits as Settled};

use crate::sys::{self, Credentials, Limits};

/// Variables that name the user. They are corrected where httpd's environment has them.
const USER_VARIABLES: [&str; 3] = ["USER", "LOGNAME", "USERNAME"];

/// A worker process that has just been executed.
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
    /// The group's `chroot=`, which the worker is to make its root.
    pub root: Option<OwnedFd>,
}

/// Starts a worker of `group` with the descriptor limit that httpd has.
///
/// # Errors
/// A sentence that names the program, the user and the cure.
pub fn spawn(group: &Group, descriptors: Rlimit) -> Result<Spawned, String> {
    let user = match &group.identity {
        Some(identity) => format!(" as user '{}' (uid {})", identity.user, identity.uid),
        None => String::new(),
    };
    let failed = |error: &io::Error, cure: &str| {
        format!("cannot execute {}{user}: {error}{cure}", group.program.display())
    };
    let pipes = || -> io::Result<_> {
        let (stdout, stderr) = (pipe()?, pipe()?);
        Ok((UnixStream::pair()?, stdout, stderr))
    };
    let ((control, stdin), (stdout, stdout_end), (stderr, stderr_end)) =
        pipes().map_err(|error| failed(&error, ""))?;
    let may_chroot = group.settings.root.is_some();
    let identity = group.identity.as_ref();
    let credentials = identity.map(|identity| credentials(identity, may_chroot)).transpose();
    let credentials =
        credentials.map_err(|error| failed(&error, ": the user's groups are unknown"))?;

    let root = group.settings.root.as_deref().map(open_root).transpose()?;

    let mut command = Command::new(&group.program);
    command.stdin(OwnedFd::from(stdin)).stdout(stdout_end).stderr(stderr_end);
    if let Some(name) = &group.display_name {
        command.arg0(OsStr::from_bytes(name));
    } else if let Some(name) = group.program.file_name() {
        command.arg0(name);
    }
    set_environment(&mut command, group);
    sys::prepare_before_exec(&mut command, credentials, limits(group, descriptors));
    let child = command.spawn();
    // Our copies of the worker's ends: without this, its pipes would never come to an end.
    drop(command);
    match child {
        Ok(child) => Ok(Spawned { pid: child.id(), control, stdout, stderr, root }),
        Err(error) => Err(match what_failed(&stderr) {
            Some(step) => failed(&error, &format!(" ({step})")),
            None => failed(&error, cure(&error)),
        }),
    }
}

/// Opens a `chroot=` for a worker, whose user need not be able to come that way.
fn open_root(root: &Path) -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(root, flags, Mode::empty()).map_err(|error| {
        let error = io::Error::from(error);
        format!("cannot open chroot={}: {error}; make the directory", root.display())
    })
}

/// What to do about a program that cannot be executed.
fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "; the worker for this Python is not installed there, or what it is linked to is missing"
        }
        io::ErrorKind::PermissionDenied => {
            "; that user needs execute permission for the file and for each directory above it"
        }
        _ => "",
    }
}

/// What the child said between fork and exec, see [`sys::prepare_before_exec`].
fn what_failed(stderr: &OwnedFd) -> Option<String> {
    let mut buffer = [0; 256];
    let length = rustix::io::read(stderr, &mut buffer).ok().filter(|length| *length > 0)?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Looks up the user's groups, which must not be done between fork and exec.
fn credentials(identity: &Identity, may_chroot: bool) -> io::Result<Credentials> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let groups = match &identity.groups {
        Some(groups) => {
            let others = groups.iter().copied().map(Gid::from_raw);
            std::iter::once(gid).chain(others.filter(|other| *other != gid)).collect()
        }
        None => {
            let user = CString::new(identity.user.as_str())?;
            nix::unistd::getgrouplist(&user, gid)?
        }
    };
    Ok(Credentials { uid, gid, groups, may_chroot })
}

/// What the worker may use of the system.
fn limits(group: &Group, descriptors: Rlimit) -> Limits {
    let at_most =
        |limit: u64| (limit > 0).then_some(Rlimit { current: Some(limit), maximum: Some(limit) });
    let Settled { cpu_priority, memory, virtual_memory } = group.limits;
    let watched = group.settings.limits;
    let cpu_time = (watched.cpu_time_limit > 0).then(|| {
        // At the first limit the worker is replaced, and has its usual time for that before the
        // second.
        let soft = u64::from(watched.cpu_time_limit);
        let patience = watched.graceful_timeout.saturating_add(watched.shutdown_timeout);
        let hard = soft + 1 + u64::from(patience);
        Rlimit { current: Some(soft), maximum: Some(hard) }
    });
    let resources = [
        (Resource::Nofile, Some(descriptors)),
        (Resource::Cpu, cpu_time),
        (Resource::Data, at_most(memory)),
        (Resource::As, at_most(virtual_memory)),
    ];
    Limits { cpu_priority, resources }
}

/// httpd's environment, with what the group changes in it.
fn set_environment(command: &mut Command, group: &Group) {
    if let Some(identity) = &group.identity {
        for name in USER_VARIABLES.into_iter().filter(|name| std::env::var_os(name).is_some()) {
            command.env(name, &identity.user);
        }
    }
    for (name, value) in &group.environment {
        command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
    }
    match &group.libpython {
        Some(libpython) => command.env("LD_PRELOAD", OsString::from(libpython)),
        None => command.env_remove("LD_PRELOAD"),
    };
}

/// A pipe, reading end first, of which we read without waiting.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
    Ok((read, write))
}
