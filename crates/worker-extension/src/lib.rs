//! The worker as an extension module: `wsgi_worker.TAG.so`, which the interpreter of a group's
//! environment loads from beside the module, or `wsgi-worker` together with a libpython.

mod embedded;

use pyo3::prelude::*;

/// Runs the worker on the main thread. Python is to end when it returns.
#[pyfunction]
fn run(py: Python<'_>) {
    py.detach(worker::main);
}

#[pymodule(gil_used = false)]
fn _mod_wsgi_worker(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(run, module)?)
}
