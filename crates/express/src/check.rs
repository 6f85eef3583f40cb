//! Starts a server on a private port, loads each application once, and tells what is wrong.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::generate::{self, APACHECTL, GenerateError};
use crate::settings::{Application, Settings, Target};

/// How long httpd may take to listen, and to end.
const HTTPD: Duration = Duration::from_secs(10);

/// What the supervisor says of a worker before the reason.
const NEVER_STARTED: &str = ": cannot start: ";

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Why there is no check.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The server cannot be set up.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// Its programs cannot be run.
    #[error("cannot run {}: {source}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What has been found.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    used: String,
    /// What is wrong; nothing: it is good.
    wrong: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.wrong.is_empty())
    }

    /// For people.
    pub fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
        let mut table = String::new();
        for row in &self.rows {
            let verdict = if row.wrong.is_empty() { "good " } else { "WRONG" };
            let _ = writeln!(table, "{verdict}  {:<width$}  {}", row.what, row.used);
            for line in &row.wrong {
                let _ = writeln!(table, "       {:<width$}  {line}", "");
            }
        }
        table
    }

    fn add(&mut self, what: &str, used: String, wrong: Vec<String>) {
        self.rows.push(Row { what: what.to_owned(), used, wrong });
    }
}

/// Checks a server whose settings have been made for that.
///
/// # Errors
/// When it cannot even be tried.
pub fn check(settings: &Settings) -> Result<Report, CheckError> {
    let _folder = Folder(&settings.root);
    generate::server(settings)?;
    let mut report = Report::default();
    let version = settings.httpd.version;
    let program = settings.httpd.program.display();
    let used = format!(
        "{program} {}.{}.{} with mpm_{}",
        version.0,
        version.1,
        version.2,
        settings.mpm.name()
    );
    report.add("httpd", used, Vec::new());
    report.add("module", settings.files.module.display().to_string(), Vec::new());
    let run = |source| CheckError::Run { program: settings.file(APACHECTL), source };
    let tested = generate::apachectl(settings).arg("configtest").output().map_err(run)?;
    let said = String::from_utf8_lossy(&tested.stderr).into_owned();
    let wrong = if tested.status.success() { Vec::new() } else { lines(&said) };
    report.add("configuration", "httpd -t".to_owned(), wrong);
    if !tested.status.success() {
        return Ok(report);
    }
    let log = File::create(settings.file("start.log")).map_err(run)?;
    let child = generate::apachectl(settings)
        .args(["start", "-DFOREGROUND"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(run)?;
    let mut server = Server { child };
    if let Err(wrong) = server.wait(settings) {
        report.add("start", settings.url(), wrong);
        return Ok(report);
    }
    for application in &settings.applications {
        probe(settings, application, &mut report);
    }
    Ok(report)
}

/// Has an application loaded, and asks how that went.
fn probe(settings: &Settings, application: &Application, report: &mut Report) {
    let what = format!("application {}", application.mount);
    let target = match &application.target {
        Target::Script(file) | Target::Paste(file) => file.display().to_string(),
        Target::Module(name) => name.clone(),
        Target::Welcome => "none".to_owned(),
    };
    let before = error_log(settings).len();
    match ask(settings, &application.mount) {
        Ok((200, body)) => {
            let mut fields = body.lines();
            let [version, home, loaded] = [(); 3].map(|()| fields.next().unwrap_or_default());
            let used = format!("{target}: {loaded} with Python {version} of {home}");
            report.add(&what, used, Vec::new());
            for line in fields {
                let (file, error) = line.split_once('\t').unwrap_or((line, ""));
                let wrong = if error.is_empty() { Vec::new() } else { vec![error.to_owned()] };
                report.add("script", file.to_owned(), wrong);
            }
        }
        answer => {
            let log = error_log(settings);
            let mut wrong: Vec<String> =
                log.get(before..).unwrap_or_default().lines().filter_map(text_of).collect();
            // The worker may have said it when it was started.
            if wrong.is_empty() {
                wrong = log.lines().filter_map(text_of).collect();
            }
            // The request had it loaded once more, or had another worker started.
            let again = wrong.iter().skip(1).position(|line| Some(line) == wrong.first());
            wrong.truncate(again.map_or(wrong.len(), |position| position + 1));
            if let Some(last) = wrong.last().filter(|line| line.contains(NEVER_STARTED)).cloned() {
                wrong = vec![last];
            }
            if wrong.is_empty() {
                wrong.push(match answer {
                    Ok((status, _)) => format!("it is answered with status {status}"),
                    Err(error) => format!("it is not answered: {error}"),
                });
            }
            report.add(&what, target, wrong);
        }
    }
}

/// What a line of the error log says, if it is about something wrong.
fn text_of(line: &str) -> Option<String> {
    let is_wrong =
        ["error]", "warn]", "crit]", "emerg]", "alert]"].iter().any(|level| line.contains(level));
    // Behind time, level, process and, for requests, the client.
    let text = line.splitn(4, "] ").nth(3)?;
    let text = match text.strip_prefix("[client ").and_then(|rest| rest.split_once("] ")) {
        Some((_, text)) => text,
        None => text,
    };
    is_wrong.then(|| text.to_owned())
}

fn error_log(settings: &Settings) -> String {
    let log = settings.file(&settings.options.logging.error_log_name);
    fs::read(log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// One request, as `(status, body)`.
fn ask(settings: &Settings, mount: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", settings.options.network.port))?;
    // As long as the application may take to load, and to be waited for.
    let timeouts = &settings.options.timeouts;
    let patience = timeouts.startup_timeout.max(timeouts.connect_timeout).max(60);
    stream.set_read_timeout(Some(Duration::from_secs(patience.into())))?;
    let host = settings.options.network.server_name.as_deref().unwrap_or("localhost");
    let token = settings.check.as_ref().map(|check| check.token.as_str()).unwrap_or_default();
    let path = mount.trim_end_matches('/');
    write!(stream, "GET {path}/ HTTP/1.0\r\nHost: {host}\r\nX-Check: {token}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// The httpd of a check; it is stopped when dropped.
struct Server {
    child: Child,
}

impl Server {
    /// Waits until it listens; if it does not, what it has said.
    fn wait(&mut self, settings: &Settings) -> Result<(), Vec<String>> {
        let deadline = Instant::now() + HTTPD;
        let said = || {
            let start = fs::read_to_string(settings.file("start.log")).unwrap_or_default();
            lines(&(start + &error_log(settings)))
        };
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Err(said());
            }
            if TcpStream::connect(("127.0.0.1", settings.options.network.port)).is_ok() {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        Err([vec!["httpd does not listen".to_owned()], said()].concat())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let deadline = Instant::now() + HTTPD;
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            thread::sleep(PAUSE);
        }
    }
}

/// The server root of a check; it goes away when dropped.
struct Folder<'p>(&'p Path);

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lines_of_the_error_log_say() {
        let line =
            "[Fri Nov 27 22:10:57.1 2026] [wsgi:error] [pid 1:tid 2] [client 127.0.0.1:5] KeyError";
        assert_eq!(text_of(line).as_deref(), Some("KeyError"));
        assert_eq!(text_of("[x] [mpm_event:notice] [pid 1:tid 2] AH00489"), None);
    }

    #[test]
    fn a_table_tells_what_is_wrong() {
        let mut report = Report::default();
        report.add("httpd", "2.4".to_owned(), Vec::new());
        assert!(report.is_good());
        report.add("application /", "app.wsgi".to_owned(), vec!["KeyError".to_owned()]);
        assert!(!report.is_good());
        let expected = "good   httpd          2.4\nWRONG  application /  app.wsgi\n                      KeyError\n";
        assert_eq!(report.table(), expected);
    }
}
