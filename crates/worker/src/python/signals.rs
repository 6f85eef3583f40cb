//! SIGHUP and SIGUSR2: they mean nothing to a worker, and are told to the application's subscribers.

use std::io;

use pyo3::prelude::*;
use signal_hook::consts::{SIGHUP, SIGUSR2};
use signal_hook::iterator::Signals as Iterator;
use signal_hook::low_level::signal_name;

use crate::process::threads;

/// The signals, from when they were caught.
#[derive(Debug)]
pub struct Signals(Iterator);

impl Signals {
    /// Keeps the signals from ending the process. Those that come are kept until
    /// [`Self::dispatch`].
    ///
    /// # Errors
    /// The system's error.
    pub fn catch() -> io::Result<Self> {
        Iterator::new([SIGHUP, SIGUSR2]).map(Self)
    }

    /// Tells the subscribers of each, in a thread of its own: they may take their time.
    ///
    /// # Errors
    /// The system's error.
    pub fn dispatch(mut self) -> io::Result<()> {
        let tell = move || {
            for number in self.0.forever() {
                let name = signal_name(number).unwrap_or_default();
                Python::attach(|py| {
                    let told = py
                        .import("_mod_wsgi_module")
                        .and_then(|module| module.call_method1("signalled", (name, number)));
                    if let Err(error) = told {
                        error.print(py);
                    }
                });
            }
        };
        threads::start("wsgi-signals", None, tell).map(drop)
    }
}
