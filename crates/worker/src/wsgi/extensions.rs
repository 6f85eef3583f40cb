//! What environ offers beyond PEP 3333: `wsgi.early_hints` and `mod_wsgi.client_disconnected`.

use std::sync::Arc;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::head::{check_header, check_length};
use super::start_response::{pair, to_exception, type_name};
use crate::conversation::exchange::Exchange;

/// The callables of one request.
#[pyclass(module = "mod_wsgi", frozen)]
#[derive(Debug)]
pub struct Extensions {
    exchange: Arc<Exchange>,
}

impl Extensions {
    /// Puts the callables into a request's environ.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn add_to(environ: &Bound<'_, PyDict>, exchange: &Arc<Exchange>) -> PyResult<()> {
        let py = environ.py();
        let extensions = Bound::new(py, Self { exchange: Arc::clone(exchange) })?;
        let disconnected = extensions.getattr(intern!(py, "client_disconnected"))?;
        environ.set_item(intern!(py, "mod_wsgi.client_disconnected"), disconnected)?;
        let early_hints = extensions.getattr(intern!(py, "early_hints"))?;
        environ.set_item(intern!(py, "wsgi.early_hints"), early_hints)
    }
}

#[pymethods]
impl Extensions {
    /// Says whether the client has gone away. A client that has only closed its own direction, and
    /// still reads, looks the same.
    fn client_disconnected(&self) -> bool {
        self.exchange.client_has_hung_up()
    }

    /// Sends an interim response (103) with these headers, where the protocol allows it.
    #[pyo3(signature = (headers, /))]
    fn early_hints(&self, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = headers.py();
        let list = headers.cast::<PyList>().map_err(|_| {
            let given = type_name(headers);
            PyTypeError::new_err(format!("early_hints() argument 1 must be list, not {given}"))
        })?;
        let headers = list.iter().map(|header| pair(&header)).collect::<PyResult<Vec<_>>>()?;
        let checked = headers.iter().try_for_each(|(name, value)| check_header(name, value));
        checked
            .and_then(|()| check_length(b"", &headers))
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        if self.exchange.is_committed(py) {
            return Err(PyRuntimeError::new_err("early_hints() called after the response began"));
        }
        let sent = self.exchange.hint(py, &headers);
        sent.map_err(|error| to_exception(error, "early_hints() called after request completed"))
    }
}
