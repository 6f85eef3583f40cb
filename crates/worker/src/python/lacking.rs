//! Which scripts the worker is to load before it serves, and could not. The supervisor hears how many.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::Python;
use pyo3::sync::MutexExt;
use wire::control::FromWorker;

use crate::process::control::Reporter;

/// The scripts.
#[derive(Debug)]
pub struct Lacking {
    reporter: Reporter,
    /// Whether there are any, as almost never.
    any: AtomicBool,
    scripts: Mutex<Vec<Vec<u8>>>,
}

impl Lacking {
    /// None so far.
    pub fn new(reporter: Reporter) -> Self {
        Self { reporter, any: AtomicBool::new(false), scripts: Mutex::default() }
    }

    /// This one could not be loaded.
    pub fn add(&self, py: Python<'_>, script: &[u8]) {
        self.any.store(true, Ordering::Relaxed);
        self.change(py, |scripts| scripts.push(script.to_vec()));
    }

    /// This one has been loaded, by a request that asked for it.
    pub fn remove(&self, py: Python<'_>, script: &[u8]) {
        if self.any.load(Ordering::Relaxed) {
            self.change(py, |scripts| scripts.retain(|lacking| lacking != script));
        }
    }

    fn change(&self, py: Python<'_>, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let mut scripts = self.scripts.lock_py_attached(py).expect("nobody panics in here");
        let before = scripts.len();
        change(&mut scripts);
        let now = scripts.len();
        self.any.store(now > 0, Ordering::Relaxed);
        drop(scripts);
        if now != before {
            let scripts = u32::try_from(now).unwrap_or(u32::MAX);
            self.reporter.send(&FromWorker::Lacks { scripts });
        }
    }
}
