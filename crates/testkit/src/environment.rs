//! What `cargo xtask` prepares and hands over to the tests through environment variables.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// The folder with the module, the supervisor and the workers.
pub const DIST: &str = "MOD_WSGI_RS_DIST";
/// A virtual environment of the default Python, with Flask and Django, made by `virtualenv`.
pub const VENV: &str = "MOD_WSGI_RS_VENV";
/// The same for every other Python that has a worker; colon-separated, possibly empty.
pub const OTHER_VENVS: &str = "MOD_WSGI_RS_OTHER_VENVS";
/// The container image with the Flask guide's site.
pub const DOCKER_IMAGE: &str = "MOD_WSGI_RS_DOCKER_IMAGE";
/// Which module the httpds load: `ours`, PyPI's mod_wsgi (`theirs`), or Debian's (`debian`).
pub const UNDER_TEST: &str = "MOD_WSGI_UNDER_TEST";
/// The original mod_wsgi, where one is under test.
pub const ORIGINAL: &str = "MOD_WSGI_RS_ORIGINAL";
/// An environment with PyPI's mod_wsgi, which brings `mod_wsgi-express`.
pub const ORIGINAL_VENV: &str = "MOD_WSGI_RS_ORIGINAL_VENV";
/// The package for pip, where it has been built.
pub const WHEEL: &str = "MOD_WSGI_RS_WHEEL";
/// The container image with the same site, and the module from that package.
pub const WHEEL_IMAGE: &str = "MOD_WSGI_RS_WHEEL_IMAGE";
/// The container image in which the source package for pip can be built.
pub const SDIST_IMAGE: &str = "MOD_WSGI_RS_SDIST_IMAGE";
/// The directories that older httpds are installed to; colon-separated.
pub const HTTPDS: &str = "MOD_WSGI_RS_HTTPDS";
/// Which tool sets up the servers of `Express`: the original's, or `ours`.
pub const EXPRESS: &str = "MOD_WSGI_RS_EXPRESS";
/// When set, the directories of the httpds are kept for a look after the test.
pub const KEEP: &str = "MOD_WSGI_RS_KEEP";

/// The folder with the module, the supervisor and the workers.
///
/// # Panics
/// When the tests were not started by `cargo xtask test`.
pub fn dist() -> PathBuf {
    required(DIST).into()
}

/// The virtual environment of the default Python.
///
/// # Panics
/// When the tests were not started by `cargo xtask test`.
pub fn venv() -> PathBuf {
    required(VENV).into()
}

/// Virtual environments of the other Pythons that have a worker.
pub fn other_venvs() -> Vec<PathBuf> {
    env::var_os(OTHER_VENVS)
        .map(|list| env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect())
        .unwrap_or_default()
}

/// The container image with the Flask guide's site.
///
/// # Panics
/// When the tests were not started by `cargo xtask test`.
pub fn docker_image() -> String {
    required(DOCKER_IMAGE)
}

/// The original mod_wsgi that is under test.
///
/// # Panics
/// When the tests were not started by `cargo xtask test`.
pub fn original() -> PathBuf {
    required(ORIGINAL).into()
}

/// The module of PyPI's mod_wsgi, whatever is under test.
///
/// # Panics
/// When the tests were not started by `cargo xtask test`, or `mod_wsgi-express` gives no answer.
pub fn original_module() -> PathBuf {
    let mut express = Command::new(original_venv().join("bin/mod_wsgi-express"));
    let output = express.arg("module-location").output().expect("mod_wsgi-express can be run");
    String::from_utf8(output.stdout).expect("a path").trim().into()
}

/// The environment with PyPI's mod_wsgi.
///
/// # Panics
/// When the tests were not started by `cargo xtask test`.
pub fn original_venv() -> PathBuf {
    required(ORIGINAL_VENV).into()
}

/// The package for pip, where it has been built.
pub fn wheel() -> Option<PathBuf> {
    env::var_os(WHEEL).map(PathBuf::from)
}

/// The container image with the Flask guide's site and the module from the package for pip, where that has
/// been built.
pub fn wheel_image() -> Option<String> {
    env::var(WHEEL_IMAGE).ok()
}

/// The container image in which the source package for pip can be built, where that has been made.
pub fn sdist_image() -> Option<String> {
    env::var(SDIST_IMAGE).ok()
}

/// The directories that older httpds are installed to, where they have been built.
pub fn httpds() -> Vec<PathBuf> {
    env::var_os(HTTPDS).map(|list| env::split_paths(&list).collect()).unwrap_or_default()
}

/// The value of a variable that a test cannot do without.
fn required(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: start the tests with `cargo xtask test`, which builds it")
    })
}
