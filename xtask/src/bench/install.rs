//! Installs the rivals, into the stage and nowhere else, and finds out their versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use testkit::Apache;

use super::rows::FILE_LENGTH;
use crate::python::Python;
use crate::{environments, originals, shell, stage};

/// What `pip` brings: the rivals, and the framework that one row runs.
const PACKAGES: [&str; 4] = ["uwsgi", "granian", "gunicorn", "flask"];

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
    let mod_wsgi = originals::pypi(stage, python)?;
    let debian = originals::debian(stage, python).map_err(|error| format!("{error:#}"));

    let mut versions = vec![
        ("httpd".to_owned(), httpd_version()?),
        ("CPython".to_owned(), shell::capture(Command::new(venv.join("bin/python")).args(PYTHON))?),
        ("mod_wsgi".to_owned(), mod_wsgi.version),
    ];
    for package in PACKAGES {
        let question = format!("import importlib.metadata as m; print(m.version('{package}'))");
        let answer =
            shell::capture(Command::new(venv.join("bin/python")).args(["-c", question.as_str()]))?;
        versions.push((package.to_owned(), answer));
    }
    if let Ok(debian) = &debian {
        versions.push(("Debian's mod_wsgi".to_owned(), debian.version.clone()));
    }
    Ok(Installed {
        dist: stage.join("dist"),
        packages: venv.join(format!("lib/python{}/site-packages", python.tag())),
        venv,
        applications,
        logs,
        mod_wsgi: mod_wsgi.module,
        debian: debian.map(|original| original.module),
        versions,
    })
}

const PYTHON: [&str; 2] = ["-c", "import platform; print(platform.python_version())"];

/// The number in `Server version: Apache/2.4.62 (Debian)`.
fn httpd_version() -> Result<String> {
    let said = shell::capture(Command::new(&Apache::find()?.program).arg("-v"))?;
    let version = said.split_once("Apache/").map_or("", |(_, rest)| rest);
    Ok(version.split_whitespace().next().unwrap_or("unknown").to_owned())
}
