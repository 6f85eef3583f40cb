//! Which Python: from `python-home=` to the worker that was built for its version.
//!
//! An environment may belong to an application's user, so what is read here is not trusted: only
//! regular files, only so much of them, and nothing of their text goes into messages but versions.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::chroot::Root;

/// A worker, and the libpython that it should load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// The program.
    pub program: PathBuf,
    /// The environment's own libpython, where it could be found.
    pub libpython: Option<PathBuf>,
}

impl Worker {
    /// Whether its Python can do without its lock: the name of the program says so, or that of what
    /// the default one is a link to.
    pub fn is_free_threaded(&self) -> bool {
        let program = fs::canonicalize(&self.program);
        program.as_deref().unwrap_or(&self.program).to_string_lossy().ends_with('t')
    }
}

/// Major and minor version of a Python, and whether it is a free-threaded build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    major: u32,
    minor: u32,
    free_threaded: bool,
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let suffix = if self.free_threaded { "t" } else { "" };
        write!(formatter, "{}.{}{suffix}", self.major, self.minor)
    }
}

/// Why there is no worker for a Python.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// The path leads to no directory.
    #[error(
        "it is no directory that httpd can read ({0}); name the root of a virtual environment."
    )]
    NoDirectory(io::Error),
    /// The directory is neither an environment nor a prefix.
    #[error(
        "it is no Python environment: it has neither pyvenv.cfg nor lib/pythonX.Y/os.py; name the \
         directory that `python -m venv` or `virtualenv` made."
    )]
    NoEnvironment,
    /// The environment's file says nothing usable.
    #[error("its pyvenv.cfg cannot be used: {0}; make the environment anew.")]
    Unusable(String),
    /// Nothing was built for this version.
    #[error(
        "it is an environment of Python {version}, and there is a worker for {}; looked for {} in \
         {}. Add a worker for Python {version} there (cargo xtask dist --python), or make the \
         environment with a Python that has one.",
        list(available, "no version"), worker_name(*.version), list(looked_in, "no directory")
    )]
    NoWorker {
        /// The environment's version.
        version: Version,
        /// The versions for which there is one.
        available: Vec<String>,
        /// Where a worker was looked for.
        looked_in: Vec<String>,
    },
    /// There is no default worker.
    #[error(
        "there is no Python worker in {}: put wsgi-worker-X.Y there (cargo xtask dist), and with \
         more than one of them a link wsgi-worker to the one to use where no python-home is given \
         (found: {}).",
        directory.display(), list(available, "none")
    )]
    NoDefault {
        /// Where it was looked for.
        directory: PathBuf,
        /// What is there.
        available: Vec<String>,
    },
}

fn list(names: &[String], none: &str) -> String {
    if names.is_empty() { none.to_owned() } else { names.join(", ") }
}

fn worker_name(version: Version) -> String {
    format!("wsgi-worker-{version}")
}

/// A home from the root: a relative one begins at the first of these directories that has it.
pub fn absolute(home: &Path, directories: &[PathBuf]) -> PathBuf {
    let mut places = directories.iter().map(|directory| directory.join(home));
    let first = places.next().unwrap_or_else(|| home.to_owned());
    if first.is_dir() { first } else { places.find(|place| place.is_dir()).unwrap_or(first) }
}

/// The worker for the environment or prefix `home`: the one installed in it, or else the one in
/// `installed`, the module's own directory.
///
/// With a `root`, the environment is in there, where its user may write. The worker changes its root
/// itself, so that until then it must be made of nothing from inside: it is the one in `installed`,
/// with the libpython that it knows.
///
/// # Errors
/// [`PythonError`].
pub fn find_worker(
    home: &Path,
    root: Option<&Root>,
    installed: &Path,
) -> Result<Worker, PythonError> {
    let home = prefix(home, root);
    let metadata = fs::metadata(see(root, home)).map_err(PythonError::NoDirectory)?;
    if !metadata.is_dir() {
        return Err(PythonError::NoDirectory(io::ErrorKind::NotADirectory.into()));
    }
    let (version, base) = identify(home, root)?;
    let name = worker_name(version);
    let inside = home.join(format!("lib/python{version}/site-packages/mod_wsgi_rs"));
    let places = match root {
        None => vec![inside.as_path(), installed],
        Some(_) => vec![installed],
    };
    match places.iter().map(|place| place.join(&name)).find(|program| program.is_file()) {
        Some(program) => {
            let libpython = root.is_none().then(|| find_libpython(&base, version)).flatten();
            Ok(Worker { program, libpython })
        }
        None => Err(PythonError::NoWorker {
            version,
            available: available(installed),
            looked_in: places.iter().map(|place| place.display().to_string()).collect(),
        }),
    }
}

