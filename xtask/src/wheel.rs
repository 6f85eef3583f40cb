//! `cargo xtask wheel`: everything that a server needs, as one package that pip installs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, iter};

use anyhow::{Context, Result, bail, ensure};
use lexopt::Arg;

use crate::package::{self, COMMANDS, NAME, TARGET, VERSION};
use crate::python::{self, Python};
use crate::{dist, environments, requirements, sdist, shell, stage};

/// What builds and checks it. zig has the C libraries of all systems, and so links programs for old ones.
const TOOLS: [&str; 4] =
    ["auditwheel==6.8.2", "cargo-zigbuild==0.24.1", "wheel==0.48.0", "ziglang==0.17.1"];

/// The environment with these, in the stage.
pub const TOOLS_FOLDER: &str = "wheel-tools";

/// Where it runs: every Linux with this version of glibc or a later one, of 2012 (PEP 600).
const PLATFORM: &str = "manylinux_2_17_x86_64";

/// The same in the words of zig.
const GLIBC: &str = "2.17";

/// What it may weigh: as a file, in bytes.
const MOST: u64 = 15 << 20;

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let (mut out, mut checks) = (shell::target().join("wheel"), false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("out") => out = PathBuf::from(arguments.value()?),
            Arg::Long("check-reproducible") => checks = true,
            other => return Err(other.unexpected().into()),
        }
    }
    requirements::ensure()?;
    let stage = stage::ensure()?;
    let wheel = build(&stage, &out)?;
    println!("{}: {} KiB", wheel.display(), fs::metadata(&wheel)?.len() >> 10);
    if checks {
        let sdist = sdist::build(&stage, &out)?;
        check_elsewhere(&stage, &[wheel, sdist])?;
    }
    Ok(())
}

/// Builds the wheel into `out`, and checks what its name promises. Returns its path.
pub fn build(stage: &Path, out: &Path) -> Result<PathBuf> {
    ensure!(
        cfg!(all(target_arch = "x86_64", target_os = "linux")),
        "wheels are for Linux on x86_64"
    );
    let python = python::default()?;
    let tools = stage.join(TOOLS_FOLDER);
    environments::ensure(&tools, stage, &python, &TOOLS)?;
    // The folder that `wheel pack` makes a file of.
    let content = stage.join("wheel-content");
    if content.exists() {
        fs::remove_dir_all(&content)?;
    }
    let package = content.join(NAME);
    compile(&tools, &package)?;
    copy_sources(&shell::root().join("python").join(NAME), &package)?;
    describe(&content.join(package::dist_info()))?;
    let wheel = pack(&tools, &content, out)?;
    check(&tools, &wheel)?;
    check_packing(&tools, stage, &content, &wheel)?;
    Ok(wheel)
}

/// Makes a wheel of a folder, in `out`. Returns its path.
fn pack(tools: &Path, content: &Path, out: &Path) -> Result<PathBuf> {
    settle(content)?;
    stage::folder(out)?;
    let mut pack = Command::new(tools.join("bin/wheel"));
    pack.arg("pack").arg("--dest-dir").arg(out).arg(content);
    shell::run(pack.env("SOURCE_DATE_EPOCH", package::date()?))?;
    Ok(out.join(format!("{NAME}-{VERSION}-py3-none-{PLATFORM}.whl")))
}

/// Compiles the programs for old systems, and puts them into `package`.
fn compile(tools: &Path, package: &Path) -> Result<()> {
    let target = shell::target().join("wheel-build");
    let mut command = in_environment(tools, &tools.join("bin/cargo-zigbuild"));
    command.current_dir(shell::root());
    command.args(["zigbuild", "--locked", "--release"]);
    command.arg("--target").arg(format!("{TARGET}.{GLIBC}")).arg("--target-dir").arg(&target);
    command.args(dist::PACKAGES.iter().flat_map(|package| ["--package", package]));
    command
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    // The same wherever it is built.
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    // Of several that fit the last one counts.
    let places = [home, Some(shell::root().to_owned()), Some(target.clone())];
    let places = places.into_iter().zip(["cargo", ".", "target"]);
    let places = places.filter_map(|(path, name)| Some((path?, name)));
    let flags = places.map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display()));
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.collect::<Vec<_>>().join("\u{1f}"));
    command.env(dist::COMPILE_FOR, dist::programs(&with_lock())?);
    shell::run(&mut command)?;
    let built = target.join(TARGET).join("release");
    let mut compiler = in_environment(tools, &tools.join("bin/python"));
    compiler.args(["-m", "ziglang", "cc", "-target", &format!("x86_64-linux-gnu.{GLIBC}"), "-s"]);
    stage::folder(package)?;
    dist::place_programs(&built, package, compiler)?;
    dist::place(&built.join(dist::WORKER), &package.join("wsgi_worker.abi3.so"))
}

/// The Pythons of this machine that share a worker.
fn with_lock() -> Vec<Python> {
    let python::Found { usable, .. } = python::find();
    usable.into_iter().filter(|python| !python.free_threaded).collect()
}

