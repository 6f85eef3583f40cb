//! What the log says about an exception.

use pyo3::intern;
use pyo3::prelude::*;

use wire::exchange::Level;

use crate::conversation::exchange::{Exchange, Outcome};
use crate::embedded;
use crate::interruption;

/// Formats exceptions, with Python's own means.
#[derive(Debug)]
pub struct Failures {
    lines: Py<PyAny>,
    application_group: String,
}

impl Failures {
    /// Loads what is needed.
    ///
    /// # Errors
    /// Python's.
    pub fn new(py: Python<'_>, application_group: &[u8]) -> PyResult<Self> {
        let module = embedded::FAILURE.load(py)?;
        let lines = module.getattr(intern!(py, "lines"))?.unbind();
        let application_group = String::from_utf8_lossy(application_group).into_owned();
        Ok(Self { lines, application_group })
    }

    /// Logs with a request that `error` came up, and its whole traceback, see
    /// [`Exchange::log_failure`].
    pub fn log(
        &self,
        py: Python<'_>,
        exchange: &Exchange,
        what: &str,
        script: &[u8],
        error: &PyErr,
    ) {
        if interruption::is_timeout(py, error) {
            let text = b"Request interrupted by RequestTimeout; thread recovered.";
            exchange.log_at(py, Level::Info, text, (None, 0));
            return;
        }
        let script = String::from_utf8_lossy(script);
        let class = error.get_type(py);
        let class = class.name().map_or_else(|_| "exception".into(), |name| name.to_string());
        let group = &self.application_group;
        let mut text =
            format!("{what} WSGI script '{script}' (application group '{group}'): {class}\n");
        // A formatter that fails leaves the line above, which says what it was.
        if let Ok(lines) = self.format(py, error) {
            lines.iter().for_each(|line| text.extend([line, "\n"]));
        }
        exchange.log_failure(py, text.as_bytes());
    }

    /// What becomes of a request that `error` ended.
    pub fn outcome(py: Python<'_>, error: &PyErr) -> Outcome {
        Outcome::Failed(if interruption::is_timeout(py, error) { 504 } else { 500 })
    }

    fn format(&self, py: Python<'_>, error: &PyErr) -> PyResult<Vec<String>> {
        let traceback = error.traceback(py);
        self.lines.bind(py).call1((error.value(py), traceback))?.extract()
    }
}