/// The worker to use where no Python is named: `wsgi-worker`, or the only one there is.
///
/// # Errors
/// [`PythonError::NoDefault`].
pub fn default_worker(installed: &Path) -> Result<Worker, PythonError> {
    let link = installed.join("wsgi-worker");
    let available = available(installed);
    let program = match available.as_slice() {
        _ if link.is_file() => link,
        [only] => installed.join(format!("wsgi-worker-{only}")),
        _ => {
            return Err(PythonError::NoDefault { directory: installed.to_owned(), available });
        }
    };
    // By its recorded prefix: the program knows its own libpython.
    Ok(Worker { program, libpython: None })
}

/// Where the standard library of the environment `home` would have to be in `root`, if it is not
/// there.
pub fn missing_library(home: &Path, root: &Root) -> Option<PathBuf> {
    let (version, base) = identify(prefix(home, Some(root)), Some(root)).ok()?;
    let Version { major, minor, .. } = version;
    let forms = [
        format!("lib/python{version}/os.py"),
        format!("lib64/python{version}/os.py"),
        format!("lib/python{major}{minor}.zip"),
    ];
    let is_there = |form: &String| root.outside(&base.join(form)).is_file();
    let library = root.outside(&base.join("lib").join(format!("python{version}")));
    (!forms.iter().any(is_there)).then_some(library)
}

/// The prefix, where `home` is of the form `prefix:exec_prefix` (`Modules/getpath.py` of CPython).
fn prefix<'h>(home: &'h Path, root: Option<&Root>) -> &'h Path {
    let bytes = home.as_os_str().as_bytes();
    match bytes.iter().position(|byte| *byte == b':') {
        Some(end) if !see(root, home).is_dir() => Path::new(OsStr::from_bytes(&bytes[..end])),
        _ => home,
    }
}

/// Where a path that a worker with this root will use is now.
fn see(root: Option<&Root>, path: &Path) -> PathBuf {
    root.map_or_else(|| path.to_owned(), |root| root.outside(path))
}

/// The versions for which there is a worker in `directory`.
fn available(directory: &Path) -> Vec<String> {
    let mut versions: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix("wsgi-worker-").map(str::to_owned)
        })
        .collect();
    versions.sort();
    versions
}

/// Version and base prefix of the environment or prefix `home`.
fn identify(home: &Path, root: Option<&Root>) -> Result<(Version, PathBuf), PythonError> {
    match read_small(&see(root, &home.join("pyvenv.cfg"))) {
        Ok(text) => identify_environment(&see(root, home), &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => identify_prefix(&see(root, home))
            .map(|version| (version, home.to_owned()))
            .ok_or(PythonError::NoEnvironment),
        Err(error) => Err(PythonError::Unusable(error.to_string())),
    }
}

fn identify_environment(home: &Path, text: &str) -> Result<(Version, PathBuf), PythonError> {
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case(key))
            .map(|(_, value)| value.trim())
    };
    // `venv` writes version, `virtualenv` version_info; both write home, the directory of the
    // interpreter that the environment was made with.
    let version = value("version").or_else(|| value("version_info"));
    let mut version = version
        .and_then(parse_version)
        .ok_or_else(|| PythonError::Unusable("it names no version".into()))?;
    version.free_threaded = home.join(format!("lib/python{version}t")).is_dir();
    let executables =
        value("home").ok_or_else(|| PythonError::Unusable("it names no home".into()))?;
    let executables = Path::new(executables);
    Ok((version, executables.parent().unwrap_or(executables).to_owned()))
}

/// The version of an installation, by the folder that holds its library.
fn identify_prefix(home: &Path) -> Option<Version> {
    fs::read_dir(home.join("lib")).ok()?.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let name = name.strip_prefix("python")?;
        let mut version = parse_version(name.trim_end_matches('t'))?;
        version.free_threaded = name.ends_with('t');
        entry.path().join("os.py").is_file().then_some(version)
    })
}

fn parse_version(text: &str) -> Option<Version> {
    let mut parts = text.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some(Version { major, minor, free_threaded: false })
}

