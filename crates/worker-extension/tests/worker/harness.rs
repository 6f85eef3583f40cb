//! Starts a worker and speaks to it.

use std::fs::File;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use channel::Inbox;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{AtFlags, CWD, FileType, Timespec, Timestamps, UTIME_OMIT};
use wire::control::{self, Settings};
use wire::exchange::{FromWorker, Level, Refusal, Request, ToWorker, hello};
use wire::{Message, Secret};

/// Long enough for the slowest machine; nothing is ever waited for that long.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const SECRET: Secret = Secret::new([7; 32]);
pub const GROUP: &[u8] = b"group";

/// What the supervisor has interpreters run.
pub const BOOTSTRAP: &str = include_str!("../../../supervisor/src/bootstrap.py");

/// The interpreter that workers run in: the one that this was built for, or the system's.
pub fn python() -> PathBuf {
    std::env::var_os("PYO3_PYTHON").unwrap_or_else(|| "/usr/bin/python3".into()).into()
}

/// The worker, as a file that programs inherit. Cargo puts it beside the test.
pub fn library() -> File {
    let path = std::env::current_exe().unwrap().with_file_name("libwsgi_worker.so");
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    file
}

/// A directory of its own, removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wsgi-worker-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file. Each gets a time of change of its own, however fast they follow.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        static SECOND: AtomicI64 = AtomicI64::new(1_000_000_000);
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: SECOND.fetch_add(1, Ordering::Relaxed),
                tv_nsec: 0,
            },
        };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        path
    }

    /// Writes a script under a name of its own: one that was loaded before would be a changed one.
    pub fn script(&self, source: &str) -> PathBuf {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        self.write(&format!("script-{}.wsgi", NEXT.fetch_add(1, Ordering::Relaxed)), source)
    }

    /// Makes a named pipe, at which an application waits until it is written to.
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A worker process, and the supervisor's end of its standard input.
pub struct Worker {
    pub scratch: Scratch,
    child: Child,
    control: Option<UnixStream>,
    inbox: Inbox,
    listener: UnixListener,
}

pub fn settings() -> Settings {
    Settings {
        process_group: b"processes".to_vec(),
        threads: 3,
        processes: 1,
        peer_uid: rustix::process::getuid().as_raw(),
        httpd: control::Httpd {
            version: (2, 4, 99),
            description: b"Apache/2.4.99 (Test)".to_vec(),
            build_date: b"a day".to_vec(),
            mpm_name: b"mpm".to_vec(),
            maximum_processes: 4,
            threads_per_process: 25,
        },
        python: control::Python { restrict_signal: true, ..control::Python::default() },
        ..Settings::default()
    }
}

impl Worker {
    /// A worker that has been executed, and nothing more.
    pub fn spawn() -> Self {
        Self::spawn_in(Scratch::new(), &[])
    }

    pub fn spawn_in(scratch: Scratch, environment: &[(&str, &str)]) -> Self {
        Self::spawn_with(&python(), scratch, environment)
    }

    /// A worker in the interpreter `program`.
    pub fn spawn_with(program: &Path, scratch: Scratch, environment: &[(&str, &str)]) -> Self {
        let (near, far) = UnixStream::pair().unwrap();
        let output = File::create(scratch.path("output")).unwrap();
        let library = library();
        let child = Command::new(program)
            .args(["-c", BOOTSTRAP, &format!("abi3={}", library.as_raw_fd())])
            .stdin(Stdio::from(OwnedFd::from(far)))
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .envs(environment.iter().copied())
            .spawn()
            .unwrap();
        let listener = UnixListener::bind(scratch.path("socket")).unwrap();
        Self { scratch, child, control: Some(near), inbox: Inbox::new(), listener }
    }

    /// A worker that serves.
    pub fn serving() -> Self {
        Self::serving_with(settings())
    }

    pub fn serving_with(settings: Settings) -> Self {
        let mut worker = Self::spawn();
        worker.configure(settings);
        worker.assign();
        worker
    }

    pub fn order(&self, order: &control::ToWorker) {
        channel::send_message(self.control.as_ref().unwrap(), order).unwrap();
    }

    pub fn report(&mut self) -> control::FromWorker {
        let control = self.control.as_ref().unwrap();
        loop {
            match self.inbox.wait(control, PATIENCE) {
                // After the first request of any test.
                Ok(control::FromWorker::Proven) => {}
                Ok(report) => return report,
                Err(error) => panic!("{error}; its output:\n{}", self.output()),
            }
        }
    }

    pub fn configure(&mut self, settings: Settings) -> String {
        self.order(&control::ToWorker::Configure(Box::new(settings)));
        match self.report() {
            control::FromWorker::Ready { python } => python,
            other => panic!("{other:?}; its output:\n{}", self.output()),
        }
    }

    pub fn assign(&mut self) {
        self.assign_with(Vec::new());
    }

