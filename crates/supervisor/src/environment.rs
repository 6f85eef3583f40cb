//! Which Python a group's worker runs in: from `python-home=` to an interpreter, or to a libpython
//! for our own program.
//!
//! All of this is asked by the worker's own process, with the rights of the group's user and of
//! nothing else: an environment belongs to whoever writes the application. What is read is not
//! trusted: only regular files, only so much of them, and nothing of their text goes into messages
//! but versions.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};

/// The oldest minor version of Python 3 that runs applications.
const OLDEST: u32 = 9;
/// Later ones are not looked for where only a number in a name tells of them.
const NEWEST: u32 = 30;

/// What a worker's process executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interpreter {
    /// The environment's own program.
    Program(PathBuf),
    /// Our own program with a libpython, where that has to be loaded before the root changes, or
    /// there is no other program.
    Library {
        /// The shared library.
        libpython: PathBuf,
        /// The path by which Python finds its standard library, as if it had been executed there.
        program: PathBuf,
    },
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// A path leads nowhere, for this user at least.
    #[error("python-home={} cannot be used: {problem}", home.display())]
    Unusable {
        /// The environment.
        home: PathBuf,
        /// What is wrong, and the cure.
        problem: String,
    },
    /// The directory is neither an environment nor a prefix.
    #[error(
        "python-home={} is no Python environment: it has neither bin/python nor lib/pythonX.Y; name \
         the directory that `python -m venv` or `virtualenv` made",
        .0.display()
    )]
    NoEnvironment(PathBuf),
    /// There is a standard library, but nothing to run it.
    #[error(
        "python-home={} has no bin/python, and there is no libpython{version}.so.1.0 for it in {}; \
         install it (Debian: libpython{version}), or name an environment with an interpreter",
        home.display(), looked_in.join(", ")
    )]
    NoLibrary {
        /// The environment.
        home: PathBuf,
        /// Its version.
        version: String,
        /// Where the library was looked for.
        looked_in: Vec<String>,
    },
    /// No Python is named, and none is where it is looked for.
    #[error(
        "no Python is configured and none of {} is there: name one with WSGIPythonHome or \
         python-home=", .0.join(", ")
    )]
    NoDefault(Vec<String>),
}

/// The interpreter of a process group: of its `home`, or the default one. With a `root`, paths are
/// those inside of that directory, which is the group's `chroot=`.
///
/// # Errors
/// [`EnvironmentError`].
pub fn find(
    home: Option<&Path>,
    root: Option<BorrowedFd<'_>>,
    installed: &Path,
) -> Result<Interpreter, EnvironmentError> {
    let view = View { root };
    match home {
        None if root.is_none() => default(installed).map(Interpreter::Program),
        // Of the same place as outside.
        None => {
            let program = default(installed)?;
            let program = std::fs::canonicalize(&program).unwrap_or(program);
            view.library(program.ancestors().nth(2).unwrap_or(Path::new("/usr")))
        }
        Some(home) => {
            let home = view.prefix(home);
            match view.program(home)? {
                Some(program) if root.is_none() => Ok(Interpreter::Program(program)),
                _ => view.library(home),
            }
        }
    }
}

/// Whether the environment at `home` is one of a Python without interpreter lock (PEP 703).
pub fn is_free_threaded(home: &Path) -> bool {
    versions().any(|version| home.join(format!("lib/python{version}t")).is_dir())
}

/// The interpreter where none is configured: the one that `python` beside the module is a link to,
/// that of the environment that the module is installed in, or the system's.
fn default(installed: &Path) -> Result<PathBuf, EnvironmentError> {
    let own = installed.join("python");
    // By its own path: the link is ours, and may be another one after an upgrade.
    let own = std::fs::read_link(&own).ok().filter(|path| path.is_absolute()).unwrap_or(own);
    // `PREFIX/lib/pythonX.Y/site-packages/mod_wsgi_rs`
    let environment = installed.ancestors().nth(4).map(|prefix| prefix.join("bin/python3"));
    let in_packages = installed.parent().is_some_and(|folder| folder.ends_with("site-packages"));
    let environment = environment.filter(|_| in_packages);
    let system = ["/usr/bin/python3", "/usr/local/bin/python3"].map(PathBuf::from);
    let candidates: Vec<_> = [own].into_iter().chain(environment).chain(system).collect();
    // One that is there and cannot be executed is told of, rather than another one taken.
    let found = candidates.iter().find(|program| program.symlink_metadata().is_ok()).cloned();
    found.ok_or_else(|| {
        let names = candidates.iter().map(|program| program.display().to_string());
        EnvironmentError::NoDefault(names.collect())
    })
}

fn versions() -> impl DoubleEndedIterator<Item = String> {
    (OLDEST..=NEWEST).map(|minor| format!("3.{minor}"))
}

