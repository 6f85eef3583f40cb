//! The configuration cycle as the supervisor, and as httpd's children, need to know it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Uid, getegid, geteuid};
use wire::Secret;
use wire::control::{Httpd, Interpreter, Python, Settings};
use wire::generation::{ApplicationGroup, Configuration, Group, Identity, Limits, Log};

use super::logs::{LogFile, Logs};
use super::{Capacity, ConnectionOptions, Generation, GroupFacts, ScoreboardSocket};
use crate::config::{
    DaemonProcess, Globals, HashSeed, Import, ServerConfig, in_front, path, socket_prefix,
    working_directory,
};
use crate::ffi::pool::Pool;
use crate::ffi::process;
use crate::ffi::server::{Server, build_date, httpd_version, mpm_limits, mpm_name};

/// What may wait in any case: connections pass through the queue even when a thread is free.
const LEAST_BACKLOG: u32 = 16;

/// The default for `idle-timeout=`, in seconds.
const DEFAULT_IDLE_TIMEOUT: u32 = 60;

/// mod_wsgi's default for `threads=`.
const DEFAULT_THREADS: u16 = 15;

/// A new generation, with no groups yet: its place, and a secret of its own.
///
/// # Errors
/// What is wrong, as a sentence for the log.
pub fn generation(pool: Pool<'_>, main: Server<'_>) -> Result<Generation, String> {
    let prefix = socket_prefix(pool, main)
        .ok_or_else(|| "DefaultRuntimeDir is no usable path for sockets".to_owned())?;
    let suffix = format!(".{}.{}/control.sock", std::process::id(), process::generation());
    let control = PathBuf::from(OsString::from_vec(
        [prefix.as_os_str().as_bytes(), suffix.as_bytes()].concat(),
    ));
    let secret = Secret::new(random()?);
    let scoreboard = match readers(main) {
        users if users.is_empty() => None,
        users => Some(ScoreboardSocket::open(users, u128::from_ne_bytes(random()?))?),
    };
    Ok(Generation { control, secret, groups: HashMap::new(), scoreboard })
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let room = &mut bytes[filled..];
        match rustix::rand::getrandom(room, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("the system has no random numbers: {error}")),
        }
    }
    Ok(bytes)
}

/// The users whose applications may ask for httpd's scoreboard.
fn readers(main: Server<'_>) -> Vec<u32> {
    let settings = || main.with_own_settings::<ServerConfig>().map(|(_, settings)| settings);
    let globals = settings().next().map(|settings| Arc::clone(&settings.globals));
    let globals = globals.unwrap_or_default();
    let ids = httpd_ids();
    let user_of = |group: &DaemonProcess| match &group.user {
        Some(user) if Uid::effective().is_root() => user.uid,
        _ => ids.0,
    };
    let groups = settings().flat_map(|settings| &settings.groups);
    let mut users: Vec<_> = groups
        .filter(|group| sees_scoreboard(group, &globals))
        .map(|group| user_of(group))
        .collect();
    if sees_scoreboard(&DaemonProcess::default(), &globals) {
        users.push(ids.0);
    }
    users
}

/// Whether applications of the group may ask for httpd's scoreboard.
fn sees_scoreboard(group: &DaemonProcess, globals: &Globals) -> bool {
    group.server_metrics || group.name.is_empty() && globals.server_metrics == Some(true)
}

/// What httpd's children need to know of each group.
pub fn facts(main: Server<'_>) -> HashMap<Vec<u8>, GroupFacts> {
    let facts_of = |group: &DaemonProcess, server: Server<'_>, only_for| GroupFacts {
        only_for,
        server: server.name().to_vec(),
        not_served: group.why_not_served(),
        root: group.chroot.clone(),
        script_owner: group.script_owner,
        options: ConnectionOptions {
            connect_timeout: group.connect_timeout,
            socket_timeout: group.socket_timeout,
            queue_timeout: group.queue_timeout,
            response_socket_timeout: group.response_socket_timeout.or(group.socket_timeout),
            send_buffer_size: group.send_buffer_size,
            receive_buffer_size: group.receive_buffer_size,
            retry: group.retry,
        },
        capacity: Size::of(group, mpm_limits()).capacity(),
    };
    let default = facts_of(&DaemonProcess::default(), main, None);
    let mut facts = HashMap::from([(Vec::new(), default)]);
    for (server, settings) in main.with_own_settings::<ServerConfig>() {
        for group in &settings.groups {
            // The default group may be used from everywhere, wherever its definition stands.
            let is_shared = group.name.is_empty() || !server.is_virtual();
            let only_for = (!is_shared).then(|| server.name().to_vec());
            facts.insert(group.name.clone(), facts_of(group, server, only_for));
        }
    }
    facts
}