    pub fn assign_with(&mut self, preload: Vec<Vec<u8>>) {
        let order = control::ToWorker::Assign {
            application_group: GROUP.into(),
            secret: SECRET,
            preload,
            interpreter: control::Interpreter::default(),
        };
        let mut bytes = Vec::new();
        wire::encode(&order, &mut bytes);
        let control = self.control.as_ref().unwrap();
        channel::send_with_descriptor(control, &bytes, &self.listener).unwrap();
        assert_eq!(self.report(), control::FromWorker::Serving);
    }

    /// A connection that has greeted.
    pub fn connect(&self) -> Client {
        let mut client = self.connect_silently();
        channel::send_message(&client.socket, &hello(SECRET)).unwrap();
        client.awaits_welcome = true;
        client
    }

    pub fn connect_silently(&self) -> Client {
        let socket = UnixStream::connect(self.scratch.path("socket")).unwrap();
        Client { socket, inbox: Inbox::with_descriptors(), awaits_welcome: false }
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn get(&self, script: &Path) -> Answer {
        self.connect().ask(&Ask::of(script))
    }

    /// One request to an application with this source.
    #[track_caller]
    pub fn run(&self, source: &str) -> Answer {
        self.get(&self.scratch.script(source))
    }

    /// What the worker wrote to its standard output and error.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.scratch.path("output")).unwrap()
    }

    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Waits until the process has taken its standard input over, and with it listens to signals.
    pub fn wait_until_it_listens(&self) {
        let stdin = format!("/proc/{}/fd/0", self.child.id());
        while std::fs::read_link(&stdin).unwrap() != Path::new("/dev/null") {
            std::thread::yield_now();
        }
    }

    /// Whether connections wait to be accepted.
    pub fn has_backlog(&self) -> bool {
        is_readable(&self.listener)
    }

    /// Whether the supervisor would find something said.
    pub fn has_report(&self) -> bool {
        is_readable(self.control.as_ref().unwrap())
    }

    pub fn hang_up(&mut self) {
        if let Some(control) = self.control.take() {
            control.shutdown(Shutdown::Both).unwrap();
        }
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Drains, and checks that the worker ends well.
    #[track_caller]
    pub fn drain(mut self) -> String {
        self.order(&control::ToWorker::Drain { grace: 0 });
        // What callbacks do wrong is logged before.
        let end = std::iter::from_fn(|| Some(self.report()))
            .find(|report| !matches!(report, control::FromWorker::Log { .. }));
        assert_eq!(end, Some(control::FromWorker::Drained));
        assert!(self.wait().success(), "{}", self.output());
        self.output()
    }
}

fn is_readable(socket: &impl AsFd) -> bool {
    let mut sources = [PollFd::new(socket, PollFlags::IN)];
    rustix::event::poll(&mut sources, Some(&Timespec::default())).unwrap() == 1
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("output of the worker:\n{}", self.output());
        }
    }
}

/// An httpd child's end of a connection.
pub struct Client {
    pub socket: UnixStream,
    inbox: Inbox,
    awaits_welcome: bool,
}

impl Drop for Client {
    /// Another test may be starting a program, which for a moment has a copy of the descriptor.
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// A request.
pub struct Ask<'a> {
    pub request: Request<'a>,
    /// Answers to `NeedBody`, in order; then the end.
    pub body: Vec<&'a [u8]>,
    /// What comes after the body instead of its end.
    pub failure: Option<&'a str>,
}

impl<'a> Ask<'a> {
    pub fn of(script: &'a Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        Self {
            request: Request {
                script: script.as_os_str().as_bytes(),
                callable: b"application",
                application_group: GROUP,
                https: false,
                script_reloading: true,
                ignore_activity: false,
                may_refuse: false,
                may_wait: true,
                connects: 1,
                restarts: 0,
                received: 1_700_000_000_250_000,
                has_body: false,
                whole_body: None,
                environ: vec![(b"REQUEST_METHOD", b"GET"), (b"PATH_INFO", b"/")],
            },
            body: Vec::new(),
            failure: None,
        }
    }

    pub fn method(mut self, method: &'a str) -> Self {
        self.request.environ.push((b"REQUEST_METHOD", method.as_bytes()));
        self.request.environ.remove(0);
        self
    }

    pub fn body(mut self, pieces: &[&'a [u8]]) -> Self {
        self.request.has_body = true;
        self.body = pieces.to_vec();
        self
    }
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    End,
    Failed(u16),
    Refused(Refusal),
    Goodbye,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The length of each `Data`.
    pub pieces: Vec<usize>,
    pub log: Vec<(Level, String)>,
    pub ending: Ending,
    /// How often the application asked for input.
    pub asked: usize,
    /// Whether the body came as a file.
    pub is_file: bool,
    /// Interim responses: the headers of each.
    pub hints: Vec<Vec<(String, String)>>,
}

