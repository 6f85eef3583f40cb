//! The httpd under load: with our module, or with mod_wsgi's.

use std::fmt;
use std::fs::{self, FileTimes};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, Process, Running};

use super::load;
use crate::originals::Original;
use crate::shell;

/// Threads of each worker.
pub const THREADS: usize = 5;

/// Workers of the site.
pub const PROCESSES: usize = 2;

/// What the workers' names show, whoever's they are.
const TITLE: &str = "(wsgi:soak)";

/// Whose module serves.
#[derive(Clone, Debug)]
pub enum Server {
    /// Ours, from this folder.
    Ours(PathBuf),
    /// mod_wsgi's.
    Theirs(Original),
}

impl Server {
    /// What the table calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Server::Ours(_) => "mod_wsgi-rs",
            Server::Theirs(_) => "mod_wsgi",
        }
    }

    /// Whether it is ours.
    pub fn is_ours(&self) -> bool {
        matches!(self, Server::Ours(_))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Ours(_) => write!(f, "mod_wsgi-rs {}", env!("CARGO_PKG_VERSION")),
            Server::Theirs(original) => write!(f, "mod_wsgi {}", original.version),
        }
    }
}

/// A site that runs.
#[derive(Debug)]
pub struct Site {
    httpd: Running,
    /// Files are given times of change in the future, each later than the one before: a clock that
    /// has moved on by less than a tick would hide a change.
    changes: AtomicU64,
}

impl Site {
    /// Starts it and waits until it answers. `options` go to `WSGIDaemonProcess`, `conf` to httpd.
    pub fn start(server: &Server, options: &str, conf: &str) -> Result<Site> {
        let mut httpd = Httpd::new()
            .app("soak.wsgi", "from application import application\n")
            .app("application.py", &source()?)
            // The faults are in there, and what must not be is looked for at the end.
            .expect_log("");
        match server {
            Server::Ours(dist) => httpd = httpd.dist(dist),
            Server::Theirs(original) => {
                let module = original.module.display();
                httpd = httpd.without_module().conf(&format!(
                    "LoadModule wsgi_module \"{module}\"\nWSGISocketPrefix {{dir}}/run/wsgi"
                ));
            }
        }
        let site = httpd
            .conf(&format!(
                "WSGIDaemonProcess soak user={{user}} group={{group}} processes={PROCESSES} \
                 threads={THREADS} python-path={{apps}} display-name=%{{GROUP}} {options}\n\
                 WSGIScriptAlias / {{apps}}/soak.wsgi process-group=soak \
                 application-group=%{{GLOBAL}}\n{conf}"
            ))
            .try_start()?;
        let site = Site { httpd: site, changes: AtomicU64::new(1) };
        let status = load::ask(site.port(), "/", true)?;
        ensure!(status == 200, "the first answer is {status}");
        Ok(site)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.httpd.port()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.httpd.dir()
    }

    /// httpd's parent.
    pub fn parent(&self) -> i32 {
        self.httpd.pid()
    }

    /// httpd's parent and all below it.
    pub fn processes(&self) -> Vec<Process> {
        Process::find(self.parent()).into_iter().chain(self.httpd.descendants()).collect()
    }

    /// The oldest of the workers: a young one may not have begun to serve.
    pub fn worker(&self) -> Option<i32> {
        let is_worker = |process: &Process| process.command().contains(TITLE);
        let workers = self.httpd.descendants().into_iter().filter(is_worker);
        workers.min_by_key(Process::started).map(|process| process.pid)
    }

    /// The supervisor of the current generation, which is the youngest.
    pub fn supervisor(&self) -> Option<i32> {
        let is_supervisor = |process: &Process| process.program == "wsgi-supervisor";
        let supervisors = self.httpd.descendants().into_iter().filter(is_supervisor);
        supervisors.max_by_key(Process::started).map(|process| process.pid)
    }

    /// Deploys an application that cannot be imported, another one each time.
    pub fn break_code(&self) -> Result<()> {
        let number = self.changes.load(Ordering::Relaxed);
        self.write("apps/application.py", &format!("raise ImportError('broken {number}')\n"))?;
        self.touch()
    }

    /// Gives the script a new time of change.
    pub fn touch(&self) -> Result<()> {
        self.set_time("apps/soak.wsgi")
    }

    /// Stops it. When it is ours, nothing that worries may be in the log or left behind.
    pub fn stop(mut self, server: &Server) -> Result<()> {
        let ended = self.httpd.shut_down();
        if !server.is_ours() {
            // How a rival ends is not ours to judge.
            return Ok(());
        }
        ended?;
        let log = self.httpd.error_log();
        for text in ["long lost child", "panicked at", "still did not exit", "protocol and is"] {
            let line = log.lines().find(|line| line.contains(text));
            ensure!(line.is_none(), "in the error log: {}", line.unwrap_or_default());
        }
        let run = self.folder().join("run");
        let left: Vec<_> = fs::read_dir(&run)?.flatten().map(|entry| entry.path()).collect();
        ensure!(left.is_empty(), "left in httpd's runtime directory: {left:?}");
        Ok(())
    }

    /// The error log from this byte on.
    pub fn log_since(&self, start: u64) -> String {
        use std::io::{Read, Seek, SeekFrom};
        let mut bytes = Vec::new();
        let log = fs::File::open(self.folder().join("logs/error.log"));
        if let Ok(mut log) = log
            && log.seek(SeekFrom::Start(start)).is_ok()
        {
            // What cannot be read is not there yet.
            let _ = log.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How often the error log has this.
    pub fn count_in_log(&self, text: &str) -> usize {
        self.httpd.error_log().matches(text).count()
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder().join(name);
        // Renamed into place: half a file would be another fault.
        let fresh = path.with_extension("new");
        fs::write(&fresh, text).with_context(|| format!("cannot write {}", fresh.display()))?;
        fs::rename(&fresh, &path)?;
        self.set_time(name)
    }

    fn set_time(&self, name: &str) -> Result<()> {
        let later = Duration::from_secs(self.changes.fetch_add(1, Ordering::Relaxed));
        let file = fs::File::options().write(true).open(self.folder().join(name))?;
        Ok(file.set_times(FileTimes::new().set_modified(SystemTime::now() + later))?)
    }
}

/// Sends a signal to one that may just have gone.
pub fn signal(process: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(process), signal);
}

fn source() -> Result<String> {
    let path = shell::root().join("xtask/soak/application.py");
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}
