//! An httpd that runs: asks it, signals it, reads its logs, and checks what it leaves behind.

use std::fs;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::directory::Directory;
use crate::errorlog;
use crate::http::{self, Connection, Response};
use crate::process::Process;
use crate::wait::{until, until_within};

/// Longest time to wait for httpd to close what a test has closed: it does so at once, unless the
/// machine has much else to do or an application goes on without its client.
const SETTLED: Duration = Duration::from_secs(5);
/// The same for connections that the test may well keep open on purpose.
const UNDISTURBED: Duration = Duration::from_millis(300);

/// What httpd logs when a start or restart is over.
pub(crate) const READY: &str = "resuming normal operations";

/// A started httpd. Dropping it stops it and checks its log and its processes.
#[derive(Debug)]
pub struct Running {
    child: Option<Child>,
    pid: i32,
    directory: Directory,
    port: u16,
    expected: Vec<String>,
    /// Whether the end is not judged.
    tolerated: bool,
    /// Processes seen before a restart: they must be gone at the end, whoever is their parent.
    seen: Mutex<Vec<Process>>,
}

impl Running {
    pub(crate) fn new(
        child: Child,
        directory: Directory,
        port: u16,
        expected: Vec<String>,
    ) -> Running {
        let pid = child.id().cast_signed();
        let (child, tolerated, seen) = (Some(child), false, Mutex::default());
        Running { child, pid, directory, port, expected, tolerated, seen }
    }

    /// Does not judge what is logged and left behind: that is for the author of an original to do.
    pub(crate) fn tolerate(&mut self) {
        self.tolerated = true;
    }

