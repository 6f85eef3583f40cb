//! WSGI script files: loaded once, and found fast from then on.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict};
use wire::control::FromWorker;

use crate::embedded;
use crate::ffi::latin1;
use crate::process::control::Reporter;
use crate::python::peers::{Answer, Peers};

/// The scripts of the application group.
#[derive(Debug)]
pub struct Scripts {
    load: Py<PyAny>,
    script_error: Py<PyAny>,
    is_outdated: Py<PyAny>,
    run_service: Py<PyAny>,
    forget_all: Py<PyAny>,
    /// Where `reload=keep`: who else has them.
    peers: Option<Arc<Peers>>,
    /// Through which the supervisor hears of what has been loaded, where it wants to know.
    herald: Option<Reporter>,
    /// A copy of what `load` knows, so that a request needs neither it nor its lock. No Python
    /// object is dropped while this lock is held: a destructor could want it, too.
    known: Mutex<BTreeMap<Box<[u8]>, Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    /// Time of change of the file that was loaded, in nanoseconds, or of the one that could not be
    /// loaded since: none where it was gone.
    version: Option<Version>,
    globals: Py<PyDict>,
}

/// Versions of the files of scripts.
#[derive(Debug)]
pub struct Versions(Vec<(Box<[u8]>, Option<Version>)>);

/// Why there is no application to call.
#[derive(Debug)]
pub enum ScriptError {
    /// Log lines that say what is wrong with the script.
    Script(Vec<String>),
    /// Something else raised this.
    Python(PyErr),
    /// The script cannot be loaded here, and this worker gives way to those that have loaded it.
    Elsewhere,
}

impl ScriptError {
    /// One line for the log: what is wrong, and the last line of the traceback.
    pub fn in_one_line(&self) -> String {
        match self {
            Self::Script(lines) => match lines.as_slice() {
                [first, .., last] => format!("{first}: {}", last.trim()),
                lines => lines.concat(),
            },
            Self::Python(error) => error.to_string(),
            Self::Elsewhere => "others have loaded it".to_owned(),
        }
    }
}

impl Scripts {
    /// Gets the loader.
    ///
    /// # Errors
    /// Python's.
    pub fn new(
        py: Python<'_>,
        case_insensitive: bool,
        peers: Option<Arc<Peers>>,
        herald: Option<Reporter>,
    ) -> PyResult<Self> {
        let module = embedded::SCRIPT.load(py)?;
        module.setattr("case_insensitive", case_insensitive)?;
        Ok(Self {
            load: module.getattr("load")?.unbind(),
            script_error: module.getattr("ScriptError")?.unbind(),
            is_outdated: module.getattr("is_outdated")?.unbind(),
            run_service: module.getattr("run_service")?.unbind(),
            forget_all: module.getattr("forget_all")?.unbind(),
            peers,
            herald,
            known: Mutex::default(),
        })
    }

