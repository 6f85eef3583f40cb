//! Who is measured: each contender with an httpd of its own, and an application server where it is
//! one.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User};
use testkit::{Apache, Connection, Httpd, PATIENCE, Process, Running};

use super::install::Installed;
use super::rows::{Many, Row};

/// Threads of each worker process.
const THREADS: &str = "15";

/// Between two looks whether a server answers.
const PAUSE: Duration = Duration::from_millis(2);

/// A way to serve the application, or a file for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// mod_wsgi-rs.
    Ours,
    /// PyPI's mod_wsgi in daemon mode.
    Daemon,
    /// PyPI's mod_wsgi inside httpd's children.
    Embedded,
    /// Debian's mod_wsgi in daemon mode.
    Debian,
    /// uWSGI behind mod_proxy_uwsgi.
    Uwsgi,
    /// Granian behind mod_proxy_http.
    Granian,
    /// gunicorn behind mod_proxy_http.
    Gunicorn,
    /// httpd by itself, with a file of the same length.
    Static,
}

impl Contender {
    /// All of them, in the order of the table.
    pub const ALL: [Contender; 8] = [
        Contender::Ours,
        Contender::Daemon,
        Contender::Embedded,
        Contender::Debian,
        Contender::Uwsgi,
        Contender::Granian,
        Contender::Gunicorn,
        Contender::Static,
    ];

    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Ours => "mod_wsgi-rs",
            Contender::Daemon => "mod_wsgi daemon",
            Contender::Embedded => "mod_wsgi embedded",
            Contender::Debian => "Debian's mod_wsgi daemon",
            Contender::Uwsgi => "uWSGI (mod_proxy_uwsgi)",
            Contender::Granian => "Granian (mod_proxy_http)",
            Contender::Gunicorn => "gunicorn (mod_proxy_http)",
            Contender::Static => "httpd, static file",
        }
    }

    /// Whether a quick look does without it.
    pub fn is_optional(self) -> bool {
        matches!(self, Contender::Debian | Contender::Gunicorn)
    }

    /// Why it cannot be measured here, if so.
    pub fn missing(self, installed: &Installed) -> Option<String> {
        match (self, &installed.debian) {
            (Contender::Debian, Err(why)) => Some(why.clone()),
            _ => None,
        }
    }

    /// The part of httpd's configuration that makes it.
    fn conf(self, row: &Row, installed: &Installed, backend: u16) -> Result<String> {
        let script = installed.applications.join(format!("{}.py", row.application));
        let script = script.display();
        let load = |module: &Path| {
            let module = module.display();
            format!(
                "LoadModule wsgi_module \"{module}\"
WSGISocketPrefix {{dir}}/run/wsgi
"
            )
        };
        let packages = installed.packages.display();
        let daemon = format!(
            "WSGIDaemonProcess bench user={{user}} group={{group}} processes={} threads={THREADS} \
             python-path={packages}\n\
             WSGIScriptAlias / {script} process-group=bench application-group=%{{GLOBAL}}\n",
            row.processes(),
        );
        let proxy = |module: &str, scheme: &str| -> Result<String> {
            let apache = Apache::find()?;
            // retry=0: at a cold start httpd may be there before the server behind it.
            Ok(apache.load_module("proxy")
                + &apache.load_module(module)
                + &format!("ProxyPass / {scheme}://127.0.0.1:{backend}/ retry=0\n"))
        };
        Ok(match self {
            Contender::Ours => daemon,
            Contender::Daemon => load(&installed.mod_wsgi) + &daemon,
            Contender::Debian => match &installed.debian {
                Ok(module) => load(module) + &daemon,
                Err(why) => bail!("{why}"),
            },
            Contender::Embedded => {
                load(&installed.mod_wsgi)
                    + &format!(
                        "WSGIPythonPath {packages}\n\
                         WSGIScriptAlias / {script} application-group=%{{GLOBAL}}\n"
                    )
            }
            Contender::Uwsgi => proxy("proxy_uwsgi", "uwsgi")?,
            Contender::Granian | Contender::Gunicorn => proxy("proxy_http", "http")?,
            Contender::Static => String::new(),
        })
    }

    /// The application server that it is, if it is one.
    fn backend(self, row: &Row, installed: &Installed, port: u16) -> Option<Command> {
        let bin = installed.venv.join("bin");
        let (module, processes) = (row.application, row.processes().to_string());
        let mut command;
        match self {
            Contender::Uwsgi => {
                command = Command::new(bin.join("uwsgi"));
                command
                    .args(["--socket", &format!("127.0.0.1:{port}"), "--module", module])
                    .args(["--master", "--die-on-term", "--enable-threads", "--disable-logging"])
                    .args(["--lazy-apps", "--processes", &processes, "--threads", THREADS])
                    .args(["--listen", "100"])
                    .arg("--home")
                    .arg(&installed.venv);
            }
            Contender::Granian => {
                command = Command::new(bin.join("granian"));
                command
                    .args(["--interface", "wsgi", "--host", "127.0.0.1"])
                    .args(["--port", &port.to_string(), "--workers", &processes])
                    .args(["--blocking-threads", THREADS, "--log-level", "warning"])
                    .arg(format!("{module}:application"));
            }
            Contender::Gunicorn => {
                command = Command::new(bin.join("gunicorn"));
                command
                    .args(["--bind", &format!("127.0.0.1:{port}"), "--workers", &processes])
                    .args(["--threads", THREADS, "--keep-alive", "60", "--log-level", "warning"])
                    .arg(format!("{module}:application"));
            }
            _ => return None,
        }
        command.current_dir(&installed.applications).env("PYTHONDONTWRITEBYTECODE", "1");
        Some(command)
    }
}

