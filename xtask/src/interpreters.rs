//! `cargo xtask python VERSION`: brings a CPython that this machine lacks, from Debian's next release. One with
//! an interpreter lock comes as it is there, with the C library it is linked to; one without is built of its
//! source, since Debian has no program of that. They stay below the home directory, for all checkouts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, thread};

use anyhow::{Context, Result, bail, ensure};
use lexopt::Arg;

use crate::python::{self, Found};
use crate::{requirements, shell};

/// What tests of all Pythons run in, too.
const WANTED: [&str; 3] = ["3.14", "3.14t", "3.15"];

/// Has the newest Pythons, and goes on.
const RELEASE: &str = "testing";

const SITE: &str = "http://deb.debian.org/debian";

/// What apt-get checks it with.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What apt-get is told of itself, in the folder.
const CONFIGURATION: &str = "apt.conf";

/// Headers that CPython is built with, beyond what building ours needs, and their packages: without them
/// it has no pip.
const HEADERS: [(&str, &str); 3] =
    [("openssl/ssl.h", "libssl-dev"), ("zlib.h", "zlib1g-dev"), ("ffi.h", "libffi-dev")];

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let Some(Arg::Value(version)) = arguments.next()? else { bail!("VERSION is missing") };
    let version = version.into_string().ok().context("VERSION is as in 3.14 or 3.14t")?;
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    let program = bring(&Version::parse(&version)?)?;
    println!("{} is there.", program.display());
    Ok(())
}

/// Brings those that tests should see and this machine lacks, as far as that is possible here.
pub fn bring_wanted() -> Result<()> {
    let Found { usable, closed, .. } = python::find();
    let found: Vec<_> = usable.iter().chain(&closed).map(python::Python::tag).collect();
    for version in WANTED.into_iter().filter(|version| found.iter().all(|tag| tag != version)) {
        if let Err(error) = bring(&Version::parse(version)?) {
            println!(
                "Skipping Python {version}: {error:#} (to try again: cargo xtask python {version})"
            );
        }
    }
    Ok(())
}

/// The programs that have been brought.
pub fn brought() -> Vec<PathBuf> {
    let folders = folder().map(fs::read_dir).into_iter().flatten().flatten().flatten();
    let programs = folders.map(|folder| folder.path().join("bin").join(folder.file_name()));
    let mut programs: Vec<_> = programs.filter(|program| program.is_file()).collect();
    programs.sort();
    programs
}

/// Where they are: a prefix for each, with the name of its program.
fn folder() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    Ok(cache.context("HOME is not set")?.join("mod_wsgi_rs/pythons"))
}

/// Which CPython.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    /// As Debian's packages have it: `3.14`.
    number: String,
    /// Whether it does without an interpreter lock.
    free_threaded: bool,
}

impl Version {
    fn parse(text: &str) -> Result<Version> {
        let (number, free_threaded) = match text.strip_suffix('t') {
            Some(number) => (number, true),
            None => (text, false),
        };
        let digits = number.strip_prefix("3.").is_some_and(|minor| minor.parse::<u8>().is_ok());
        ensure!(digits, "{text} is no version such as 3.14 or 3.14t");
        Ok(Version { number: number.to_owned(), free_threaded })
    }

    /// The name of its program.
    fn name(&self) -> String {
        format!("python{}{}", self.number, if self.free_threaded { "t" } else { "" })
    }
}

/// Sees to one, and gives its program.
fn bring(version: &Version) -> Result<PathBuf> {
    let folder = folder()?;
    let prefix = folder.join(version.name());
    let program = prefix.join("bin").join(version.name());
    if program.is_file() {
        return Ok(program);
    }
    // Half of one must never be taken for one.
    let fresh = folder.with_file_name(format!("{}.new", version.name()));
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    let brought = Apt::prepare(fresh.clone())
        .and_then(|apt| match version.free_threaded {
            true => build(&apt, version, &prefix),
            false => fetch(&apt, version, &prefix),
        })
        .and_then(|made| {
            fs::create_dir_all(&folder)?;
            Ok(fs::rename(made, &prefix)?)
        });
    // Where it has not even been made, there is nothing to remove.
    let _ = fs::remove_dir_all(fresh);
    brought.map(|()| program)
}

