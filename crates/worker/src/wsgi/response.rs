//! Runs an application for one request, and passes on what it returns.

use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PySystemExit, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::FileWrapper;
use super::start_response::{StartResponse, to_exception, type_name};
use crate::conversation::exchange::{Exchange, Outcome, Urgency};
use crate::conversation::reply::ReplyError;
use crate::conversation::reply::Surplus;
use crate::lines::Source;
use crate::wsgi::failure::Failures;

/// Why a response is not passed on any further.
enum Stop {
    /// The application failed.
    Failed(PyErr),
    /// Nobody is there to receive it: no failure of the application.
    Disconnected,
    /// It lacks so many bytes of its Content-Length.
    Short(u64),
}

impl From<PyErr> for Stop {
    fn from(error: PyErr) -> Self {
        Self::Failed(error)
    }
}

impl From<ReplyError> for Stop {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Broken(_) => Self::Disconnected,
            error => Self::Failed(to_exception(error, "the request has been completed")),
        }
    }
}

/// Calls `application` and passes on its response. All that goes wrong is logged.
pub fn respond<'py>(
    py: Python<'py>,
    exchange: &Arc<Exchange>,
    failures: &Failures,
    script: &[u8],
    application: &Bound<'py, PyAny>,
    environ: Bound<'py, PyDict>,
    observation: Option<Bound<'py, PyAny>>,
) -> Outcome {
    let Some(observation) = observation else {
        return run(py, exchange, failures, script, application, environ, None);
    };
    exchange.meter.switch_on();
    let outcome = match observation.getattr(intern!(py, "application")) {
        Ok(application) => {
            run(py, exchange, failures, script, &application, environ, Some(&observation))
        }
        Err(_) => Outcome::Failed(500),
    };
    let meter = &exchange.meter;
    let (input, output, lock) = (meter.input.sums(), meter.output.sums(), meter.lock.sums());
    let status = exchange.status(py).unwrap_or(500);
    let told =
        observation.call_method1(intern!(py, "request_finished"), (status, input, output, lock));
    if let Err(error) = told {
        failures.log(py, exchange, "cannot tell of the end of", script, &error);
    }
    outcome
}

fn run<'py>(
    py: Python<'py>,
    exchange: &Arc<Exchange>,
    failures: &Failures,
    script: &[u8],
    application: &Bound<'py, PyAny>,
    environ: Bound<'py, PyDict>,
    observation: Option<&Bound<'py, PyAny>>,
) -> Outcome {
    let log = |error: &PyErr| {
        if let Some(observation) = observation {
            // Before Python 3.12 an exception that no Python code has caught does not hold it itself.
            let error = (error.value(py), error.traceback(py));
            let _ = observation.call_method1(intern!(py, "request_exception"), error);
        }
        // A client that goes away is no failure of the application.
        if error.is_instance_of::<PyOSError>(py) && exchange.client_has_hung_up() {
            return;
        }
        let what = match error.is_instance_of::<PySystemExit>(py) {
            true => "SystemExit exception raised and ignored, processing",
            false => "Exception occurred processing",
        };
        failures.log(py, exchange, what, script, error);
    };
    let result = match call(py, exchange, application, environ, observation) {
        Ok(result) => result,
        Err(error) => {
            log(&error);
            return Failures::outcome(py, &error);
        }
    };
    let passed_on = pass_on(py, exchange, &result);
    if let Err(Stop::Failed(error)) = &passed_on {
        log(error);
    }
    // PEP 3333: close() is called whatever happened. What it raises changes nothing.
    if let Err(error) = close(py, exchange, &result) {
        log(&error);
    }
    match passed_on {
        Ok(()) => Outcome::Complete,
        Err(Stop::Short(missing)) => short(py, exchange, script, missing),
        Err(Stop::Failed(error)) => Failures::outcome(py, &error),
        Err(Stop::Disconnected) => Outcome::Failed(500),
    }
}

fn call<'py>(
    py: Python<'py>,
    exchange: &Arc<Exchange>,
    application: &Bound<'py, PyAny>,
    environ: Bound<'py, PyDict>,
    observation: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let observation = observation.cloned().map(Bound::unbind);
    let start_response = Bound::new(py, StartResponse::new(Arc::clone(exchange), observation))?;
    application.call1((environ, start_response))
}