/// A contender that runs.
#[derive(Debug)]
pub struct Server {
    /// Who it is.
    pub contender: Contender,
    /// When its programs were started.
    pub started: Instant,
    path: &'static str,
    post: usize,
    httpd: Running,
    backend: Option<Backend>,
}

impl Server {
    /// Starts a contender as a row wants it. It may take a while until it answers.
    pub fn start(contender: Contender, row: &Row, installed: &Installed) -> Result<Server> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let conf = contender.conf(row, installed, port)?;
        let mut httpd = Httpd::new()
            .conf(&sizes(row.httpd_threads))
            .conf(&format!(
                "<Directory \"{}\">\n    Require all granted\n</Directory>",
                installed.applications.display()
            ))
            .conf(&split_global(&(many(row.many, installed) + &conf), row.many))
            // What a rival logs is not ours to judge.
            .expect_log("");
        httpd = match contender {
            Contender::Ours => httpd.dist(&installed.dist),
            _ => httpd.without_module(),
        };
        if let (Contender::Static, Some(length)) = (contender, row.file) {
            let name = format!("htdocs/{}", row.path.trim_start_matches('/'));
            httpd = httpd.file(&name, &"x".repeat(length));
        }
        let started = Instant::now();
        let backend = contender.backend(row, installed, port);
        let log = installed.logs.join(format!("{contender:?}-{}.txt", row.name));
        let backend = backend.map(|command| Backend::start(command, &log)).transpose()?;
        let httpd = httpd.try_start()?;
        Ok(Server { contender, started, path: row.path, post: row.post, httpd, backend })
    }

    /// Waits until the row's request is answered, and as it should be.
    pub fn wait_until_ready(&self) -> Result<()> {
        let body = vec![b'x'; self.post];
        let method = if self.post > 0 { "POST" } else { "GET" };
        loop {
            let mut connection = Connection::open(self.httpd.port())?;
            let response = connection.request(method, self.path, &[], &body)?;
            match response.status {
                200 => {
                    ensure!(response.complete && !response.body.is_empty(), "an empty answer");
                    return Ok(());
                }
                // The server behind a proxy does not listen yet.
                503 if self.backend.is_some() && self.started.elapsed() < PATIENCE => {
                    thread::sleep(PAUSE);
                }
                status => bail!("the answer is {status}; in the error log: {}", self.last_words()),
            }
        }
    }

    /// The last line of httpd's error log.
    fn last_words(&self) -> String {
        self.httpd.error_log().lines().last().unwrap_or_default().to_owned()
    }

    /// What a client asks for.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.httpd.port(), self.path)
    }

    /// All processes of the server side.
    pub fn processes(&self) -> Vec<i32> {
        let parents = [Some(self.httpd.pid()), self.backend.as_ref().map(Backend::pid)];
        let below = |pid| Process::descendants(pid).into_iter().map(|process| process.pid);
        parents.into_iter().flatten().flat_map(|pid| [pid].into_iter().chain(below(pid))).collect()
    }

    /// Stops it, and waits for its end.
    pub fn stop(mut self) -> Result<()> {
        drop(self.backend.take());
        // A crash of a rival at its end spoils no measurement.
        match (self.contender, self.httpd.shut_down()) {
            (Contender::Ours, Err(error)) => Err(error),
            (_, Err(error)) => {
                println!("  {} does not end well: {error:#}", self.contender.name());
                Ok(())
            }
            (_, Ok(())) => Ok(()),
        }
    }
}

