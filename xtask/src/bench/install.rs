//! Installs the rivals, into the stage and nowhere else, and finds out their versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use testkit::Apache;

use super::rows::FILE_LENGTH;
use crate::python::Python;
use crate::{environments, shell, stage};

/// What `pip` brings: the rivals, and the framework that one row runs.
const PACKAGES: [&str; 5] = ["mod_wsgi", "uwsgi", "granian", "gunicorn", "flask"];

/// Debian's mod_wsgi, taken apart instead of installed: it would be enabled in the machine's httpd.
const DEBIAN_PACKAGE: &str = "libapache2-mod-wsgi-py3";

/// Where things are.
#[derive(Debug)]
pub struct Installed {
    /// The folder with our module.
    pub dist: PathBuf,
    /// The virtual environment with rivals and framework.
    pub venv: PathBuf,
    /// The folder of its packages.
    pub packages: PathBuf,
    /// The folder with the applications.
    pub applications: PathBuf,
    /// The folder for what servers say.
    pub logs: PathBuf,
    /// PyPI's mod_wsgi.
    pub mod_wsgi: PathBuf,
    /// Debian's mod_wsgi, or why there is none.
    pub debian: Result<PathBuf, String>,
    /// Names and versions.
    pub versions: Vec<(String, String)>,
}

/// Installs what is missing.
pub fn everything(stage: &Path, python: &Python) -> Result<Installed> {
    let applications = stage.join("bench");
    let logs = applications.join("logs");
    stage::folder(&applications)?;
    stage::folder(&logs)?;
    for name in ["application.py", "flask_application.py"] {
        let source = shell::root().join("xtask/bench").join(name);
        let source = fs::read_to_string(&source)
            .with_context(|| format!("cannot read {}", source.display()))?;
        stage::write(&applications.join(name), &source)?;
    }
    stage::write(&applications.join("file.bin"), &"x".repeat(FILE_LENGTH))?;

    let venv = stage.join(format!("bench-venv-{}", python.tag()));
    environments::ensure(&venv, stage, python, &PACKAGES)?;
    let location = Command::new(venv.join("bin/mod_wsgi-express")).arg("module-location").output();
    let location = location.context("PyPI's mod_wsgi cannot be asked where it is")?;
    let mod_wsgi = PathBuf::from(String::from_utf8(location.stdout)?.trim());
    let debian = debian(stage, python).map_err(|error| format!("{error:#}"));

    let mut versions = vec![
        ("httpd".to_owned(), httpd_version()?),
        ("CPython".to_owned(), shell::capture(Command::new(venv.join("bin/python")).args(PYTHON))?),
    ];
    for package in PACKAGES {
        let question = format!("import importlib.metadata as m; print(m.version('{package}'))");
        let answer =
            shell::capture(Command::new(venv.join("bin/python")).args(["-c", question.as_str()]))?;
        versions.push((package.to_owned(), answer));
    }
    if let Ok((_, version)) = &debian {
        versions.push(("Debian's mod_wsgi".to_owned(), version.clone()));
    }
    Ok(Installed {
        dist: stage.join("dist"),
        packages: venv.join(format!("lib/python{}/site-packages", python.tag())),
        venv,
        applications,
        logs,
        mod_wsgi,
        debian: debian.map(|(module, _)| module),
        versions,
    })
}

const PYTHON: [&str; 2] = ["-c", "import platform; print(platform.python_version())"];

/// Debian's module, which is for Debian's Python, and its version.
fn debian(stage: &Path, python: &Python) -> Result<(PathBuf, String)> {
    anyhow::ensure!(python.executable.starts_with("/usr/bin"), "{python} is not the system's");
    let folder = stage.join("bench-debian");
    let module = folder.join("usr/lib/apache2/modules/mod_wsgi.so");
    if !module.exists() {
        stage::folder(&folder)?;
        shell::run(
            Command::new("apt-get").args(["-qq", "download", DEBIAN_PACKAGE]).current_dir(&folder),
        )?;
        shell::run(Command::new("dpkg-deb").arg("-x").arg(package(&folder)?).arg(&folder))?;
    }
    let question = ["-f".into(), package(&folder)?.into_os_string(), "Version".into()];
    Ok((module, shell::capture(Command::new("dpkg-deb").args(question))?))
}

/// The package that has been downloaded.
fn package(folder: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let mut packages = files.filter(|path| path.extension().is_some_and(|name| name == "deb"));
    packages.next().with_context(|| format!("no package was downloaded: {DEBIAN_PACKAGE}"))
}

/// The number in `Server version: Apache/2.4.62 (Debian)`.
fn httpd_version() -> Result<String> {
    let said = shell::capture(Command::new(&Apache::find()?.program).arg("-v"))?;
    let version = said.split_once("Apache/").map_or("", |(_, rest)| rest);
    Ok(version.split_whitespace().next().unwrap_or("unknown").to_owned())
}
