//! Loads libpython and the worker into this process, and calls the worker.

use std::ffi::{CString, c_char, c_int};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// `wsgi_worker_main` of the worker (`crates/worker-extension`).
type Main = unsafe extern "C" fn(
    version: c_int,
    root: c_int,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int;

/// Runs the worker with these arguments for Python. `root`: a descriptor, or negative.
///
/// # Errors
/// What the loader says, with the file's name.
pub fn run(
    libpython: &str,
    worker: &str,
    root: c_int,
    arguments: &[CString],
) -> Result<c_int, libloading::Error> {
    // With its symbols for all: the worker and extension modules are linked to no libpython.
    // SAFETY: the system's library, whose initialisers run in any program that is linked to it.
    let python = unsafe { Library::open(Some(libpython), RTLD_NOW | RTLD_GLOBAL) }?;
    // SAFETY: ours, whose initialisers do nothing.
    let library = unsafe { Library::open(Some(worker), RTLD_NOW) }?;
    // SAFETY: the function has this shape in the version that it is told; in others it looks at no more
    // than that, see there.
    let main = unsafe { library.get::<Main>(c"wsgi_worker_main") }?;
    let pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    let count = c_int::try_from(pointers.len()).expect("a few arguments");
    // SAFETY: this is the only thread, the strings live until the end, and `root` is a number that
    // nothing here uses.
    let status = unsafe { main(wire::VERSION.into(), root, count, pointers.as_ptr()) };
    // Threads may still run code of theirs.
    std::mem::forget((library, python));
    Ok(status)
}
