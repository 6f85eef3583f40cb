//! Python itself: where it is, how it starts, what it finds, and how it ends.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyModule, PyTuple};
use wire::control::{self, Settings};
use wire::limits::Cause;

use crate::embedded;
use crate::ffi::{self, Location, latin1};
use crate::forked::note_fork;
use crate::lines::Source;
use crate::python::module::Modules;
use crate::wsgi::LogStream;

/// The Python that this worker was built for.
const BUILT_FOR: &str = env!("WSGI_PYTHON_VERSION");
/// The program of that Python.
const PROGRAM: &str = env!("WSGI_PYTHON_PROGRAM");

/// A running interpreter.
#[derive(Debug)]
pub struct Interpreter {
    setup: Py<PyModule>,
    modules: Modules,
}

/// Why Python does not run.
#[derive(Debug, thiserror::Error)]
pub enum InterpreterError {
    /// The libpython that was found is not the one of the build.
    #[error("this worker was built for Python {BUILT_FOR}, but its libpython is {0}")]
    WrongVersion(String),
    /// A path that no program can be given.
    #[error("python-home={0:?} contains a NUL character")]
    BadHome(std::path::PathBuf),
    /// CPython says no.
    #[error("Python {BUILT_FOR} cannot start {place}: {reason}{}", in_root(root.as_deref()))]
    Refused {
        /// Where it looked for its library.
        place: String,
        /// The root of that place, if it is another one than the system's.
        root: Option<PathBuf>,
        /// What it said.
        reason: String,
    },
    /// Python code of ours failed.
    #[error("Python runs, but cannot be set up: {0}")]
    SetUp(#[from] PyErr),
}

impl Interpreter {
    /// Starts Python in this process, once.
    ///
    /// # Errors
    /// [`InterpreterError`].
    pub fn start(settings: &Settings) -> Result<Self, InterpreterError> {
        // Before initialisation, which would work on structures of another shape.
        let running = ffi::running_version();
        let number = running.split(' ').next().unwrap_or_default();
        if number.split('.').take(2).ne(BUILT_FOR.split('.')) {
            return Err(InterpreterError::WrongVersion(number.to_owned()));
        }
        let location = location(settings.python_home.as_deref())?;
        ffi::initialize(&location, c"mod_wsgi", &settings.python).map_err(|reason| {
            let place = match &location {
                Location::Program(path) => format!("as {}", path.to_string_lossy()),
                Location::Home(path) => format!("with python-home={}", path.to_string_lossy()),
            };
            InterpreterError::Refused { place, root: settings.root.clone(), reason }
        })?;
        Python::attach(|py| Ok(prepare(py, settings)?))
    }

    /// `sys.version` on one line.
    pub fn version(&self) -> String {
        ffi::running_version().split_whitespace().collect::<Vec<_>>().join(" ")
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

fn in_root(root: Option<&Path>) -> String {
    root.map_or_else(String::new, |root| {
        let root = root.display();
        format!(
            "; its standard library has to be in chroot={root}, at the place where it is outside"
        )
    })
}

fn location(home: Option<&Path>) -> Result<Location, InterpreterError> {
    let c_string = |path: &Path| {
        CString::new(path.as_os_str().as_bytes())
            .map_err(|_| InterpreterError::BadHome(path.to_owned()))
    };
    Ok(match home {
        // As if the environment's own interpreter ran: that is how environments are recognised.
        Some(home) if home.join("pyvenv.cfg").exists() => {
            Location::Program(c_string(&home.join("bin/python"))?)
        }
        Some(home) => Location::Home(c_string(home)?),
        // Not what PATH happens to name.
        None => Location::Program(c_string(Path::new(PROGRAM))?),
    })
}

fn prepare(py: Python<'_>, settings: &Settings) -> PyResult<Interpreter> {
    let setup = embedded::SETUP.load(py)?;
    let stdout = Bound::new(py, LogStream::of_process(Source::Stdout))?;
    let stderr = Bound::new(py, LogStream::of_process(Source::Stderr))?;
    setup.call_method1("start", (stdout, stderr, wrap_pyfunction!(note_fork, py)?))?;

    let modules = Modules::new(py, settings)?;
    let home = settings.home.as_deref().map(|home| path(py, home));
    setup.call_method1("search", (home, paths(py, &settings.python_path)?))?;
    modules.graft(py)?;
    Ok(Interpreter { setup: setup.unbind(), modules })
}

fn paths<'py>(py: Python<'py>, list: &[PathBuf]) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, list.iter().map(|entry| path(py, entry)))
}

fn path<'py>(py: Python<'py>, path: &Path) -> Bound<'py, PyBytes> {
    PyBytes::new(py, path.as_os_str().as_bytes())
}