/// Whether this user may execute a file.
fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// The files as the worker will see them.
struct View<'r> {
    root: Option<BorrowedFd<'r>>,
}

impl View<'_> {
    /// The environment's program, if it has one.
    fn program(&self, home: &Path) -> Result<Option<PathBuf>, EnvironmentError> {
        let unusable =
            |problem: String| EnvironmentError::Unusable { home: home.to_owned(), problem };
        match self.kind(home) {
            Ok(FileType::Directory) => {}
            Ok(_) => return Err(unusable("it is no directory".to_owned())),
            Err(error) => return Err(unusable(self.describe(home, &error))),
        }
        // An environment's own; a prefix may have a `python` of another major version.
        let is_environment = match self.kind(&home.join("pyvenv.cfg")) {
            Ok(FileType::RegularFile) => true,
            // CPython would take it for none, and run another environment.
            Ok(_) => return Err(unusable("its pyvenv.cfg is no regular file".to_owned())),
            Err(_) => false,
        };
        let plain = if is_environment { ["python", "python3"] } else { ["python3", "python"] };
        let numbered = versions()
            .rev()
            .flat_map(|version| [format!("python{version}"), format!("python{version}t")]);
        let names = plain.map(str::to_owned).into_iter().chain(numbered);
        for program in names.map(|name| home.join("bin").join(name)) {
            // The first one that is there counts, be it broken: another one is another Python.
            let problem = match self.kind(&program) {
                Ok(FileType::RegularFile) if self.root.is_some() || is_executable(&program) => {
                    return Ok(Some(program));
                }
                Ok(FileType::RegularFile) => format!("{} is not executable", program.display()),
                Ok(_) => format!("{} is no regular file", program.display()),
                // A link that leads nowhere is what an upgrade of Python leaves behind.
                Err(error) if self.root.is_none() && program.is_symlink() => {
                    dangling(&program).unwrap_or_else(|| format!("{}: {error}", program.display()))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => self.describe(&program, &error),
            };
            return Err(unusable(problem));
        }
        Ok(None)
    }

    /// A libpython for the standard library in `home`.
    fn library(&self, home: &Path) -> Result<Interpreter, EnvironmentError> {
        let (found, base) = self.identify(home)?;
        let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let system = ["/usr/local/lib", &multiarch, "/usr/lib64", "/usr/lib"].map(PathBuf::from);
        // What is inside of a root belongs to the group, and must not be loaded outside of it.
        let own = ["lib", "lib64"].iter().map(|folder| base.join(folder));
        let own = own.filter(|_| self.root.is_none());
        let places: Vec<_> = own.chain(system).collect();
        for version in &found {
            let name = format!("libpython{version}.so.1.0");
            let library = places.iter().map(|place| place.join(&name)).find(|path| path.is_file());
            if let Some(libpython) = library {
                return Ok(Interpreter::Library { libpython, program: home.join("bin/python3") });
            }
        }
        let version = found.into_iter().next();
        let version = version.ok_or_else(|| EnvironmentError::NoEnvironment(home.to_owned()))?;
        let looked_in = places.iter().map(|place| place.display().to_string()).collect();
        Err(EnvironmentError::NoLibrary { home: home.to_owned(), version, looked_in })
    }

    /// Versions of an environment or prefix, the newest first, and the prefix of its library.
    fn identify(&self, home: &Path) -> Result<(Vec<String>, PathBuf), EnvironmentError> {
        let unusable =
            |problem: String| EnvironmentError::Unusable { home: home.to_owned(), problem };
        let text = match self.read_small(&home.join("pyvenv.cfg")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let all = versions().rev().flat_map(|version| [format!("{version}t"), version]);
                let found = all.filter(|version| self.has_library(home, version)).collect();
                return Ok((found, home.to_owned()));
            }
            Err(error) => return Err(unusable(format!("pyvenv.cfg cannot be read: {error}"))),
        };
        let value = |key: &str| {
            let pairs = text.lines().filter_map(|line| line.split_once('='));
            let mut found = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case(key));
            found.next().map(|(_, value)| value.trim().to_owned())
        };
        // `venv` writes version, `virtualenv` and uv version_info; all write home, the directory of
        // the interpreter that the environment was made with.
        let version = value("version").or_else(|| value("version_info")).and_then(|version| {
            let mut parts = version.split('.').map(str::parse::<u32>);
            match (parts.next(), parts.next()) {
                (Some(Ok(3)), Some(Ok(minor))) => Some(format!("3.{minor}")),
                _ => None,
            }
        });
        let (Some(version), Some(executables)) = (version, value("home")) else {
            return Err(unusable(
                "its pyvenv.cfg names no version and home; make the environment anew".to_owned(),
            ));
        };
        let free = format!("{version}t");
        let version = if self.has_library(home, &free) { free } else { version };
        let executables = Path::new(&executables);
        let base = executables.parent().unwrap_or(executables).to_owned();
        if self.root.is_some() && !self.has_standard_library(&base, &version) {
            let place = base.join("lib").join(format!("python{version}"));
            return Err(unusable(format!(
                "its standard library has to be in the chroot= at {}, where it is outside as well",
                place.display()
            )));
        }
        Ok((vec![version], base))
    }

    /// Whether a prefix has a folder of packages for this version.
    fn has_library(&self, prefix: &Path, version: &str) -> bool {
        ["lib", "lib64"].iter().any(|folder| {
            let library = prefix.join(folder).join(format!("python{version}"));
            matches!(self.kind(&library), Ok(FileType::Directory))
        })
    }

    fn has_standard_library(&self, prefix: &Path, version: &str) -> bool {
        let digits: String = version.chars().filter(char::is_ascii_digit).collect();
        let forms = [
            format!("lib/python{version}/os.py"),
            format!("lib64/python{version}/os.py"),
            format!("lib/python{digits}.zip"),
        ];
        forms.iter().any(|form| self.kind(&prefix.join(form)).is_ok())
    }

    /// The prefix, where `home` is of the form `prefix:exec_prefix` (`Modules/getpath.py` of CPython).
    fn prefix<'h>(&self, home: &'h Path) -> &'h Path {
        let bytes = home.as_os_str().as_bytes();
        match bytes.iter().position(|byte| *byte == b':') {
            Some(end) if self.kind(home).is_err() => Path::new(OsStr::from_bytes(&bytes[..end])),
            _ => home,
        }
    }

    /// What is at this path.
    fn kind(&self, path: &Path) -> io::Result<FileType> {
        let file = self.open(path, OFlags::PATH)?;
        let stat = rustix::fs::fstat(file.as_fd())?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }

    /// Reads a file that somebody else may have put there: no waiting for a FIFO, no endless device.
    fn read_small(&self, path: &Path) -> io::Result<String> {
        const MOST: u64 = 64 << 10;
        let file = std::fs::File::from(self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut text = String::new();
        file.take(MOST).read_to_string(&mut text)?;
        Ok(text)
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<std::os::fd::OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let opened = match self.root {
            None => rustix::fs::openat(CWD, path, flags, Mode::empty()),
            // Links mean inside of the root what they mean there (openat2(2)).
            Some(root) => {
                let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
            }
        };
        Ok(opened?)
    }

    /// What keeps this user from a path, by name.
    fn describe(&self, path: &Path, error: &io::Error) -> String {
        if self.root.is_none()
            && error.kind() == io::ErrorKind::PermissionDenied
            && let Some(closed) = closed_directory(path)
        {
            return format!(
                "the user may not enter {}: give the user execute permission for that directory, or \
                 make the environment elsewhere",
                closed.display()
            );
        }
        format!("{}: {error}", path.display())
    }
}

