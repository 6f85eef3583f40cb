//! One configuration cycle: the supervisor that serves it, started and watched by httpd's parent,
//! and what httpd's children need to know to reach it.

mod check;
mod describe;
mod lifeline;
mod logs;
mod metrics;
mod scoreboard;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use wire::Secret;
use wire::exchange::Level;

use self::lifeline::{Lifeline, Watch};
use self::scoreboard::ScoreboardSocket;
use crate::config::{Root, ScriptOwner, install_directory};
use crate::ffi::log::log_server;
use crate::ffi::pool::Pool;
use crate::ffi::process;
use crate::ffi::scoreboard::exists as scoreboard_exists;
use crate::ffi::server::{Server, with_main_server};
use crate::ffi::waking;

/// How long httpd's parent waits for supervisors when it stops, beyond their own time limits.
const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// A supervisor that dies sooner than this dies early. Only so many in a row are replaced at once:
/// afterwards, the next one is started when [`look_after`] finds that there is none.
const SETTLED: Duration = Duration::from_secs(1);
const EARLY_DEATHS: u32 = 5;

/// What httpd's children know of the running configuration cycle.
#[derive(Debug)]
pub struct Generation {
    /// The supervisor's socket.
    pub control: PathBuf,
    /// What it wants to hear.
    pub secret: Secret,
    /// The process groups, by name.
    pub groups: HashMap<Vec<u8>, GroupFacts>,
    /// Where workers ask for httpd's scoreboard, if any may.
    pub scoreboard: Option<ScoreboardSocket>,
}

/// What httpd's children know of a process group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupFacts {
    /// `ServerName` of the virtual host that defines the group and alone may use it.
    pub only_for: Option<Vec<u8>>,
    /// Why it takes no requests, if it does not.
    pub not_served: Option<&'static str>,
    /// The directory that its workers are confined to.
    pub root: Option<Root>,
    /// Whose scripts it runs, if not anybody's.
    pub script_owner: Option<ScriptOwner>,
    /// `ServerName` of where it is defined.
    pub server: Vec<u8>,
    /// How to speak with its workers.
    pub options: ConnectionOptions,
    /// How much the workers of one of its application groups can do.
    pub capacity: Capacity,
}

/// How much the workers of an application group can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capacity {
    /// How many requests they run at a time, when all of them are up.
    pub requests: usize,
    /// Whether they are as many as the load needs, so that requests may wait for one to start.
    pub follows_load: bool,
}

/// How httpd's children speak with the workers of a group. What is not set is left to httpd or the
/// system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `connect-timeout=`.
    pub connect_timeout: Option<Duration>,
    /// `socket-timeout=`.
    pub socket_timeout: Option<Duration>,
    /// `queue-timeout=`.
    pub queue_timeout: Option<Duration>,
    /// `response-socket-timeout=`.
    pub response_socket_timeout: Option<Duration>,
    /// `send-buffer-size=`, in bytes.
    pub send_buffer_size: Option<u32>,
    /// `receive-buffer-size=`, in bytes.
    pub receive_buffer_size: Option<u32>,
    /// `retry=`.
    pub retry: Option<bool>,
}

/// The running configuration cycle. Children have the one that was current when they were forked.
static CURRENT: RwLock<Option<Arc<Generation>>> = RwLock::new(None);

pub use self::check::check;
pub use self::metrics::{child, metrics};

/// What only httpd's parent process uses.
static PARENT: Mutex<Option<Parent>> = Mutex::new(None);

struct Parent {
    /// The process that all of this belongs to: what is forked from it has a copy to ignore.
    pid: u32,
    /// What tells the supervisor that the current generation is over.
    lifeline: Option<Lifeline>,
    /// The conversation with the supervisor of the current generation, while there is one.
    watch: Option<Watch>,
    /// Those with supervisors of earlier generations, and with what these leave behind.
    earlier: Vec<Watch>,
    /// Our processes that have not ended yet, of this generation and earlier ones.
    running: Vec<Running>,
    /// How many supervisors of this generation have died early, one after the other.
    early_deaths: u32,
}

struct Running {
    pid: u32,
    program: Program,
    started: Instant,
    /// Whether it serves the current generation.
    current: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Supervisor,
    /// [`ScoreboardSocket`]'s process.
    Scoreboard,
}

