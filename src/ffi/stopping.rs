//! Whether this child of httpd ends without waiting for its requests, for threads that wait.
//!
//! httpd's own threads are woken by its closing their sockets; nobody does that with ours, and a
//! thread that waited on would keep the child from exiting until it is killed.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use super::bindings as c;
use super::boundary::guard;

static STOPPING: AtomicBool = AtomicBool::new(false);

/// Becomes readable, for good, when the child is stopping. Made by the first thread that waits.
static WAKE: OnceLock<Option<OwnedFd>> = OnceLock::new();

/// Tells httpd whom to call.
pub(super) fn register() {
    // SAFETY: a function of this file with the hook's signature, mapped as long as httpd knows it.
    unsafe { c::mwrs_hook_child_stopping(Some(child_stopping)) };
}

/// What becomes readable when the child is stopping.
pub fn descriptor() -> Option<BorrowedFd<'static>> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    WAKE.get_or_init(|| eventfd(0, flags).ok()).as_ref().map(AsFd::as_fd)
}

/// Whether the child is stopping.
pub fn is_stopping() -> bool {
    STOPPING.load(Ordering::SeqCst)
}

/// Also called from signal handlers: only what those may do (signal-safety(7)).
fn stop() {
    STOPPING.store(true, Ordering::SeqCst);
    // A thread that makes it from now on looks at the flag before it waits.
    if let Some(Some(wake)) = WAKE.get() {
        let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
    }
}

/// The child ends, or begins to.
///
/// # Safety
/// Called by httpd alone, as its hook `child_stopping` (mpm_common.h); with prefork from a signal
/// handler.
unsafe extern "C" fn child_stopping(_: *mut c::apr_pool_t, graceful: c_int) {
    guard((), || if graceful == 0 { stop() } else { hear_the_end_of_patience() });
}

/// A child that lets its requests finish reads nothing from its parent any more, and ignores
/// SIGTERM, by which the parent says that GracefulShutdownTimeout is over (event.c, worker.c).
fn hear_the_end_of_patience() {
    /// # Safety
    /// Called by the kernel alone, as a handler with `SA_SIGINFO`.
    unsafe extern "C" fn hear(_: c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel gives the signal's description.
        let info = unsafe { &*info };
        // SAFETY: a signal that kill(2) sent has a sender.
        let sender = unsafe { info.si_pid() };
        // The child sends itself one to wake its main thread.
        if u32::try_from(sender) != Ok(std::process::id()) {
            stop();
        }
    }
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a struct of integers and pointers, for which zero is valid.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = hear as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: takes the place of a handler that does nothing, in the only threads that get the
    // signal.
    unsafe { libc::sigaction(libc::SIGTERM, action, std::ptr::null_mut()) };
}