    /// The callable named `callable` of the script at `path`, see [`Self::globals`].
    ///
    /// # Errors
    /// [`ScriptError`].
    pub fn application<'py>(
        &self,
        py: Python<'py>,
        path: &[u8],
        callable: &[u8],
        wants_reload: impl FnOnce(&Bound<'py, PyDict>) -> bool,
    ) -> Result<Bound<'py, PyAny>, ScriptError> {
        let globals = self.globals(py, path, wants_reload)?;
        let name = latin1(py, callable).map_err(ScriptError::Python)?;
        let found = globals.get_item(name).map_err(ScriptError::Python)?;
        found.ok_or_else(|| {
            let path = String::from_utf8_lossy(path);
            let name = String::from_utf8_lossy(callable);
            ScriptError::Script(vec![format!(
                "WSGI script '{path}' has no '{name}': define or import that name in it, or name \
                 its callable with WSGICallableObject"
            )])
        })
    }

    /// The globals of the script at `path`, which is loaded first if need be; also when it
    /// `wants_reload`.
    ///
    /// # Errors
    /// [`ScriptError`].
    pub fn globals<'py>(
        &self,
        py: Python<'py>,
        path: &[u8],
        wants_reload: impl FnOnce(&Bound<'py, PyDict>) -> bool,
    ) -> Result<Bound<'py, PyDict>, ScriptError> {
        match self.loaded(py, path) {
            Some(globals) if wants_reload(&globals) => self.load(py, path, Some(globals)),
            Some(globals) => Ok(globals),
            None => self.load(py, path, None).map_err(|error| self.refer(py, path, error)),
        }
    }

    /// Whether there is somebody else to run what this worker cannot load.
    fn refer(&self, py: Python<'_>, path: &[u8], error: ScriptError) -> ScriptError {
        match &self.peers {
            Some(peers) if matches!(error, ScriptError::Script(_)) => {
                match peers.ask(py, path, error.in_one_line()) {
                    // The request, which will run elsewhere, has no use for the traceback.
                    Answer::Leave => {
                        if let ScriptError::Script(lines) = &error {
                            peers.tell_why(lines.join("\n"));
                        }
                        ScriptError::Elsewhere
                    }
                    Answer::Alone => error,
                }
            }
            _ => error,
        }
    }

    /// Tells the supervisor, where it wants to know, that this worker has a script, or that there is
    /// none any more.
    fn tell(&self, py: Python<'_>, script: &[u8]) {
        if let Some(herald) = &self.herald {
            py.detach(|| herald.send(&FromWorker::Loaded { script: script.to_vec() }));
        }
    }

    /// Loads scripts, as others have. What is wrong with one is between the supervisor and us; one
    /// whose file is gone is no script any more. Returns whether any could be loaded.
    pub fn load_as_others(&self, py: Python<'_>, paths: &[Vec<u8>]) -> bool {
        let mut loaded = false;
        for path in paths {
            if is_there(path) {
                loaded |= self.globals(py, path, |_| false).is_ok();
            } else {
                self.tell(py, path);
            }
        }
        loaded
    }

    /// Loads scripts without which this worker is not to serve. Those whose files are gone are no
    /// scripts any more, as long as there are others.
    ///
    /// # Errors
    /// One line for the log.
    pub fn load_all(
        &self,
        py: Python<'_>,
        paths: &[Vec<u8>],
        mut loaded: impl FnMut(),
    ) -> Result<(), String> {
        let some_are_there = paths.iter().any(|path| is_there(path));
        for path in paths {
            if some_are_there && !is_there(path) {
                self.tell(py, path);
                continue;
            }
            self.load(py, path, None).map_err(|error| {
                if let (Some(peers), ScriptError::Script(lines)) = (&self.peers, &error) {
                    peers.tell_why(lines.join("\n"));
                }
                error.in_one_line()
            })?;
            loaded();
        }
        Ok(())
    }

    /// Runs the script of a service until it ends. Returns log lines, if it ended badly.
    ///
    /// # Errors
    /// Python's.
    pub fn run_service(&self, py: Python<'_>, path: &[u8]) -> PyResult<Vec<String>> {
        self.run_service.bind(py).call1((PyBytes::new(py, path),))?.extract()
    }

    /// Whether the script has been loaded, and its file has changed since.
    pub fn has_changed(&self, py: Python<'_>, path: &[u8]) -> bool {
        let now = version(path);
        self.lock(py).get(path).is_some_and(|loaded| now != loaded.version)
    }

    /// The scripts that have been loaded. Not to be called while attached to Python.
    pub fn paths(&self) -> Vec<Vec<u8>> {
        let known = self.known.lock().expect("nobody panics in here");
        known.keys().map(|path| path.to_vec()).collect()
    }

    /// Lets go of everything that scripts have made: files that they have left open are closed when
    /// Python ends.
    pub fn let_go(&self, py: Python<'_>) {
        let known = std::mem::take(&mut *self.lock(py));
        drop(known);
        if let Err(error) = self.forget_all.bind(py).call0() {
            error.print(py);
        }
    }

    /// Forgets the script: the next request loads it.
    pub fn forget(&self, py: Python<'_>, path: &[u8]) {
        let before = self.lock(py).remove(path);
        drop(before);
    }

    /// The versions that the files of all loaded scripts have now.
    pub fn versions(&self, py: Python<'_>) -> Versions {
        let known = self.lock(py);
        Versions(known.keys().map(|path| (path.clone(), version(path))).collect())
    }

    /// Takes what has been loaded for these versions of the files.
    pub fn accept(&self, py: Python<'_>, versions: Versions) {
        let mut known = self.lock(py);
        for (path, version) in versions.0 {
            if let Some(loaded) = known.get_mut(&path) {
                loaded.version = version;
            }
        }
    }

    fn loaded<'py>(&self, py: Python<'py>, path: &[u8]) -> Option<Bound<'py, PyDict>> {
        Some(self.lock(py).get(path)?.globals.bind(py).clone())
    }

    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, BTreeMap<Box<[u8]>, Loaded>> {
        self.known.lock_py_attached(py).expect("nobody panics in here")
    }

    /// Whether a script wants to be loaded again: it has lost its `__mtime__`, or its function
    /// `reload_required` says so of the resource asked for: the file that the URL leads to, which a
    /// handler script answers for.
    ///
    /// # Errors
    /// What that function raises.
    pub fn wants_reload<'py>(
        &self,
        globals: &Bound<'py, PyDict>,
        resource: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<bool> {
        let py = globals.py();
        let settled = globals.contains(intern!(py, "__mtime__"))?
            && !globals.contains(intern!(py, "reload_required"))?;
        if settled {
            return Ok(false);
        }
        self.is_outdated.bind(py).call1((globals, resource()?))?.extract()
    }

    /// Loads the script at `path`, unless another thread just has. What is in `outdated` is not
    /// good enough.
    ///
    /// # Errors
    /// [`ScriptError`].
    pub fn load<'py>(
        &self,
        py: Python<'py>,
        path: &[u8],
        outdated: Option<Bound<'py, PyDict>>,
    ) -> Result<Bound<'py, PyDict>, ScriptError> {
        let result = self.load.bind(py).call1((PyBytes::new(py, path), outdated));
        let (version, globals) = result
            .and_then(|pair| pair.extract::<(Version, Bound<'py, PyDict>)>())
            .map_err(|error| self.explain(py, error))?;
        let loaded = Loaded { version: Some(version), globals: globals.clone().unbind() };
        let before = self.lock(py).insert(path.into(), loaded);
        if before.is_none() {
            self.tell(py, path);
        }
        Ok(globals)
    }

    fn explain(&self, py: Python<'_>, error: PyErr) -> ScriptError {
        if error.is_instance(py, self.script_error.bind(py))
            && let Ok(lines) = error.value(py).getattr(intern!(py, "lines"))
            && let Ok(lines) = lines.extract()
        {
            return ScriptError::Script(lines);
        }
        ScriptError::Python(error)
    }
}

fn is_there(path: &[u8]) -> bool {
    !matches!(rustix::fs::stat(OsStr::from_bytes(path)), Err(rustix::io::Errno::NOENT))
}

/// By which a file is told from what was at its path before: device, inode, size, and the times of
/// change of content and inode in nanoseconds since the epoch. A new release may come with the old
/// time of change (a link that leads elsewhere, `rsync -t`, images of containers).
type Version = (u64, u64, u64, i128, i128);

/// The version of the file that is at this path now.
fn version(path: &[u8]) -> Option<Version> {
    let stat = rustix::fs::stat(OsStr::from_bytes(path)).ok()?;
    let nanoseconds = |seconds, rest| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Some((
        stat.st_dev,
        stat.st_ino,
        u64::try_from(stat.st_size).ok()?,
        nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
    ))
}
