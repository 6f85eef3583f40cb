//! The modules `mod_wsgi` and `apache`, as applications import them.

use std::sync::OnceLock;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyModule};
use wire::control::Settings;
use wire::exchange::Level;
use wire::limits::Cause;

use crate::conversation::exchange::Exchange;
use crate::embedded;
use crate::ffi::latin1;
use crate::forked::has_forked;
use crate::process::control::Reporter;
use crate::process::log::records;
use crate::python::scoreboard::{self, server_metrics};
use crate::wsgi::{COMPATIBLE, FileWrapper, Input};

/// Our own, as `mod_wsgi.mod_wsgi_rs_version`.
const VERSION: (u32, u32, u32) = (
    number(env!("CARGO_PKG_VERSION_MAJOR")),
    number(env!("CARGO_PKG_VERSION_MINOR")),
    number(env!("CARGO_PKG_VERSION_PATCH")),
);

/// Where log lines go that belong to no request and have a level of their own.
static REPORTER: OnceLock<Reporter> = OnceLock::new();

/// What the worker itself needs of the modules.
#[derive(Debug)]
pub struct Modules {
    support: Py<PyModule>,
}

/// Who wants to know about requests.
#[derive(Debug)]
pub struct Subscribers {
    callbacks: Py<PyList>,
    /// Holds one when metrics are recorded.
    recorders: Py<PyList>,
    observation: Py<PyAny>,
}

impl Modules {
    /// Makes the modules, for everybody to import.
    ///
    /// # Errors
    /// Python's.
    pub fn new(py: Python<'_>, settings: &Settings) -> PyResult<Self> {
        embedded::METRICS.load(py)?;
        let support = embedded::MODULE.load(py)?;
        let module = PyModule::new(py, "mod_wsgi")?;
        module.add("version", COMPATIBLE)?;
        module.add("mod_wsgi_rs_version", VERSION)?;
        module.add("process_group", latin1(py, &settings.process_group)?)?;
        module.add("application_group", "")?;
        module.add("maximum_processes", settings.processes)?;
        module.add("threads_per_process", settings.threads)?;
        module.add_class::<FileWrapper>()?;
        module.add_class::<Input>()?;
        if let Some(window) = &settings.scoreboard {
            scoreboard::permit(window);
        }
        let functions = (
            wrap_pyfunction!(active, py)?,
            wrap_pyfunction!(log, py)?,
            wrap_pyfunction!(request_data, py)?,
            wrap_pyfunction!(server_metrics, py)?,
        );
        let records = settings.telemetry.is_none();
        support.call_method1("fill", (&module, functions, records))?;

        let apache = PyModule::new(py, "apache")?;
        let httpd = &settings.httpd;
        apache.add("version", httpd.version)?;
        apache.add("description", latin1(py, &httpd.description)?)?;
        apache.add("build_date", latin1(py, &httpd.build_date)?)?;
        apache.add("mpm_name", latin1(py, &httpd.mpm_name)?)?;
        // The MPM's, also in a group with numbers of its own.
        apache.add("maximum_processes", httpd.maximum_processes)?;
        apache.add("threads_per_process", httpd.threads_per_process)?;
        let modules = py.import("sys")?.getattr("modules")?;
        modules.set_item("mod_wsgi", module)?;
        modules.set_item("apache", apache)?;
        Ok(Self { support: support.unbind() })
    }

    /// Keeps applications from registering signal handlers.
    ///
    /// # Errors
    /// Python's.
    pub fn restrict_signals(&self, py: Python<'_>) -> PyResult<()> {
        self.support.bind(py).call_method0("restrict_signals").map(drop)
    }

    /// Finds an installed package named `mod_wsgi`, now that `sys.path` is complete.
    ///
    /// # Errors
    /// Python's.
    pub fn graft(&self, py: Python<'_>) -> PyResult<()> {
        self.support.bind(py).call_method0("graft").map(drop)
    }

    /// Tells subscribers that the process ends.
    ///
    /// # Errors
    /// Python's.
    pub fn stopping(&self, py: Python<'_>, cause: Cause) -> PyResult<()> {
        self.support.bind(py).call_method1("stopping", (cause.shutdown_reason(),)).map(drop)
    }
}

impl Subscribers {
    /// Finds the list of them.
    ///
    /// # Errors
    /// Python's.
    pub fn new(py: Python<'_>) -> PyResult<Self> {
        let support = py.import("_mod_wsgi_module")?;
        Ok(Self {
            callbacks: support.getattr("event_callbacks")?.cast_into()?.unbind(),
            recorders: support.getattr("recorders")?.cast_into()?.unbind(),
            observation: support.getattr("Observation")?.unbind(),
        })
    }

    /// Whether there are any.
    pub fn exist(&self, py: Python<'_>) -> bool {
        !self.callbacks.bind(py).is_empty() || !self.recorders.bind(py).is_empty()
    }

    /// Tells them that a request begins, if there are any. `tries` is how often workers were asked
    /// to run it, and how often they did not begin.
    ///
    /// # Errors
    /// Python's.
    pub fn observe<'py>(
        &self,
        environ: &Bound<'py, PyDict>,
        application: &Bound<'py, PyAny>,
        tries: (u32, u32),
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = environ.py();
        if !self.exist(py) {
            return Ok(None);
        }
        self.observation.bind(py).call1((environ, application, tries)).map(Some)
    }
}

/// Lets log lines that belong to no request go this way.
pub fn report_to(reporter: &Reporter) {
    let _ = REPORTER.set(reporter.clone());
}

/// A dictionary that lives as long as this thread's request.
#[pyfunction]
fn request_data(py: Python<'_>) -> PyResult<Py<PyDict>> {
    match Exchange::current().filter(|_| !has_forked()) {
        Some(exchange) => Ok(exchange.data(py)),
        None => Err(PyRuntimeError::new_err("no active request for thread")),
    }
}

/// The dictionaries of all running requests, by request id.
#[pyfunction]
fn active(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let requests = PyDict::new(py);
    for exchange in Exchange::all_active(py) {
        if let Some(id) = exchange.request_id() {
            requests.set_item(latin1(py, id)?, exchange.data(py))?;
        }
    }
    Ok(requests)
}

/// Logs text at one of httpd's levels, with the request that this thread runs, if any.
#[pyfunction]
#[pyo3(signature = (level, text, path, line, name = "", logger = ""))]
fn log(
    py: Python<'_>,
    level: u8,
    text: &str,
    path: Option<&str>,
    line: u32,
    name: &str,
    logger: &str,
) {
    let level = Level::from_number(level);
    let exchange = Exchange::current().filter(|_| !has_forked());
    if let Some(reporter) = records() {
        let of = (name, logger);
        let taken =
            exchange.is_some_and(|exchange| exchange.log_record(py, level, of, text.as_bytes()));
        if !taken {
            py.detach(|| reporter.record(level, of, String::new(), text));
        }
        return;
    }
    let taken =
        exchange.is_some_and(|exchange| exchange.log_at(py, level, text.as_bytes(), (path, line)));
    if !taken && let Some(reporter) = REPORTER.get() {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        py.detach(|| lines.into_iter().for_each(|line| reporter.log(level, line)));
    }
}

/// Numbers from the environment of the build, which are strings.
const fn number(text: &str) -> u32 {
    let digits = text.as_bytes();
    let (mut number, mut at) = (0, 0);
    while at < digits.len() {
        number = number * 10 + (digits[at] - b'0') as u32;
        at += 1;
    }
    number
}