/// One child with so many threads, whoever is measured.
fn sizes(threads: u32) -> String {
    format!(
        "ServerLimit 1\nStartServers 1\nThreadLimit {threads}\nThreadsPerChild {threads}\n\
         MaxRequestWorkers {threads}\nMinSpareThreads 1\nMaxSpareThreads {threads}\n\
         AsyncRequestWorkerFactor 8\n"
    )
}

/// What a row has many of, in front of what is asked for, where it belongs into its virtual host.
fn many(many: Many, installed: &Installed) -> String {
    let script = installed.applications.join("application.py");
    let script = script.display();
    match many {
        Many::Nothing | Many::Hosts(_) => String::new(),
        Many::Groups(count) => (0..count)
            .map(|number| {
                format!(
                    "WSGIDaemonProcess other-{number} user={{user}} group={{group}} threads=1\n\
                     WSGIScriptAlias /other-{number} {script} process-group=other-{number}\n"
                )
            })
            .collect(),
        Many::Variables(count) => (0..count)
            .map(|number| format!("SetEnv VARIABLE_{number} \"the value of {number}\"\n"))
            .collect(),
    }
}

/// Puts a contender's configuration into a virtual host without an access log, but for what is
/// allowed outside of one only.
fn split_global(conf: &str, many: Many) -> String {
    const GLOBAL: [&str; 3] = ["LoadModule", "WSGIPythonPath", "WSGISocketPrefix"];
    let is_global = |line: &&str| GLOBAL.iter().any(|name| line.starts_with(name));
    let (global, own): (Vec<_>, Vec<_>) = conf.lines().partition(is_global);
    let others = if let Many::Hosts(count) = many { count } else { 0 };
    let others: String = (0..others)
        .map(|number| {
            format!(
                "<VirtualHost 127.0.0.1:{{port}}>\nServerName host-{number}.example\n\
                 </VirtualHost>\n"
            )
        })
        .collect();
    format!(
        "{}\n{others}<VirtualHost 127.0.0.1:{{port}}>\nServerName 127.0.0.1\n\
         ServerAlias localhost\n{}\n\
         CustomLog /dev/null combined env=never-set\n</VirtualHost>",
        global.join("\n"),
        own.join("\n"),
    )
}

/// An application server. Stopped when dropped.
#[derive(Debug)]
struct Backend(Child);

impl Backend {
    fn start(mut command: Command, log: &Path) -> Result<Backend> {
        let log = File::create(log)?;
        if testkit::running_as_root() {
            let (name, _) = testkit::app_user();
            let user = User::from_name(&name)?.with_context(|| format!("there is no {name}"))?;
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Its processes are signalled together.
            .process_group(0);
        let shown = command.get_program().to_string_lossy().into_owned();
        Ok(Backend(command.spawn().with_context(|| format!("cannot start {shown}"))?))
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.pid());
        let _ = nix::sys::signal::kill(group, Signal::SIGTERM);
        let ended = testkit::until(|| self.0.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = killpg(group, Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }
}
