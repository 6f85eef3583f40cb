//! Runs a server in the foreground: httpd is a child, whose output is passed on, and which hears of
//! the signals that come here.

pub mod json;
mod output;
mod queue;
mod watch;

use std::io::{self, IsTerminal, PipeReader};
use std::os::unix::process::CommandExt;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGWINCH};
use signal_hook::iterator::Signals;

pub use self::output::Style;
use crate::generate::{self, APACHECTL};
use crate::python;
use crate::settings::{Application, Logs, Settings, Target};

/// How long the last lines of a log may take to come when the server has ended at once.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Why a server cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The control script cannot be run.
    #[error("cannot run {}: {source}", script.display())]
    Start {
        /// Its path.
        script: std::path::PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Signals, pipes or processes cannot be had.
    #[error("cannot look after httpd: {0}")]
    System(#[from] io::Error),
    /// Another one has the same files.
    #[error(
        "there is a server at {} already, process {pid}: stop it, or name another --server-root or \
         --port",
        root.display()
    )]
    Runs {
        /// The server root.
        root: std::path::PathBuf,
        /// The process id of its httpd.
        pid: i32,
    },
    /// There is nothing to debug in.
    #[error("--enable-debugger needs a terminal as its standard input, which this user may open")]
    NoTerminal,
}

/// How logs are shown.
pub fn style(settings: &Settings) -> Style {
    let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match wanted && io::stdout().is_terminal() && io::stderr().is_terminal() {
        _ if settings.options.logging.log_json => Style::Json,
        true => Style::Coloured,
        false => Style::Plain,
    }
}

/// The path of the terminal that this command is controlled from.
pub fn terminal() -> Option<String> {
    let path = io::stdin().is_terminal().then(|| fs::read_link("/proc/self/fd/0").ok()).flatten();
    path.and_then(|path| path.into_os_string().into_string().ok())
}

/// Whether there is a terminal that controls this process.
fn has_terminal() -> bool {
    fs::File::open("/dev/tty").is_ok()
}

/// What there is to know about a server: a line for each point.
pub fn summary(settings: &Settings) -> String {
    let mut lines = vec![("URL", settings.url())];
    if let Some(port) = settings.options.network.https_port {
        let name = settings.options.network.server_name.as_ref().unwrap_or(&settings.host);
        lines.push(("HTTPS", format!("https://{name}:{port}/")));
    }
    for application in &settings.applications {
        lines.push(("Application", described(settings, application)));
    }
    if settings.applications.is_empty() {
        lines.push(("Files", settings.document_root.display().to_string()));
    }
    lines.push(("Server root", settings.root.display().to_string()));
    match &settings.logs {
        Logs::Terminal => {}
        Logs::Folder(folder) => {
            let log = folder.join(&settings.options.logging.error_log_name);
            lines.push(("Error log", log.display().to_string()));
        }
    }
    lines.push(("Control", settings.file(APACHECTL).display().to_string()));
    let text = lines.iter().map(|(name, value)| format!("{name:<12} {value}\n"));
    let notes = settings.notes.iter().map(|note| format!("note: {note}\n"));
    text.chain(notes).collect()
}

/// An application, where it is served, and its Python.
fn described(settings: &Settings, application: &Application) -> String {
    let object = application.callable.as_ref().map(|name| format!(":{name}")).unwrap_or_default();
    let target = match &application.target {
        Target::Script(file) | Target::Paste(file) => file.display().to_string(),
        Target::Module(name) => name.clone(),
        Target::Welcome => "none yet".to_owned(),
    };
    let home = match &application.python_home {
        None => match fs::read_link(settings.files.folder.join("python")) {
            Ok(interpreter) => format!("the default Python, {}", interpreter.display()),
            Err(_) => "the system's Python".to_owned(),
        },
        Some(home) => {
            let version = python::version(home).map(|version| format!(" {version}"));
            format!("Python{} of {}", version.unwrap_or_default(), home.display())
        }
    };
    format!("{target}{object} at {} with {home}", application.mount)
}

/// Sees that no httpd runs with the files that a server is going to have.
///
/// A file with a process id that an earlier httpd has left goes: httpd takes any process of that id for
/// one that runs, which in a container is often there.
///
/// # Errors
/// When there is one, or when the file cannot be removed.
pub fn vacate(settings: &Settings) -> Result<(), RunError> {
    let file = settings.pid_file();
    let Ok(pid) = fs::read_to_string(&file) else { return Ok(()) };
    let pid: i32 = pid.trim().parse().unwrap_or(0);
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let conf = settings.file("httpd.conf");
    if command.split(|byte| *byte == 0).any(|word| word == conf.as_os_str().as_encoded_bytes()) {
        return Err(RunError::Runs { root: settings.root.clone(), pid });
    }
    Ok(fs::remove_file(&file)?)
}

