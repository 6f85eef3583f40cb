//! The way of a worker's process from a copy of the supervisor to the interpreter of its group's
//! environment: it gives up all rights, and only then looks at anything that the group's user can
//! change.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use wire::control::FromWorker;
use wire::exchange::Level;
use wire::generation::{Group, Identity};

use crate::environment::{self, Interpreter};
use crate::identity;
use crate::installed::Installed;
use crate::privileges;
use crate::sys::{self, Inherit};

/// What an interpreter is given to run (`python -c`).
const BOOTSTRAP: &str = include_str!("bootstrap.py");
/// The same in our own program, which knows the worker already.
const BOOTSTRAP_BUILT_IN: &str = "\
import sys
if sys.path and sys.path[0] == '':
    del sys.path[0]
from _mod_wsgi_worker import run
del sys
globals().pop('run')()
";

/// How long to try to execute a program where the user has as many processes and threads as may be
/// (`RLIMIT_NPROC`, see `execve(2)`): workers that have just started may be about to give some back.
const EXEC_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Variables that name the user. They are corrected where httpd's environment has them.
const USER_VARIABLES: [&str; 3] = ["USER", "LOGNAME", "USERNAME"];

/// What is to become of the process.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'s> {
    /// The process group that it is for.
    pub group: &'s Group,
    /// What it is made of.
    pub installed: &'s Installed,
    /// The descriptor limit that it gets.
    pub descriptors: Rlimit,
}

