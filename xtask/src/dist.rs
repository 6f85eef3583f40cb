//! `cargo xtask dist`: everything that a server needs, in one folder.

use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf, absolute};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use lexopt::Arg;

use crate::python::{self, Python};
use crate::{requirements, shell, stage};

/// How the file name of the module's library begins.
const LIBRARY: &str = "libmod_wsgi_rs-";

/// How the programs are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// For use.
    Release,
    /// For a debugger.
    Debug,
}

impl Profile {
    /// The name of its folder below the target directory.
    fn folder(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Debug => "debug",
        }
    }
}

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let (mut out, mut programs, mut profile) = (None, Vec::new(), Profile::Release);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("out") => out = Some(PathBuf::from(arguments.value()?)),
            Arg::Long("python") => programs.push(PathBuf::from(arguments.value()?)),
            Arg::Long("debug") => profile = Profile::Debug,
            other => return Err(other.unexpected().into()),
        }
    }
    let Some(out) = out else { bail!("--out DIR is missing") };
    requirements::ensure()?;
    let mut pythons: Vec<Python> = Vec::new();
    for program in &programs {
        let python = Python::probe(program)
            .and_then(Python::checked)
            .with_context(|| program.display().to_string())?;
        if pythons.iter().all(|other| other.tag() != python.tag()) {
            pythons.push(python);
        }
    }
    if pythons.is_empty() {
        pythons.push(python::default()?);
    }
    build(&out, &pythons, profile)?;
    println!(
        "To use it, put this into httpd's configuration:\n  Include {}",
        load_file(&out)?.display()
    );
    Ok(())
}

/// Builds module, supervisor, `wsgictl` and a worker for each Python, and puts them into `out`. The
/// first Python's worker is the default one.
pub fn build(out: &Path, pythons: &[Python], profile: Profile) -> Result<()> {
    stage::folder(out)?;
    let target = shell::target();
    let mut command = shell::cargo();
    command.args([
        "build",
        "--package",
        "mod_wsgi_rs",
        "--package",
        "supervisor",
        "--package",
        "cli",
    ]);
    compile(command, &target, profile)?;
    let built = target.join(profile.folder());
    place_module(&built.join("libmod_wsgi_rs.so"), out)?;
    place(&built.join("wsgi-supervisor"), &out.join("wsgi-supervisor"))?;
    place(&built.join("wsgictl"), &out.join("wsgictl"))?;
    for python in pythons {
        // pyo3 is compiled for one Python. In a target directory shared by several, each build
        // would throw away the one before.
        let target = target.join(format!("worker-{}", python.tag()));
        let mut command = shell::cargo();
        command.args(["build", "--package", "worker"]);
        python.build_environment(&mut command);
        compile(command, &target, profile)?;
        let worker = target.join(profile.folder()).join("wsgi-worker");
        place(&worker, &out.join(worker_name(python)))?;
    }
    if let Some(default) = pythons.first() {
        let link = out.join("wsgi-worker");
        if fs::symlink_metadata(&link).is_ok() {
            fs::remove_file(&link)?;
        }
        symlink(worker_name(default), &link)?;
    }
    let module = absolute(out)?.join("mod_wsgi_rs.so");
    stage::write(&load_file(out)?, &format!("LoadModule wsgi_module {}\n", module.display()))
}

/// Compiles what a cargo command names.
fn compile(mut command: Command, target: &Path, profile: Profile) -> Result<()> {
    if profile == Profile::Release {
        command.arg("--release");
    }
    shell::run(command.arg("--quiet").arg("--target-dir").arg(target))
}

/// Puts the module's library into `out`, and the file for `LoadModule` that loads it and no other.
///
/// Its name has a digest of its content, since a running httpd keeps its library for ever: a
/// graceful restart takes one of another name, and so the new build.
fn place_module(built: &Path, out: &Path) -> Result<()> {
    let mut digest = DefaultHasher::new();
    digest.write(&fs::read(built).with_context(|| format!("cannot read {}", built.display()))?);
    let library = format!("{LIBRARY}{:016x}.so", digest.finish());
    place(built, &out.join(&library))?;
    let loader = out.join("mod_wsgi_rs.so.new");
    shell::run(
        Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .arg(&loader)
            .arg(format!("-DLIBRARY=\"{library}\""))
            .arg(shell::root().join("src/ffi/loader.c"))
            // It looks for its library beside itself, and what it defines it takes from itself.
            .args(["-Wl,-rpath,$ORIGIN", "-Wl,-Bsymbolic", "-Wl,--no-as-needed", "-L"])
            .arg(out)
            .arg(format!("-l:{library}")),
    )?;
    fs::rename(&loader, out.join("mod_wsgi_rs.so"))?;
    for entry in fs::read_dir(out)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(LIBRARY) && name != *library {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Puts a file where another one may be in use: a program that runs cannot be written to, but
/// its name can be given to a new one.
fn place(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("cannot make {}", to.display()))
}

fn worker_name(python: &Python) -> String {
    format!("wsgi-worker-{}", python.tag())
}

fn load_file(out: &Path) -> Result<PathBuf> {
    Ok(absolute(out)?.join("wsgi.load"))
}
