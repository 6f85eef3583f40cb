//! What the system-call libraries leave unsafe: the only unsafe code of the supervisor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// Status of a copy of this process that has executed nothing.
const NOT_EXECUTED: i32 = 1;

/// Closes every descriptor but 0, 1 and 2, whoever opened it.
///
/// Only for the very start of the program: it would pull descriptors away from under their owners.
///
/// # Errors
/// When neither the system call nor `/proc` is there.
pub fn close_inherited_descriptors() -> io::Result<()> {
    close_from(3)
}

/// Closes every descriptor from `first` up.
fn close_from(first: RawFd) -> io::Result<()> {
    let (from, last, flags) = (first.cast_unsigned(), libc::c_uint::MAX, 0);
    // Not the C library's function: glibc before 2.34 has none, and the program would not start there.
    // SAFETY: callers see to it that no descriptor from there up is used in this process any more
    // (rule of `close_range(2)`: any range may be given).
    if unsafe { libc::syscall(libc::SYS_close_range, from, last, flags) } == 0 {
        return Ok(());
    }
    // Linux before 5.9. The names are collected first: reading them has a descriptor of its own,
    // whose close then does nothing.
    let names: Vec<_> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<libc::c_int>().ok())
        .collect();
    for descriptor in names.into_iter().filter(|descriptor| *descriptor >= first) {
        // SAFETY: as for the system call above.
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

/// Gives SIGPIPE its default effect, for a process that is about to execute another program.
pub fn reset_broken_pipe() {
    // SAFETY: `SIG_DFL` is no function that could be called at a bad time.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Runs `child` in a copy of this process, where it is to execute another program; the copy ends
/// with status 1 when it returns. Returns the copy's process id.
///
/// # Errors
/// The system's.
///
/// # Panics
/// When this process has other threads: the copy could not rely on what they had locked.
pub fn fork(child: impl FnOnce()) -> io::Result<u32> {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    assert!(!matches!(threads, Ok(2..)), "the supervisor has one thread");
    // SAFETY: the line above shows that there is no other thread, so that the copy finds no lock
    // held and no structure half changed (rule of `fork(2)` for programs with threads).
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            child();
            // SAFETY: `_exit(2)` has no preconditions.
            unsafe { libc::_exit(NOT_EXECUTED) }
        }
        pid => Ok(pid.cast_unsigned()),
    }
}

/// Whether a program that is executed has a descriptor, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inherit {
    /// It has.
    Yes,
    /// It does not (`O_CLOEXEC`).
    No,
}

/// Makes `wanted` the descriptors from 0 up, and closes all others.
///
/// Only for a copy of this process that executes another program: whatever owned a descriptor must
/// not be used any more.
///
/// # Errors
/// The system's.
pub fn arrange_descriptors(wanted: &[(&OwnedFd, Inherit)]) -> io::Result<()> {
    let count = RawFd::try_from(wanted.len()).map_err(io::Error::other)?;
    // Out of the way first: one may have the number that another one gets.
    let moved = wanted.iter().map(|(descriptor, inherit)| {
        Ok((rustix::io::fcntl_dupfd_cloexec(descriptor.as_fd(), count)?, *inherit))
    });
    let moved = moved.collect::<io::Result<Vec<(OwnedFd, Inherit)>>>()?;
    for (number, (descriptor, inherit)) in (0..count).zip(&moved) {
        let flags = if *inherit == Inherit::Yes { 0 } else { libc::O_CLOEXEC };
        // SAFETY: what has that number belongs to a part of the program that will not run again in
        // this process, by the rule above.
        if unsafe { libc::dup3(descriptor.as_raw_fd(), number, flags) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    // They are about to be closed, with all the rest.
    std::mem::forget(moved);
    close_from(count)
}
