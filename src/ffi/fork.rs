//! A copy of httpd's parent that is not httpd: it has let go of all that is httpd's before it does
//! anything.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Signals that httpd's process group gets at restarts (mpm_event, mpm_worker, mpm_prefork), and
/// that concern its children alone.
const NOT_OURS: [c_int; 5] =
    [libc::SIGHUP, libc::SIGUSR1, libc::SIGINT, libc::SIGWINCH, libc::SIGPIPE];

/// Forks a process that runs `body`, with no descriptor open but these, and then ends without a look
/// back at httpd. Returns its process id. To be called in httpd's parent, which has one thread.
///
/// # Errors
/// `fork(2)`'s.
pub fn fork(keep: &[BorrowedFd<'_>], body: impl FnOnce()) -> io::Result<u32> {
    // SAFETY: httpd's parent has no other thread that could hold a lock which `body` needs.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let keep: Vec<_> = keep.iter().map(AsRawFd::as_raw_fd).collect();
            // A panic must not lead back into httpd's code, of which this is a second copy.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                leave_httpd(&keep);
                body();
            }));
            // SAFETY: `_exit(2)` has no preconditions, and runs none of httpd's exit handlers.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(pid.cast_unsigned()),
    }
}

/// Lets go of all that a copy of httpd's parent has of it: the ports first of all.
fn leave_httpd(keep: &[RawFd]) {
    for signal in NOT_OURS {
        // SAFETY: a signal's number, and one of the system's two handlers.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    for signal in [libc::SIGTERM, libc::SIGCHLD] {
        // SAFETY: as above.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: a C string.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    for standard in 0..3 {
        // SAFETY: descriptors of this process, whose standard streams nobody uses.
        unsafe { libc::dup2(null, standard) };
    }
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<RawFd> =
        open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|open| *open > 2 && !keep.contains(open)) {
        // SAFETY: nothing in this process uses it from here on: `body` has those that it keeps.
        unsafe { libc::close(descriptor) };
    }
    // Last: what has this name has let go of everything.
    // SAFETY: a C string of 15 characters, the most that the system keeps.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"wsgi-scoreboard".as_ptr()) };
}
