//! `wsgi-worker LIBPYTHON WORKER ROOT PYTHON-ARGUMENTS…`: a worker where no interpreter can be
//! executed, as its environment has none, or lies in a `chroot=` that this process has yet to enter.
//!
//! `WORKER` is a descriptor of the worker's extension module, `ROOT` one of the directory to be
//! confined to, or `-`.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "libraries are loaded, and a function in one of them is called")]
mod load;

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let mut number = || arguments.next()?.into_string().ok();
    let (Some(libpython), Some(worker), Some(root)) = (number(), number(), number()) else {
        eprintln!(
            "wsgi-worker is started by wsgi-supervisor (version {})",
            env!("CARGO_PKG_VERSION")
        );
        return ExitCode::FAILURE;
    };
    let c_string = |argument: OsString| CString::new(argument.into_vec());
    let arguments = arguments.map(c_string).collect::<Result<Vec<_>, _>>();
    let arguments = arguments.expect("arguments of a process have no NUL");
    let worker = format!("/proc/self/fd/{worker}");
    match load::run(&libpython, &worker, root.parse().unwrap_or(-1), &arguments) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            eprintln!("wsgi-worker: {error}");
            ExitCode::FAILURE
        }
    }
}
