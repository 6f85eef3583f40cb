//! Python itself: how it is set up, what it finds, and how it ends.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyModule, PyTuple};
use wire::control::{self, Settings};
use wire::limits::Cause;

use crate::embedded;
use crate::ffi::{self, latin1};
use crate::forked::note_fork;
use crate::lines::Source;
use crate::python::module::Modules;
use crate::wsgi::LogStream;

/// A running interpreter.
#[derive(Debug)]
pub struct Interpreter {
    setup: Py<PyModule>,
    modules: Modules,
}

impl Interpreter {
    /// Prepares the Python that runs in this process.
    ///
    /// # Errors
    /// Python's.
    pub fn prepare(py: Python<'_>, settings: &Settings) -> PyResult<Self> {
        let setup = embedded::SETUP.load(py)?;
        let stdout = Bound::new(py, LogStream::of_process(Source::Stdout))?;
        let stderr = Bound::new(py, LogStream::of_process(Source::Stderr))?;
        setup.call_method1("start", (stdout, stderr, wrap_pyfunction!(note_fork, py)?))?;

        let modules = Modules::new(py, settings)?;
        let home = settings.home.as_deref().map(|home| path(py, home));
        setup.call_method1("search", (home, paths(py, &settings.python_path)?))?;
        modules.graft(py)?;
        Ok(Self { setup: setup.unbind(), modules })
    }

    /// `sys.version` on one line.
    pub fn version(&self) -> String {
        ffi::running_version().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Where Python has its packages (`sys.prefix`), if that is not the environment that it was to run
    /// in. CPython takes an environment whose `pyvenv.cfg` it cannot read for none, and goes on with the
    /// one that its program comes from.
    ///
    /// # Errors
    /// Python's.
    pub fn other_prefix(&self, py: Python<'_>, home: &Path) -> PyResult<Option<PathBuf>> {
        let prefix: PathBuf = py.import("sys")?.getattr("prefix")?.extract()?;
        // It may have the form `prefix:exec_prefix`.
        let bytes = home.as_os_str().as_bytes();
        let first = bytes.split(|byte| *byte == b':').next().unwrap_or(bytes);
        let is = |path: &Path| match (path.canonicalize(), prefix.canonicalize()) {
            (Ok(path), Ok(prefix)) => path == prefix,
            // What cannot be looked at is not complained about.
            _ => true,
        };
        let is_meant = is(home) || is(Path::new(OsStr::from_bytes(first)));
        Ok((!is_meant).then_some(prefix))
    }

    /// Tells Python code the name of the application group, and sets up what that may have of its
    /// own: `own` goes over what `python` says for the process group.
    ///
    /// # Errors
    /// Python's.
    pub fn assign(
        &self,
        py: Python<'_>,
        application_group: &[u8],
        python: &control::Python,
        own: &control::Interpreter,
    ) -> PyResult<()> {
        py.import("mod_wsgi")?.setattr("application_group", latin1(py, application_group)?)?;
        let setup = self.setup.bind(py);
        let nothing: Option<Bound<'_, PyBytes>> = None;
        setup.call_method1("search", (nothing, paths(py, &own.python_path)?))?;
        let stdin = own.restrict_stdin.unwrap_or(python.restrict_stdin);
        let stdout = own.restrict_stdout.unwrap_or(python.restrict_stdout);
        setup.call_method1("restrict", (stdin, stdout))?;
        if own.restrict_signal.unwrap_or(python.restrict_signal) {
            self.modules.restrict_signals(py)?;
        }
        if let Some(micros) = own.switch_interval.or(python.switch_interval) {
            let seconds = std::time::Duration::from_micros(micros).as_secs_f64();
            py.import("sys")?.call_method1("setswitchinterval", (seconds,))?;
        }
        Ok(())
    }

    /// Lets SIGTERM end the script that the main thread runs, with `SystemExit`. To be called by the
    /// main thread.
    ///
    /// # Errors
    /// Python's.
    pub fn take_signals(&self, py: Python<'_>) -> PyResult<()> {
        self.setup.bind(py).call_method0("take_signals").map(drop)
    }

    /// Whether threads have to take turns.
    ///
    /// # Errors
    /// Python's.
    pub fn has_lock(&self, py: Python<'_>) -> PyResult<bool> {
        self.setup.bind(py).call_method0("has_lock")?.extract()
    }

    /// Tells subscribers that the process ends, and why.
    pub fn stopping(&self, cause: Cause) {
        Python::attach(|py| {
            if let Err(error) = self.modules.stopping(py, cause) {
                error.print(py);
            }
        });
    }

    /// Waits for the application's threads and runs its exit handlers.
    pub fn finish(&self) {
        Python::attach(|py| {
            if let Err(error) = self.setup.bind(py).call_method0("finish") {
                error.print(py);
            }
        });
    }
}

fn paths<'py>(py: Python<'py>, list: &[PathBuf]) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, list.iter().map(|entry| path(py, entry)))
}

fn path<'py>(py: Python<'py>, path: &Path) -> Bound<'py, PyBytes> {
    PyBytes::new(py, path.as_os_str().as_bytes())
}
