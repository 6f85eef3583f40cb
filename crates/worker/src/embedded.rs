//! The Python modules that are part of this program, compiled when it was built.

use std::ffi::CStr;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyModule};

/// What tracebacks call the file of each of them.
const FILE: &CStr = c"<mod_wsgi>";

/// The compiled code of each module, for the versions that were there when this was built.
mod compiled {
    include!(concat!(env!("OUT_DIR"), "/compiled.rs"));
}

/// A module of ours.
#[derive(Debug)]
pub struct Embedded {
    name: &'static str,
    source: &'static CStr,
    /// The number of a version's code (`importlib.util.MAGIC_NUMBER`), and the marshalled code.
    compiled: &'static [([u8; 4], &'static [u8])],
}

macro_rules! embedded {
    ($name:literal, $compiled:ident) => {
        Embedded {
            name: concat!("_mod_wsgi_", $name),
            source: pyo3::ffi::c_str!(include_str!(concat!("python/", $name, ".py"))),
            compiled: compiled::$compiled,
        }
    };
}

/// Formats exceptions.
pub const FAILURE: Embedded = embedded!("failure", FAILURE);
/// Measures.
pub const METRICS: Embedded = embedded!("metrics", METRICS);
/// What applications import as `mod_wsgi`.
pub const MODULE: Embedded = embedded!("module", MODULE);
/// Loads WSGI scripts.
pub const SCRIPT: Embedded = embedded!("script", SCRIPT);
/// Prepares the interpreter.
pub const SETUP: Embedded = embedded!("setup", SETUP);

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

    /// The code as it was compiled, if it was for this Python: patch releases of a version share it,
    /// its alphas and betas do not.
    fn code<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let own = py.import("_frozen_importlib_external")?.getattr("MAGIC_NUMBER")?;
        let own = own.cast::<PyBytes>()?;
        if let Some((_, code)) = self.compiled.iter().find(|(magic, _)| own.as_bytes() == magic) {
            return py.import("marshal")?.call_method1("loads", (PyBytes::new(py, code),));
        }
        let options = PyDict::new(py);
        options.set_item("dont_inherit", true)?;
        let arguments = (PyBytes::new(py, self.source.to_bytes()), FILE.to_bytes(), "exec");
        py.import("builtins")?.call_method("compile", arguments, Some(&options))
    }
}