/// What the supervisor is told, and the error logs that go along.
///
/// # Errors
/// What is wrong, as a sentence for the log.
pub fn configuration<'s>(
    main: Server<'s>,
    generation: &Generation,
) -> Result<(Configuration, Vec<LogFile<'s>>), String> {
    let mut logs = Logs::new(main);
    let main_log = logs.of(main);
    let ids = httpd_ids();
    let globals = main
        .settings::<ServerConfig>()
        .map(|settings| Arc::clone(&settings.globals))
        .unwrap_or_default();
    let settings = || main.with_own_settings::<ServerConfig>().map(|(_, settings)| settings);
    let mut imports: Vec<_> = settings().flat_map(|settings| &settings.imports).cloned().collect();
    imports.sort_by_key(|import| import.number);
    let mut groups = Vec::new();
    let mut has_default = false;
    for (server, settings) in main.with_own_settings::<ServerConfig>() {
        for daemon in &settings.groups {
            has_default |= daemon.name.is_empty();
            let place = (server, logs.of(server));
            let group = group(daemon, &globals, &imports, generation, place)?;
            // A service without a script has nothing to do.
            let is_idle = group.settings.threads == 0 && group.application_groups.is_empty();
            if !is_idle {
                groups.push(group);
            }
        }
    }
    // Also with WSGIRestrictEmbedded: hooks run there.
    if !has_default {
        let place = (main, main_log.clone());
        // Without a worker, the requests that need this group are told why; others are served.
        match group(&DaemonProcess::default(), &globals, &imports, generation, place) {
            Ok(default) => groups.push(default),
            Err(problem) if globals.restrict_embedded == Some(true) => {
                tracing::info!("no default process group: {problem}");
            }
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
        log: main_log,
        syslog: logs.syslog(),
        groups,
    };
    Ok((configuration, logs.files))
}

/// How many workers an application group has, and how many requests each of them runs at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    threads: u16,
    least: u32,
    most: u32,
    /// What `wsgi.multiprocess` says.
    is_multiprocess: bool,
}

impl Size {
    /// As written. The default group of which nothing is written is what mod_wsgi's embedded mode is:
    /// as large as httpd, with `children` of so many `threads` at most.
    fn of(daemon: &DaemonProcess, (children, threads): (u32, u32)) -> Self {
        let follows_httpd = daemon.name.is_empty() && daemon.threads.is_none();
        let httpds = u16::try_from(threads.max(1)).unwrap_or(u16::MAX);
        let default = if follows_httpd { httpds } else { DEFAULT_THREADS };
        let threads = daemon.threads.unwrap_or(default);
        match &daemon.processes {
            Some(range) => {
                let (least, most) = (*range.start(), *range.end());
                Self { threads, least, most, is_multiprocess: true }
            }
            None if follows_httpd => {
                let most = children.max(1);
                Self { threads, least: 1, most, is_multiprocess: most != 1 }
            }
            None => Self { threads, least: 1, most: 1, is_multiprocess: false },
        }
    }

    /// How many requests run at a time when all workers are up.
    fn capacity(self) -> Capacity {
        let requests = self.most.saturating_mul(self.threads.into()) as usize;
        Capacity { requests, follows_load: self.least < self.most }
    }
}

/// How many requests may wait for each application group. Each that runs or waits has a thread of
/// httpd (or a process, with prefork), of which an eighth is left to others, and to static files,
/// unless the group is so large that it can run all of them.
fn backlog(daemon: &DaemonProcess, (processes, threads): (u32, u32)) -> u32 {
    let workers = processes.max(1).saturating_mul(threads.max(1));
    daemon.listen_backlog.unwrap_or_else(|| {
        let size = Size::of(daemon, (processes, threads));
        let threads = u32::from(size.threads);
        // Those that run when all workers are up wait while these are being started.
        let share = (workers - workers / 8).max(size.most.saturating_mul(threads));
        share.saturating_sub(size.least.saturating_mul(threads)).max(LEAST_BACKLOG)
    })
}

/// User and group id of httpd's children.
fn httpd_ids() -> (u32, u32) {
    if Uid::effective().is_root() {
        process::configured_ids()
    } else {
        (geteuid().as_raw(), getegid().as_raw())
    }
}