/// Debian's own build, with all libraries that it needs, the C library first.
fn fetch(apt: &Apt, version: &Version, prefix: &Path) -> Result<PathBuf> {
    requirements::ensure_tool(
        "patchelf",
        "it has a Python run with the C library that it comes with",
    )?;
    let name = version.name();
    shell::run(
        apt.get(&["install", "--yes", "--download-only", "--no-install-recommends"])
            .args([format!("{name}-minimal"), format!("lib{name}-stdlib")]),
    )?;
    let root = apt.folder.join("root");
    for package in fs::read_dir(apt.folder.join("archives"))? {
        let package = package?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            shell::capture(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&root))?;
        }
    }
    let made = root.join("usr");
    let program = made.join("bin").join(&name);
    let loader = shell::capture(Command::new("patchelf").arg("--print-interpreter").arg(&program))?;
    let loader = Path::new(loader.trim_start_matches('/'));
    let libraries = fs::canonicalize(made.join(loader))?;
    let libraries = libraries.strip_prefix(fs::canonicalize(&made)?)?.parent();
    let libraries = libraries.context("the C library is in no folder")?;
    shell::run(
        Command::new("patchelf")
            .arg("--set-interpreter")
            .arg(prefix.join(loader))
            // Of the older kind, which counts for extension modules, too.
            .args(["--force-rpath", "--set-rpath"])
            .arg(format!("$ORIGIN/../{}", libraries.display()))
            .arg(&program),
    )?;
    Ok(made)
}

/// Built of the source that Debian's package is made of, without optimisations that take long, and without
/// Debian's changes: with these, one without an interpreter lock does not find what is installed in its virtual
/// environments.
fn build(apt: &Apt, version: &Version, prefix: &Path) -> Result<PathBuf> {
    let missing = HEADERS.iter().filter(|(header, _)| {
        let mut compiler = Command::new("cc");
        compiler.args(["-fsyntax-only", "-x", "c", "-include", header, "/dev/null"]);
        !shell::succeeds(&mut compiler)
    });
    let missing: Vec<_> = missing.map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        requirements::install(&missing, "a Python with pip is built with them")?;
    }
    let package = format!("python{}", version.number);
    let mut download = apt.get(&["source", "--quiet", "--download-only", "--tar-only", &package]);
    shell::run(download.current_dir(&apt.folder))?;
    let mut files = fs::read_dir(&apt.folder)?.flatten().map(|entry| entry.path());
    let archive = files
        .find(|path| path.to_string_lossy().contains(".orig.tar."))
        .with_context(|| format!("{package} has no source"))?;
    let source = apt.folder.join("source");
    fs::create_dir(&source)?;
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "--strip-components=1", "--directory"]);
    shell::run(unpack.arg(&source).arg("--file").arg(archive))?;
    println!("Building {}, which takes minutes, once.", version.name());
    let run = |command: &mut Command| -> Result<()> {
        shell::capture(command.current_dir(&source)).map(drop)
    };
    let mut configure = Command::new("./configure");
    run(configure.arg("--disable-gil").arg("--prefix").arg(prefix))?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    run(Command::new("nice").args(["make", &format!("-j{cores}")]))?;
    let root = apt.folder.join("root");
    run(Command::new("make").arg("install").arg(format!("DESTDIR={}", root.display())))?;
    Ok(root.join(prefix.strip_prefix("/")?))
}

/// An apt of our own: it knows another release than the machine's, and takes nothing for installed.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Makes the folder, and fetches the lists of packages.
    fn prepare(folder: PathBuf) -> Result<Apt> {
        ensure!(shell::on_path("apt-get").is_some(), "there is no apt-get here");
        ensure!(Path::new(KEYS).is_file(), "{KEYS} is missing (package debian-archive-keyring)");
        for needed in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(folder.join(needed))?;
        }
        fs::write(folder.join("status"), "")?;
        let source = format!("[signed-by={KEYS}] {SITE} {RELEASE} main");
        fs::write(folder.join("sources.list"), format!("deb {source}\ndeb-src {source}\n"))?;
        let within = |name: &str| folder.join(name).display().to_string();
        let settings = [
            ("Dir::Etc::sourcelist", within("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
            ("Dir::State::lists", within("lists")),
            ("Dir::State::status", within("status")),
            ("Dir::Cache", within("")),
            ("Dir::Cache::archives", within("archives")),
            // Lists that nothing here reads.
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".to_owned()),
            // Its own user for downloads cannot enter a home directory.
            ("APT::Sandbox::User", "root".to_owned()),
            // No package of the system is touched.
            ("Debug::NoLocking", "true".to_owned()),
        ];
        let lines = settings.map(|(name, value)| format!("{name} \"{value}\";\n"));
        fs::write(folder.join(CONFIGURATION), lines.concat())?;
        let apt = Apt { folder };
        shell::run(&mut apt.get(&["update", "--quiet"]))?;
        Ok(apt)
    }

    fn get(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("APT_CONFIG", self.folder.join(CONFIGURATION));
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let version = Version::parse("3.14t").unwrap();
        assert_eq!((version.name(), version.free_threaded), ("python3.14t".to_owned(), true));
        assert_eq!(Version::parse("3.15").unwrap().name(), "python3.15");
        for text in ["", "3", "3.", "2.7", "3.x", "3.14tt", "3.14.1"] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_tests_want_has_a_version() {
        assert!(WANTED.iter().all(|version| Version::parse(version).is_ok()));
    }
}
