//! `wsgi.errors`.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use super::LogStream;

use crate::conversation::exchange::Exchange;

/// Stands for a text stream of Python's own, which costs several times what the rest of the environ
/// does and which few requests use: it is made when somebody first does. As with such a stream,
/// anybody may set further attributes.
#[pyclass(module = "mod_wsgi", frozen, weakref, dict)]
pub struct Errors {
    exchange: Arc<Exchange>,
    stream: PyOnceLock<Py<PyAny>>,
}

impl Errors {
    /// Puts it into a request's environ.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn add_to(environ: &Bound<'_, PyDict>, exchange: &Arc<Exchange>) -> PyResult<()> {
        let errors = Self { exchange: Arc::clone(exchange), stream: PyOnceLock::new() };
        let py = environ.py();
        let errors = Bound::new(py, errors)?;
        environ.set_item(intern!(py, "wsgi.errors"), errors)
    }

    /// Has `isinstance(errors, io.TextIOBase)` say what it says of the stream itself.
    ///
    /// # Errors
    /// Python's.
    pub fn register(py: Python<'_>) -> PyResult<()> {
        let base = py.import("io")?.getattr("TextIOBase")?;
        base.call_method1("register", (py.get_type::<Self>(),)).map(drop)
    }

    fn stream<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        static TEXT_STREAM: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let make = || {
            let raw = Bound::new(py, LogStream::of_request(Arc::clone(&self.exchange)))?;
            let (encoding, errors) = (intern!(py, "utf-8"), intern!(py, "replace"));
            // Buffered by lines, and written through at once.
            let newline: Option<&Bound<'_, PyString>> = None;
            let arguments = (raw, encoding, errors, newline, true, true);
            let stream = TEXT_STREAM.import(py, "io", "TextIOWrapper")?.call1(arguments)?;
            PyResult::Ok(stream.unbind())
        };
        Ok(self.stream.get_or_try_init(py, make)?.bind(py))
    }
}

#[pymethods]
impl Errors {
    #[pyo3(signature = (text, /))]
    fn write<'py>(&self, text: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = text.py();
        self.stream(py)?.call_method1(intern!(py, "write"), (text,))
    }

    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        // What has never been made holds nothing.
        let Some(stream) = self.stream.get(py) else { return Ok(()) };
        stream.call_method0(py, intern!(py, "flush")).map(drop)
    }

    /// Everything else that the stream can do.
    fn __getattr__<'py>(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        self.stream(name.py())?.getattr(name)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.stream(py)?.call_method0(intern!(py, "__iter__"))
    }

    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let stream = slf.get().stream(slf.py())?;
        stream.call_method0(intern!(slf.py(), "__enter__"))?;
        Ok(slf)
    }

    #[pyo3(signature = (*exception))]
    fn __exit__(&self, exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        let py = exception.py();
        self.stream(py)?.call_method1(intern!(py, "__exit__"), exception).map(drop)
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.stream(py)?.repr()
    }
}
