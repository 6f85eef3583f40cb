//! Builds `environ` dictionaries.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::hash::{BuildHasherDefault, Hasher};
use std::os::unix::ffi::OsStrExt;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use wire::control::Settings;
use wire::exchange::Request;

use super::FileWrapper;
use crate::clock::{Times, seconds};
use crate::ffi::latin1;

/// The level of mod_wsgi whose behaviour applications find, as `mod_wsgi.version`.
pub const COMPATIBLE: (u32, u32, u32) = (6, 1, 1);

/// How many variable names are kept as Python strings. Clients make names up, with their headers.
const MAX_NAMES: usize = 256;

/// How many environs a runner keeps: a client sends the same names of headers again and again, and
/// there are not many kinds of clients that a site is busy with.
const MAX_KEPT: usize = 32;

/// The largest environ that is kept, in bytes of names and values: clients decide how much they send.
const MAX_KEPT_SIZE: usize = 16 << 10;

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
    /// Those of earlier requests: in front the one used last, at the end one that was used once and
    /// makes room for the next new one. So many kinds in turn do not displace each other.
    kept: Vec<Kept>,
    /// How many requests it was built for.
    built: u64,
}

/// The constants and string-valued entries of an earlier request. A request that has the same names
/// differs in a few values.
#[derive(Debug)]
struct Kept {
    environ: Py<PyDict>,
    /// Each name is there once, and is no constant's.
    entries: Vec<KeptEntry>,
}

/// An entry as it came, and its name in Python.
#[derive(Debug)]
struct KeptEntry {
    key: Py<PyString>,
    name: Box<[u8]>,
    value: Vec<u8>,
}

impl Constants {
    /// For the runner with this number, counted from 1.
    ///
    /// # Errors
    /// Python's.
    pub fn new(
        py: Python<'_>,
        settings: &Settings,
        application_group: &[u8],
        runner: usize,
    ) -> PyResult<Self> {
        let entries = PyDict::new(py);
        let of_hooks = PyDict::new(py);
        of_hooks.set_item("apache.version", settings.httpd.version)?;
        of_hooks.set_item("mod_wsgi.version", COMPATIBLE)?;
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
        // What 4.x and 5.x had, and 6.x has not.
        entries.set_item("GATEWAY_INTERFACE", "CGI/1.1")?;
        entries.set_item("mod_wsgi.enable_sendfile", "0")?;
        entries.set_item("mod_wsgi.script_reloading", "1")?;
        entries.set_item("mod_wsgi.ignore_activity", "0")?;
        entries.set_item("mod_wsgi.daemon_connects", "1")?;
        entries.set_item("mod_wsgi.daemon_restarts", "0")?;
        Ok(Self { entries: entries.unbind(), of_hooks: of_hooks.unbind() })
    }
}

impl Environ {
    /// Starts without any names.
    pub fn new(constants: Constants) -> Self {
        Self { constants, names: HashMap::default(), kept: Vec::new(), built: 0 }
    }

