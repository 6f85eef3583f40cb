//! Installs the original mod_wsgi, into the stage and nowhere else, to be compared with ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::python::Python;
use crate::{environments, requirements, shell, stage};

/// The release that `docs/compatibility.md` compares with.
const PYPI_PACKAGE: &str = "mod_wsgi==6.1.1";

/// Debian's mod_wsgi, taken apart instead of installed: it would be enabled in the machine's httpd.
const DEBIAN_PACKAGE: &str = "libapache2-mod-wsgi-py3";

/// A mod_wsgi that httpd can load.
#[derive(Clone, Debug)]
pub struct Original {
    /// The file for `LoadModule`.
    pub module: PathBuf,
    /// Its version.
    pub version: String,
}

/// The environment with PyPI's mod_wsgi and its `mod_wsgi-express`.
pub fn environment(stage: &Path, python: &Python) -> Result<PathBuf> {
    let venv = stage.join(format!("mod_wsgi-venv-{}", python.tag()));
    requirements::ensure_headers(&python.executable, "PyPI's mod_wsgi is compiled with it")?;
    environments::ensure(&venv, stage, python, &[PYPI_PACKAGE])?;
    Ok(venv)
}

/// PyPI's, built for this Python.
pub fn pypi(stage: &Path, python: &Python) -> Result<Original> {
    let bin = environment(stage, python)?.join("bin");
    let module = shell::capture(Command::new(bin.join("mod_wsgi-express")).arg("module-location"))
        .context("PyPI's mod_wsgi cannot be asked where it is")?;
    let version = "import importlib.metadata as m; print(m.version('mod_wsgi'))";
    let version = shell::capture(Command::new(bin.join("python")).args(["-c", version]))?;
    Ok(Original { module: module.into(), version })
}

/// Debian's, which is for Debian's Python.
pub fn debian(stage: &Path, python: &Python) -> Result<Original> {
    ensure!(python.executable.starts_with("/usr/bin"), "{python} is not the system's");
    let folder = stage.join("mod_wsgi-debian");
    let module = folder.join("usr/lib/apache2/modules/mod_wsgi.so");
    if !module.exists() {
        stage::folder(&folder)?;
        shell::run(
            Command::new("apt-get").args(["-qq", "download", DEBIAN_PACKAGE]).current_dir(&folder),
        )?;
        shell::run(Command::new("dpkg-deb").arg("-x").arg(package(&folder)?).arg(&folder))?;
    }
    let question = ["-f".into(), package(&folder)?.into_os_string(), "Version".into()];
    Ok(Original { module, version: shell::capture(Command::new("dpkg-deb").args(question))? })
}

/// The package that has been downloaded.
fn package(folder: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let mut packages = files.filter(|path| path.extension().is_some_and(|name| name == "deb"));
    packages.next().with_context(|| format!("no package was downloaded: {DEBIAN_PACKAGE}"))
}
