//! `WSGIDaemonProcess`: one process group and its options.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Gid, Group, Uid, User};

use super::arguments::{Arguments, Setting};
use super::python::{self, Worker};
use super::{ServerConfig, install_directory, registry};
use crate::ffi::command::{Command, Location};
use crate::ffi::log::log_server;

/// A process group, as configured.
#[derive(Debug, Clone, Default)]
pub struct DaemonProcess {
    /// Its name; empty for the default group (`%{GLOBAL}`).
    pub name: Vec<u8>,
    /// Where it is defined; nowhere for the default group that nobody configured.
    pub location: Option<Location>,
    /// `user=`.
    pub user: Option<Account>,
    /// `group=`.
    pub group: Option<u32>,
    /// `processes=`, if it was written.
    pub processes: Option<u32>,
    /// `threads=`.
    pub threads: Option<u16>,
    /// `home=`.
    pub home: Option<PathBuf>,
    /// `python-home=`.
    pub python_home: Option<PathBuf>,
    /// The worker that `python-home=` chooses.
    pub worker: Option<Worker>,
    /// `python-path=`.
    pub python_path: Vec<PathBuf>,
    /// `display-name=`, `%{GROUP}` already expanded.
    pub display_name: Option<Vec<u8>>,
    /// `umask=`.
    pub umask: Option<u32>,
    /// `lang=`.
    pub lang: Option<Vec<u8>>,
    /// `locale=`.
    pub locale: Option<Vec<u8>>,
}

/// A user, from the system's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Login name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
}

/// Whom a group's workers run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: Account,
    /// Primary group id.
    pub gid: u32,
}

/// What is wrong with a `WSGIDaemonProcess` line.
#[derive(Debug, thiserror::Error)]
enum DaemonError {
    #[error("Name of WSGI daemon process not supplied.")]
    NoName,
    #[error(
        "Name duplicates previous WSGI daemon definition. '{name}' is defined at {before}; give one of the two another name."
    )]
    Duplicate { name: String, before: Location },
    #[error(
        "Invalid option to WSGI daemon process definition. '{word}' is no option; options are written NAME=VALUE, the names are {}.",
        known_options()
    )]
    Option { word: String },
    #[error("Invalid {what} for WSGI daemon process. {option}='{value}' {problem}.")]
    Value { what: &'static str, option: &'static str, value: String, problem: String },
    #[error(
        "WSGI process blocked from running as root. user='{0}' has the user id 0; name an unprivileged user."
    )]
    Root(String),
    #[error("Invalid Python home for WSGI daemon process. python-home='{}': {source}", home.display())]
    Python { home: PathBuf, source: python::PythonError },
}

/// An option: its name, what it is called in messages, and what it does with its value. The error
/// says what is wrong with the value, as the end of a sentence that began with it.
struct DaemonOption {
    name: &'static str,
    what: &'static str,
    set: fn(&mut DaemonProcess, &[u8]) -> Result<Verdict, String>,
}

/// What to make of a value.
enum Verdict {
    /// Nothing to say about it.
    Good,
    /// Served, as mod_wsgi would, but hardly what was meant: why, as the end of a sentence.
    Doubtful(String),
}

