//! `start_response`, and the `write` callable that it returns.

use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTraceback, PyTuple, PyType};

use super::head::quoted;
use super::response::note_surplus;
use crate::conversation::exchange::{Exchange, Urgency};
use crate::conversation::reply::Head;
use crate::conversation::reply::ReplyError;
use crate::interruption;

/// The `start_response` of one request.
#[pyclass(module = "mod_wsgi", frozen)]
#[derive(Debug)]
pub struct StartResponse {
    exchange: Arc<Exchange>,
    /// Who tells subscribers of it.
    observation: Option<Py<PyAny>>,
}

impl StartResponse {
    /// For one request.
    pub fn new(exchange: Arc<Exchange>, observation: Option<Py<PyAny>>) -> Self {
        Self { exchange, observation }
    }
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, headers, exc_info = None, /))]
    fn __call__<'py>(
        this: &Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let exchange = &this.get().exchange;
        if exchange.is_over(py) {
            return Err(PyRuntimeError::new_err("start_response() called after request completed"));
        }
        if let Some(observation) = &this.get().observation {
            let observation = observation.bind(py);
            let event = (status, headers, exc_info);
            observation.call_method1(intern!(py, "response_started"), event)?;
        }
        let headers = headers.cast::<PyList>().map_err(|_| {
            let given = type_name(headers);
            PyTypeError::new_err(format!("start_response() argument 2 must be list, not {given}"))
        })?;
        let exc_info = exc_info.map(exception).transpose()?;
        match exc_info {
            Some(error) if exchange.is_committed(py) => return Err(error),
            // PEP 3333: a fatal error, even if nothing has been sent.
            None if exchange.status(py).is_some() => {
                let text = "start_response() called more than once without exc_info";
                return Err(PyRuntimeError::new_err(text));
            }
            Some(_) | None => {}
        }
        let status = latin1_bytes(status)?;
        let headers = headers.iter().map(|header| pair(&header)).collect::<PyResult<_>>()?;
        let head = Head::checked(status, headers);
        exchange.start(py, head.map_err(|error| PyValueError::new_err(error.to_string()))?);
        this.getattr(intern!(py, "write"))
    }

    #[pyo3(signature = (data, /))]
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = data.cast::<PyBytes>().map_err(|_| {
            let given = type_name(data);
            PyTypeError::new_err(format!("write() argument must be bytes, not {given}"))
        })?;
        let data = data.as_bytes();
        let outcome = match data.is_empty() {
            true => self.exchange.commit(py, None),
            false => self
                .exchange
                .send(py, data, Urgency::Send)
                .map(|surplus| note_surplus(py, &self.exchange, surplus)),
        };
        outcome.map_err(|error| to_exception(error, "write() called after request completed"))
    }
}

/// The exception that an application sees.
pub fn to_exception(error: ReplyError, when_over: &'static str) -> PyErr {
    match error {
        ReplyError::Over => PyRuntimeError::new_err(when_over),
        ReplyError::NotStarted => PyRuntimeError::new_err(
            "start_response() must be called before response content is produced",
        ),
        ReplyError::BadLength(value) => {
            let value = quoted(&value);
            let value = value.strip_prefix('b').unwrap_or(&value);
            PyValueError::new_err(format!("invalid Content-Length header value: {value}"))
        }
        ReplyError::Interrupted => Python::attach(interruption::pending),
        ReplyError::Broken(error) => match error.kind() {
            std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => {
                PyOSError::new_err("mod_wsgi client connection closed")
            }
            _ => PyOSError::new_err(format!("mod_wsgi failed to write response data: {error}")),
        },
    }
}

/// The name of an object's type.
pub fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

/// The exception in an `exc_info` tuple.
fn exception(exc_info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let wrong = || {
        PyRuntimeError::new_err("start_response() argument 'exc_info' must be a 3-tuple or None")
    };
    let tuple = exc_info.cast::<PyTuple>().map_err(|_| wrong())?;
    if tuple.len() != 3 {
        return Err(wrong());
    }
    let (class, value, traceback) = (tuple.get_item(0)?, tuple.get_item(1)?, tuple.get_item(2)?);
    let error = match class.cast_into::<PyType>() {
        Ok(class) if value.is_none() => PyErr::from_type(class, ()),
        _ => PyErr::from_value(value),
    };
    if let Ok(traceback) = traceback.cast_into::<PyTraceback>() {
        error.set_traceback(tuple.py(), Some(traceback));
    }
    Ok(error)
}

/// A header's name and value.
///
/// # Errors
/// The exceptions that applications know.
pub fn pair(header: &Bound<'_, PyAny>) -> PyResult<(Vec<u8>, Vec<u8>)> {
    let tuple = header.cast::<PyTuple>().map_err(|_| {
        let given = type_name(header);
        PyTypeError::new_err(format!("each header must be a 2-tuple, not {given}"))
    })?;
    if tuple.len() != 2 {
        let len = tuple.len();
        return Err(PyValueError::new_err(format!(
            "each header must be a 2-tuple, got length {len}"
        )));
    }
    let (name, value) = (tuple.get_borrowed_item(0)?, tuple.get_borrowed_item(1)?);
    Ok((latin1_bytes(&name)?, latin1_bytes(&value)?))
}

fn latin1_bytes(text: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let text = text
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("must be str, not {}", type_name(text))))?;
    if let Ok(ascii) = text.to_cow()
        && ascii.is_ascii()
    {
        return Ok(ascii.as_bytes().to_vec());
    }
    let py = text.py();
    let bytes = text.call_method1(intern!(py, "encode"), (intern!(py, "latin-1"),))?;
    Ok(bytes.cast_into::<PyBytes>()?.as_bytes().to_vec())
}
