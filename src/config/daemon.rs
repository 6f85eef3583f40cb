//! `WSGIDaemonProcess`: one process group and its options.

mod behaviour;
mod process;
mod transport;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Uid;
use wire::control::Reload;
use wire::limits::Limits;

use super::arguments::{Arguments, Setting, suggestion};
use super::chroot::Root;
use super::compatibility::Compatibility;
use super::registry;
use super::settings::ServerConfig;
use super::values::{self, Account, Verdict, lossy};
use crate::ffi::command::{Command, Location};
use crate::ffi::process::configured_ids;

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
    /// `supplementary-groups=`, if it was written.
    pub supplementary_groups: Option<Vec<u32>>,
    /// `processes=`, if it was written: at least, and at most.
    pub processes: Option<RangeInclusive<u32>>,
    /// `idle-timeout=`, in seconds; 0: never.
    pub idle_timeout: Option<u32>,
    /// `threads=`; 0 is a service, which takes no requests.
    pub threads: Option<u16>,
    /// `chroot=`.
    pub chroot: Option<Root>,
    /// `home=`.
    pub home: Option<PathBuf>,
    /// `python-home=`.
    pub python_home: Option<PathBuf>,
    /// `python-path=`.
    pub python_path: Vec<PathBuf>,
    /// `python-eggs=`.
    pub python_eggs: Option<Vec<u8>>,
    /// `switch-interval=`, in microseconds.
    pub switch_interval: Option<u64>,
    /// `display-name=`, `%{GROUP}` already expanded.
    pub display_name: Option<Vec<u8>>,
    /// `umask=`.
    pub umask: Option<u32>,
    /// `lang=`.
    pub lang: Option<Vec<u8>>,
    /// `locale=`.
    pub locale: Option<Vec<u8>>,
    /// `stack-size=`, in bytes.
    pub stack_size: Option<u64>,
    /// `listen-backlog=`.
    pub listen_backlog: Option<u32>,
    /// What a worker may use before another one takes its place: `maximum-requests=` and the like.
    pub limits: Limits,
    /// `cpu-priority=`.
    pub cpu_priority: Option<i32>,
    /// `memory-limit=`, in bytes.
    pub memory_limit: Option<u64>,
    /// `virtual-memory-limit=`, in bytes.
    pub virtual_memory_limit: Option<u64>,
    /// `reload=`.
    pub reload: Reload,
    /// `connect-timeout=`.
    pub connect_timeout: Option<Duration>,
    /// `socket-timeout=`.
    pub socket_timeout: Option<Duration>,
    /// `queue-timeout=`; `None` without a limit.
    pub queue_timeout: Option<Duration>,
    /// `response-socket-timeout=`.
    pub response_socket_timeout: Option<Duration>,
    /// `send-buffer-size=`, in bytes.
    pub send_buffer_size: Option<u32>,
    /// `receive-buffer-size=`, in bytes.
    pub receive_buffer_size: Option<u32>,
    /// `retry=`.
    pub retry: Option<bool>,
    /// `socket-user=`.
    pub socket_user: Option<u32>,
    /// `server-metrics=`.
    pub server_metrics: bool,
    /// `script-user=` or `script-group=`.
    pub script_owner: Option<ScriptOwner>,
}

/// Whose scripts a group runs, and nobody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptOwner {
    /// This user's.
    User(u32),
    /// This group's.
    Group(u32),
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
        "Invalid option to WSGI daemon process definition. '{word}' is no option.{} Options are written NAME=VALUE, the names are {}.",
        suggestion(word.as_bytes(), &option_names()),
        option_names().join(", ")
    )]
    Option { word: String },
    #[error("Invalid {what} for WSGI daemon process. {option}='{value}' {problem}.")]
    Value { what: &'static str, option: &'static str, value: String, problem: String },
    #[error(
        "WSGI process blocked from running as root. user='{0}' has the user id 0; name an unprivileged user."
    )]
    Root(String),
    #[error(
        "Cannot chroot WSGI daemon process when not root. chroot='{0}' needs an httpd that root starts; leave the option out."
    )]
    NotRoot(String),
    #[error("Only one of script-user and script-group allowed.")]
    TwoOwners,
}

/// An option: all that parser and documentation need to know one.
pub struct DaemonOption {
    /// Its name.
    pub name: &'static str,
    /// What its value is called in messages.
    pub what: &'static str,
    /// What holds where it is not written, in words.
    #[cfg_attr(not(test), expect(dead_code, reason = "the documentation is made by a test"))]
    pub default: &'static str,
    /// What it is about.
    #[cfg_attr(not(test), expect(dead_code, reason = "the documentation is made by a test"))]
    pub usage: &'static str,
    /// How it compares with mod_wsgi's.
    #[cfg_attr(not(test), expect(dead_code, reason = "the documentation is made by a test"))]
    pub compatibility: Compatibility,
    /// What it does with its value. The error says what is wrong with that, as the end of a sentence
    /// that began with it.
    pub set: fn(&mut DaemonProcess, &[u8]) -> Result<Verdict, String>,
}

