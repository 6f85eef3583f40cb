//! Plays httpd for a real supervisor with fake workers.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use channel::Inbox;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid};
use wire::Secret;
use wire::broker::{FromBroker, ToBroker};
use wire::control::Settings;
use wire::exchange::Level;
use wire::generation::{Configuration, FromSupervisor, Group, Identity, Limits, Log, ToSupervisor};

/// Long enough for a machine with much else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A user that owns nothing, in the numbers that all systems give it.
pub const NOBODY: u32 = 65_534;

/// A supervisor, with a directory of its own that goes with it.
pub struct Generation {
    pub place: PathBuf,
    pub directory: PathBuf,
    pub secret: Secret,
    pub supervisor: Child,
    /// What httpd's parent holds, and what all of httpd's processes do.
    pub parent: UnixStream,
    lifeline: Option<OwnedFd>,
}

/// A group whose workers behave like that.
pub fn group(name: &str, behaviour: &str) -> Group {
    Group {
        settings: Settings {
            process_group: name.as_bytes().to_vec(),
            processes: 1,
            threads: 1,
            peer_uid: Uid::effective().as_raw(),
            python_home: Some(PathBuf::from("environment")),
            limits: wire::limits::Limits {
                shutdown_timeout: 10,
                ..wire::limits::Limits::default()
            },
            ..Settings::default()
        },
        identity: is_root().then(|| Identity {
            uid: NOBODY,
            gid: NOBODY,
            user: "nobody".to_owned(),
            groups: None,
        }),
        free_threading: None,
        environment: vec![(b"FAKE".to_vec(), behaviour.as_bytes().to_vec())],
        least_processes: 1,
        idle_timeout: 0,
        prestart: false,
        application_groups: Vec::new(),
        limits: Limits::default(),
        log: log(),
    }
}

/// All lines of level info go to one file.
fn log() -> Log {
    Log { file: Some(0), level: Level::Info, format: None, host: Vec::new(), json: false }
}

pub fn is_root() -> bool {
    Uid::effective().is_root()
}

impl Generation {
    /// Starts a supervisor for the groups, and insists that it is ready.
    #[track_caller]
    pub fn start(groups: Vec<Group>) -> Self {
        let (generation, answer) = Self::launch(groups, |_| {});
        assert_eq!(answer, Some(FromSupervisor::Ready), "{}", generation.log());
        generation
    }

    /// Starts a supervisor with a configuration that may be wrong.
    pub fn launch(
        groups: Vec<Group>,
        change: impl FnOnce(&mut Configuration),
    ) -> (Self, Option<FromSupervisor>) {
        Self::launch_by(Command::new(env!("CARGO_BIN_EXE_wsgi-supervisor")), groups, change)
    }

    /// Starts a supervisor by a command of the caller's.
    pub fn launch_by(
        mut command: Command,
        mut groups: Vec<Group>,
        change: impl FnOnce(&mut Configuration),
    ) -> (Self, Option<FromSupervisor>) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let place = std::env::temp_dir().join(format!("sg-{}-{number}", std::process::id()));
        fs::create_dir(&place).unwrap();
        // The build directory may be closed to other users.
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        // What a supervisor takes for the interpreter of an environment.
        let programs = place.join("environment/bin");
        fs::create_dir_all(&programs).unwrap();
        let program = programs.join("python3");
        // By a program of its own: a process that another test is just starting would have our
        // descriptor for a moment, and as long as somebody has one to write with, the kernel executes
        // no file (ETXTBSY).
        let copied = Command::new("cp").arg(fake_worker()).arg(&program).status().unwrap();
        assert!(copied.success());
        for group in &mut groups {
            let home = group.settings.python_home.take();
            group.settings.python_home = home.map(|home| place.join(home));
        }