    /// The dictionary for a request, but for the objects that belong to its conversation. `total`: how
    /// many requests have ended in this worker.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn build<'py>(
        &mut self,
        py: Python<'py>,
        request: &Request<'_>,
        times: Times,
        total: u64,
    ) -> PyResult<Bound<'py, PyDict>> {
        let environ = self.strings(py, &request.environ)?;
        let scheme = if request.https { intern!(py, "https") } else { intern!(py, "http") };
        environ.set_item(intern!(py, "wsgi.url_scheme"), scheme)?;
        let callable = self.name(py, request.callable)?;
        environ.set_item(intern!(py, "mod_wsgi.callable_object"), callable)?;
        let moments = [
            (intern!(py, "mod_wsgi.request_start"), times.received),
            (intern!(py, "mod_wsgi.queue_start"), times.queued),
            (intern!(py, "mod_wsgi.daemon_start"), times.taken),
        ];
        for (name, microseconds) in moments {
            environ.set_item(name, seconds(microseconds))?;
        }
        self.add_those_of_4(py, &environ, request, times, total)?;
        self.built += 1;
        Ok(environ)
    }

    /// What 4.x and 5.x had and 6.x has not, in the form in which they had it.
    fn add_those_of_4(
        &self,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        request: &Request<'_>,
        times: Times,
        total: u64,
    ) -> PyResult<()> {
        // Those that are as nearly always are there as constants.
        if !request.script_reloading {
            environ.set_item(intern!(py, "mod_wsgi.script_reloading"), intern!(py, "0"))?;
        }
        if request.ignore_activity {
            environ.set_item(intern!(py, "mod_wsgi.ignore_activity"), intern!(py, "1"))?;
        }
        if request.connects != 1 {
            let connects = request.connects.to_string();
            environ.set_item(intern!(py, "mod_wsgi.daemon_connects"), connects)?;
        }
        if request.restarts != 0 {
            let restarts = request.restarts.to_string();
            environ.set_item(intern!(py, "mod_wsgi.daemon_restarts"), restarts)?;
        }
        environ.set_item(intern!(py, "mod_wsgi.script_start"), times.taken.to_string())?;
        environ.set_item(intern!(py, "mod_wsgi.total_requests"), total)?;
        environ.set_item(intern!(py, "mod_wsgi.thread_requests"), self.built)
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
        let size: usize = entries.iter().map(|(name, value)| name.len() + value.len()).sum();
        let known = self.kept.iter().position(|kept| kept.has_names_of(entries));
        if let Some(place) = known.filter(|_| size <= MAX_KEPT_SIZE) {
            self.kept[..=place].rotate_right(1);
            let kept = &mut self.kept[0];
            kept.set_values(py, entries)?;
            return kept.environ.bind(py).copy();
        }
        // A copy has room for more from the start.
        let environ = self.constants.entries.bind(py).copy()?;
        let keys = self.add(&environ, entries)?;
        // After what came with the request: nobody sets these from outside.
        let constants = self.constants.entries.bind(py);
        environ.update(constants.as_mapping())?;
        // Otherwise an entry takes the place of another one, and its value alone says nothing.
        let all_differ = environ.len() == constants.len() + entries.len();
        if all_differ && size <= MAX_KEPT_SIZE {
            self.kept.truncate(MAX_KEPT - 1);
            self.kept.push(Kept::new(&environ, entries, keys)?);
        }
        Ok(environ)
    }

    /// Adds the entries, and returns their names.
    fn add(
        &mut self,
        environ: &Bound<'_, PyDict>,
        entries: &[Entry<'_>],
    ) -> PyResult<Vec<Py<PyString>>> {
        let py = environ.py();
        let mut keys = Vec::with_capacity(entries.len());
        for (name, bytes) in entries {
            let key = self.name(py, name)?;
            environ.set_item(&key, value(py, name, bytes)?)?;
            keys.push(key.unbind());
        }
        Ok(keys)
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

impl Kept {
    fn new(
        environ: &Bound<'_, PyDict>,
        entries: &[Entry<'_>],
        keys: Vec<Py<PyString>>,
    ) -> PyResult<Self> {
        let entries = entries.iter().zip(keys).map(|((name, value), key)| KeptEntry {
            key,
            name: (*name).into(),
            value: value.to_vec(),
        });
        Ok(Self { environ: environ.copy()?.unbind(), entries: entries.collect() })
    }

    fn has_names_of(&self, entries: &[Entry<'_>]) -> bool {
        self.entries.len() == entries.len()
            && self.entries.iter().zip(entries).all(|(kept, (name, _))| *kept.name == **name)
    }

    fn set_values(&mut self, py: Python<'_>, entries: &[Entry<'_>]) -> PyResult<()> {
        let differ = |(kept, (_, bytes)): &(&mut KeptEntry, &Entry<'_>)| kept.value != *bytes;
        for (kept, (name, bytes)) in self.entries.iter_mut().zip(entries).filter(differ) {
            self.environ.bind(py).set_item(&kept.key, value(py, name, bytes)?)?;
            kept.value.clear();
            kept.value.extend_from_slice(bytes);
        }
        Ok(())
    }
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