/// Every option, by theme.
pub static OPTIONS: [&[DaemonOption]; 3] =
    [&process::OPTIONS, &behaviour::OPTIONS, &transport::OPTIONS];

/// Options with which mod_wsgi serves when they are written without a value, besides
/// `python-path=`.
const MAY_BE_EMPTY: [&str; 6] =
    ["supplementary-groups", "lang", "locale", "python-home", "python-eggs", "display-name"];

fn options() -> impl Iterator<Item = &'static DaemonOption> {
    OPTIONS.iter().copied().flatten()
}

fn option_names() -> Vec<&'static str> {
    options().map(|option| option.name).collect()
}

/// Whether a text is an option with its value.
fn known_option(text: &[u8]) -> bool {
    options().any(|option| {
        text.strip_prefix(option.name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
    })
}

/// The `WSGIDaemonProcess` directive.
pub fn daemon_process(
    config: &mut ServerConfig,
    command: Command<'_>,
    arguments: &[u8],
) -> Result<(), String> {
    let mut warn = |text: String| command.warn(&text);
    let mut group = parse(arguments, &mut warn).map_err(|error| error.to_string())?;
    registry::of(command.pool()).borrow_mut().define(&group.name, command.location()).map_err(
        |before| {
            let name = lossy(&group.name);
            DaemonError::Duplicate { name, before }.to_string()
        },
    )?;
    if let Some(written) = group.python_home.take() {
        let home = first_there(&written, &starting_points(&group));
        if home != written {
            let (written, home) = (written.display(), home.display());
            warn(format!("python-home='{written}' is relative and counts as {home}: write that"));
        }
        group.python_home = Some(home);
    }
    group.location = Some(command.location());
    config.groups.push(Arc::new(group));
    Ok(())
}

/// Where a relative `python-home=` may begin: mod_wsgi looks at it from the working directory of the
/// group's processes.
fn starting_points(group: &DaemonProcess) -> Vec<PathBuf> {
    match working_directory(group, group.user.as_ref(), configured_ids().0) {
        Some(directory) => vec![directory],
        None if group.chroot.is_some() => vec![PathBuf::from("/")],
        None => httpd_directories(),
    }
}

/// A path from the root: a relative one begins at the first of these directories that has it.
pub fn first_there(path: &Path, directories: &[PathBuf]) -> PathBuf {
    let mut places = directories.iter().map(|directory| directory.join(path));
    let first = places.next().unwrap_or_else(|| path.to_owned());
    if first.is_dir() { first } else { places.find(|place| place.is_dir()).unwrap_or(first) }
}

/// httpd's own working directory: the one in which it is started, or the root once it has gone into
/// the background.
pub fn httpd_directories() -> Vec<PathBuf> {
    std::env::current_dir().into_iter().chain([PathBuf::from("/")]).collect()
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
        let Some(option) = options().find(|option| option.name.as_bytes() == name) else {
            let word = format!("{}={}", lossy(name), lossy(&value));
            return Err(DaemonError::Option { word });
        };
        if known_option(&value) {
            let text = "is the next option, taken for its value: write nothing between = and value";
            warn(format!("{}='{}' {text}", option.name, lossy(&value)));
        }
        let owner = group.script_owner;
        let outcome = match option.name {
            _ if !value.is_empty() => (option.set)(&mut group, &value),
            // So mod_wsgi-express writes it where nobody has named a path.
            "python-path" => Ok(Verdict::Good),
            name if MAY_BE_EMPTY.contains(&name) => {
                Ok(Verdict::Doubtful("is empty and has no effect; leave the option out".into()))
            }
            _ => Err("is empty; leave the option out to have its default".into()),
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
        if matches!((owner, group.script_owner), (Some(before), Some(now)) if before.kind() != now.kind())
        {
            return Err(DaemonError::TwoOwners);
        }
    }
    for doubt in process::doubts(&group) {
        warn(doubt);
    }
    if let Some(root) = group.chroot.as_ref().filter(|_| !Uid::effective().is_root()) {
        return Err(DaemonError::NotRoot(root.path().display().to_string()));
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

impl ScriptOwner {
    fn kind(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Group(_) => "group",
        }
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
            None => values::find_uid(fallback.0).map_err(|problem| {
                format!("httpd's own user, with the user id {}, {problem}", fallback.0)
            })?,
        };
        Ok(Some(Identity { user, gid: self.group.unwrap_or(fallback.1) }))
    }

    /// Why the group can take no requests, if it cannot. It has no workers then.
    pub fn why_not_served(&self) -> Option<&'static str> {
        if self.threads == Some(0) {
            Some("it has threads=0, which makes it a service without requests")
        } else {
            None
        }
    }
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
        let line = "site user=nobody processes=2 threads=12 home=/srv python-path=/usr:/etc \
                    display-name=%{GROUP} umask=0027 lang=C.UTF-8 locale=C";
        let (group, warnings) = parsed(line);
        let group = group.unwrap();
        assert_eq!(group.name, b"site");
        assert_eq!(group.user.unwrap().name, "nobody");
        assert_eq!((group.processes, group.threads), (Some(2..=2), Some(12)));
        assert_eq!(group.home.as_deref(), Some(Path::new("/srv")));
        assert_eq!(group.python_path, [Path::new("/usr"), Path::new("/etc")]);
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

    #[test]
    fn what_mod_wsgi_serves_with_is_warned_about() {
        for (option, warning) in [
            ("threads=x", "threads='x' is read as 0: write the number alone; 0 makes a service"),
            ("processes=10001", "processes='10001' is more than can be and counts as 10000"),
            ("supplementary-groups=#1x", "names '#1x', which is read as 1"),
            ("lang= threads=5", "lang='threads=5' is the next option, taken for its value"),
        ] {
            let (group, warnings) = parsed(&format!("site {option}"));
            group.unwrap();
            assert!(matches!(&warnings[..], [one] if one.contains(warning)), "{warnings:?}");
        }
        let (group, warnings) = parsed("site threads= 5 supplementary-groups=#1,#2");
        let group = group.unwrap();
        assert_eq!((group.threads, group.supplementary_groups), (Some(5), Some(vec![1, 2])));
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn an_option_without_a_value_is_refused_or_warned_about() {
        for name in MAY_BE_EMPTY {
            let (group, warnings) = parsed(&format!("site {name}="));
            group.unwrap();
            assert_eq!(
                warnings,
                [format!("{name}='' is empty and has no effect; leave the option out")]
            );
        }
        let (group, warnings) = parsed("site python-path=''");
        group.unwrap();
        assert_eq!(warnings, [""; 0]);
        let may_be = |name| name == "python-path" || MAY_BE_EMPTY.contains(&name);
        let known = OPTIONS.iter().copied().flatten();
        for option in known.filter(|option| !may_be(option.name)) {
            refused(&format!("site {}=", option.name), &["is empty", option.what]);
        }
    }

    #[test]
    fn the_last_of_an_option_counts() {
        let rows = [
            ("user", "daemon", "nobody"),
            ("group", "#2", "#3"),
            ("supplementary-groups", "#2", "#3"),
            ("chroot", "/usr", "/"),
            ("home", "/usr", "/"),
            ("python-path", "/usr", "/"),
            ("umask", "022", "027"),
            ("lang", "C", "C.UTF-8"),
            ("locale", "C", "C.UTF-8"),
            ("reload", "keep", "off"),
            ("retry", "Off", "On"),
            ("script-user", "root", "nobody"),
            ("script-group", "#0", "#1"),
            ("server-metrics", "Off", "On"),
            ("retry", "On", "Off"),
            ("stack-size", "70000", "80000"),
            ("response-buffer-size", "70000", "80000"),
            ("cpu-priority", "1", "2"),
            ("socket-user", "root", "nobody"),
        ];
        let without_effect =
            |option: &DaemonOption| matches!(option.compatibility, Compatibility::NoEffect(_));
        let known = OPTIONS.iter().copied().flatten();
        // Environments are looked at where there are some.
        for option in known.filter(|option| option.name != "python-home") {
            let name = option.name;
            let row = rows.iter().find(|row| row.0 == name);
            let (first, last) = row.map_or(("9000", "9500"), |row| (row.1, row.2));
            let read =
                |options: String| format!("{:?}", parsed(&format!("site {options}")).0.unwrap());
            let [first, last] = [first, last].map(|value| format!("{name}={value}"));
            let both = read(format!("{first} {last}"));
            assert_eq!(both, read(last));
            assert_eq!(both == read(first), without_effect(option), "{name}");
        }
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
        refused("site thread=5", &["'thread=5' is no option. Did you mean threads?"]);
        refused("site threads", &["Did you mean threads? Options are written NAME=VALUE"]);
        refused("site processes=0", &["Invalid process count", "processes='0'", "from 1"]);
        refused("site threads=65534", &["Invalid thread count", "threads='65534'"]);
        refused("site user=no-such-user-here", &["Invalid user", "user database"]);
        refused("site group=no-such-group-here", &["Invalid group", "group database"]);
        refused("site user=", &["Invalid user", "is empty"]);
        refused("site home=relative", &["Invalid home directory", "absolute"]);
        refused("site umask=9", &["Invalid umask", "octal"]);
        refused("site script-user=nobody script-group=nogroup", &["Only one of"]);
    }
}
