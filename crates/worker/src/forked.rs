//! Processes that the application forks: they have this process's connections, but none of its
//! threads, and must leave both alone.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

static FORKED: AtomicBool = AtomicBool::new(false);

/// Notes that this is such a process. Python calls it after each fork, in the child.
#[pyfunction]
pub fn note_fork() {
    FORKED.store(true, Ordering::SeqCst);
}

/// Whether this is such a process.
pub fn has_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}
