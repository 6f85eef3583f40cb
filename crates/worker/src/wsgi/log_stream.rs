//! The raw streams below `wsgi.errors`, `sys.stdout` and `sys.stderr`: what is written becomes log
//! lines. Text streams of Python's own are put on top.

use std::sync::Arc;

use pyo3::exceptions::{PyDeprecationWarning, PyOSError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::conversation::exchange::Exchange;
use crate::forked::has_forked;
use crate::lines::Source;
use crate::process::control::Reporter;
use crate::process::log;

/// A writable raw stream in the sense of Python's `io`.
#[pyclass(module = "mod_wsgi", name = "Log", frozen)]
#[derive(Debug)]
pub struct LogStream {
    source: Source,
    /// The request that it belongs to. Without one it follows the request of the calling thread.
    exchange: Option<Arc<Exchange>>,
}

impl LogStream {
    /// What goes below a request's `wsgi.errors`.
    pub fn of_request(exchange: Arc<Exchange>) -> Self {
        Self { source: Source::Errors, exchange: Some(exchange) }
    }

    /// What goes below `sys.stdout` or `sys.stderr`.
    pub fn of_process(source: Source) -> Self {
        Self { source, exchange: None }
    }

    fn put(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        let in_request = !has_forked();
        if in_request
            && let Some(reporter) = log::records()
            && let Some((level, logger)) = record_being_written(py)
        {
            return self.put_record(py, reporter, (&level, &logger), bytes);
        }
        match &self.exchange {
            Some(exchange) if in_request => {
                if !exchange.log(py, self.source, bytes) {
                    return Err(after_the_end());
                }
            }
            None if in_request
                && Exchange::current().is_some_and(|now| now.log(py, self.source, bytes)) => {}
            _ => write(py, self.source, &log::feed(self.source, bytes)),
        }
        Ok(())
    }

    /// Logs a record of Python's `logging`, `of` a level and a logger, at the level of this stream:
    /// what goes here is there whatever the LogLevel.
    fn put_record(
        &self,
        py: Python<'_>,
        reporter: &Reporter,
        of: (&str, &str),
        bytes: &[u8],
    ) -> PyResult<()> {
        let level = self.source.level();
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let exchange = self.exchange.clone().or_else(Exchange::current);
        if exchange.is_some_and(|exchange| exchange.log_record(py, level, of, text)) {
            return Ok(());
        }
        if self.exchange.is_some() {
            return Err(after_the_end());
        }
        let text = String::from_utf8_lossy(text);
        py.detach(|| reporter.record(level, of, String::new(), &text));
        Ok(())
    }
}

fn after_the_end() -> PyErr {
    PyRuntimeError::new_err("write() called on wsgi.errors after request completed")
}

/// Level and logger of the record that a `StreamHandler` of Python's `logging` is writing, if one is.
fn record_being_written(py: Python<'_>) -> Option<(String, String)> {
    let support = py.import(intern!(py, "_mod_wsgi_module")).ok()?;
    support.call_method0(intern!(py, "record_being_written")).ok()?.extract().ok()
}

#[pymethods]
impl LogStream {
    #[pyo3(signature = (data, /))]
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        if let Ok(bytes) = data.cast::<PyBytes>() {
            self.put(py, bytes.as_bytes())?;
            return Ok(bytes.as_bytes().len());
        }
        let bytes = if let Ok(text) = data.cast::<PyString>() {
            let warning = py.get_type::<PyDeprecationWarning>();
            let message = c"str written to a stream of bytes";
            PyErr::warn(py, &warning, message, 1)?;
            text.to_string_lossy().into_owned().into_bytes()
        } else {
            // Anything with a buffer, of which `memoryview` makes bytes in every version's ABI.
            let view = py.import(intern!(py, "builtins"))?.getattr(intern!(py, "memoryview"))?;
            let bytes = view.call1((data,))?.call_method0(intern!(py, "tobytes"))?;
            bytes.cast::<PyBytes>()?.as_bytes().to_vec()
        };
        self.put(py, &bytes)?;
        Ok(bytes.len())
    }

    #[pyo3(signature = (lines, /))]
    fn writelines(&self, py: Python<'_>, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(py, &line?)?;
        }
        Ok(())
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    #[pyo3(signature = (*_reason))]
    fn __exit__(&self, _reason: &Bound<'_, PyTuple>) {}

    #[getter]
    fn mode(&self) -> &'static str {
        "wb"
    }

    #[pyo3(signature = (_size = -1, /))]
    fn read(&self, py: Python<'_>, _size: isize) -> PyResult<()> {
        Err(unsupported(py, "read"))
    }

    #[pyo3(signature = (_size = -1, /))]
    fn readline(&self, py: Python<'_>, _size: isize) -> PyResult<()> {
        Err(unsupported(py, "readline"))
    }

    #[pyo3(signature = (_hint = -1, /))]
    fn readlines(&self, py: Python<'_>, _hint: isize) -> PyResult<()> {
        Err(unsupported(py, "readlines"))
    }

    #[pyo3(signature = (_offset, _whence = 0, /))]
    fn seek(&self, py: Python<'_>, _offset: isize, _whence: isize) -> PyResult<()> {
        Err(unsupported(py, "seek"))
    }

    fn tell(&self, py: Python<'_>) -> PyResult<()> {
        Err(unsupported(py, "tell"))
    }

    #[pyo3(signature = (_size = None, /))]
    fn truncate(&self, py: Python<'_>, _size: Option<isize>) -> PyResult<()> {
        Err(unsupported(py, "truncate"))
    }

    fn flush(&self, py: Python<'_>) {
        let in_request = !has_forked();
        match &self.exchange {
            Some(exchange) if in_request => exchange.flush_log(py, self.source),
            Some(_) => {}
            None => {
                if in_request && let Some(now) = Exchange::current() {
                    now.flush_log(py, self.source);
                }
                write(py, self.source, &log::flush(self.source));
            }
        }
    }

    /// Does nothing: the stream ends with its request, or with the process.
    fn close(&self) {}

    #[getter]
    fn closed(&self) -> bool {
        false
    }

    #[getter]
    fn name(&self) -> &'static str {
        match self.source {
            Source::Errors => "<wsgi.errors>",
            Source::Stderr => "<stderr>",
            Source::Stdout => "<stdout>",
        }
    }

    fn readable(&self) -> bool {
        false
    }

    fn seekable(&self) -> bool {
        false
    }

    fn writable(&self) -> bool {
        true
    }

    fn isatty(&self) -> bool {
        false
    }

    /// For `sys.stdout` and `sys.stderr` the pipe to the supervisor, which programs that the
    /// application starts may be given.
    fn fileno(&self) -> PyResult<i32> {
        match self.source {
            Source::Errors => {
                Err(PyOSError::new_err("wsgi.errors log object has no file descriptor"))
            }
            Source::Stderr => Ok(2),
            Source::Stdout => Ok(1),
        }
    }
}

/// What Python's own streams raise for what they cannot do (`io.UnsupportedOperation`).
fn unsupported(py: Python<'_>, operation: &'static str) -> PyErr {
    let class = py.import("io").and_then(|io| io.getattr("UnsupportedOperation"));
    class.map_or_else(
        |error| error,
        |class| match class.call1((operation,)) {
            Ok(error) => PyErr::from_value(error),
            Err(error) => error,
        },
    )
}

fn write(py: Python<'_>, source: Source, lines: &[Vec<u8>]) {
    if !lines.is_empty() {
        py.detach(|| log::write(source, lines));
    }
}