/// What the supervisor is told of a group, which is defined in `server` and logs to `log`.
fn group(
    daemon: &DaemonProcess,
    globals: &Globals,
    imports: &[Arc<Import>],
    generation: &Generation,
    (server, log): (Server<'_>, Log),
) -> Result<Group, String> {
    let ids = httpd_ids();
    let identity = daemon.identity(ids)?;
    let user = identity.as_ref().map(|identity| &identity.user);
    let interpreter = globals.interpreter_of(&daemon.name, None);
    let home = user.map(|user| user.home.as_path());
    let environment = environment(daemon, globals, home);
    let size = Size::of(daemon, mpm_limits());
    let python_home = daemon.python_home.as_ref().or(globals.python_home.as_ref());
    Ok(Group {
        settings: Settings {
            process_group: daemon.name.clone(),
            threads: size.threads,
            processes: size.most,
            multiprocess: size.is_multiprocess,
            backlog: Some(backlog(daemon, mpm_limits())),
            queue_timeout: daemon.queue_timeout.map_or(0, |limit| limit.as_secs() as u32),
            peer_uid: ids.0,
            // Without root, httpd's children have one user, who owns everything.
            socket_user: daemon.socket_user.filter(|_| Uid::effective().is_root()),
            display_name: daemon.display_name.clone(),
            umask: daemon.umask,
            locale: daemon.locale.clone(),
            root: daemon.chroot.as_ref().map(|root| root.path().to_owned()),
            working_directory: working_directory(daemon, user, ids.0),
            home: daemon.home.clone(),
            python_home: python_home.cloned(),
            python_path: in_front(&interpreter.python_path, &daemon.python_path),
            stack_size: daemon.stack_size,
            python: python(daemon, globals),
            limits: daemon.limits,
            reload: daemon.reload,
            httpd: httpd(server),
            scoreboard: generation
                .scoreboard
                .as_ref()
                .filter(|_| sees_scoreboard(daemon, globals))
                .map(|socket| socket.name.clone()),
            telemetry: globals.telemetry(),
        },
        identity: identity.map(|identity| Identity {
            uid: identity.user.uid,
            gid: identity.gid,
            user: identity.user.name,
            groups: daemon.supplementary_groups.clone(),
        }),
        free_threading: interpreter.free_threading,
        environment,
        least_processes: size.least,
        idle_timeout: daemon.idle_timeout.unwrap_or(DEFAULT_IDLE_TIMEOUT),
        prestart: daemon.location.is_some(),
        application_groups: application_groups(daemon, globals, imports),
        limits: Limits {
            cpu_priority: daemon.cpu_priority.unwrap_or(0),
            memory: daemon.memory_limit.unwrap_or(0),
            virtual_memory: daemon.virtual_memory_limit.unwrap_or(0),
        },
        log,
    })
}

/// The variables that a worker has beside those of httpd.
fn environment(
    daemon: &DaemonProcess,
    globals: &Globals,
    home: Option<&Path>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let eggs = globals.python_eggs.as_ref().filter(|_| daemon.name.is_empty());
    let text = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    let variables = [
        home.map(|home| text("HOME", home.as_os_str().as_bytes())),
        daemon.lang.as_deref().map(|lang| text("LANG", lang)),
        daemon.locale.as_deref().map(|locale| text("LC_ALL", locale)),
        daemon.python_eggs.as_ref().or(eggs).map(|eggs| text("PYTHON_EGG_CACHE", eggs)),
    ];
    variables.into_iter().flatten().collect()
}

/// What the directives about Python say of a group.
fn python(daemon: &DaemonProcess, globals: &Globals) -> Python {
    let interpreter = globals.interpreter_of(&daemon.name, None);
    Python {
        switch_interval: daemon.switch_interval.or(interpreter.switch_interval),
        warnings: globals.python_warnings.clone(),
        optimize: globals.python_optimize.unwrap_or(0),
        dont_write_bytecode: globals.dont_write_bytecode.unwrap_or(false),
        hash_seed: globals.python_hash_seed.and_then(HashSeed::fixed),
        skip_exit_handlers: globals.destroy_interpreter == Some(false),
        case_insensitive: globals.case_sensitivity == Some(false),
        restrict_stdin: interpreter.restrict_stdin.unwrap_or(false),
        restrict_stdout: interpreter.restrict_stdout.unwrap_or(false),
        // A service looks after its signals itself.
        restrict_signal: interpreter.restrict_signal.unwrap_or(true) && daemon.threads != Some(0),
    }
}

/// What applications are told of httpd.
fn httpd(server: Server<'_>) -> Httpd {
    let (maximum_processes, threads_per_process) = mpm_limits();
    Httpd {
        version: httpd_version(),
        description: server.banner().to_vec(),
        build_date: build_date().to_vec(),
        mpm_name: mpm_name().to_vec(),
        maximum_processes,
        threads_per_process,
    }
}

/// What is known beforehand of the application groups of a process group: scripts to load in
/// advance, each once, and settings of their own.
fn application_groups(
    daemon: &DaemonProcess,
    globals: &Globals,
    imports: &[Arc<Import>],
) -> Vec<ApplicationGroup> {
    let mut groups: Vec<ApplicationGroup> = Vec::new();
    let place_of = |groups: &mut Vec<ApplicationGroup>, name: &[u8]| {
        groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
            groups.push(ApplicationGroup { name: name.to_vec(), ..ApplicationGroup::default() });
            groups.len() - 1
        })
    };
    for import in imports.iter().filter(|import| import.process_group == daemon.name) {
        let root = daemon.chroot.as_ref();
        let script = root.map_or_else(|| import.script.clone(), |root| root.named(&import.script));
        let place = root.map_or_else(|| path(&script), |root| root.outside(&path(&script)));
        // The target of an alias may be a directory of scripts.
        if place.is_dir() {
            continue;
        }
        let at = place_of(&mut groups, &import.application_group);
        if !groups[at].imports.contains(&script) {
            groups[at].imports.push(script);
        }
    }
    for (selector, _) in &globals.blocks {
        let is_ours = selector.process_group.as_ref().is_none_or(|name| *name == daemon.name);
        if let Some(name) = selector.application_group.as_ref().filter(|_| is_ours) {
            let at = place_of(&mut groups, name);
            groups[at].interpreter = own_interpreter(daemon, globals, name);
        }
    }
    groups
}

