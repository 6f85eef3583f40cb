//! The configuration cycle as the supervisor, and as httpd's children, need to know it.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use nix::unistd::{Uid, getegid, geteuid};
use wire::Secret;
use wire::control::Settings;
use wire::exchange::Level;
use wire::generation::{Configuration, Group, Identity};

use super::{Generation, GroupFacts};
use crate::config::{DaemonProcess, install_directory, python, working_directory};
use crate::ffi::pool::Pool;
use crate::ffi::process;
use crate::ffi::server::{Server, httpd_version, runtime_path};

/// mod_wsgi's default for `threads=`.
const DEFAULT_THREADS: u16 = 15;

/// mod_wsgi's default for `shutdown-timeout=`, in seconds.
const DEFAULT_SHUTDOWN_TIMEOUT: u32 = 5;

/// A new generation, with no groups yet: its place, and a secret of its own.
///
/// # Errors
/// A sentence.
pub fn generation(pool: Pool<'_>) -> Result<Generation, String> {
    let name = format!("wsgi.{}.{}/control.sock", std::process::id(), process::generation());
    let control = runtime_path(pool, &name)
        .ok_or_else(|| format!("DefaultRuntimeDir is no usable path for {name}"))?;
    let mut bytes = [0; Secret::SIZE];
    let mut filled = 0;
    while filled < bytes.len() {
        let room = &mut bytes[filled..];
        match rustix::rand::getrandom(room, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("the system has no random numbers: {error}")),
        }
    }
    Ok(Generation { control, secret: Secret::new(bytes), groups: HashMap::new() })
}

/// What httpd's children need to know of each group.
pub fn facts(main: Server<'_>) -> HashMap<Vec<u8>, GroupFacts> {
    let everywhere = (Vec::new(), GroupFacts { only_for: None });
    let defined = main.and_following().flat_map(|server| {
        let groups = server.settings().map(|settings| settings.groups.as_slice());
        groups.unwrap_or_default().iter().map(move |group| {
            let only_for = server.is_virtual().then(|| server.name().to_vec());
            (group.name.clone(), GroupFacts { only_for })
        })
    });
    // The default group may be used from everywhere, wherever its definition stands.
    defined.filter(|(name, _)| !name.is_empty()).chain([everywhere]).collect()
}

/// What the supervisor is told, and the error logs that go along, the main server's first.
///
/// # Errors
/// A sentence.
pub fn configuration<'s>(
    main: Server<'s>,
    generation: &Generation,
) -> Result<(Configuration, Vec<BorrowedFd<'s>>), String> {
    let mut logs = Logs { main: main.error_log(), list: Vec::new() };
    let main_log = logs.number(main);
    let ids = httpd_ids();
    let mut groups = Vec::new();
    for server in main.and_following() {
        for daemon in server.settings().map(|settings| &settings.groups).into_iter().flatten() {
            let log = logs.number(server);
            groups.push(group(daemon, ids, log, Level::from_number(server.log_level()))?);
        }
    }
    if groups.iter().all(|group| !group.settings.process_group.is_empty()) {
        let level = Level::from_number(main.log_level());
        // Without a worker, the requests that need this group are told why; others are served.
        match group(&DaemonProcess::default(), ids, main_log, level) {
            Ok(default) => groups.push(default),
            Err(problem) => tracing::warn!("no default process group: {problem}"),
        }
    }
    let directory = generation.control.parent().map(ToOwned::to_owned).unwrap_or_default();
    let configuration = Configuration {
        version: wire::VERSION,
        secret: generation.secret,
        directory,
        httpd_uid: ids.0,
        httpd_gid: ids.1,
        groups,
    };
    Ok((configuration, logs.list))
}

/// User and group id of httpd's children.
fn httpd_ids() -> (u32, u32) {
    if Uid::effective().is_root() {
        process::configured_ids()
    } else {
        (geteuid().as_raw(), getegid().as_raw())
    }
}

fn group(
    daemon: &DaemonProcess,
    ids: (u32, u32),
    log: u32,
    log_level: Level,
) -> Result<Group, String> {
    let worker = match &daemon.worker {
        Some(worker) => worker.clone(),
        None => python::default_worker(&install_directory()).map_err(|error| error.to_string())?,
    };
    let identity = daemon.identity(ids)?;
    let user = identity.as_ref().map(|identity| &identity.user);
    let text = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    let environment = [
        user.map(|user| text("HOME", user.home.as_os_str().as_bytes())),
        daemon.lang.as_deref().map(|lang| text("LANG", lang)),
        daemon.locale.as_deref().map(|locale| text("LC_ALL", locale)),
    ];
    Ok(Group {
        settings: Settings {
            process_group: daemon.name.clone(),
            threads: daemon.threads.unwrap_or(DEFAULT_THREADS),
            processes: daemon.processes.unwrap_or(1),
            multiprocess: daemon.processes.is_some(),
            peer_uid: ids.0,
            umask: daemon.umask,
            working_directory: working_directory(daemon, user, ids.0),
            home: daemon.home.clone(),
            python_home: daemon.python_home.clone(),
            python_path: daemon.python_path.clone(),
            httpd_version: httpd_version(),
        },
        identity: identity.map(|identity| Identity {
            uid: identity.user.uid,
            gid: identity.gid,
            user: identity.user.name,
        }),
        program: worker.program,
        libpython: worker.libpython,
        display_name: daemon.display_name.clone(),
        environment: environment.into_iter().flatten().collect(),
        prestart: daemon.location.is_some(),
        shutdown_timeout: DEFAULT_SHUTDOWN_TIMEOUT,
        log,
        log_level,
    })
}

/// Error logs, each once.
struct Logs<'s> {
    main: Option<BorrowedFd<'s>>,
    list: Vec<BorrowedFd<'s>>,
}

impl<'s> Logs<'s> {
    /// The number of the server's log. A server that logs to syslog has no file: the main server's
    /// log has to do, or standard error, which httpd keeps open.
    fn number(&mut self, server: Server<'s>) -> u32 {
        use std::os::fd::AsRawFd;
        let stderr = rustix::stdio::stderr();
        let log = server.error_log().or(self.main).unwrap_or(stderr);
        let found = self.list.iter().position(|listed| listed.as_raw_fd() == log.as_raw_fd());
        let number = found.unwrap_or_else(|| {
            self.list.push(log);
            self.list.len() - 1
        });
        u32::try_from(number).unwrap_or(0)
    }
}
