//! The entry for a program that has loaded this library and a libpython, but has no Python running.

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{FromRawFd, OwnedFd};

use crate::_mod_wsgi_worker;

/// Becomes a worker, if `version` is [`wire::VERSION`], which keeps its place here in all versions: takes up the conversation with the supervisor, confines the process to the
/// directory `root` (none if negative), and runs Python with `argc` arguments in `argv`.
///
/// # Safety
/// To be called once, by the only thread. `argv` must be as C has it, and `root` a descriptor that
/// nothing else owns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wsgi_worker_main(
    version: c_int,
    root: c_int,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let ours = c_int::from(wire::VERSION);
    if version != ours {
        eprintln!(
            "wsgi-worker speaks version {version} of the protocol and its wsgi_worker.TAG.so version {ours}; \
             install both from the same build"
        );
        return 1;
    }
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
