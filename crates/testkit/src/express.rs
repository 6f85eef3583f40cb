//! A server that `mod_wsgi-express`, or our `mod_wsgi-rs`, has set up, with the module under test in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use crate::directory::Directory;
use crate::environment;
use crate::http::{Connection, Response};
use crate::httpd::free_port;
use crate::process::Process;
use crate::running::READY;
use crate::under_test::Module;
use crate::users::{app_user, running_as_root};
use crate::wait::until;

/// The generated server, controlled by its own `apachectl`. It is stopped when dropped.
#[derive(Debug)]
pub struct Express {
    directory: Directory,
    port: u16,
    tls_port: u16,
}

impl Express {
    /// Whether our tool sets servers up, and not the original's.
    pub fn is_ours() -> bool {
        env::var(environment::EXPRESS).is_ok_and(|tool| tool == "ours")
    }

    /// Runs `setup-server` of the tool for this application, and changes over to the module
    /// under test. In options, `{dir}` is the folder with the application, `app.wsgi`, `{port}` the
    /// server's port, and `{tls_port}` one for TLS.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn setup(application: &str, options: &[&str]) -> Result<Express> {
        let tool = match Express::is_ours() {
            true => environment::dist().join("mod_wsgi-rs"),
            false => original(),
        };
        let server = Express::with(Command::new(tool), application, options)?;
        server.change_over()?;
        Ok(server)
    }

    /// The same by the original's tool, with the original's module left in.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn setup_original(application: &str, options: &[&str]) -> Result<Express> {
        Express::with(Command::new(original()), application, options)
    }

    /// Sets a server up with this tool.
    fn with(command: Command, application: &str, options: &[&str]) -> Result<Express> {
        let directory = Directory::new()?;
        directory.write("app.wsgi", application.as_bytes())?;
        let server = Express { directory, port: free_port(), tls_port: free_port() };
        server.set_up(command, options)?;
        Ok(server)
    }

    /// Sets it up once more, with our tool.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn set_up_again(&self, options: &[&str]) -> Result<()> {
        self.set_up(Command::new(environment::dist().join("mod_wsgi-rs")), options)
    }

    fn set_up(&self, mut command: Command, options: &[&str]) -> Result<()> {
        let folder = self.dir();
        command.args([
            "setup-server",
            "app.wsgi",
            "--port",
            &self.port.to_string(),
            "--server-root",
        ]);
        command.arg(folder.join("server")).current_dir(folder);
        if running_as_root() {
            let (user, group) = app_user();
            command.args(["--user", &user, "--group", &group]);
        }
        command.args(options.iter().map(|option| {
            let option = option.replace("{dir}", &folder.display().to_string());
            let option = option.replace("{port}", &self.port.to_string());
            option.replace("{tls_port}", &self.tls_port.to_string())
        }));
        // The locale that it would choose without is not on every machine.
        let output = command.env("LANG", "C.UTF-8").env("LC_ALL", "C.UTF-8").output()?;
        ensure!(output.status.success(), "{}", text(&output));
        Ok(())
    }

    /// Writes the module under test into the `LoadModule` line of the generated configuration.
    ///
    /// # Errors
    /// When there is none.
    pub fn change_over(&self) -> Result<()> {
        let conf = self.dir().join("server/httpd.conf");
        let generated = fs::read_to_string(&conf).context("there is no httpd.conf")?;
        let lines =
            generated.lines().map(|line| match line.starts_with("LoadModule wsgi_module") {
                true => Module::chosen().load(),
                false => line.to_owned(),
            });
        Ok(fs::write(&conf, lines.collect::<Vec<_>>().join("\n"))?)
    }

    /// Runs the generated `apachectl` with a command, such as `configtest`.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn control(&self, command: &str) {
        let output = self.apachectl(command).expect("apachectl can be run");
        assert!(output.status.success(), "apachectl {command}: {}{}", text(&output), self.log());
    }

    /// The same with `start`, `restart` or `graceful`, until httpd tells that this is over: it
    /// overlooks a signal that comes before.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn start(&self, command: &str) {
        let ready = || self.log().matches(READY).count();
        let before = ready();
        self.control(command);
        let done = until(|| (ready() > before).then_some(()));
        assert!(done.is_some(), "httpd does not {command}: {}", self.log());
    }

    /// Waits until a GET request is answered with this status, as while httpd starts.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn wait_for(&self, path: &str, headers: &[(&str, &str)], status: u16) -> Response {
        let mut last = None;
        let found = until(|| {
            let answer = Connection::open(self.port)
                .and_then(|mut connection| connection.request("GET", path, headers, b""));
            let found = answer.as_ref().ok().filter(|response| response.status == status).cloned();
            last = Some(answer);
            found
        });
        found.unwrap_or_else(|| panic!("{path}: {last:?}\n{}", self.log()))
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for TLS, if an option says so.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// Puts a file into the folder with the application.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write(&self, name: &str, content: &str) {
        self.directory.write(name, content.as_bytes()).expect("the folder is ours");
    }

    /// The folder with the application.
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// The error log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("server/error_log")).unwrap_or_default()
    }

    /// The process id of httpd's parent process, while it runs.
    pub fn pid(&self) -> Option<i32> {
        fs::read_to_string(self.dir().join("server/httpd.pid")).ok()?.trim().parse().ok()
    }

    /// Stops it, and waits for the end of all its processes.
    ///
    /// # Errors
    /// When a process survives.
    pub fn stop(&self) -> Result<()> {
        if let Some(pid) = self.pid() {
            let mut processes = Process::descendants(pid);
            processes.extend(Process::find(pid));
            self.apachectl("stop")?;
            let left = || processes.iter().filter(|process| process.runs()).count();
            ensure!(until(|| (left() == 0).then_some(())).is_some(), "processes survive httpd");
        }
        Ok(())
    }

    fn apachectl(&self, command: &str) -> Result<Output> {
        let mut apachectl = Command::new(self.dir().join("server/apachectl"));
        apachectl.arg(command).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        apachectl.output().context("apachectl cannot be run")
    }
}

impl Drop for Express {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}\n{}", self.log());
            assert!(std::thread::panicking(), "the server does not stop");
        }
    }
}

/// The original's tool.
fn original() -> PathBuf {
    environment::original_venv().join("bin/mod_wsgi-express")
}

/// Both outputs of a command.
fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}
