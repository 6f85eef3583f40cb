//! Wakes httpd's parent from its sleep, in which it would leave requests without a child after a
//! graceful restart.
//!
//! Children of the generation before close their ports at once, and those of the next are started in
//! their places as they exit; if none has exited when the parent looks, it sleeps for a second first
//! (`ap_wait_or_timeout`), and nobody accepts a connection meanwhile. A signal ends that sleep, and
//! then all children are started (`server_main_loop` of the MPMs).

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::bindings as c;
use super::boundary::guard;
use super::module::Module;

/// The signal: also that of a child that has exited.
const SIGNAL: c_int = libc::SIGCHLD;

/// From the end of our part of the configuration to the first signal, and from one to the next. The
/// parent falls asleep somewhere between them.
const INTERVAL: Duration = Duration::from_millis(25);

/// How many signals there are.
const TIMES: usize = 3;

/// How many are still to come.
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// The parent's timer, plus one; 0: there is none yet. A child's copy means nothing to the kernel.
static TIMER: AtomicUsize = AtomicUsize::new(0);

/// Tells httpd whom to call.
pub(super) fn register<M: Module>() {
    let none = std::ptr::null();
    // SAFETY: a function of this file with the hook's signature, mapped as long as httpd knows it.
    unsafe {
        c::ap_hook_child_init(Some(child_init::<M>), none, none, c::APR_HOOK_MIDDLE as c_int)
    };
}

/// To be called in httpd's parent, when it is about to go on after a graceful restart.
pub fn wake_soon() {
    if !is_heard() {
        return;
    }
    let timer = match TIMER.load(Ordering::SeqCst) {
        0 => make_timer().unwrap_or(0),
        timer => timer,
    };
    TIMER.store(timer, Ordering::SeqCst);
    LEFT.store(TIMES, Ordering::SeqCst);
    set(timer, INTERVAL);
}

/// Whether the signal has a handler, so that it wakes. httpd has none, and another module's will do.
fn is_heard() -> bool {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks; the struct is filled in.
    unsafe { libc::sigaction(SIGNAL, std::ptr::null(), before.as_mut_ptr()) };
    // SAFETY: a struct of integers and pointers, for which zero is valid.
    let before = unsafe { before.assume_init() };
    match before.sa_sigaction {
        libc::SIG_DFL => handle(heard as *const () as usize) == 0,
        libc::SIG_IGN => false,
        _ => true,
    }
}

/// In a new child of httpd, which has the parent's handler and its conversation with the supervisor,
/// and no use for them.
///
/// # Safety
/// Called by httpd alone, as its hook `child_init` (http_config.h).
unsafe extern "C" fn child_init<M: Module>(_: *mut c::apr_pool_t, _: *mut c::server_rec) {
    guard((), || {
        if TIMER.load(Ordering::SeqCst) != 0 {
            handle(libc::SIG_DFL);
        }
        M::enter_child();
    });
}

fn handle(handler: libc::sighandler_t) -> c_int {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a struct of integers and pointers, for which zero is valid.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = handler;
    // Sleeps end all the same (signal(7)), and nothing else does.
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the default, or a function of this library, which stays mapped.
    unsafe { libc::sigaction(SIGNAL, action, std::ptr::null_mut()) }
}

/// # Safety
/// Called by the kernel alone, as a signal's handler.
unsafe extern "C" fn heard(_: c_int) {
    guard((), || {
        let left =
            LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left == Ok(1) {
            set(TIMER.load(Ordering::SeqCst), Duration::ZERO);
        }
    });
}

fn make_timer() -> Option<usize> {
    let mut event = MaybeUninit::<libc::sigevent>::zeroed();
    // SAFETY: a struct of integers and pointers, for which zero is valid.
    let event = unsafe { event.assume_init_mut() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = SIGNAL;
    let mut timer = std::ptr::null_mut();
    // SAFETY: both structs outlive the call.
    let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, event, &raw mut timer) };
    (made == 0).then_some(timer as usize + 1)
}

/// Lets the timer send a signal after each `interval`, or none any more. Also called from a handler
/// (signal-safety(7) allows it).
fn set(timer: usize, interval: Duration) {
    let time = libc::timespec {
        tv_sec: interval.as_secs().cast_signed(),
        tv_nsec: interval.subsec_nanos().into(),
    };
    let times = libc::itimerspec { it_interval: time, it_value: time };
    let timer = timer.wrapping_sub(1) as libc::timer_t;
    // SAFETY: a timer of this process, or a number that the kernel refuses; the struct is only read.
    unsafe { libc::timer_settime(timer, 0, &raw const times, std::ptr::null_mut()) };
}
