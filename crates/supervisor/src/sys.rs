//! What the system-call libraries leave unsafe: the only unsafe code of the supervisor.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// A user to become, with everything looked up beforehand.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// User id.
    pub uid: Uid,
    /// Primary group id.
    pub gid: Gid,
    /// All groups, the primary one among them.
    pub groups: Vec<Gid>,
    /// Whether it can still change its root directory, which is for the program to do and to give up.
    pub may_chroot: bool,
}

/// Closes every descriptor but 0, 1 and 2, whoever opened it.
///
/// Only for the very start of the program: it would pull descriptors away from under their owners.
///
/// # Errors
/// When neither the system call nor `/proc` is there.
pub fn close_inherited_descriptors() -> io::Result<()> {
    // SAFETY: `main` calls this before anything has been opened, so that no descriptor from 3 up
    // has an owner in this process (rule of `close_range(2)`: any range may be given).
    if unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } == 0 {
        return Ok(());
    }
    // Linux before 5.9. The names are collected first: reading them has a descriptor of its own,
    // whose close then does nothing.
    let names: Vec<_> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<libc::c_int>().ok())
        .collect();
    for descriptor in names.into_iter().filter(|descriptor| *descriptor > 2) {
        // SAFETY: as above, nobody in this process owns a descriptor from 3 up.
        unsafe { libc::close(descriptor) };
    }
    Ok(())
}

/// Gives every signal its default effect again but SIGPIPE, which Rust's runtime ignores on
/// purpose. Who started httpd may have ignored some: an ignored SIGCHLD would hide the end of
/// workers from us, and workers would inherit the rest.
pub fn reset_signal_effects() {
    for signal in (1..=64).filter(|signal| *signal != libc::SIGPIPE) {
        // SAFETY: `SIG_DFL` is no function that could be called at a bad time, and no handler has
        // been installed by anybody yet, as `main` calls this first. Numbers that are no signals
        // or cannot be changed are refused by `signal(2)`, which is what we want.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// What a process may use of the system.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Nice value; 0 leaves it.
    pub cpu_priority: i32,
    /// Limits of resources; `None` leaves them.
    pub resources: [(Resource, Option<Rlimit>); 4],
}

/// Makes `command` change to `credentials`, set its limits and receive all signals, between fork
/// and exec. If anything fails, the program is not executed, and `spawn` returns the error; but a
/// limit that the system does not allow costs only a line on standard error.
pub fn prepare_before_exec(
    command: &mut Command,
    credentials: Option<Credentials>,
    limits: Limits,
) {
    let no_signals = SigSet::empty();
    let prepare = move || {
        no_signals.thread_set_mask()?;
        for (resource, limit) in limits.resources {
            let Some(limit) = limit else { continue };
            if rustix::process::setrlimit(resource, limit).is_err() {
                say("A limit of the process group cannot be set: its worker runs without it.\n");
            }
        }
        if limits.cpu_priority != 0
            && rustix::process::setpriority_process(None, limits.cpu_priority).is_err()
        {
            say("cpu-priority= cannot be set: the worker runs without it.\n");
        }
        match &credentials {
            Some(credentials) if credentials.may_chroot => become_user_who_may_chroot(credentials),
            Some(credentials) => become_user(credentials),
            None => Ok(()),
        }
    };
    // SAFETY: between fork and exec, `prepare` only makes system calls, on memory that was
    // allocated before the fork: it neither allocates nor frees nor takes a lock (rule of
    // `CommandExt::pre_exec`). The supervisor has one thread, so that even those would be whole.
    unsafe { command.pre_exec(prepare) };
}

/// Changes all ids for good and reads them again. Standard error is the worker's pipe here.
fn become_user(credentials: &Credentials) -> io::Result<()> {
    let Credentials { uid, gid, groups, may_chroot: _ } = credentials;
    if uid.is_root() {
        return complain("refused to run as root", nix::Error::EPERM);
    }
    if let Err(error) = nix::unistd::setgroups(groups) {
        return complain("setgroups failed", error);
    }
    if let Err(error) = nix::unistd::setresgid(*gid, *gid, *gid) {
        return complain("setresgid failed", error);
    }
    if let Err(error) = nix::unistd::setresuid(*uid, *uid, *uid) {
        return complain("setresuid failed", error);
    }
    let (users, group_ids) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
    if [users.real, users.effective, users.saved] != [*uid; 3] {
        return complain("the user id did not change", nix::Error::EPERM);
    }
    if [group_ids.real, group_ids.effective, group_ids.saved] != [*gid; 3] {
        return complain("the group id did not change", nix::Error::EPERM);
    }
    Ok(())
}

/// [`become_user`] for a program that is to change its root directory: that one right of root's is
/// left to it. Whatever is executed from here on gains no rights by its file's mode, as a program
/// with root's rights would believe the files below that directory.
fn become_user_who_may_chroot(credentials: &Credentials) -> io::Result<()> {
    let failed = |what, error: rustix::io::Errno| {
        say(what);
        Err(io::Error::from(error))
    };
    if let Err(error) = thread::set_no_new_privs(true) {
        return failed("PR_SET_NO_NEW_PRIVS failed", error);
    }
    // Otherwise changing the user id takes all capabilities away (capabilities(7)).
    if let Err(error) = thread::set_keep_capabilities(true) {
        return failed("PR_SET_KEEPCAPS failed", error);
    }
    become_user(credentials)?;
    let (nothing, chroot) = (CapabilitySet::empty(), CapabilitySet::SYS_CHROOT);
    let sets = CapabilitySets { effective: nothing, permitted: chroot, inheritable: chroot };
    if let Err(error) = thread::set_capabilities(None, sets) {
        return failed("the capabilities other than CAP_SYS_CHROOT cannot be given up", error);
    }
    // Only ambient capabilities outlast the execution of an ordinary file.
    match thread::configure_capability_in_ambient_set(chroot, true) {
        Ok(()) => Ok(()),
        Err(error) => failed("CAP_SYS_CHROOT cannot be kept", error),
    }
}

/// Says on standard error which step failed: `spawn` tells the parent only the error's number.
fn complain(what: &str, error: nix::Error) -> io::Result<()> {
    say(what);
    Err(io::Error::from_raw_os_error(error as i32))
}

/// Writes to the worker's standard error. What cannot be said is lost.
fn say(what: &str) {
    let _ = rustix::io::write(rustix::stdio::stderr(), what.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_becomes_root_this_way() {
        let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
        let root = Credentials { uid, gid, groups: Vec::new(), may_chroot: false };
        let mut command = Command::new("/bin/true");
        let limit = (Resource::Nofile, None);
        let limits = Limits { cpu_priority: 0, resources: [limit; 4] };
        prepare_before_exec(&mut command, Some(root), limits);
        command.stderr(std::process::Stdio::null());
        assert_eq!(command.spawn().unwrap_err().raw_os_error(), Some(libc::EPERM));
    }
}
