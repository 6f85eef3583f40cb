//! Builds `environ` dictionaries.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::hash::{BuildHasherDefault, Hasher};
use std::os::unix::ffi::OsStrExt;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use wire::exchange::Request;

use super::FileWrapper;
use crate::ffi::latin1;
use crate::worker::Worker;

/// How many variable names are kept as Python strings. Clients make names up, with their headers.
const MAX_NAMES: usize = 256;

/// Variables that hold paths, which PEP 3333 leaves to the platform: they are decoded as Python
/// decodes file names.
const PATHS: [&[u8]; 2] = [b"DOCUMENT_ROOT", b"SCRIPT_FILENAME"];

/// A name and its value.
type Entry<'a> = (&'a [u8], &'a [u8]);

/// The entries that are the same in every request of a runner.
#[derive(Debug)]
pub struct Constants {
    entries: Py<PyDict>,
    /// Those that hooks get.
    of_hooks: Py<PyDict>,
}

/// Builds the dictionaries of one runner.
#[derive(Debug)]
pub struct Environ {
    constants: Constants,
    names: HashMap<Box<[u8]>, Py<PyString>, BuildHasherDefault<NameHasher>>,
    last: Option<Last>,
}

/// A string that is ASCII, and thus equal to other bytes whenever its own are; or nothing.
type Ascii = Option<Py<PyString>>;

/// The constants and string-valued entries of the last request. The next one has most often the
/// same names, and differs in a few values.
#[derive(Debug)]
struct Last {
    environ: Py<PyDict>,
    /// Names and values as they came. Each name is there once, is ASCII, and is no constant's.
    entries: Vec<(Py<PyString>, Ascii)>,
}

/// When a request reached which place, in microseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// httpd received it.
    pub received: u64,
    /// The worker's I/O thread had it.
    pub queued: u64,
    /// A runner took it.
    pub taken: u64,
}

impl Constants {
    /// For the runner with this number, counted from 1.
    ///
    /// # Errors
    /// Python's.
    pub fn new(py: Python<'_>, worker: &Worker, runner: usize) -> PyResult<Self> {
        let Worker { settings, application_group, .. } = worker;
        let entries = PyDict::new(py);
        let of_hooks = PyDict::new(py);
        of_hooks.set_item("apache.version", settings.httpd.version)?;
        of_hooks.set_item("mod_wsgi.version", crate::module::COMPATIBLE)?;
        of_hooks.set_item("mod_wsgi.process_group", latin1(py, &settings.process_group)?)?;
        of_hooks.set_item("mod_wsgi.application_group", latin1(py, application_group)?)?;
        entries.update(of_hooks.as_mapping())?;
        entries.set_item("wsgi.version", (1, 0))?;
        entries.set_item("wsgi.multithread", settings.threads != 1)?;
        entries.set_item("wsgi.multiprocess", settings.multiprocess)?;
        let once = settings.threads == 1 && settings.limits.maximum_requests == 1;
        entries.set_item("wsgi.run_once", once)?;
        entries.set_item("wsgi.input_terminated", true)?;
        entries.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
        entries.set_item("mod_wsgi.thread_id", runner)?;
        Ok(Self { entries: entries.unbind(), of_hooks: of_hooks.unbind() })
    }
}

impl Environ {
    /// Starts without any names.
    pub fn new(constants: Constants) -> Self {
        Self { constants, names: HashMap::default(), last: None }
    }

