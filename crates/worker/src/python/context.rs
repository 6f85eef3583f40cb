//! What the threads of a worker share of Python: scripts, and what loading and running them needs.

use std::sync::Arc;

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use wire::control;

use crate::conversation::exchange::Exchange;
use crate::lines::Source;
use crate::monitor::{Application, Monitor};
use crate::process::control::Reporter;
use crate::python::lacking::Lacking;
use crate::python::module::Subscribers;
use crate::python::peers::Peers;
use crate::python::script::{ScriptError, Scripts};
use crate::telemetry::Telemetry;
use crate::wsgi::Errors;
use crate::wsgi::failure::Failures;

/// What the threads share of Python.
#[derive(Debug)]
pub struct Context {
    /// The application group's scripts.
    pub scripts: Scripts,
    /// How exceptions get into the log.
    pub failures: Failures,
    /// Where metrics go, if anywhere.
    pub telemetry: Option<Arc<Telemetry>>,
    /// Who wants to know about requests.
    pub subscribers: Subscribers,
    /// Where `reload=keep`: the other workers of the set.
    pub peers: Option<Arc<Peers>>,
    /// Scripts that should have been loaded before any request, and could not be.
    pub lacking: Lacking,
}

impl Context {
    /// Compiles and imports what every request needs.
    ///
    /// # Errors
    /// Python's.
    pub fn new(
        py: Python<'_>,
        application_group: &[u8],
        python: &control::Python,
        peers: Option<Arc<Peers>>,
        has_others: bool,
        reporter: Reporter,
    ) -> PyResult<Self> {
        let herald = (has_others || peers.is_some()).then(|| reporter.clone());
        // The scripts' module imports the failures' one.
        let failures = Failures::new(py, application_group)?;
        let scripts = Scripts::new(py, python.case_insensitive, peers.clone(), herald)?;
        Errors::register(py)?;
        let subscribers = Subscribers::new(py)?;
        Ok(Self {
            scripts,
            failures,
            telemetry: None,
            subscribers,
            peers,
            lacking: Lacking::new(reporter),
        })
    }

    /// Loads a script before any request asks for it. What is wrong with it goes to the log, and
    /// again to that of the first request.
    pub fn preload(&self, py: Python<'_>, monitor: &Monitor, script: &[u8]) {
        let Err(problem) = self.scripts.load(py, script, None) else {
            return monitor.note_loaded();
        };
        self.lacking.add(py, script);
        match problem {
            ScriptError::Script(lines) => monitor.note_unloaded(lines.join("\n")),
            ScriptError::Python(error) => error.print(py),
            ScriptError::Elsewhere => unreachable!("a worker that does not serve asks nobody"),
        }
    }

    /// Runs the script of a service until it ends.
    pub fn run_service(&self, py: Python<'_>, script: &[u8]) {
        match self.scripts.run_service(py, script) {
            Ok(lines) => lines.iter().for_each(|line| eprintln!("{line}")),
            // Told to end before it could begin.
            Err(error) if error.is_instance_of::<PySystemExit>(py) => {}
            Err(error) => error.print(py),
        }
    }

    /// Says with a request that its script cannot be had.
    pub fn log_script_error(
        &self,
        py: Python<'_>,
        exchange: &Exchange,
        script: &[u8],
        error: &ScriptError,
    ) {
        match error {
            ScriptError::Script(lines) => {
                exchange.log(py, Source::Errors, (lines.join("\n") + "\n").as_bytes());
            }
            ScriptError::Python(error) => {
                self.failures.log(py, exchange, "cannot load", script, error);
            }
            ScriptError::Elsewhere => {}
        }
    }

    /// Whether a script wants to be loaded again, see [`Scripts::wants_reload`].
    pub fn wants_reload<'py>(
        &self,
        globals: &Bound<'py, PyDict>,
        exchange: &Exchange,
        script: &[u8],
        resource: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> bool {
        self.scripts.wants_reload(globals, resource).unwrap_or_else(|error| {
            let what = "reload_required() failed in";
            self.failures.log(globals.py(), exchange, what, script, &error);
            exchange.flush(globals.py());
            false
        })
    }
}

impl Application for Arc<Context> {
    fn scripts(&self) -> Vec<Vec<u8>> {
        self.scripts.paths()
    }

    fn aborting(&self) {
        self.telemetry.iter().for_each(|telemetry| telemetry.stopped());
    }
}
