//! Finds the Pythons of this machine that run applications, and says why the others cannot.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt, fs};

use anyhow::{Context, Result, bail};

use crate::{interpreters, requirements, shell, stage};

/// The oldest Python that a worker runs in.
const OLDEST: (u8, u8) = (3, 9);

/// The oldest without an interpreter lock that PyO3 supports.
const OLDEST_FREE_THREADED: (u8, u8) = (3, 14);

/// Later ones are found as `python3` only.
const NEWEST_TO_LOOK_FOR: u8 = 15;

/// Asks an interpreter about itself. In a virtual environment, and behind a shim on PATH, the
/// answer is about the real one.
const QUESTIONS: &str = "
import sys, sysconfig
value = sysconfig.get_config_var
print(getattr(sys, '_base_executable', None) or sys.executable)
print('%d.%d' % sys.version_info[:2])
print(int(bool(value('Py_GIL_DISABLED'))))
print(sysconfig.get_path('stdlib'))
print(int(bool(value('Py_ENABLE_SHARED'))))
";

/// Loads an extension module, and takes note of nothing else that is there.
const LOAD: &str = "
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec
name, path = '_mod_wsgi_worker', sys.argv[1]
loader = ExtensionFileLoader(name, path)
module = loader.create_module(ModuleSpec(name, loader, origin=path))
loader.exec_module(module)
module.run
";

/// An installed CPython.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    /// Its program.
    pub executable: PathBuf,
    version: (u8, u8),
    /// Whether it does without an interpreter lock.
    pub free_threaded: bool,
    library: PathBuf,
    /// Whether its program is linked to a libpython of its own.
    shared: bool,
}

/// What a look at the machine brought.
#[derive(Debug, Default)]
pub struct Found {
    /// One Python for each version, the default first.
    pub usable: Vec<Python>,
    /// Those of other versions that lack nothing but that other users can read them.
    pub closed: Vec<Python>,
    /// Why the others were left out.
    pub skipped: Vec<String>,
}

/// The Python that everything uses unless told otherwise.
pub fn default() -> Result<Python> {
    let Found { usable, skipped, .. } = find();
    usable
        .into_iter()
        .next()
        .with_context(|| format!("no Python here runs applications:\n  {}", skipped.join("\n  ")))
}

/// Looks at the system's own Python first, which is where all users can read it. Then at what PATH
/// names.
pub fn find() -> Found {
    let mut candidates = vec![PathBuf::from("/usr/bin/python3")];
    candidates.extend(shell::on_path("python3"));
    for minor in OLDEST.1..=NEWEST_TO_LOOK_FOR {
        for suffix in ["", "t"] {
            candidates.extend(shell::on_path(&format!("python3.{minor}{suffix}")));
        }
    }
    candidates.extend(interpreters::brought());
    candidates.extend(installed_by_pyenv());
    let mut found = Found::default();
    for candidate in candidates.into_iter().filter(|candidate| candidate.exists()) {
        match Python::probe(&candidate).and_then(Python::complete) {
            Ok(python) if found.knows(&python) => {}
            Ok(python) if python.closed_folder().is_some() => found.closed.push(python),
            Ok(python) => found.usable.push(python),
            Err(error) => {
                let reason = format!("{}: {error:#}", candidate.display());
                if !found.skipped.contains(&reason) {
                    found.skipped.push(reason);
                }
            }
        }
    }
    found
}

/// What pyenv has installed: on PATH there are only its shims, which run what is chosen.
fn installed_by_pyenv() -> Vec<PathBuf> {
    let root = env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".pyenv")));
    let versions = root.map(|root| fs::read_dir(root.join("versions")));
    let versions = versions.into_iter().flatten().flatten().flatten();
    let mut programs: Vec<_> = versions.map(|version| version.path().join("bin/python3")).collect();
    programs.sort();
    programs
}

/// Lets a program that was copied from one prefix to another find what it is linked to where the copies of
/// that are, instead of by the paths that it was built with. The program may be a link to the original: it
/// becomes a file of its own.
fn link_to_copies(program: &Path, from: &Path, to: &Path) -> Result<()> {
    requirements::ensure_tool("patchelf", "it lets a copied Python find its own libpython")?;
    let program = fs::canonicalize(program)?;
    let own = program.with_extension("own");
    fs::copy(&program, &own)?;
    let patchelf = || Command::new("patchelf");
    let (before, after) = (from.display().to_string(), to.display().to_string());
    let path = shell::capture(patchelf().arg("--print-rpath").arg(&own))?;
    let path = path.replace(&before, "$ORIGIN/..");
    shell::run(patchelf().args(["--force-rpath", "--set-rpath", &path]).arg(&own))?;
    let loader = shell::capture(patchelf().arg("--print-interpreter").arg(&own))?;
    if loader.starts_with(&before) {
        let loader = loader.replace(&before, &after);
        shell::run(patchelf().args(["--set-interpreter", &loader]).arg(&own))?;
    }
    Ok(fs::rename(own, program)?)
}

impl Found {
    fn knows(&self, python: &Python) -> bool {
        self.usable.iter().chain(&self.closed).any(|other| other.tag() == python.tag())
    }
}

impl Python {
    /// Asks a program that claims to be a Python.
    pub fn probe(program: &Path) -> Result<Python> {
        let output = Command::new(program).args(["-I", "-c", QUESTIONS]).output();
        let output = output.context("cannot be run")?;
        if !output.status.success() {
            // A shim explains itself at length.
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("does not run: {}", reason.lines().next().unwrap_or_default());
        }
        let answers = String::from_utf8_lossy(&output.stdout);
        Python::parse(&answers).context("does not say what it is")
    }