impl Answer {
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub fn log_text(&self) -> String {
        self.log.iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    /// The body of a complete response.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.ending, Ending::End, "{}", self.log_text());
        self.text()
    }

    /// The log of a request that failed before its response began.
    #[track_caller]
    pub fn failure(&self) -> String {
        assert_eq!(self.ending, Ending::Failed(500), "{self:?}");
        assert_eq!(self.status, "", "{self:?}");
        self.log_text()
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

impl Client {
    pub fn send<'m>(&self, message: &impl Message<'m>) {
        channel::send_message(&self.socket, message).unwrap();
    }

    #[track_caller]
    pub fn next(&mut self) -> FromWorker<'_> {
        if std::mem::take(&mut self.awaits_welcome) {
            let welcome = self.inbox.wait(&self.socket, PATIENCE).unwrap();
            assert!(matches!(welcome, FromWorker::Welcome { .. }), "{welcome:?}");
        }
        self.inbox.wait(&self.socket, PATIENCE).unwrap()
    }

    /// Whether the worker has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        let mut outcome = self.inbox.wait::<FromWorker<'_>>(&self.socket, PATIENCE);
        if let Ok(FromWorker::Welcome { .. }) = outcome {
            outcome = self.inbox.wait(&self.socket, PATIENCE);
        }
        match outcome {
            Err(channel::ReceiveError::Closed) => true,
            Err(channel::ReceiveError::Io(error)) => {
                error.kind() == std::io::ErrorKind::ConnectionReset
            }
            _ => false,
        }
    }

    #[track_caller]
    pub fn ask(&mut self, ask: &Ask<'_>) -> Answer {
        self.send(&ToWorker::Request(ask.request.clone()));
        self.answer(ask)
    }

    #[track_caller]
    pub fn answer(&mut self, ask: &Ask<'_>) -> Answer {
        let mut answer = Answer {
            status: String::new(),
            headers: Vec::new(),
            body: Vec::new(),
            pieces: Vec::new(),
            log: Vec::new(),
            ending: Ending::End,
            asked: 0,
            is_file: false,
            hints: Vec::new(),
        };
        let mut pieces = ask.body.iter();
        loop {
            match self.next() {
                FromWorker::Head { status, headers } => {
                    answer.status = latin1(status);
                    answer.headers = headers.iter().map(|(n, v)| (latin1(n), latin1(v))).collect();
                }
                FromWorker::Data(data) => {
                    answer.body.extend_from_slice(data);
                    answer.pieces.push(data.len());
                }
                FromWorker::Log { level, text } => {
                    answer.log.push((level, String::from_utf8_lossy(text).into_owned()));
                }
                FromWorker::Record { level, name, logger, text } => {
                    let [name, logger, text] = [name, logger, text].map(String::from_utf8_lossy);
                    answer.log.push((level, format!("{name} {logger}: {text}")));
                }
                FromWorker::LogFrom { level, path, line, text } => {
                    let (path, text) = (latin1(path), String::from_utf8_lossy(text));
                    answer.log.push((level, format!("{path}({line}): {text}")));
                }
                FromWorker::NeedBody { at_most, .. } => {
                    answer.asked += 1;
                    let reply = match (pieces.next(), ask.failure) {
                        (Some(piece), _) => {
                            assert!(piece.len() <= at_most as usize);
                            ToWorker::Body(piece)
                        }
                        (None, Some(reason)) => ToWorker::BodyFailed { reason },
                        (None, None) => ToWorker::BodyEnd,
                    };
                    self.send(&reply);
                }
                FromWorker::File { offset, length } => {
                    let file = self.inbox.take_descriptor().expect("a file comes along");
                    let mut body = vec![0; usize::try_from(length).unwrap()];
                    assert_eq!(rustix::io::pread(&file, &mut body, offset).unwrap(), body.len());
                    answer.body = body;
                    answer.is_file = true;
                }
                FromWorker::EarlyHints { headers } => {
                    let hints = headers.iter().map(|(n, v)| (latin1(n), latin1(v)));
                    answer.hints.push(hints.collect());
                }
                FromWorker::Verdict(verdict) => panic!("{verdict:?} about a request"),
                FromWorker::Welcome { worker } => assert!(worker > 0),
                FromWorker::NeedVariable(name) => panic!("asks for {name:?} in a request"),
                FromWorker::DataAt { .. } => panic!("uses a window that it has not"),
                FromWorker::Ran { begun, ended } => assert!(0 < begun && begun <= ended),
                FromWorker::End => return answer,
                FromWorker::Failed { status } => {
                    answer.ending = Ending::Failed(status);
                    return answer;
                }
                FromWorker::Refused(refusal) => {
                    answer.ending = Ending::Refused(refusal);
                    return answer;
                }
                FromWorker::Goodbye => {
                    answer.ending = Ending::Goodbye;
                    return answer;
                }
            }
        }
    }
}
