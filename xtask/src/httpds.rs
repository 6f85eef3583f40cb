//! Other httpds than the machine's, for the wheel, which has to serve all of 2.4: built once from what PyPI
//! has of them (the packages `mod_wsgi-httpd`, which hold httpd's sources), for all checkouts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::python::Python;
use crate::{environments, requirements, shell, stage};

/// The oldest one that builds today, the newest, and some between. Others download httpd instead of holding it.
const PACKAGES: [&str; 4] = [
    "mod_wsgi-httpd==2.4.12.6",
    "mod_wsgi-httpd==2.4.27.1",
    "mod_wsgi-httpd==2.4.54.1",
    "mod_wsgi-httpd==2.4.69.1",
];

/// What their `setup.py` is run by: later ones lack what it imports.
const BUILD_TOOLS: [&str; 2] = ["setuptools<70", "wheel"];

/// Builds them where that has not been done. Returns the directories that they are installed to.
pub fn ensure(stage: &Path, python: &Python) -> Result<Vec<PathBuf>> {
    let folder = stage::ensure_common()?.join("httpds");
    stage::folder(&folder)?;
    let built = PACKAGES
        .iter()
        .map(|package| build(&folder.join(package.replace("==", "-")), stage, python, package));
    built.collect()
}

fn build(environment: &Path, stage: &Path, python: &Python, package: &str) -> Result<PathBuf> {
    environments::ensure(environment, stage, python, &BUILD_TOOLS)?;
    if let Some(found) = prefix(environment) {
        return Ok(found);
    }
    println!("Building {package}, which takes minutes, once.");
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["--quiet", "install", "--no-build-isolation", "--no-binary", ":all:", package]);
    // `ab` of these versions does not compile with today's OpenSSL: configure is told that there is none.
    shell::run(pip.env("ac_cv_openssl", "no").env("MAKEFLAGS", "-j2"))?;
    let found = prefix(environment).with_context(|| format!("{package} has brought no httpd"))?;
    requirements::ensure_tool("patchelf", "it lets a moved httpd find its own libapr")?;
    let mut patch = Command::new("patchelf");
    shell::run(patch.args(["--set-rpath", "$ORIGIN/../lib"]).arg(found.join("bin/httpd")))?;
    Ok(found)
}

/// Where the package in an environment is.
fn prefix(environment: &Path) -> Option<PathBuf> {
    let pythons = fs::read_dir(environment.join("lib")).ok()?.flatten();
    let mut folders =
        pythons.map(|python| python.path().join("site-packages/mod_wsgi_packages/httpd"));
    folders.find(|folder| folder.join("bin/httpd").is_file())
}