        let log_file = File::options().create(true).append(true).open(place.join("log")).unwrap();
        let (httpd, stdin) = UnixStream::pair().unwrap();
        let supervisor = command
            .env("USER", "root")
            .env_remove("LOGNAME")
            .env("LD_PRELOAD", "")
            .stdin(OwnedFd::from(stdin))
            .stdout(Stdio::null())
            .stderr(log_file.try_clone().unwrap())
            .spawn()
            .unwrap();
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (read, write) = rustix::pipe::pipe_with(flags).unwrap();
        for (message, descriptor) in [
            (ToSupervisor::Lifeline, read),
            (ToSupervisor::LogFile { name: b"log".to_vec() }, log_file.into()),
        ] {
            let mut bytes = Vec::new();
            wire::encode(&message, &mut bytes);
            channel::send_with_descriptor(&httpd, &bytes, &descriptor).unwrap();
        }
        let mut configuration = Configuration {
            secret: Secret::new([9; Secret::SIZE]),
            directory: place.join(format!("wsgi.{}.0", std::process::id())),
            httpd_uid: Uid::effective().as_raw(),
            httpd_gid: Gid::effective().as_raw(),
            log: log(),
            syslog: None,
            groups,
        };
        change(&mut configuration);
        let (directory, secret) = (configuration.directory.clone(), configuration.secret);
        channel::send_message(&httpd, &ToSupervisor::Configure(configuration)).unwrap();
        let answer = Inbox::new().wait(&httpd, PATIENCE).ok();
        let (parent, lifeline) = (httpd, Some(write));
        (Self { place, directory, secret, supervisor, parent, lifeline }, answer)
    }

    /// Asks for an application group, as an httpd child does.
    pub fn acquire(&self, process_group: &str, application_group: &str) -> FromBroker {
        self.ask(self.secret, process_group, application_group).unwrap()
    }

    /// The same, but expects to be given a socket.
    #[track_caller]
    pub fn granted(&self, process_group: &str, application_group: &str) -> PathBuf {
        match self.acquire(process_group, application_group) {
            FromBroker::Granted { socket, .. } => socket,
            other => panic!("{other:?}\n{}", self.log()),
        }
    }

    /// The same, but expects a reason and a number of seconds.
    #[track_caller]
    pub fn unavailable(&self, process_group: &str, application_group: &str) -> (String, u32) {
        match self.acquire(process_group, application_group) {
            FromBroker::Unavailable { reason, retry_after } => (reason, retry_after),
            other => panic!("{other:?}\n{}", self.log()),
        }
    }

    pub fn ask(
        &self,
        secret: Secret,
        process_group: &str,
        application_group: &str,
    ) -> Result<FromBroker, channel::ReceiveError> {
        let stream = UnixStream::connect(self.control())?;
        channel::send_message(&stream, &question(secret, process_group, application_group))?;
        Inbox::new().wait(&stream, PATIENCE)
    }

    pub fn control(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.place.join("log")).unwrap()
    }

    /// Waits for a line that contains `text`, and returns it.
    #[track_caller]
    pub fn logged(&self, text: &str) -> String {
        until(&format!("'{text}' in the log"), || {
            self.log().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.supervisor.id() as i32), signal).unwrap();
    }

    /// Does what httpd does when its last process goes.
    pub fn hang_up(&mut self) {
        self.lifeline = None;
    }

    #[track_caller]
    pub fn exited(&mut self) -> ExitStatus {
        until("the end of the supervisor", || self.supervisor.try_wait().unwrap())
    }

    /// Hangs up and checks that nothing is left.
    #[track_caller]
    pub fn end(mut self) -> String {
        self.hang_up();
        assert!(self.exited().success(), "{}", self.log());
        assert!(!self.directory.exists(), "{}", self.log());
        self.log()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.lifeline = None;
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// What an httpd child asks.
pub fn question<'a>(
    secret: Secret,
    process_group: &'a str,
    application_group: &'a str,
) -> ToBroker<'a> {
    ToBroker::Acquire {
        version: wire::VERSION,
        secret,
        process_group: process_group.as_bytes(),
        application_group: application_group.as_bytes(),
        script: Some(b"/app.wsgi"),
    }
}

/// The process id that a fake worker tells who connects.
pub fn who_serves(socket: &Path) -> u32 {
    let mut text = String::new();
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    text.parse().unwrap()
}

pub fn is_alive(pid: u32) -> bool {
    kill(Pid::from_raw(pid as i32), None).is_ok()
}

/// Waits until `probe` finds something.
#[track_caller]
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Cargo builds it with the tests, beside the supervisor; not when it is told to build this test
/// alone (`--test generation`).
pub fn fake_worker() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_wsgi-supervisor")).with_file_name("examples/fake-worker")
}