fn pass_on(py: Python<'_>, exchange: &Exchange, result: &Bound<'_, PyAny>) -> Result<(), Stop> {
    // Blocks that are there already are gathered. From anything else PEP 3333 ("Buffering and
    // Streaming") wants each block handed on before the next is asked for.
    if let Ok(list) = result.cast_exact::<PyList>() {
        judge(py, exchange, list.len(), list.iter())?;
        for block in list {
            send(py, exchange, &block, Urgency::Gather)?;
        }
    } else if let Ok(tuple) = result.cast_exact::<PyTuple>() {
        judge(py, exchange, tuple.len(), tuple.iter())?;
        for block in tuple {
            send(py, exchange, &block, Urgency::Gather)?;
        }
    } else if !pass_on_file(py, exchange, result)? {
        for block in result.try_iter()? {
            send(py, exchange, &block?, Urgency::Send)?;
        }
    }
    exchange.commit(py, None)?;
    match exchange.missing(py) {
        0 => Ok(()),
        missing => Err(Stop::Short(missing)),
    }
}

/// Passes on a file, if that is the response. Returns whether it was.
fn pass_on_file(
    py: Python<'_>,
    exchange: &Exchange,
    result: &Bound<'_, PyAny>,
) -> Result<bool, Stop> {
    let Ok(wrapper) = result.cast::<FileWrapper>() else {
        return Ok(false);
    };
    if exchange.is_committed(py) {
        return Ok(false);
    }
    let Some(rest) = wrapper.get().rest(py) else {
        return Ok(false);
    };
    let Some(length) = exchange.file_length(py, rest.length) else {
        return Ok(false);
    };
    exchange.send_file(py, &rest.file, (rest.offset, length))?;
    Ok(true)
}

/// Starts a response whose blocks are all there, unless something is wrong with one of them, or with
/// all together: then nothing of it goes out. The length of a single one is the Content-Length.
fn judge<'py>(
    py: Python<'py>,
    exchange: &Exchange,
    count: usize,
    blocks: impl Iterator<Item = Bound<'py, PyAny>>,
) -> Result<(), Stop> {
    let mut length = 0;
    for block in blocks {
        length += bytes(&block)?.as_bytes().len();
    }
    match exchange.lacks(py, length)? {
        0 => Ok(exchange.commit(py, (count == 1).then_some(length))?),
        missing => Err(Stop::Short(missing)),
    }
}

fn send(
    py: Python<'_>,
    exchange: &Exchange,
    block: &Bound<'_, PyAny>,
    urgency: Urgency,
) -> Result<(), Stop> {
    let block = bytes(block)?.as_bytes();
    if !block.is_empty() {
        note_surplus(py, exchange, exchange.send(py, block, urgency)?);
    }
    Ok(())
}

fn bytes<'a, 'py>(block: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    block.cast::<PyBytes>().map_err(|_| {
        let given = type_name(block);
        PyTypeError::new_err(format!("response iterable must yield bytes, not {given}"))
    })
}

fn close(py: Python<'_>, exchange: &Exchange, result: &Bound<'_, PyAny>) -> PyResult<()> {
    // These have no close(), and asking them makes an exception.
    if result.is_exact_instance_of::<PyList>() || result.is_exact_instance_of::<PyTuple>() {
        return Ok(());
    }
    match result.getattr_opt(intern!(py, "close"))? {
        Some(close) => {
            // It may take its time, or the process with it: the response need not wait for it.
            exchange.flush(py);
            exchange.prove(py);
            close.call0().map(drop)
        }
        None => Ok(()),
    }
}

fn short(py: Python<'_>, exchange: &Exchange, script: &[u8], missing: u64) -> Outcome {
    let script = String::from_utf8_lossy(script);
    let line = format!(
        "response of WSGI script '{script}' ended {missing} bytes short of its Content-Length\n"
    );
    exchange.log_failure(py, line.as_bytes());
    Outcome::Failed(500)
}

/// Logs that a response is longer than it said, once.
pub fn note_surplus(py: Python<'_>, exchange: &Exchange, surplus: Surplus) {
    if surplus == Surplus::FirstCut {
        let line = "response is longer than its Content-Length, the rest was cut off\n";
        exchange.log(py, Source::Errors, line.as_bytes());
    }
}