/// The running configuration cycle, if the module has started one.
pub fn current() -> Option<Arc<Generation>> {
    CURRENT.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The `post_config` hook: starts the supervisor of a new generation.
///
/// # Errors
/// When httpd must not start; the reason has been logged.
pub fn start(pool: Pool<'_>, main: Server<'_>) -> Result<(), ()> {
    process::add_version_component(pool, concat!("mod_wsgi_rs/", env!("CARGO_PKG_VERSION")));
    if process::is_dry_run() {
        return Ok(());
    }
    let outcome = try_start(pool, main);
    if process::generation() > 0 {
        waking::wake_soon();
    }
    match outcome {
        Ok(()) => Ok(()),
        Err(problem) => {
            log(Level::Error, &format!("No WSGI application can be served: {problem}"));
            // At a restart, everything else that httpd serves goes on.
            if process::generation() == 0 { Err(()) } else { Ok(()) }
        }
    }
}

fn try_start(pool: Pool<'_>, main: Server<'_>) -> Result<(), String> {
    let generation = describe::generation(pool, main)?;
    let groups = describe::facts(main);
    metrics::begin(groups.iter());
    *CURRENT.write().unwrap_or_else(PoisonError::into_inner) =
        Some(Arc::new(Generation { groups, ..generation }));

    // The cycle's pool is cleared when the next one begins, and when httpd stops.
    struct EndOfGeneration;
    impl Drop for EndOfGeneration {
        fn drop(&mut self) {
            with_parent(|parent| {
                parent.lifeline = None;
                parent.earlier.extend(parent.watch.take());
                parent.running.iter_mut().for_each(|running| running.current = false);
            });
        }
    }
    let lifeline = Lifeline::new()?;
    let mut parent = lock_parent();
    let parent = parent.get_or_insert_with(|| {
        process::at_exit(main, wait_for_supervisors);
        Parent {
            pid: std::process::id(),
            lifeline: None,
            watch: None,
            earlier: Vec::new(),
            running: Vec::new(),
            early_deaths: 0,
        }
    });
    parent.lifeline = Some(lifeline);
    parent.early_deaths = 0;
    pool.keep(EndOfGeneration);
    spawn(parent, main)?;
    open_scoreboard(parent);
    Ok(())
}

/// Executes a supervisor and tells it the configuration.
fn spawn(parent: &mut Parent, main: Server<'_>) -> Result<(), String> {
    let Some(lifeline) = &parent.lifeline else {
        return Ok(());
    };
    let generation = current().ok_or("there is no configuration")?;
    let (configuration, logs) = describe::configuration(main, &generation)?;
    let program = install_directory().join("wsgi-supervisor");
    let metrics = metrics().map(|metrics| (metrics.begin_supervisor(), metrics.file()));
    // Theirs may have led to programs that httpd has ended since.
    parent.earlier.retain(|earlier| earlier.hand_on(&logs));
    let newborn = lifeline.execute(&program)?;
    process::watch_child(main, newborn.pid, ended);
    parent.running.push(Running::new(newborn.pid, Program::Supervisor));
    parent.watch = None;
    parent.watch = Some(newborn.tell(configuration, &logs, metrics)?);
    Ok(())
}

/// httpd's parent has reaped a supervisor.
fn ended(pid: u32, status: i32) {
    use std::os::unix::process::ExitStatusExt;
    with_parent(|parent| {
        let Some(at) = parent.running.iter().position(|running| running.pid == pid) else {
            return;
        };
        let running = parent.running.swap_remove(at);
        if running.program == Program::Scoreboard {
            // One that dies at once is tried again when `look_after` comes by.
            if running.current && running.started.elapsed() >= SETTLED {
                open_scoreboard(parent);
            }
            return;
        }
        if !running.current {
            parent.earlier.retain(|earlier| !earlier.has_ended());
            log(
                Level::Debug,
                &format!("wsgi-supervisor (pid {pid}) of an earlier generation ended"),
            );
            return;
        }
        let how = ExitStatus::from_raw(status);
        let age = running.started.elapsed();
        log(
            Level::Error,
            &format!(
                "wsgi-supervisor (pid {pid}) ended after {age:.1?} ({how}); starting another one. \
                 Requests go on where workers are running."
            ),
        );
        parent.early_deaths = if age >= SETTLED { 0 } else { parent.early_deaths + 1 };
        if parent.early_deaths <= EARLY_DEATHS {
            replace(parent);
        }
    });
}

/// The `monitor` hook, called every ten seconds or so, and once there is a scoreboard: starts what
/// is missing.
pub fn look_after() {
    with_parent(|parent| {
        if parent.lifeline.is_none() {
            return;
        }
        match parent.current(Program::Supervisor) {
            None => replace(parent),
            Some(pid) => {
                if parent.watch.as_mut().is_some_and(|watch| !watch.answers()) {
                    parent.watch = None;
                    end_silent_supervisor(pid);
                }
            }
        }
        open_scoreboard(parent);
        if let Some(metrics) = metrics() {
            metrics.forget_dead_children();
        }
    });
}

/// Ends a supervisor that does not answer, so that [`ended`] replaces it.
fn end_silent_supervisor(pid: u32) {
    log(
        Level::Error,
        &format!(
            "wsgi-supervisor (pid {pid}) has not answered for at least ten seconds; it is killed. \
             Requests go on where workers are running."
        ),
    );
    if let Ok(pid) = i32::try_from(pid) {
        // It is a child that has not been waited for, so that its process id is no other's.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// In a new child of httpd, which has no part in the conversation with the supervisor.
pub fn enter_child() {
    if let Some(parent) = lock_parent().as_mut() {
        parent.watch = None;
        parent.earlier.clear();
    }
    metrics::enter_child();
}

/// Lets workers ask for the scoreboard, if any may, and there is one.
fn open_scoreboard(parent: &mut Parent) {
    let generation = current();
    let socket = generation.as_ref().and_then(|generation| generation.scoreboard.as_ref());
    let supervisor = parent.current(Program::Supervisor);
    let (Some(socket), Some(supervisor)) = (socket, supervisor) else {
        return;
    };
    if !scoreboard_exists() || parent.current(Program::Scoreboard).is_some() {
        return;
    }
    with_main_server(|main| {
        let Some(main) = main else { return };
        match socket.start(supervisor, process::configured_ids()) {
            Ok(pid) => {
                process::watch_child(main, pid, ended);
                parent.running.push(Running::new(pid, Program::Scoreboard));
            }
            Err(problem) => {
                log(Level::Warning, &format!("server_metrics() has nothing: {problem}"));
            }
        }
    });
}

impl Running {
    fn new(pid: u32, program: Program) -> Self {
        Self { pid, program, started: Instant::now(), current: true }
    }
}

impl Parent {
    /// The one that serves the current generation.
    fn current(&self, program: Program) -> Option<u32> {
        let mut running = self.running.iter();
        running.find(|it| it.current && it.program == program).map(|it| it.pid)
    }
}

fn replace(parent: &mut Parent) {
    with_main_server(|main| {
        let Some(main) = main else { return };
        // It ends with the supervisor that it was started for.
        let of_the_last = parent.running.iter_mut().filter(|it| it.program == Program::Scoreboard);
        of_the_last.for_each(|it| it.current = false);
        match spawn(parent, main) {
            Ok(()) => open_scoreboard(parent),
            Err(problem) => log(Level::Error, &format!("{problem}; trying again in some seconds")),
        }
    });
}

/// httpd's parent is about to exit, and no child of httpd is left: the end of the lifeline tells the
/// supervisors. Waits for them, so that nothing of httpd outlives it, before httpd ends the programs
/// that its logs lead to: workers may still have something to say.
fn wait_for_supervisors() {
    with_parent(|parent| {
        // Nobody is to wait meanwhile for what is not served any more.
        process::close_listeners();
        (parent.lifeline, parent.watch) = (None, None);
        parent.earlier.clear();
        let deadline = Instant::now() + STOP_PATIENCE;
        for running in parent.running.drain(..) {
            let Ok(pid) = i32::try_from(running.pid) else {
                continue;
            };
            let raw = rustix::process::Pid::from_raw(pid);
            let Some(Ok(handle)) = raw
                .map(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()))
            else {
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = rustix::event::Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut poll = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
            let pid = Pid::from_raw(pid);
            // Interrupted or failed counts as "still there": nothing may keep httpd from exiting.
            if !matches!(rustix::event::poll(&mut poll, Some(&timeout)), Ok(1)) {
                let _ = kill(pid, Signal::SIGKILL);
            }
            let _ = waitpid(pid, Some(WaitPidFlag::empty()));
        }
    });
}

/// Runs `body` in httpd's parent, and nowhere else: a child that exits runs the cleanups of its
/// copies of the parent's pools (`apr_terminate`).
fn with_parent(body: impl FnOnce(&mut Parent)) {
    if let Some(parent) = lock_parent().as_mut().filter(|parent| parent.pid == std::process::id()) {
        body(parent);
    }
}

fn lock_parent() -> MutexGuard<'static, Option<Parent>> {
    PARENT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log(level: Level, text: &str) {
    with_main_server(|main| log_server(main, level.number(), text.as_bytes()));
}