impl Launch<'_> {
    /// Becomes the worker: to be called in a process of its own. Its standard input (the control
    /// socket), output and error come first among its descriptors. Returns when that is impossible;
    /// the supervisor has been told then, as far as it can be.
    pub fn run(self, standard: [&OwnedFd; 3]) {
        let root = self.group.settings.root.as_deref().map(open_root).transpose();
        let standard = standard.map(|descriptor| (descriptor, Inherit::Yes));
        let mut wanted = standard.to_vec();
        wanted.extend(self.installed.workers.iter().map(|(_, file)| (file, Inherit::Yes)));
        wanted.extend(self.installed.program.iter().map(|file| (file, Inherit::No)));
        let root_directory = root.as_ref().ok().and_then(Option::as_ref);
        wanted.extend(root_directory.map(|directory| (directory, Inherit::Yes)));
        if sys::arrange_descriptors(&wanted).is_err() {
            return;
        }
        let rooted = root.as_ref().map(Option::is_some);
        // Its number may be another one's by now.
        let reason = match rooted {
            Ok(rooted) => match self.start(rooted) {
                Err(reason) => reason,
            },
            Err(reason) => reason.clone(),
        };
        std::mem::forget(root);
        report(&FromWorker::Failed { reason });
    }

    /// Executes Python.
    fn start(self, rooted: bool) -> Result<Infallible, String> {
        let Self { group, installed, .. } = self;
        // A session and a process group of its own: a worker's `kill(0, …)` hits nothing of ours.
        let _ = rustix::process::setsid();
        sys::reset_broken_pipe();
        SigSet::empty()
            .thread_set_mask()
            .map_err(|error| format!("cannot take signals: {error}"))?;
        privileges::be_killed_like_httpd()
            .map_err(|error| format!("cannot set oom_score_adj: {error}"))?;
        self.set_limits();
        if let Some(identity) = &group.identity {
            give_output_to(identity);
            identity::assume(identity, rooted).map_err(|error| error.to_string())?;
        }
        let number = |place: usize| format!("{}", 3 + place);
        let program = installed.program.as_ref().map(|_| number(installed.workers.len()));
        let root_number = number(installed.workers.len() + usize::from(program.is_some()));
        // The descriptor that was arranged to have this number.
        let root = rooted.then(|| reopen(&root_number)).transpose()?;
        if !rooted {
            self.enter()?;
        }
        let home = group.settings.python_home.as_deref();
        let found = environment::find(home, root.as_ref().map(AsFd::as_fd), &installed.directory);
        drop(root);
        let mut environment = self.environment();
        let found = found.map_err(|error| match &group.settings.root {
            None => error.to_string(),
            Some(root) => format!(
                "in chroot={}: {error}; Python's standard library has to be in there, at the place \
                 where it is outside",
                root.display()
            ),
        });
        match found.map_err(|problem| self.complain(&problem))? {
            Interpreter::Program(path) => {
                let mut arguments = vec![path.clone().into_os_string()];
                arguments.extend(self.options());
                arguments.extend(["-c".into(), BOOTSTRAP.into()]);
                let workers = installed.workers.iter().enumerate();
                arguments.extend(
                    workers.map(|(place, (tag, _))| format!("{tag}={}", number(place)).into()),
                );
                if let Some(free) = group.free_threading
                    && environment::is_free_threaded(&path)
                {
                    environment.push(pair("PYTHON_GIL", if free { "0" } else { "1" }));
                }
                let error = execute(&path, &arguments, &environment);
                Err(self.complain(&format!("cannot execute {}: {error}", path.display())))
            }
            Interpreter::Library { libpython, program: place } => {
                let worker = installed.workers.iter().position(|(tag, _)| tag == "abi3");
                let (Some(program), Some(worker)) = (program, worker) else {
                    return Err(format!(
                        "wsgi-worker and wsgi_worker.abi3.so are not in {}, and Python has to be \
                         loaded by them here: install all files of one build",
                        installed.directory.display()
                    ));
                };
                let mut arguments: Vec<OsString> = vec!["wsgi-worker".into(), libpython.into()];
                arguments.push(number(worker).into());
                arguments.push(if rooted { root_number } else { "-".to_owned() }.into());
                arguments.push(place.into());
                arguments.extend(self.options());
                arguments.extend(["-c".into(), BOOTSTRAP_BUILT_IN.into()]);
                let path = PathBuf::from(format!("/proc/self/fd/{program}"));
                let error = execute(&path, &arguments, &environment);
                Err(self.complain(&format!("cannot execute wsgi-worker: {error}")))
            }
        }
    }

    /// A failure that has to do with whose process this is.
    fn complain(self, problem: &str) -> String {
        match &self.group.identity {
            Some(identity) => {
                format!("as user '{}' (uid {}): {problem}", identity.user, identity.uid)
            }
            None => problem.to_owned(),
        }
    }

    /// Sets umask and working directory, which Python's start-up files may depend on. (With a
    /// `chroot=`, the worker does so in there.)
    fn enter(self) -> Result<(), String> {
        let settings = &self.group.settings;
        if let Some(mask) = settings.umask {
            rustix::process::umask(Mode::from_raw_mode(mask & 0o777));
        }
        let Some(directory) = &settings.working_directory else { return Ok(()) };
        let Err(error) = rustix::process::chdir(directory) else { return Ok(()) };
        // Accounts made for a service often have no directory: only the one that was asked for has
        // to be there.
        if settings.home.is_some() {
            let problem = format!("cannot change to home={}: {error}", directory.display());
            return Err(self.complain(&problem));
        }
        rustix::process::chdir("/").map_err(|error| format!("cannot change to /: {error}"))
    }

    /// Sets what the worker may use of the system. What is refused costs a line in the log.
    fn set_limits(self) {
        let group = self.group;
        let at_most = |limit: u64| Rlimit { current: Some(limit), maximum: Some(limit) };
        let bounded = |limit: u64| (limit > 0).then(|| at_most(limit));
        let watched = group.settings.limits;
        let cpu_time = (watched.cpu_time_limit > 0).then(|| {
            // At the first limit the worker is replaced, and has its usual time for that before the
            // second.
            let soft = u64::from(watched.cpu_time_limit);
            let time = watched.graceful_timeout.saturating_add(watched.shutdown_timeout);
            Rlimit { current: Some(soft), maximum: Some(soft + 1 + u64::from(time)) }
        });
        let resources = [
            ("descriptors", Resource::Nofile, Some(self.descriptors)),
            ("cpu-time-limit=", Resource::Cpu, cpu_time),
            ("memory-limit=", Resource::Data, bounded(group.limits.memory)),
            ("virtual-memory-limit=", Resource::As, bounded(group.limits.virtual_memory)),
        ];
        let warn = |what: &str, error: rustix::io::Errno| {
            let text = format!("{what} cannot be set, the worker runs without: {error}");
            report(&FromWorker::Log { level: Level::Warning, text });
        };
        for (what, resource, limit) in resources {
            if let Some(limit) = limit
                && let Err(error) = rustix::process::setrlimit(resource, limit)
            {
                warn(what, error);
            }
        }
        if group.limits.cpu_priority != 0
            && let Err(error) =
                rustix::process::setpriority_process(None, group.limits.cpu_priority)
        {
            warn("cpu-priority=", error);
        }
    }

    /// Python's own command line options.
    fn options(self) -> Vec<OsString> {
        let python = &self.group.settings.python;
        let mut options = Vec::new();
        options.extend((0..python.optimize).map(|_| OsString::from("-O")));
        options.extend(python.dont_write_bytecode.then(|| OsString::from("-B")));
        for filter in &python.warnings {
            options.extend(["-W".into(), OsString::from_vec(filter.clone())]);
        }
        options
    }

    /// httpd's environment, with what the group changes in it.
    fn environment(self) -> Vec<(OsString, OsString)> {
        let group = self.group;
        let mut changes: Vec<(OsString, OsString)> = Vec::new();
        if let Some(identity) = &group.identity {
            let named = USER_VARIABLES.into_iter().filter(|name| std::env::var_os(name).is_some());
            changes.extend(named.map(|name| pair(name, &identity.user)));
        }
        for (name, value) in &group.environment {
            changes.push((os_string(name), os_string(value)));
        }
        if let Some(seed) = group.settings.python.hash_seed {
            changes.push(pair("PYTHONHASHSEED", &seed.to_string()));
        }
        // What is configured names the place of Python.
        let has_home = group.settings.python_home.is_some();
        let inherited = std::env::vars_os().filter(|(name, _)| {
            (!has_home || name != "PYTHONHOME") && !changes.iter().any(|(new, _)| new == name)
        });
        let inherited: Vec<_> = inherited.collect();
        inherited.into_iter().chain(changes).collect()
    }
}

