//! `wsgi.file_wrapper`: a file as a response.

use std::os::fd::OwnedFd;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};
use pyo3::{PyTraverseError, PyVisit, intern};
use rustix::fs::{FileType, Mode, OFlags, Stat};

/// Iterates over a file in blocks, and closes it.
#[pyclass(module = "mod_wsgi", subclass, frozen)]
#[derive(Debug)]
pub struct FileWrapper {
    /// The file-like object.
    #[pyo3(get)]
    filelike: Py<PyAny>,
    /// How much is read at a time.
    #[pyo3(get)]
    blksize: isize,
}

/// The rest of a plain file, opened once more.
#[derive(Debug)]
pub struct Rest {
    /// The file.
    pub file: OwnedFd,
    /// Where the rest begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

impl FileWrapper {
    /// What is left of the file, if it is one that httpd can send itself.
    ///
    /// It is opened once more: the application may go on reading and seeking in its own, while
    /// httpd sends.
    ///
    /// Only what reads the file as it is counts: objects that decompress, decode or cut it (`gzip`,
    /// members of archives, and all that an application wraps around one) have a `fileno()`, too.
    pub fn rest(&self, py: Python<'_>) -> Option<Rest> {
        let file = self.filelike.bind(py);
        is_plain(file).ok()?.then_some(())?;
        let number = |method: &Bound<'_, PyString>| -> Option<u64> {
            file.call_method0(method).ok()?.extract().ok()
        };
        let descriptor = number(intern!(py, "fileno"))?;
        let offset = number(intern!(py, "tell"))?;
        py.detach(|| {
            let path = format!("/proc/self/fd/{descriptor}");
            // Opening a pipe or device could wait, or do something: look first.
            is_regular(&rustix::fs::stat(&path).ok()?).then_some(())?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = rustix::fs::open(&path, flags, Mode::empty()).ok()?;
            let stat = rustix::fs::fstat(&file).ok()?;
            let size = u64::try_from(stat.st_size).ok().filter(|_| is_regular(&stat))?;
            Some(Rest { file, offset, length: size.checked_sub(offset)? })
        })
    }
}

/// Whether an object is a file of Python's own down to its last layer, and of no other class.
fn is_plain(file: &Bound<'_, PyAny>) -> PyResult<bool> {
    static FILE_IO: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static BUFFERED_READER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static BUFFERED_RANDOM: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = file.py();
    let file_io = FILE_IO.import(py, "io", "FileIO")?;
    let class = file.get_type();
    if class.is(file_io) {
        return Ok(true);
    }
    let is_buffered = class.is(BUFFERED_READER.import(py, "io", "BufferedReader")?)
        || class.is(BUFFERED_RANDOM.import(py, "io", "BufferedRandom")?);
    Ok(is_buffered && file.getattr(intern!(py, "raw"))?.get_type().is(file_io))
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize = 8192))]
    fn new(filelike: Py<PyAny>, blksize: isize) -> Self {
        Self { filelike, blksize }
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self.filelike.bind(py).call_method1(intern!(py, "read"), (self.blksize,))?;
        Ok(if block.is_truthy()? { Some(block) } else { None })
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.filelike.bind(py).getattr_opt(intern!(py, "close"))? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.filelike)
    }
}