    /// The port it listens on, on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of httpd's parent process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// Opens a connection.
    ///
    /// # Panics
    /// When httpd does not take it.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.port).expect("httpd listens")
    }

    /// Sends a GET request on a connection of its own.
    ///
    /// # Panics
    /// When there is no response.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    /// Sends a GET request to a virtual host.
    ///
    /// # Panics
    /// When there is no response.
    #[track_caller]
    pub fn get_from(&self, host: &str, path: &str) -> Response {
        self.request("GET", path, &[("Host", host)], b"")
    }

    /// Sends a request on a connection of its own.
    ///
    /// # Panics
    /// When there is no response.
    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        match self.connect().request(method, path, headers, body) {
            Ok(response) => response,
            Err(error) => panic!("{method} {path} got no response: {error:#}"),
        }
    }

    /// Sends bytes as they are and gives all that comes back until httpd closes.
    ///
    /// # Panics
    /// When httpd does not close.
    #[track_caller]
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        http::raw(self.port, bytes).expect("httpd answers and closes")
    }

    /// Puts a script or module into `{apps}` in the place of another one, so that nobody ever finds a
    /// part of it.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[track_caller]
    pub fn replace_app(&self, name: &str, source: &str) {
        let new = format!("apps/{name}.new");
        self.directory.write(&new, source.as_bytes()).expect("the folder is ours");
        let path = self.dir().join("apps").join(name);
        fs::rename(self.dir().join(new), path).expect("the folder is ours");
    }

    /// Changes the lines of its configuration file, for the next restart.
    ///
    /// # Panics
    /// When the file cannot be changed.
    #[track_caller]
    pub fn edit_conf(&self, change: impl Fn(&str) -> String) {
        let path = self.dir().join("httpd.conf");
        let conf = fs::read_to_string(&path).expect("the configuration is ours");
        let lines: Vec<_> = conf.lines().map(change).collect();
        fs::write(&path, lines.join("\n") + "\n").expect("the configuration is ours");
    }

    /// Restarts gracefully and waits until the new generation serves.
    #[track_caller]
    pub fn graceful(&self) {
        self.again(Signal::SIGUSR1);
    }

    /// Restarts and waits until it serves again.
    #[track_caller]
    pub fn restart(&self) {
        self.again(Signal::SIGHUP);
    }

    /// Stops it and waits for the end of all its processes. The logs can still be read.
    ///
    /// # Panics
    /// When it does not stop, or a process survives.
    #[track_caller]
    pub fn stop(&mut self) {
        if let Err(error) = self.shut_down() {
            panic!("{error:#}");
        }
    }

    /// Children, their children, and so on, of httpd.
    pub fn descendants(&self) -> Vec<Process> {
        Process::descendants(self.pid)
    }

    /// httpd's own children.
    pub fn children(&self) -> Vec<Process> {
        self.descendants()
            .into_iter()
            .filter(|process| process.parent == self.pid && !process.program.starts_with("wsgi-"))
            .collect()
    }

    /// The supervisor, when there is one.
    pub fn supervisor(&self) -> Option<Process> {
        self.descendants().into_iter().find(|process| process.program == "wsgi-supervisor")
    }

    /// The workers.
    pub fn workers(&self) -> Vec<Process> {
        self.descendants()
            .into_iter()
            .filter(|process| process.program.starts_with("wsgi-worker"))
            .collect()
    }

    /// The main error log.
    pub fn error_log(&self) -> String {
        self.log("error.log")
    }

    /// A file in `{logs}`; empty when it does not exist.
    pub fn log(&self, name: &str) -> String {
        read(&self.dir().join("logs").join(name))
    }

    /// Waits until the main error log holds a line with all these texts, and gives the line.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn wait_for_log(&self, texts: &[&str]) -> String {
        self.wait_for_log_in("error.log", texts)
    }

    /// Waits until a file in `{logs}` holds a line with all these texts, and gives the line.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn wait_for_log_in(&self, name: &str, texts: &[&str]) -> String {
        let found = until(|| {
            let log = self.log(name);
            let line = log.lines().find(|line| texts.iter().all(|text| line.contains(text)));
            line.map(str::to_owned)
        });
        found.unwrap_or_else(|| panic!("no line of {name} holds {texts:?}"))
    }

    /// Stops it as well as may be, without any demand, and tells all about it.
    pub fn abandon(&mut self) -> String {
        let report = self.report();
        let _ = self.shut_down();
        // Every line holds the empty text: who abandons an httpd has told of its failure already.
        self.expected.push(String::new());
        report
    }

    /// Checks the logs now, as the end of the test would.
    ///
    /// # Errors
    /// When a log holds a warning or an error that was not declared.
    pub fn check_logs(&self) -> Result<()> {
        for (name, log) in error_logs(self.dir()) {
            let unexpected = errorlog::unexpected(&log, &self.expected);
            ensure!(unexpected.is_empty(), "unexpected in {name}:\n{}", unexpected.join("\n"));
        }
        Ok(())
    }

    /// Stops it and waits for the end of all its processes.
    ///
    /// # Errors
    /// When it does not stop, when a process survives, or when there was a zombie.
    pub fn shut_down(&mut self) -> Result<()> {
        if self.child.is_none() {
            return Ok(());
        }
        let no_zombies = until(|| self.zombies().is_empty().then_some(()));
        let zombies = self.zombies();
        self.signal(Signal::SIGTERM);
        let status = self.wait_for_end()?;
        ensure!(no_zombies.is_some(), "zombies below httpd: {zombies:#?}");
        ensure!(status.success(), "httpd ended with {status}");
        Ok(())
    }

    /// Sends a signal to httpd's parent process. What runs by then must be gone at the end.
    pub fn signal(&self, signal: Signal) {
        self.remember();
        self.wait_for_quiet();
        // One that has ended already needs no signal.
        let _ = kill(Pid::from_raw(self.pid), signal);
    }

    /// Waits for the end of httpd's parent process and of all others, and tells how it ended.
    ///
    /// # Errors
    /// When it does not end, when it has been waited for already, or when a process survives.
    pub fn wait_for_end(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("httpd has been waited for already")?;
        let Some(status) = until(|| child.try_wait().transpose()) else {
            child.kill()?;
            child.wait()?;
            bail!("httpd does not stop");
        };
        let survivors = || {
            let mut left = self.seen.lock().map(|seen| seen.clone()).unwrap_or_default();
            left.retain(Process::runs);
            left.extend(Process::holding(self.dir()));
            left
        };
        let all_gone = until(|| survivors().is_empty().then_some(()));
        ensure!(all_gone.is_some(), "processes survive httpd: {:#?}", survivors());
        Ok(status?)
    }

    /// Sends a signal that restarts, and waits for httpd to tell that it is ready.
    #[track_caller]
    fn again(&self, signal: Signal) {
        let ready = || self.error_log().matches(READY).count();
        let before = ready();
        self.signal(signal);
        let done = until(|| (ready() > before).then_some(()));
        assert!(done.is_some(), "httpd does not come back after {signal}");
    }

    /// Gives httpd a moment to be done with connections that the test has closed. When a child of
    /// the event MPM is told to stop at once, it closes what is left (`close_worker_sockets`) while
    /// its threads may be freeing the same connections, and now and then it crashes over that.
    fn wait_for_quiet(&self) {
        let none = |state| (connections(self.port, state) == 0).then_some(());
        let _ = until_within(UNDISTURBED, || none(ESTABLISHED));
        let _ = until_within(SETTLED, || none(CLOSE_WAIT));
    }

    /// Keeps the processes of now in mind.
    fn remember(&self) {
        let descendants = self.descendants();
        if let Ok(mut seen) = self.seen.lock() {
            seen.extend(descendants);
        }
    }

    /// Descendants that ended and that nobody took note of.
    pub fn zombies(&self) -> Vec<Process> {
        self.descendants().into_iter().filter(|process| process.zombie).collect()
    }

    /// The configuration and what httpd said, for somebody who wonders why.
    fn report(&self) -> String {
        let conf = fs::read_to_string(self.dir().join("httpd.conf")).unwrap_or_default();
        let mut report = format!("--- httpd.conf\n{conf}");
        let others = ["startup.txt", "access.log"].map(|name| (name.to_owned(), self.log(name)));
        for (name, log) in others.into_iter().chain(error_logs(self.dir())) {
            report += &format!("--- {name}\n{log}");
        }
        report + "---"
    }
}