/// A program that finds those of an environment.
fn in_environment(environment: &Path, program: &Path) -> Command {
    let others = env::var_os("PATH").unwrap_or_default();
    let folders = iter::once(environment.join("bin")).chain(env::split_paths(&others));
    let mut command = Command::new(program);
    // A PATH that env gave us has no colon in a folder's name.
    command.env("PATH", env::join_paths(folders).unwrap_or(others));
    command
}

/// Copies a folder of Python sources, and nothing that Python has made of them.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    stage::folder(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() && entry.file_name() != "__pycache__" {
            copy_sources(&path, &target)?;
        } else if path.is_file() {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Writes what pip and its users read about the package.
fn describe(folder: &Path) -> Result<()> {
    let components = package::licences(&folder.join("licenses"))?;
    stage::folder(&folder.join("sboms"))?;
    stage::write(&folder.join(format!("sboms/{NAME}.cdx.json")), &components.list(VERSION)?)?;
    stage::write(&folder.join("entry_points.txt"), COMMANDS)?;
    stage::write(
        &folder.join("WHEEL"),
        &format!(
            "Wheel-Version: 1.0\nGenerator: cargo-xtask-wheel ({VERSION})\nRoot-Is-Purelib: false\n\
             Tag: py3-none-{PLATFORM}\n"
        ),
    )?;
    stage::write(&folder.join("METADATA"), &package::metadata()?)
}

/// Gives each file the rights that do not depend on who builds: programs may be executed.
fn settle(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            settle(&path)?;
        } else {
            let program = fs::read(&path)?.starts_with(b"\x7fELF");
            fs::set_permissions(
                &path,
                Permissions::from_mode(if program { 0o755 } else { 0o644 }),
            )?;
        }
    }
    Ok(())
}

/// Checks its size, and that it runs where its tag says.
fn check(tools: &Path, wheel: &Path) -> Result<()> {
    let size =
        fs::metadata(wheel).with_context(|| format!("{} is not there", wheel.display()))?.len();
    ensure!(size <= MOST, "{} has {size} bytes, more than {MOST}", wheel.display());
    let verdict = shell::capture(
        in_environment(tools, &tools.join("bin/auditwheel")).arg("show").arg(wheel),
    )?;
    if !keeps_promise(&verdict) {
        bail!("{} does not run where its name says:\n{verdict}", wheel.display());
    }
    Ok(())
}

/// Checks that nothing but the content counts: a copy at another place, made at another time by a user with
/// another umask, becomes the same file.
fn check_packing(tools: &Path, stage: &Path, content: &Path, wheel: &Path) -> Result<()> {
    let again = stage.join("wheel-again");
    if again.exists() {
        fs::remove_dir_all(&again)?;
    }
    fs::create_dir(&again)?;
    let copy = again.join("content");
    shell::run(closed(&["cp", "--recursive"]).arg(content).arg(&copy))?;
    check_same(wheel, &pack(tools, &copy, &again)?)
}

/// Checks that the last commit, built by a user with another umask and time zone in another folder, becomes
/// the same files.
fn check_elsewhere(stage: &Path, packages: &[PathBuf]) -> Result<()> {
    let changes =
        Command::new("git").args(["status", "--porcelain"]).current_dir(shell::root()).output()?;
    ensure!(
        changes.stdout.is_empty(),
        "there are changes that are not committed: a clone has none of them"
    );
    let elsewhere = stage.join("elsewhere");
    if elsewhere.exists() {
        fs::remove_dir_all(&elsewhere)?;
    }
    let (checkout, out) = (elsewhere.join("a/checkout"), elsewhere.join("out"));
    shell::run(Command::new("git").args(["clone", "--quiet"]).arg(shell::root()).arg(&checkout))?;
    for command in ["sdist", "wheel"] {
        let mut build = closed(&["cargo", "xtask", command, "--out"]);
        build.arg(&out).current_dir(&checkout).env("TZ", "Asia/Kathmandu");
        // Of the cargo that runs us.
        for name in ["CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR"] {
            build.env_remove(name);
        }
        shell::run(&mut build)?;
    }
    for package in packages {
        check_same(package, &out.join(package.file_name().context("a package is a file")?))?;
    }
    fs::remove_dir_all(&elsewhere)?;
    Ok(())
}

/// A command whose files are for its user alone.
fn closed(words: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077 && exec \"$@\"", "sh"]).args(words);
    command
}

/// Checks that two files have the same bytes.
fn check_same(one: &Path, other: &Path) -> Result<()> {
    let (one, other) = (one.display(), other.display());
    shell::run(Command::new("cmp").args([one.to_string(), other.to_string()]))
        .with_context(|| format!("{one} cannot be reproduced: compare it with {other}"))
}

/// Whether `auditwheel show` finds the tag justified.
fn keeps_promise(verdict: &str) -> bool {
    let words = verdict.split_whitespace().collect::<Vec<_>>().join(" ");
    words.contains(&format!("is consistent with the following platform tag: \"{PLATFORM}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let verdict = |tag: &str| {
            format!(
                "x-py3-none-{PLATFORM}.whl\nis consistent with the following platform tag:\n\"{tag}\".\n"
            )
        };
        assert!(keeps_promise(&verdict(PLATFORM)));
        assert!(!keeps_promise(&verdict("manylinux_2_34_x86_64")));
    }
}