    /// Itself, when workers run in it, of whatever user.
    pub fn checked(self) -> Result<Python> {
        let python = self.complete()?;
        if let Some(folder) = python.closed_folder() {
            bail!("lies in {}, where the users that workers run as cannot read", folder.display());
        }
        Ok(python)
    }

    /// Itself, when workers run in it.
    fn complete(self) -> Result<Python> {
        match self.problem() {
            None => Ok(self),
            Some(problem) => bail!(problem),
        }
    }

    /// The same Python in the stage, where other users can read it. A Python finds its library from
    /// where its program lies, and so may be moved.
    pub fn staged(self, stage: &Path) -> Result<Python> {
        let prefix = self.executable.ancestors().nth(2).context("its program is in no folder")?;
        let name = prefix.file_name().context("it has no folder of its own")?;
        let pythons = stage.join("interpreters");
        let copy = pythons.join(name);
        if !copy.exists() {
            stage::folder(&pythons)?;
            // Half a copy must never be taken for one.
            let fresh = pythons.join(format!("{}.new", name.display()));
            if fresh.exists() {
                fs::remove_dir_all(&fresh)?;
            }
            // Hard links cost nothing; another file system has to have the content.
            let links = Command::new("cp").arg("-al").arg(prefix).arg(&fresh).output()?;
            if !links.status.success() {
                shell::run(Command::new("cp").arg("-a").arg(prefix).arg(&fresh))?;
            }
            if self.shared {
                let program = self.executable.strip_prefix(prefix)?;
                link_to_copies(&fresh.join(program), prefix, &copy)?;
            }
            fs::rename(&fresh, &copy)?;
        }
        let moved = |path: &Path| match path.strip_prefix(prefix) {
            Ok(rest) => copy.join(rest),
            Err(_) => path.to_owned(),
        };
        Python { executable: moved(&self.executable), library: moved(&self.library), ..self }
            .checked()
    }

    /// The version: `3.11`, or `3.13t` when free-threaded.
    pub fn tag(&self) -> String {
        let suffix = if self.free_threaded { "t" } else { "" };
        format!("{}.{}{suffix}", self.version.0, self.version.1)
    }

    /// The tag of the worker that is loaded into it, as in the name `wsgi_worker.TAG.so`.
    pub fn worker_tag(&self) -> String {
        match self.free_threaded {
            true => format!("cpython-{}{}t", self.version.0, self.version.1),
            false => "abi3".to_owned(),
        }
    }

    /// Loads a worker that has been built for it. Where PyO3 cannot ask a Python about itself, it builds for the
    /// stable ABI, which one without an interpreter lock does not have.
    ///
    /// # Errors
    /// What Python says.
    pub fn check_worker(&self, worker: &Path) -> Result<()> {
        shell::capture(Command::new(&self.executable).args(["-I", "-c", LOAD]).arg(worker))
            .map(drop)
            .with_context(|| format!("{self} does not load {}", worker.display()))
    }

    /// Makes a command build for this Python.
    pub fn build_environment(&self, command: &mut Command) {
        command.env("PYO3_PYTHON", &self.executable);
    }

    /// Why no worker runs in it, if so.
    fn problem(&self) -> Option<String> {
        let oldest = if self.free_threaded { OLDEST_FREE_THREADED } else { OLDEST };
        (self.version < oldest).then(|| {
            let suffix = if self.free_threaded { "t" } else { "" };
            format!("is {}, older than {}.{}{suffix}", self.tag(), oldest.0, oldest.1)
        })
    }

    /// A folder on the way to it that other users cannot enter.
    fn closed_folder(&self) -> Option<PathBuf> {
        let paths = [&self.executable, &self.library];
        paths.into_iter().find_map(|path| stage::closed_to_others(path))
    }

    /// Reads the answers to [`QUESTIONS`].
    fn parse(answers: &str) -> Option<Python> {
        let mut lines = answers.lines();
        let executable = lines.next()?.into();
        let (major, minor) = lines.next()?.split_once('.')?;
        Some(Python {
            executable,
            version: (major.parse().ok()?, minor.parse().ok()?),
            free_threaded: lines.next()? == "1",
            library: lines.next()?.into(),
            shared: lines.next()? == "1",
        })
    }
}

impl fmt::Display for Python {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Python {} ({})", self.tag(), self.executable.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERS: &str = "/opt/bin/python3.14t\n3.14\n1\n/opt/lib/python3.14t\n0\n";

    #[test]
    fn answers() {
        let python = Python::parse(ANSWERS).unwrap();
        assert_eq!((python.tag(), python.worker_tag()), ("3.14t".into(), "cpython-314t".into()));
        assert_eq!(python.problem(), None);
        let python = Python::parse(&ANSWERS.replace("\n1\n", "\n0\n")).unwrap();
        assert_eq!((python.tag(), python.worker_tag()), ("3.14".into(), "abi3".into()));
        assert_eq!(Python::parse("/opt/bin/python\n3.14\n"), None);
    }

    #[track_caller]
    fn check(answers: &str, problem: &str) {
        let found = Python::parse(answers).unwrap().problem().unwrap();
        assert!(found.contains(problem), "{found}");
    }

    #[test]
    fn problems() {
        check(&ANSWERS.replace("3.14\n1", "3.8\n0"), "is 3.8, older than 3.9");
        check(&ANSWERS.replace("3.14\n1", "3.13\n1"), "is 3.13t, older than 3.14t");
    }
}