/// Names and texts of all error logs of the httpd in this folder.
pub(crate) fn error_logs(folder: &Path) -> Vec<(String, String)> {
    let logs = folder.join("logs");
    let entries = fs::read_dir(&logs).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let names = names.filter(|name| name.ends_with("error.log"));
    let with_text = |name: String| (name.clone(), read(&logs.join(name)));
    names.map(with_text).collect()
}

/// The text of a file; empty when it does not exist.
fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// States of connections in the kernel's table (include/net/tcp_states.h).
const ESTABLISHED: &str = "01";
const CLOSE_WAIT: &str = "08";

/// How many connections httpd holds in this state on a port of loopback.
fn connections(port: u16, state: &str) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let local = format!("0100007F:{port:04X}");
    let fields = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        Some((fields.next()?, fields.nth(1)?))
    });
    fields.filter(|fields| *fields == (&local, state)).count()
}

impl Drop for Running {
    fn drop(&mut self) {
        let outcome = self.shut_down().and_then(|()| self.check_logs());
        if thread::panicking() {
            // A second panic would abort the other tests; the first one tells enough.
            eprintln!("{}", self.report());
        } else if let Err(error) = outcome
            && !self.tolerated
        {
            panic!("{error:#}\n{}", self.report());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Httpd, Mpm};

    #[test]
    fn serves_and_restarts_and_stops() {
        for mpm in Mpm::ALL {
            let mut httpd = Httpd::new()
                .without_module()
                .mpm(mpm)
                .file("htdocs/a.txt", "hello")
                .conf("Header set X-Dir {dir}")
                .start();
            let response = httpd.get("/a.txt").assert(200);
            assert_eq!(response.text(), "hello");
            assert_eq!(response.header("x-dir"), httpd.dir().to_str());
            assert!(!httpd.children().is_empty());
            httpd.graceful();
            httpd.restart();
            httpd.get("/b.txt").assert(404);
            httpd.stop();
            httpd.check_logs().unwrap();
        }
    }

    #[test]
    fn an_unexpected_line_fails_the_test() {
        let mut httpd = Httpd::new().without_module().conf("ErrorLog logs/a-error.log").start();
        httpd.stop();
        httpd.check_logs().unwrap();
        let log = httpd.dir().join("logs/a-error.log");
        std::fs::write(&log, "Fatal Python error\n").unwrap();
        assert!(httpd.check_logs().is_err());
        std::fs::write(&log, "").unwrap();
    }

    #[test]
    fn a_bad_configuration_is_refused() {
        let bad = Httpd::new().without_module().conf("Nonsense On");
        bad.clone().configtest().refuses(&["Nonsense"]);
        let error = bad.try_start().unwrap_err().to_string();
        assert!(error.contains("--- httpd.conf") && error.contains("Invalid command"), "{error}");
        Httpd::new().without_module().configtest().accepts(&["Syntax OK"]);
    }
}
