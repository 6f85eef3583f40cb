//! Records which Python the worker is built for, lets it find that Python's library, and compiles
//! its Python modules.

use std::process::Command;

/// The interpreter behind a virtual environment, by its real name: `/usr/bin/python3` may name
/// another version after the next upgrade.
const FIND_BASE: &str =
    "import os, sys; print(os.path.realpath(getattr(sys, '_base_executable', sys.executable)))";

/// Compiles the modules of one folder into another.
const COMPILE: &str = "
import importlib.util, marshal, pathlib, sys
for source in pathlib.Path(sys.argv[1]).glob('*.py'):
    code = compile(source.read_bytes(), '<mod_wsgi>', 'exec', dont_inherit=True)
    compiled = importlib.util.MAGIC_NUMBER + marshal.dumps(code)
    pathlib.Path(sys.argv[2], source.stem + '.pyc').write_bytes(compiled)
";

/// Where they are.
const MODULES: &str = "src/python";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={MODULES}");
    pyo3_build_config::add_libpython_rpath_link_args();

    let config = pyo3_build_config::get();
    if !config.shared() {
        // Extension modules look for Python's symbols in the executable.
        println!("cargo:rustc-link-arg=-rdynamic");
    }
    let version = config.version();
    println!("cargo:rustc-env=WSGI_PYTHON_VERSION={}.{}", version.major, version.minor);

    let executable = config.executable().expect("pyo3 knows the interpreter it builds for");
    let output = Command::new(executable).args(["-I", "-c", FIND_BASE]).output();
    let program = output
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_else(|| panic!("{executable} cannot be asked for its base interpreter"));
    println!("cargo:rustc-env=WSGI_PYTHON_PROGRAM={}", program.trim_end());

    let folder = std::env::var("OUT_DIR").expect("cargo sets it");
    let compiled = Command::new(executable).args(["-I", "-c", COMPILE, MODULES, &folder]).status();
    assert!(
        compiled.is_ok_and(|status| status.success()),
        "{executable} cannot compile the modules in {MODULES}"
    );
}
