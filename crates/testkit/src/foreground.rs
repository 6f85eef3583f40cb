//! A server that our `mod_wsgi-rs start-server` runs in the foreground.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::directory::Directory;
use crate::environment;
use crate::http::{Connection, Response};
use crate::httpd::free_port;
use crate::process::Process;
use crate::users::{app_user, running_as_root};
use crate::wait::until;

/// A folder with files, and a port, for `mod_wsgi-rs` to run in.
#[derive(Debug)]
pub struct Workplace {
    directory: Directory,
    port: u16,
}

impl Workplace {
    /// Makes the folder, with these files in it.
    ///
    /// # Panics
    /// When it cannot be made.
    #[track_caller]
    pub fn new(files: &[(&str, &str)]) -> Workplace {
        let directory = Directory::new().expect("a folder can be made");
        let workplace = Workplace { directory, port: free_port() };
        files.iter().for_each(|(name, content)| workplace.write(name, content));
        workplace
    }

    /// Puts a file into the folder.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write(&self, name: &str, content: &str) {
        self.directory.write(name, content.as_bytes()).expect("the folder is ours");
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// The port for servers.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `mod_wsgi-rs` with these words, in the folder, with a bare environment. In words, `{dir}` is the
    /// folder.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(environment::dist().join("mod_wsgi-rs"));
        self.prepare(&mut command, words);
        command
    }

    /// Gives a command its words, folder and environment.
    pub fn prepare(&self, command: &mut Command, words: &[&str]) {
        let folder = self.dir().display().to_string();
        command.args(words.iter().map(|word| word.replace("{dir}", &folder)));
        command
            .current_dir(self.dir())
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("TMPDIR", self.dir())
            .stdin(Stdio::null());
    }

    /// Runs `mod_wsgi-rs` to its end.
    ///
    /// # Panics
    /// When it cannot be run.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("mod_wsgi-rs can be run")
    }

    /// The words that name port, server root and user.
    pub fn usual(&self) -> Vec<String> {
        let mut words = vec![format!("--port={}", self.port), "--server-root={dir}/server".into()];
        if running_as_root() {
            let (user, group) = app_user();
            words.extend([format!("--user={user}"), format!("--group={group}")]);
        }
        words
    }

    /// Runs `start-server` with these words, and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn start(self, words: &[&str]) -> Foreground {
        let usual = self.usual();
        let usual = usual.iter().map(String::as_str);
        let words: Vec<&str> =
            ["start-server"].into_iter().chain(usual).chain(words.iter().copied()).collect();
        let command = self.command(&words);
        self.spawn(command)
    }

    /// Runs this command, and waits until there is a server at the port.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn spawn(self, mut command: Command) -> Foreground {
        let file = |name: &str| File::create(self.dir().join(name)).expect("the folder is ours");
        // Ctrl-C in a terminal is for the tests.
        command.stdout(file("stdout")).stderr(file("stderr")).process_group(0);
        let child = command.spawn().expect("the command can be run");
        let mut server = Foreground { workplace: self, child: Some(child) };
        let listens = until(|| match server.has_ended() {
            true => Some(false),
            false => Connection::open(server.workplace.port).is_ok().then_some(true),
        });
        assert!(listens == Some(true), "the server does not start:\n{}", server.errors());
        server
    }
}

/// A running command. It is stopped when dropped.
#[derive(Debug)]
pub struct Foreground {
    workplace: Workplace,
    child: Option<Child>,
}

impl Foreground {
    /// Its folder and port.
    pub fn workplace(&self) -> &Workplace {
        &self.workplace
    }

    /// What it has written to standard output.
    pub fn output(&self) -> String {
        self.read("stdout")
    }

    /// What it has written to standard error.
    pub fn errors(&self) -> String {
        self.read("stderr")
    }

    /// Waits until a GET request is answered with this status, as while code is loaded anew.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn wait_for(&self, path: &str, status: u16) -> Response {
        let mut last = None;
        let found = until(|| {
            let answer = self.get(path);
            let found = answer.as_ref().ok().filter(|response| response.status == status).cloned();
            last = Some(answer);
            found
        });
        found.unwrap_or_else(|| panic!("{path}: {last:?}\n{}", self.errors()))
    }

    /// Types into the command's standard input, if that is a pipe.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn type_in(&mut self, text: &str) {
        let input = self.child.as_mut().and_then(|child| child.stdin.as_mut());
        let input = input.expect("standard input is a pipe");
        input.write_all(text.as_bytes()).expect("the command reads");
    }

    /// One GET request.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn get(&self, path: &str) -> Result<Response> {
        Connection::open(self.workplace.port)?.request("GET", path, &[], b"")
    }

    /// Waits until standard error holds this text.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait_for_error(&self, text: &str) {
        let found = until(|| self.errors().contains(text).then_some(()));
        assert!(found.is_some(), "{text:?} is not in:\n{}", self.errors());
    }

    /// Sends the command a signal.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the command runs");
    }

    /// The processes that the command has started, directly or not.
    pub fn processes(&self) -> Vec<Process> {
        Process::descendants(self.pid().as_raw())
    }

    /// Waits for the end of the command, and of all that it has started.
    ///
    /// # Errors
    /// When a process survives.
    pub fn end(&mut self) -> Result<ExitStatus> {
        let processes = self.processes();
        let mut child = self.child.take().context("it has been waited for")?;
        let ended = until(|| child.try_wait().ok().flatten());
        let left = || processes.iter().filter(|process| process.runs()).count();
        ensure!(until(|| (left() == 0).then_some(())).is_some(), "processes survive the command");
        ended.context("it does not end")
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().map_or(0, |child| child.id().cast_signed()))
    }

    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.workplace.dir().join(name)).unwrap_or_default()
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        if self.child.is_some() && !self.has_ended() {
            self.signal(Signal::SIGINT);
            if let Err(error) = self.end() {
                eprintln!("{error:#}\n{}", self.errors());
                assert!(std::thread::panicking(), "mod_wsgi-rs does not end");
            }
        }
    }
}
