//! A service (`threads=0`): its scripts are all that it does, one after the other, on the main
//! thread. It takes no requests.

use std::io;

use pyo3::prelude::*;
use rustix::process::{Signal, getpid, kill_process};
use wire::control::{FromWorker, ToWorker};

use crate::process::control::{Control, Event, Reporter};
use crate::process::threads;
use crate::python::context::Context;
use crate::python::interpreter::Interpreter;

/// Runs the scripts to their end. SIGTERM, and whatever else means that the service shall end, is
/// raised in them as `SystemExit`, unless they have a handler of their own for it.
///
/// # Errors
/// The system's, or Python's.
pub fn run(
    control: Control,
    reporter: &Reporter,
    interpreter: &Interpreter,
    context: &Context,
    scripts: &[Vec<u8>],
) -> Result<(), Box<dyn std::error::Error>> {
    Python::attach(|py| interpreter.take_signals(py))?;
    listen(control)?;
    reporter.send(&FromWorker::Serving);
    Python::attach(|py| scripts.iter().for_each(|script| context.run_service(py, script)));
    Ok(())
}

/// Turns orders into the signal that scripts know.
fn listen(mut control: Control) -> io::Result<()> {
    let listen = move || loop {
        match control.next(None) {
            Ok(Event::Order(ToWorker::Drain { .. }, _) | Event::Signal(_)) => end_script(),
            Ok(Event::Order(..) | Event::Nothing) => {}
            // Without a supervisor nobody would ever end it.
            Ok(Event::Orphaned) | Err(_) => return end_script(),
        }
    };
    threads::start("wsgi-control", None, listen).map(drop)
}

fn end_script() {
    // Fails for processes that are gone.
    let _ = kill_process(getpid(), Signal::TERM);
}