    /// The dictionary for a request, but for the objects that belong to its conversation.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn build<'py>(
        &mut self,
        py: Python<'py>,
        request: &Request<'_>,
        times: Times,
    ) -> PyResult<Bound<'py, PyDict>> {
        let environ = self.strings(py, &request.environ)?;
        let scheme = if request.https { intern!(py, "https") } else { intern!(py, "http") };
        environ.set_item(intern!(py, "wsgi.url_scheme"), scheme)?;
        let callable = self.name(py, request.callable)?;
        environ.set_item(intern!(py, "mod_wsgi.callable_object"), callable)?;
        let times = [
            (intern!(py, "mod_wsgi.request_start"), times.received),
            (intern!(py, "mod_wsgi.queue_start"), times.queued),
            (intern!(py, "mod_wsgi.daemon_start"), times.taken),
        ];
        for (name, microseconds) in times {
            environ.set_item(name, seconds(microseconds))?;
        }
        Ok(environ)
    }

    /// The dictionary for a hook, but for the objects that belong to its conversation.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn build_for_hook<'py>(
        &mut self,
        py: Python<'py>,
        entries: &[Entry<'_>],
    ) -> PyResult<Bound<'py, PyDict>> {
        let environ = PyDict::new(py);
        self.add(&environ, entries)?;
        environ.update(self.constants.of_hooks.bind(py).as_mapping())?;
        Ok(environ)
    }

    /// A dictionary with the constants and these entries.
    fn strings<'py>(
        &mut self,
        py: Python<'py>,
        entries: &[Entry<'_>],
    ) -> PyResult<Bound<'py, PyDict>> {
        if let Some(last) = self.last.as_mut().filter(|last| last.has_names_of(py, entries)) {
            last.set_values(py, entries)?;
            return last.environ.bind(py).copy();
        }
        // A copy has room for more from the start.
        let environ = self.constants.entries.bind(py).copy()?;
        let added = self.add(&environ, entries)?;
        // After what came with the request: nobody sets these from outside.
        let constants = self.constants.entries.bind(py);
        environ.update(constants.as_mapping())?;
        // Otherwise an entry takes the place of another one, and its value alone says nothing.
        let all_differ = environ.len() == constants.len() + added.len()
            && entries.iter().all(|(name, _)| name.is_ascii());
        self.last = match all_differ {
            true => Some(Last { environ: environ.copy()?.unbind(), entries: added }),
            false => None,
        };
        Ok(environ)
    }

    /// Adds the entries, and returns them as they were added.
    fn add(
        &mut self,
        environ: &Bound<'_, PyDict>,
        entries: &[Entry<'_>],
    ) -> PyResult<Vec<(Py<PyString>, Ascii)>> {
        let py = environ.py();
        let mut added = Vec::with_capacity(entries.len());
        for (name, bytes) in entries {
            let (name, value) = (self.name(py, name)?, value(py, name, bytes)?);
            environ.set_item(&name, &value)?;
            added.push((name.unbind(), ascii(value, bytes)));
        }
        Ok(added)
    }

    fn name<'py>(&mut self, py: Python<'py>, name: &[u8]) -> PyResult<Bound<'py, PyString>> {
        if let Some(known) = self.names.get(name) {
            return Ok(known.bind(py).clone());
        }
        let new = latin1(py, name)?;
        if self.names.len() < MAX_NAMES {
            self.names.insert(name.into(), new.clone().unbind());
        }
        Ok(new)
    }
}

impl Last {
    fn has_names_of(&self, py: Python<'_>, entries: &[Entry<'_>]) -> bool {
        self.entries.len() == entries.len()
            && self.entries.iter().zip(entries).all(|((last, _), (name, _))| is(py, last, name))
    }

    fn set_values(&mut self, py: Python<'_>, entries: &[Entry<'_>]) -> PyResult<()> {
        for ((key, last), (name, bytes)) in self.entries.iter_mut().zip(entries) {
            if !last.as_ref().is_some_and(|last| is(py, last, bytes)) {
                let value = value(py, name, bytes)?;
                self.environ.bind(py).set_item(&*key, &value)?;
                *last = ascii(value, bytes);
            }
        }
        Ok(())
    }
}

/// Whether a string that is ASCII is what these bytes are decoded to.
fn is(py: Python<'_>, text: &Py<PyString>, bytes: &[u8]) -> bool {
    text.to_str(py).is_ok_and(|text| text.as_bytes() == bytes)
}

/// What these bytes have been decoded to, if they are ASCII.
fn ascii(text: Bound<'_, PyString>, bytes: &[u8]) -> Ascii {
    bytes.is_ascii().then(|| text.unbind())
}

fn value<'py>(py: Python<'py>, name: &[u8], bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    if PATHS.contains(&name) {
        Ok(OsStr::from_bytes(bytes).into_pyobject(py)?)
    } else {
        latin1(py, bytes)
    }
}

/// Hashes the names of variables, eight bytes at a time: the standard library's hasher took a tenth
/// of all instructions that a small request cost. Somebody who makes names up to collide finds few
/// places ([`MAX_NAMES`]).
#[derive(Debug, Default)]
struct NameHasher(u64);

impl NameHasher {
    fn add(&mut self, word: u64) {
        // An odd number without a pattern: the golden ratio's digits.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last));
    }

    fn write_usize(&mut self, length: usize) {
        self.add(length as u64);
    }

    fn finish(&self) -> u64 {
        // The best bits are at the top, and tables look at the lowest ones.
        self.0.rotate_left(26)
    }
}

/// A time as Python's `time.time()` has it.
pub fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}
