//! `wsgi.input`.

use std::sync::Arc;

use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PySlice};

use crate::conversation::exchange::Exchange;
use crate::conversation::incoming::{Amount, InputError};
use crate::interruption;

/// Reads the request body. Nothing of it is transferred before it is read.
#[pyclass(module = "mod_wsgi", frozen)]
#[derive(Debug)]
pub struct Input {
    exchange: Arc<Exchange>,
}

impl Input {
    /// The body of a request.
    pub fn new(exchange: Arc<Exchange>) -> Self {
        Self { exchange }
    }

    fn get<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        amount: Amount,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.exchange.read(py, amount).map_err(|error| match error {
            InputError::Over => PyRuntimeError::new_err(format!(
                "{method}() called on wsgi.input after request completed"
            )),
            InputError::Interrupted => interruption::pending(py),
            InputError::NoMemory => PyMemoryError::new_err(()),
            error => PyOSError::new_err(format!("mod_wsgi request data read error: {error}")),
        })
    }

    fn line<'py>(&self, py: Python<'py>, method: &str) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.get(py, method, Amount::Line)?;
        Ok((!line.as_bytes().is_empty()).then_some(line))
    }
}

#[pymethods]
impl Input {
    #[pyo3(signature = (size = -1, /))]
    fn read<'py>(&self, py: Python<'py>, size: isize) -> PyResult<Bound<'py, PyBytes>> {
        let amount = usize::try_from(size).map_or(Amount::All, Amount::Bytes);
        self.get(py, "read", amount)
    }

    #[pyo3(signature = (size = -1, /))]
    fn readline<'py>(&self, py: Python<'py>, size: isize) -> PyResult<Bound<'py, PyBytes>> {
        let amount = usize::try_from(size).map_or(Amount::Line, Amount::LineWithin);
        self.get(py, "readline", amount)
    }

    #[pyo3(signature = (hint = 0, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: isize) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(py);
        let mut total = 0;
        while let Some(line) = self.line(py, "readlines")? {
            total += line.as_bytes().len();
            lines.append(line)?;
            if usize::try_from(hint).is_ok_and(|hint| hint > 0 && total >= hint) {
                break;
            }
        }
        Ok(lines)
    }

    #[pyo3(signature = (buffer, /))]
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let view = PyMemoryView::from(buffer)?.call_method1("cast", ("B",))?;
        let data = self.get(py, "readinto", Amount::Bytes(view.len()?))?;
        let len = data.as_bytes().len();
        view.set_item(PySlice::new(py, 0, len.cast_signed(), 1), data)?;
        Ok(len)
    }

    /// Does nothing: the stream ends with its request.
    fn close(&self) {}

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.line(py, "next")
    }
}