/// Lets the user open `/dev/stdout` and `/dev/stderr`, which asks for the rights to the pipes anew.
/// Without the capability to give files away, the descriptors alone have to do.
fn give_output_to(identity: &Identity) {
    let (user, group) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    for pipe in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let _ = rustix::fs::fchown(pipe, Some(user), Some(group));
    }
}

/// Opens a `chroot=` while this process may: its user need not be able to come that way.
fn open_root(root: &Path) -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(root, flags, Mode::empty()).map_err(|error| {
        format!("cannot open chroot={}: {error}; make the directory", root.display())
    })
}

/// A descriptor for the directory that has this number.
fn reopen(number: &str) -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{number}");
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|error| format!("cannot use the directory of chroot=: {error}"))
}

fn pair(name: &str, value: &str) -> (OsString, OsString) {
    (name.into(), value.into())
}

fn os_string(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

/// Executes a program. Returns only if that fails.
fn execute(path: &Path, arguments: &[OsString], environment: &[(OsString, OsString)]) -> io::Error {
    let c_string = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
    let converted = || {
        let arguments = arguments.iter().map(|argument| c_string(argument.as_bytes()));
        let environment = environment
            .iter()
            .map(|(name, value)| c_string(&[name.as_bytes(), b"=", value.as_bytes()].concat()));
        io::Result::Ok((
            c_string(path.as_os_str().as_bytes())?,
            arguments.collect::<io::Result<Vec<_>>>()?,
            environment.collect::<io::Result<Vec<_>>>()?,
        ))
    };
    match converted() {
        Ok((path, arguments, environment)) => {
            let deadline = Instant::now() + EXEC_TIMEOUT;
            loop {
                match nix::unistd::execve(&path, &arguments, &environment) {
                    Ok(never) => match never {},
                    Err(nix::errno::Errno::EAGAIN) if Instant::now() < deadline => {
                        std::thread::sleep(PAUSE);
                    }
                    Err(error) => break error.into(),
                }
            }
        }
        Err(error) => error,
    }
}

/// Tells the supervisor something, as the worker will.
fn report(message: &FromWorker) {
    let control: BorrowedFd<'_> = rustix::stdio::stdin();
    let _ = channel::send_message(control, message);
}