/// The libpython of the installation `base`, where distributions and CPython's own build put it.
fn find_libpython(base: &Path, version: Version) -> Option<PathBuf> {
    let name = format!("libpython{version}.so.1.0");
    let multiarch = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    ["lib", "lib64", &multiarch]
        .iter()
        .map(|folder| base.join(folder).join(&name))
        .find(|library| library.is_file())
}

/// Reads a file that somebody else may have put there: no waiting for a FIFO, no endless device.
fn read_small(path: &Path) -> io::Result<String> {
    const MOST: u64 = 64 << 10;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with files of the given names and contents, below the test's own directory.
    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root =
            std::env::temp_dir().join(format!("mod_wsgi_rs-python-{}-{name}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        for (file, content) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn the_environment_names_its_version_and_base() {
        for key in ["version", "version_info"] {
            let text = format!("home = /opt/python/bin\n{key} = 3.12.1.final.0\n");
            let found = identify_environment(Path::new("/nowhere"), &text).unwrap();
            assert_eq!(
                (found.0.to_string().as_str(), found.1.as_path()),
                ("3.12", Path::new("/opt/python"))
            );
        }
    }

    #[test]
    fn the_worker_inside_the_environment_comes_first() {
        let installed = folder("both-installed", &[("wsgi-worker-3.12", "")]);
        let config = "home = /nowhere/bin\nversion = 3.12.1\n";
        let plain = folder("both-plain", &[("pyvenv.cfg", config)]);
        let inside = "lib/python3.12/site-packages/mod_wsgi_rs/wsgi-worker-3.12";
        let own = folder("both-own", &[("pyvenv.cfg", config), (inside, "")]);
        let program = |home: &Path| find_worker(home, None, &installed).unwrap().program;
        assert_eq!(program(&plain), installed.join("wsgi-worker-3.12"));
        assert_eq!(program(&own), own.join(inside));
        [installed, plain, own].iter().for_each(|root| fs::remove_dir_all(root).unwrap());
    }

    #[test]
    fn an_environment_without_a_worker_is_refused_with_both_versions() {
        let installed = folder("none-installed", &[("wsgi-worker-3.11", "")]);
        let home = folder("none", &[("pyvenv.cfg", "home = /usr/bin\nversion = 3.13.0\n")]);
        let error = find_worker(&home, None, &installed).unwrap_err().to_string();
        assert!(error.contains("Python 3.13") && error.contains("worker for 3.11"), "{error}");
        [installed, home].iter().for_each(|root| fs::remove_dir_all(root).unwrap());
    }

    #[test]
    fn what_is_no_environment_is_told_so() {
        let empty = folder("empty", &[]);
        let error = find_worker(&empty, None, &empty).unwrap_err();
        assert!(matches!(error, PythonError::NoEnvironment), "{error}");
        let error = find_worker(&empty.join("missing"), None, &empty).unwrap_err();
        assert!(matches!(error, PythonError::NoDirectory(_)), "{error}");
        fs::remove_dir_all(empty).unwrap();
    }

    #[test]
    fn a_prefix_is_known_by_its_library() {
        let home = folder("prefix", &[("lib/python3.9/os.py", ""), ("wsgi-worker-3.9", "")]);
        assert_eq!(find_worker(&home, None, &home).unwrap().program, home.join("wsgi-worker-3.9"));
        fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn the_default_worker_is_the_link_or_the_only_one() {
        let installed = folder("default", &[("wsgi-worker-3.11", "")]);
        assert!(default_worker(&installed).unwrap().program.ends_with("wsgi-worker-3.11"));
        fs::write(installed.join("wsgi-worker-3.12"), "").unwrap();
        let error = default_worker(&installed).unwrap_err().to_string();
        assert!(error.contains("3.11, 3.12"), "{error}");
        fs::write(installed.join("wsgi-worker-3.14t"), "").unwrap();
        for (target, free_threaded) in [("wsgi-worker-3.12", false), ("wsgi-worker-3.14t", true)] {
            let link = installed.join("wsgi-worker");
            std::os::unix::fs::symlink(target, &link).unwrap();
            let worker = default_worker(&installed).unwrap();
            assert_eq!((&worker.program, worker.is_free_threaded()), (&link, free_threaded));
            fs::remove_file(link).unwrap();
        }
        fs::remove_dir_all(installed).unwrap();
    }
}
