//! The Python modules that are part of this program, compiled when it was built.

use std::ffi::CStr;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyModule};

/// What tracebacks call the file of each of them.
const FILE: &CStr = c"<mod_wsgi>";

/// A module of ours.
#[derive(Debug)]
pub struct Embedded {
    name: &'static str,
    source: &'static CStr,
    /// Four bytes that say whose code this is, as a `.pyc` file has them, then the marshalled code
    /// (`build.rs`).
    compiled: &'static [u8],
}

macro_rules! embedded {
    ($name:literal) => {
        Embedded {
            name: concat!("_mod_wsgi_", $name),
            source: pyo3::ffi::c_str!(include_str!(concat!("python/", $name, ".py"))),
            compiled: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".pyc")),
        }
    };
}

/// Formats exceptions.
pub const FAILURE: Embedded = embedded!("failure");
/// Measures.
pub const METRICS: Embedded = embedded!("metrics");
/// What applications import as `mod_wsgi`.
pub const MODULE: Embedded = embedded!("module");
/// Loads WSGI scripts.
pub const SCRIPT: Embedded = embedded!("script");
/// Prepares the interpreter.
pub const SETUP: Embedded = embedded!("setup");

impl Embedded {
    /// Runs the module's code, and lets others import it.
    ///
    /// # Errors
    /// Python's.
    pub fn load<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyModule>> {
        let code = self.code(py)?;
        let module = PyModule::new(py, self.name)?;
        py.import("sys")?.getattr("modules")?.set_item(self.name, &module)?;
        let builtins = py.import("builtins")?;
        builtins.call_method1(intern!(py, "exec"), (code, module.dict()))?;
        Ok(module)
    }

    /// The code as it was compiled, unless this Python's is of another kind: patch releases of a
    /// version share it, its alphas and betas do not.
    fn code<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (magic, compiled) = self.compiled.split_at(4);
        let own = py.import("_frozen_importlib_external")?.getattr("MAGIC_NUMBER")?;
        if own.cast::<PyBytes>()?.as_bytes() == magic {
            return py.import("marshal")?.call_method1("loads", (PyBytes::new(py, compiled),));
        }
        let options = PyDict::new(py);
        options.set_item("dont_inherit", true)?;
        let arguments = (PyBytes::new(py, self.source.to_bytes()), FILE.to_bytes(), "exec");
        py.import("builtins")?.call_method("compile", arguments, Some(&options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_for_another_python_is_compiled_anew() {
        Python::initialize();
        Python::attach(|py| {
            for compiled in [FAILURE.compiled, b"none of this Python's"] {
                let module = Embedded { compiled, ..FAILURE }.load(py).unwrap();
                let code = module.getattr("lines").unwrap().getattr("__code__").unwrap();
                let file: String = code.getattr("co_filename").unwrap().extract().unwrap();
                assert_eq!(file.as_bytes(), FILE.to_bytes());
            }
        });
    }
}
