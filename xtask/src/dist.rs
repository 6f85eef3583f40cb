//! `cargo xtask dist`: everything that a server needs, in one folder.

use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf, absolute};
use std::process::Command;
use std::{env, fs, slice};

use anyhow::{Context, Result, bail};
use lexopt::Arg;

use crate::python::{self, Python};
use crate::{requirements, shell, stage};

/// The worker as it is built.
pub const WORKER: &str = "libwsgi_worker.so";

/// What makes a server.
pub const PACKAGES: [&str; 6] =
    ["mod_wsgi_rs", "supervisor", "cli", "express", "worker-extension", "worker-embedded"];

/// Their programs.
const PROGRAMS: [&str; 4] = ["wsgi-supervisor", "wsgictl", "mod_wsgi-rs", "wsgi-worker"];

/// What `crates/worker/build.rs` reads: the interpreters to compile for, as a list of paths.
pub const COMPILE_FOR: &str = "MOD_WSGI_RS_PYTHONS";

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

/// Builds module, supervisor, workers, `wsgictl` and `mod_wsgi-rs`, and puts them into `out`. Groups without a
/// `python-home=` get the first of the Pythons. One worker runs in all of them, but for those without
/// an interpreter lock, each of which has its own.
pub fn build(out: &Path, pythons: &[Python], profile: Profile) -> Result<()> {
    build_with(out, pythons, profile, &[])
}

/// The same for one Python, but all of it says of itself that it is of another release.
pub fn build_another_release(out: &Path, python: &Python) -> Result<()> {
    let features = ["--package", "wire", "--features", "wire/another-version"];
    build_with(out, slice::from_ref(python), Profile::Release, &features)
}

fn build_with(out: &Path, pythons: &[Python], profile: Profile, features: &[&str]) -> Result<()> {
    stage::folder(out)?;
    let default = pythons.first().context("no Python is named")?;
    let target = shell::target();
    let mut command = shell::cargo();
    command.arg("build").args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    command.args(features);
    let with_lock = pythons.iter().find(|python| !python.free_threaded).unwrap_or(default);
    with_lock.build_environment(&mut command);
    command.env(COMPILE_FOR, programs(pythons)?);
    compile(command, &target, profile)?;
    let built = target.join(profile.folder());
    let compiler = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    place_programs(&built, out, compiler)?;
    let worker = |python: &Python| out.join(format!("wsgi_worker.{}.so", python.worker_tag()));
    if !with_lock.free_threaded {
        place(&built.join(WORKER), &worker(with_lock))?;
        with_lock.check_worker(&worker(with_lock))?;
    }
    for python in pythons.iter().filter(|python| python.free_threaded) {
        // PyO3 is compiled for one ABI. In a target directory shared by several, each build would
        // throw away the one before.
        let target = target.join(format!("worker-{}", python.tag()));
        let mut command = shell::cargo();
        command.args(["build", "--package", "worker-extension"]);
        python.build_environment(&mut command);
        command.env(COMPILE_FOR, &python.executable);
        compile(command, &target, profile)?;
        place(&target.join(profile.folder()).join(WORKER), &worker(python))?;
        python.check_worker(&worker(python))?;
    }
    let link = out.join("python");
    if fs::symlink_metadata(&link).is_ok() {
        fs::remove_file(&link)?;
    }
    symlink(&default.executable, &link)?;
    let module = absolute(out)?.join("mod_wsgi_rs.so");
    stage::write(&load_file(out)?, &format!("LoadModule wsgi_module {}\n", module.display()))
}

/// Puts all that was built, but for workers that an interpreter loads, into `out`. The C compiler makes the
/// module's loader.
pub fn place_programs(built: &Path, out: &Path, compiler: Command) -> Result<()> {
    place_module(&built.join("libmod_wsgi_rs.so"), out, compiler)?;
    PROGRAMS.iter().try_for_each(|program| place(&built.join(program), &out.join(program)))
}

/// The interpreters for which the worker's own Python code is compiled beforehand.
pub fn programs(pythons: &[Python]) -> Result<std::ffi::OsString> {
    let with_lock = pythons.iter().filter(|python| !python.free_threaded);
    Ok(env::join_paths(with_lock.map(|python| &python.executable))?)
}

/// Compiles what a cargo command names.
fn compile(mut command: Command, target: &Path, profile: Profile) -> Result<()> {
    if profile == Profile::Release {
        command.arg("--release");
    }
    shell::run(command.arg("--target-dir").arg(target))
}

/// Puts the module's library into `out`, and the file for `LoadModule` that loads it and no other.
///
/// Its name has a digest of its content, since a running httpd keeps its library for ever: a
/// graceful restart takes one of another name, and so the new build.
fn place_module(built: &Path, out: &Path, mut compiler: Command) -> Result<()> {
    let mut digest = DefaultHasher::new();
    digest.write(&fs::read(built).with_context(|| format!("cannot read {}", built.display()))?);
    let library = format!("{LIBRARY}{:016x}.so", digest.finish());
    place(built, &out.join(&library))?;
    let loader = out.join("mod_wsgi_rs.so.new");
    shell::run(
        compiler
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
pub fn place(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("cannot make {}", to.display()))
}

fn load_file(out: &Path) -> Result<PathBuf> {
    Ok(absolute(out)?.join("wsgi.load"))
}
