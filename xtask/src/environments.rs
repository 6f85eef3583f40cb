//! Makes virtual environments with `virtualenv`, whose `activate_this.py` WSGI scripts rely on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::python::Python;
use crate::shell;

/// An environment at `path` with these packages; made again when any of that has changed.
pub fn ensure(path: &Path, stage: &Path, python: &Python, packages: &[&str]) -> Result<()> {
    let note = path.join("made-from.txt");
    let recipe = format!("{python}: {}\n", packages.join(" "));
    if fs::read_to_string(&note).is_ok_and(|made_from| made_from == recipe) {
        return Ok(());
    }
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    let virtualenv = virtualenv(stage, python)?;
    shell::run(
        Command::new(virtualenv).arg("--quiet").arg("--python").arg(&python.executable).arg(path),
    )?;
    shell::run(pip(path).arg("install").args(packages))?;
    Ok(fs::write(note, recipe)?)
}

/// Downloads packages and all they need into a folder, for an environment of this Python that
/// reaches no package index; again when others are wanted.
pub fn download(wheels: &Path, environment: &Path, packages: &[&str]) -> Result<()> {
    let note = wheels.join("packages.txt");
    let wanted = packages.join(" ");
    if fs::read_to_string(&note).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    shell::run(pip(environment).arg("download").arg("--dest").arg(wheels).args(packages))?;
    Ok(fs::write(note, wanted)?)
}

/// The program, in an environment of its own: `python -m venv` is in every Python.
fn virtualenv(stage: &Path, python: &Python) -> Result<PathBuf> {
    let tools = stage.join("tools");
    let program = tools.join("bin/virtualenv");
    if !program.exists() {
        shell::run(Command::new(&python.executable).args(["-m", "venv", "--clear"]).arg(&tools))?;
        shell::run(pip(&tools).args(["install", "virtualenv"]))?;
    }
    Ok(program)
}

/// pip in an environment.
fn pip(environment: &Path) -> Command {
    let mut command = Command::new(environment.join("bin/pip"));
    command.args(["--quiet", "--disable-pip-version-check"]);
    // What pip has built and kept for another Python of the same version may be linked to that one.
    command.env("PIP_NO_CACHE_DIR", "1");
    command
}