/// What an application group has other than the rest of its process group.
fn own_interpreter(
    daemon: &DaemonProcess,
    globals: &Globals,
    application_group: &[u8],
) -> Interpreter {
    let shared = globals.interpreter_of(&daemon.name, None);
    let mut own = globals.interpreter_of(&daemon.name, Some(application_group));
    let known = in_front(&shared.python_path, &daemon.python_path);
    own.python_path.retain(|entry| !known.contains(entry));
    Interpreter {
        python_path: own.python_path,
        // What is written for the process group itself wins.
        switch_interval: own.switch_interval.filter(|_| daemon.switch_interval.is_none()),
        restrict_stdin: own.restrict_stdin,
        restrict_stdout: own.restrict_stdout,
        restrict_signal: own.restrict_signal.filter(|_| daemon.threads != Some(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_wait_leaves_some_of_httpd_to_others() {
        let daemon = |processes: Option<u32>, threads, listen_backlog| DaemonProcess {
            name: b"site".to_vec(),
            processes: processes.map(|processes| processes..=processes),
            threads,
            listen_backlog,
            ..DaemonProcess::default()
        };
        assert_eq!(backlog(&daemon(None, None, None), (16, 16)), 209, "224 of 256, less 15");
        assert_eq!(backlog(&daemon(Some(2), Some(25), None), (150, 1)), 82);
        assert_eq!(backlog(&daemon(Some(10), Some(50), None), (150, 1)), 16);
        assert_eq!(backlog(&daemon(None, None, Some(3)), (16, 16)), 3, "written is written");
    }

    #[test]
    fn what_waits_for_workers_that_start_counts_as_running() {
        let range = DaemonProcess {
            name: b"site".to_vec(),
            processes: Some(1..=4),
            threads: Some(10),
            ..DaemonProcess::default()
        };
        assert_eq!(backlog(&range, (16, 16)), 214, "224 of 256, less 10");
        let default = DaemonProcess::default();
        assert_eq!(backlog(&default, (2, 25)), 25, "all 50, less 25");
        assert_eq!(backlog(&default, (150, 1)), 149);
    }

    #[test]
    fn the_default_group_is_as_large_as_httpd() {
        let size = |daemon: &DaemonProcess, mpm| {
            let size = Size::of(daemon, mpm);
            (size.threads, size.least, size.most, size.is_multiprocess)
        };
        let default = DaemonProcess::default();
        assert_eq!(size(&default, (6, 25)), (25, 1, 6, true), "event");
        assert_eq!(size(&default, (150, 1)), (1, 1, 150, true), "prefork");
        assert_eq!(size(&default, (1, 25)), (25, 1, 1, false));
        let named = DaemonProcess { name: b"site".to_vec(), ..DaemonProcess::default() };
        assert_eq!(size(&named, (150, 1)), (15, 1, 1, false));
        // What is written counts: then it is a group like others.
        let threads = DaemonProcess { threads: Some(5), ..DaemonProcess::default() };
        assert_eq!(size(&threads, (6, 25)), (5, 1, 1, false));
        let processes = DaemonProcess { processes: Some(2..=3), ..DaemonProcess::default() };
        assert_eq!(size(&processes, (150, 1)), (1, 2, 3, true), "safe without thread-safety");
    }
}