/// Starts httpd, and returns when it has ended.
///
/// # Errors
/// [`RunError`].
pub fn foreground(settings: &Settings) -> Result<ExitCode, RunError> {
    if settings.options.debugging.enable_debugger
        && (terminal().is_none() || settings.user.is_some())
    {
        return Err(RunError::NoTerminal);
    }
    // Before there is a child that a signal could leave behind.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGWINCH])?;
    let (output, output_end) = io::pipe()?;
    let (errors, errors_end) = io::pipe()?;
    let started = generate::apachectl(settings)
        .args(["start", "-DFOREGROUND"])
        .stdin(Stdio::null())
        .stdout(output_end)
        .stderr(errors_end)
        // Ctrl-C and the sizes of a window are told to this command, and to httpd by it.
        .process_group(0)
        .spawn();
    let child =
        started.map_err(|source| RunError::Start { script: settings.file(APACHECTL), source })?;
    let httpd = Pid::from_raw(child.id().cast_signed());
    let (ended, logs_end) = mpsc::channel();
    pass_on(settings, output, errors, &ended);
    drop(ended);
    let stopping = Arc::new(AtomicBool::new(false));
    let patience = Duration::from_secs(settings.options.timeouts.shutdown_timeout.into());
    let server =
        Server { httpd, ports: settings.ports(), patience, stopping: Arc::clone(&stopping) };
    let has_terminal = has_terminal();
    thread::spawn(move || {
        for signal in signals.forever() {
            // A terminal that is closed takes the server with it.
            let is_end = signal == SIGHUP && has_terminal && !self::has_terminal();
            server.tell(if is_end { SIGINT } else { signal });
        }
    });
    if settings.options.debugging.reload_on_changes {
        watch::start(settings);
    }
    let status = reap(httpd)?;
    // The last lines are those of workers that finish. As process 1, the end of this command is
    // theirs, too.
    let deadline =
        Instant::now() + if stopping.load(Ordering::Relaxed) { patience } else { LAST_LINES };
    while logs_end.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        != Err(RecvTimeoutError::Disconnected)
        && Instant::now() < deadline
    {}
    Ok(match status {
        WaitStatus::Exited(_, 0) => ExitCode::SUCCESS,
        WaitStatus::Exited(_, code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        _ => ExitCode::FAILURE,
    })
}

/// Has httpd's outputs passed on. Each sends a word when it has come to its end.
fn pass_on(settings: &Settings, output: PipeReader, errors: PipeReader, ended: &Sender<()>) {
    let style = style(settings);
    let mut greeting = summary(settings);
    if settings.logs != Logs::Terminal {
        // What says that httpd is ready goes elsewhere.
        style.say("notice", &std::mem::take(&mut greeting));
    }
    let ready = ended.clone();
    thread::spawn(move || {
        output::errors(errors, style, &greeting);
        let _ = ready.send(());
    });
    let done = ended.clone();
    thread::spawn(move || {
        output::requests(output, style);
        let _ = done.send(());
    });
}

/// What signals are passed on to.
struct Server {
    httpd: Pid,
    ports: Vec<u16>,
    /// How long it may take to stop.
    patience: Duration,
    /// Whether it has been told to.
    stopping: Arc<AtomicBool>,
}

impl Server {
    /// Tells httpd of a signal, as far as it concerns it.
    fn tell(&self, signal: i32) {
        match signal {
            SIGHUP => self.send(Signal::SIGHUP),
            SIGUSR1 => self.send(Signal::SIGUSR1),
            // Ctrl-C ends it at once, and a second one whatever hangs.
            SIGINT if self.stopping.swap(true, Ordering::Relaxed) => {
                let _ = killpg(self.httpd, Signal::SIGKILL);
            }
            SIGINT => self.send(Signal::SIGTERM),
            SIGTERM if !self.stopping.swap(true, Ordering::Relaxed) => self.drain(),
            // A window that has another size is none of httpd's business.
            _ => {}
        }
    }

    /// Lets it serve the clients that there are, and then stop, in a thread of its own.
    fn drain(&self) {
        let (httpd, ports, patience) = (self.httpd, self.ports.clone(), self.patience);
        thread::spawn(move || {
            let begin = Instant::now();
            queue::drain(&ports, begin + patience / 2);
            // httpd's word for a graceful stop.
            let _ = kill(httpd, Signal::SIGWINCH);
            thread::sleep(patience.saturating_sub(begin.elapsed()));
            let _ = kill(httpd, Signal::SIGTERM);
        });
    }

    fn send(&self, signal: Signal) {
        let _ = kill(self.httpd, signal);
    }
}

/// Waits for httpd, and for all orphans that the system gives to process 1.
fn reap(httpd: Pid) -> Result<WaitStatus, io::Error> {
    loop {
        match wait() {
            Ok(status) if status.pid() == Some(httpd) => return Ok(status),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
