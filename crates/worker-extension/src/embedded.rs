//! The entry for a program that has loaded this library and a libpython, but has no Python running.

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{FromRawFd, OwnedFd};

use crate::_mod_wsgi_worker;

/// Becomes a worker: takes up the conversation with the supervisor, confines the process to the
/// directory `root` (none if negative), and runs Python with `argc` arguments in `argv`.
///
/// # Safety
/// To be called once, by the only thread. `argv` must be as C has it, and `root` a descriptor that
/// nothing else owns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wsgi_worker_main(
    root: c_int,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    let root = (root >= 0).then(|| unsafe { OwnedFd::from_raw_fd(root) });
    let count = usize::try_from(argc).unwrap_or(0);
    // SAFETY: the caller's promise.
    let arguments = unsafe { std::slice::from_raw_parts(argv, count) };
    let copy = |argument: &*const c_char| {
        // SAFETY: the caller's promise: each is a C string.
        let argument = unsafe { CStr::from_ptr(*argument) };
        argument.to_owned()
    };
    let arguments: Vec<CString> = arguments.iter().map(copy).collect();
    if let Err(problem) = worker::prepare(root) {
        eprintln!("wsgi-worker: {problem}");
        return 1;
    }
    // Python finds the worker in itself: with a `chroot=`, its file is outside.
    pyo3::append_to_inittab!(_mod_wsgi_worker);
    worker::ffi::run_python(&arguments)
}