static OPTIONS: [DaemonOption; 11] = [
    DaemonOption {
        name: "user",
        what: "user",
        set: |group, value| {
            group.user = Some(find_user(value)?);
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "group",
        what: "group",
        set: |group, value| {
            group.group = Some(find_group(value)?);
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "processes",
        what: "process count",
        set: |group, value| number(value, 1, 10_000, &mut group.processes),
    },
    DaemonOption {
        name: "threads",
        what: "thread count",
        set: |group, value| number(value, 1, 65_533, &mut group.threads),
    },
    DaemonOption {
        name: "home",
        what: "home directory",
        set: |group, value| {
            group.home = Some(absolute(value)?);
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "python-home",
        what: "Python home",
        set: |group, value| {
            group.python_home = Some(absolute(value)?);
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "python-path",
        what: "Python path",
        set: |group, value| {
            let entries = value.split(|byte| *byte == b':').filter(|entry| !entry.is_empty());
            group.python_path = entries.map(path).collect();
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "display-name",
        what: "display name",
        set: |group, value| {
            group.display_name = Some(match value {
                b"%{GROUP}" => [b"(wsgi:", group.name.as_slice(), b")"].concat(),
                value => value.to_vec(),
            });
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "umask",
        what: "umask",
        set: |group, value| {
            let text = std::str::from_utf8(value).unwrap_or_default();
            match u32::from_str_radix(text, 8) {
                Ok(mask) if mask <= 0o777 => group.umask = Some(mask),
                _ => return Err("must be an octal number from 0 to 777".into()),
            }
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "lang",
        what: "lang",
        set: |group, value| {
            group.lang = Some(value.to_vec());
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "locale",
        what: "locale",
        set: |group, value| {
            group.locale = Some(value.to_vec());
            Ok(Verdict::Good)
        },
    },
];

fn known_options() -> String {
    OPTIONS.iter().map(|option| option.name).collect::<Vec<_>>().join(", ")
}

/// The `WSGIDaemonProcess` directive.
pub fn daemon_process(
    config: &mut ServerConfig,
    command: Command<'_>,
    arguments: &[u8],
) -> Result<(), String> {
    let mut warn = |text: String| {
        let text = format!("WSGIDaemonProcess at {}: {text}", command.location());
        log_server(None, wire::exchange::Level::Warning.number(), text.as_bytes());
    };
    let mut group = parse(arguments, &mut warn).map_err(|error| error.to_string())?;
    registry::of(command.pool()).borrow_mut().define(&group.name, command.location()).map_err(
        |before| {
            let name = lossy(&group.name);
            DaemonError::Duplicate { name, before }.to_string()
        },
    )?;
    if let Some(home) = &group.python_home {
        let worker = python::find_worker(home, &install_directory())
            .map_err(|source| DaemonError::Python { home: home.clone(), source }.to_string())?;
        group.worker = Some(worker);
    }
    group.location = Some(command.location());
    config.groups.push(Arc::new(group));
    Ok(())
}

fn parse(arguments: &[u8], warn: &mut dyn FnMut(String)) -> Result<DaemonProcess, DaemonError> {
    let mut arguments = Arguments::new(arguments);
    let name = match arguments.word().filter(|name| !name.is_empty()) {
        None => return Err(DaemonError::NoName),
        Some(name) if name == b"%{GLOBAL}" => Vec::new(),
        Some(name) => name,
    };
    let mut group = DaemonProcess { name, ..DaemonProcess::default() };
    while let Some(option) = arguments.option() {
        let Setting { name, value } =
            option.map_err(|word| DaemonError::Option { word: lossy(&word) })?;
        let Some(option) = OPTIONS.iter().find(|option| option.name.as_bytes() == name) else {
            let word = format!("{}={}", lossy(name), lossy(&value));
            return Err(DaemonError::Option { word });
        };
        let outcome = if value.is_empty() {
            Err("is empty; leave the option out to have its default".into())
        } else {
            (option.set)(&mut group, &value)
        };
        match outcome {
            Ok(Verdict::Good) => {}
            Ok(Verdict::Doubtful(why)) => {
                warn(format!("{}='{}' {why}", option.name, lossy(&value)));
            }
            Err(problem) => {
                let (what, option, value) = (option.what, option.name, lossy(&value));
                return Err(DaemonError::Value { what, option, value, problem });
            }
        }
    }
    match &group.user {
        // An unprivileged httpd cannot become anybody, so its `user=` has no effect, as with
        // mod_wsgi.
        Some(user) if user.uid == 0 && Uid::effective().is_root() => {
            Err(DaemonError::Root(user.name.clone()))
        }
        _ => Ok(group),
    }
}

impl DaemonProcess {
    /// Whom the group's workers run as, where `fallback` are httpd's own user and group ids, and
    /// this process may become others. `None`: as this process.
    ///
    /// # Errors
    /// A sentence, when httpd's user is not in the system's database.
    pub fn identity(&self, fallback: (u32, u32)) -> Result<Option<Identity>, String> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        let user = match &self.user {
            Some(user) => user.clone(),
            None => account(User::from_uid(Uid::from_raw(fallback.0))).map_err(|problem| {
                format!("httpd's own user, with the user id {}, {problem}", fallback.0)
            })?,
        };
        Ok(Some(Identity { user, gid: self.group.unwrap_or(fallback.1) }))
    }
}

/// Reads a number as mod_wsgi does (`atoi`), but says so where that drops something.
fn number<N: TryFrom<i64>>(
    value: &[u8],
    least: i64,
    most: i64,
    into: &mut Option<N>,
) -> Result<Verdict, String> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let bounds = || format!("must be a number from {least} to {most}");
    let text = std::str::from_utf8(&value[..digits]).map_err(|_| bounds())?;
    let number: i64 = text.parse().map_err(|_| bounds())?;
    if !(least..=most).contains(&number) {
        return Err(bounds());
    }
    *into = Some(N::try_from(number).map_err(|_| bounds())?);
    Ok(if digits == value.len() {
        Verdict::Good
    } else {
        Verdict::Doubtful(format!("is read as {number}: write the number alone"))
    })
}

fn absolute(value: &[u8]) -> Result<PathBuf, String> {
    match path(value) {
        path if path.is_absolute() => Ok(path),
        _ => Err("must be an absolute path".into()),
    }
}

fn path(value: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(value.to_vec()))
}

/// `name` or `#uid`. A user id needs an entry too: its name decides the supplementary groups.
fn find_user(value: &[u8]) -> Result<Account, String> {
    let text = std::str::from_utf8(value).map_err(|_| "is no user name".to_owned())?;
    match text.strip_prefix('#') {
        None => account(User::from_name(text)),
        Some(id) => match id.parse() {
            Ok(id) => account(User::from_uid(Uid::from_raw(id))),
            Err(_) => Err("is no user id".into()),
        },
    }
}

fn account(found: nix::Result<Option<User>>) -> Result<Account, String> {
    match found {
        Ok(Some(user)) => Ok(Account { uid: user.uid.as_raw(), name: user.name, home: user.dir }),
        Ok(None) => {
            Err("is not in the system's user database; create the user, or name another".into())
        }
        Err(error) => Err(format!("cannot be looked up in the system's user database: {error}")),
    }
}

/// `name` or `#gid`.
fn find_group(value: &[u8]) -> Result<u32, String> {
    let text = std::str::from_utf8(value).map_err(|_| "is no group name".to_owned())?;
    match text.strip_prefix('#') {
        Some(id) => {
            id.parse().map(Gid::from_raw).map(Gid::as_raw).map_err(|_| "is no group id".into())
        }
        None => match Group::from_name(text) {
            Ok(Some(group)) => Ok(group.gid.as_raw()),
            Ok(None) => {
                Err("is not in the system's group database; create the group, or name another"
                    .into())
            }
            Err(error) => {
                Err(format!("cannot be looked up in the system's group database: {error}"))
            }
        },
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The directory that workers of the group start in: `home=`, or else the user's own directory
/// when the user is not httpd's.
pub fn working_directory(
    group: &DaemonProcess,
    user: Option<&Account>,
    httpd_uid: u32,
) -> Option<PathBuf> {
    group.home.clone().or_else(|| {
        user.filter(|user| user.uid != httpd_uid).map(|user| Path::to_owned(&user.home))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> (Result<DaemonProcess, DaemonError>, Vec<String>) {
        let mut warnings = Vec::new();
        let group = parse(line.as_bytes(), &mut |text| warnings.push(text));
        (group, warnings)
    }

    #[test]
    fn options_are_read() {
        let line = "site user=nobody processes=2 threads=12 home=/srv python-path=/a:/b \
                    display-name=%{GROUP} umask=0027 lang=C.UTF-8 locale=en_US.UTF-8";
        let (group, warnings) = parsed(line);
        let group = group.unwrap();
        assert_eq!(group.name, b"site");
        assert_eq!(group.user.unwrap().name, "nobody");
        assert_eq!((group.processes, group.threads), (Some(2), Some(12)));
        assert_eq!(group.home.as_deref(), Some(Path::new("/srv")));
        assert_eq!(group.python_path, [Path::new("/a"), Path::new("/b")]);
        assert_eq!(group.display_name.as_deref(), Some(b"(wsgi:site)".as_slice()));
        assert_eq!(group.umask, Some(0o27));
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn the_default_group_can_be_configured() {
        assert_eq!(parsed("%{GLOBAL} processes=3").0.unwrap().name, b"");
    }

    #[test]
    fn numbers_with_something_behind_them_are_served_with_a_warning() {
        let (group, warnings) = parsed("site threads=5x");
        assert_eq!(group.unwrap().threads, Some(5));
        assert_eq!(warnings, ["threads='5x' is read as 5: write the number alone"]);
    }

    #[track_caller]
    fn refused(line: &str, expected: &[&str]) {
        let error = parsed(line).0.unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        refused("", &["Name of WSGI daemon process not supplied."]);
        refused("site word", &["Invalid option to WSGI daemon process definition.", "'word'"]);
        refused("site thread=5", &["'thread=5'", "threads"]);
        refused("site processes=0", &["Invalid process count", "processes='0'", "from 1"]);
        refused("site threads=x", &["Invalid thread count", "threads='x'"]);
        refused("site user=no-such-user-here", &["Invalid user", "user database"]);
        refused("site group=no-such-group-here", &["Invalid group", "group database"]);
        refused("site user=", &["Invalid user", "is empty"]);
        refused("site home=relative", &["Invalid home directory", "absolute"]);
        refused("site umask=9", &["Invalid umask", "octal"]);
    }
}
