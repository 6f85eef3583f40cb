//! `mod_wsgi.RequestTimeout`, which Python raises in a thread whose request runs for too long.

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;

/// The class.
///
/// # Errors
/// Python's, when an application has removed it.
pub fn class(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import(intern!(py, "_mod_wsgi_module"))?.getattr(intern!(py, "RequestTimeout"))
}

/// Whether that is what an exception is.
pub fn is_timeout(py: Python<'_>, error: &PyErr) -> bool {
    class(py).is_ok_and(|class| error.is_instance(py, &class))
}

/// What Python is about to raise in this thread, whose wait has ended for it.
pub fn pending(py: Python<'_>) -> PyErr {
    // It is raised when Python code runs, such as this.
    match py.run(c"pass", None, None) {
        Err(error) => error,
        // A thread of the application's own has waited in the place of the request's.
        Ok(()) => PyOSError::new_err("the request has been interrupted by mod_wsgi.RequestTimeout"),
    }
}
