//! Which environment of Python applications run in, from what is on the disk: it is not executed.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use rustix::fs::OFlags;

use crate::options::Python;
use crate::sources::Variables;

/// What `python -m mod_wsgi_rs` calls its own prefix.
pub const PREFIX: &str = "MOD_WSGI_RS_PREFIX";

/// Why there is no such environment.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// The path leads nowhere.
    #[error("cannot use Python at {}: {source}", path.display())]
    Path {
        /// The path that was given.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The interpreter is in no environment.
    #[error(
        "{} is the interpreter of no environment: its folder is not the bin of one; --python-home \
         names the environment",
        path.display()
    )]
    Interpreter {
        /// The path that was given.
        path: PathBuf,
    },
}

/// The environment to use; none: that of the module's default.
///
/// # Errors
/// When what is named does not exist.
pub fn home(options: &Python, variables: &Variables) -> Result<Option<PathBuf>, PythonError> {
    if let Some(home) = &options.python_home {
        return directory(home).map(Some);
    }
    if let Some(program) = &options.python {
        return of_interpreter(program).map(Some);
    }
    for name in [PREFIX, "VIRTUAL_ENV", "CONDA_PREFIX"] {
        if let Some(home) = variables.get(name) {
            return directory(Path::new(home)).map(Some);
        }
    }
    let program = env::current_exe().ok();
    let around = program.as_deref().and_then(|program| program.parent()?.parent());
    Ok(around.filter(|home| home.join("pyvenv.cfg").is_file()).map(Path::to_owned))
}

/// An environment by its folder or by its interpreter, as `--app` has it.
///
/// # Errors
/// When it does not exist.
pub fn named(path: &Path) -> Result<PathBuf, PythonError> {
    if path.is_file() { of_interpreter(path) } else { directory(path) }
}

fn directory(home: &Path) -> Result<PathBuf, PythonError> {
    let wrong = |source| PythonError::Path { path: home.to_owned(), source };
    if !fs::metadata(home).map_err(wrong)?.is_dir() {
        return Err(wrong(io::ErrorKind::NotADirectory.into()));
    }
    std::path::absolute(home).map_err(wrong)
}

/// The environment whose `bin` has this interpreter: as the path says it, not where links lead, which
/// would be out of a virtual environment.
fn of_interpreter(program: &Path) -> Result<PathBuf, PythonError> {
    let wrong = |source| PythonError::Path { path: program.to_owned(), source };
    fs::metadata(program).map_err(wrong)?;
    let absolute = std::path::absolute(program).map_err(wrong)?;
    let bin = absolute.parent().filter(|bin| bin.ends_with("bin"));
    let home = bin.and_then(Path::parent);
    home.map(Path::to_owned).ok_or_else(|| PythonError::Interpreter { path: program.to_owned() })
}

/// What an environment says about its version: that of `pyvenv.cfg`, or the one that has a standard
/// library there.
pub fn version(home: &Path) -> Option<String> {
    let written = regular(&home.join("pyvenv.cfg")).ok();
    let field = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let is_version = ["version", "version_info"].contains(&name.trim());
        is_version.then(|| value.trim().split('.').take(3).collect::<Vec<_>>().join("."))
    };
    let versions = written.iter().flat_map(|text| text.lines()).find_map(field);
    versions.or_else(|| {
        let mut names = fs::read_dir(home.join("lib")).ok()?.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix("python")?.to_owned();
            entry.path().join("os.py").is_file().then_some(version)
        });
        names.next()
    })
}

/// The beginning of a regular file: what belongs to an application's user may be anything, such as a
/// pipe that never comes to its end.
fn regular(path: &Path) -> io::Result<String> {
    const MOST: u64 = 64 * 1024;
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_wins_over_variables() {
        let variables = Variables::from([("VIRTUAL_ENV", "/usr"), (PREFIX, "/")]);
        let named = Python { python_home: Some("/tmp".into()), python: None };
        assert_eq!(home(&named, &variables).unwrap(), Some("/tmp".into()));
        assert_eq!(home(&Python::default(), &variables).unwrap(), Some("/".into()));
    }

    #[test]
    fn an_interpreter_stands_for_its_environment() {
        let shell = Path::new("/bin/sh");
        assert_eq!(named(shell).unwrap(), Path::new("/"));
        let error = named(Path::new("/etc/passwd")).unwrap_err();
        assert!(error.to_string().contains("--python-home"), "{error}");
        assert!(named(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn versions_are_read_from_regular_files_alone() {
        let home = env::temp_dir().join(format!("mod_wsgi-rs-home-{}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        let file = home.join("pyvenv.cfg");
        fs::write(&file, "home = /usr/bin\nversion = 3.11.2.final.0\n").unwrap();
        assert_eq!(version(&home).as_deref(), Some("3.11.2"));
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(version(&home), None);
        fs::remove_dir_all(&home).unwrap();
    }
}