/// The first directory on the way to `path` that this user may not enter.
fn closed_directory(path: &Path) -> Option<PathBuf> {
    let ancestors: Vec<_> = path.ancestors().skip(1).collect();
    let closed = |directory: &&&Path| {
        let allowed = rustix::fs::accessat(CWD, **directory, Access::EXEC_OK, AtFlags::EACCESS);
        matches!(allowed, Err(rustix::io::Errno::ACCESS))
    };
    ancestors.iter().rev().find(closed).map(|directory| (*directory).to_owned())
}

/// Why the program of an environment, a link, leads nowhere.
fn dangling(program: &Path) -> Option<String> {
    let target = std::fs::read_link(program).ok()?;
    let target = program.parent()?.join(target);
    let link = program.display();
    if let Some(closed) = closed_directory(&target) {
        return Some(format!(
            "{link} leads to {}, and the user may not enter {}: give the user execute permission for \
             that directory, or make the environment with another Python",
            target.display(),
            closed.display()
        ));
    }
    match std::fs::metadata(&target) {
        Ok(_) => None,
        // Several links may follow each other (bin/python, bin/python3, /usr/bin/python3).
        Err(_) if target.is_symlink() => dangling(&target),
        Err(_) => {
            // Debian's and Fedora's packages have the names of their programs.
            let name = target.file_name().and_then(OsStr::to_str);
            let package = name.filter(|name| name.starts_with("python3."));
            let install = package.map(|name| format!("install it ({name}), or "));
            Some(format!(
                "{link} leads to {}, which is not there: {}make the environment anew, with a Python \
                 that is",
                target.display(),
                install.unwrap_or_default()
            ))
        }
    }
}
