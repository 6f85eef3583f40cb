//! The connection between httpd's parent and the supervisors of a generation, and what a new one is
//! told over it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use channel::{Inbox, ReceiveError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wire::generation::{Configuration, FromSupervisor, ToSupervisor};

/// How long a supervisor may take to answer that it is ready. It starts no worker before that.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// Both ends of the connection that tells the supervisor when the generation is over. All of
/// httpd's children inherit the near end; the far one is kept for a supervisor that has to be
/// replaced, so that it learns of the same end. Hence the near one does not tell when a supervisor
/// ends: its process does.
pub struct Lifeline {
    near: UnixStream,
    far: UnixStream,
}

/// A supervisor that has been told nothing yet.
pub struct Newborn<'l> {
    /// Its process id.
    pub pid: u32,
    near: &'l UnixStream,
    /// Readable when the process has ended (`pidfd_open(2)`). Where the kernel does not know such
    /// descriptors, the deadline alone counts.
    process: Option<OwnedFd>,
    deadline: Instant,
}

impl Lifeline {
    /// A connection without a supervisor.
    ///
    /// # Errors
    /// The system's, as a sentence.
    pub fn new() -> Result<Self, String> {
        let (near, far) = UnixStream::pair().map_err(|error| format!("no socket pair: {error}"))?;
        Ok(Self { near, far })
    }

    /// Executes a supervisor, when there is none.
    ///
    /// # Errors
    /// The system's, as a sentence.
    pub fn execute(&self, program: &Path) -> Result<Newborn<'_>, String> {
        self.execute_with(program, None)
    }

    /// Executes a supervisor that only says whether each group's Python starts.
    ///
    /// # Errors
    /// The system's, as a sentence.
    pub fn execute_to_check(&self, program: &Path) -> Result<Newborn<'_>, String> {
        self.execute_with(program, Some("check"))
    }

    fn execute_with(&self, program: &Path, task: Option<&str>) -> Result<Newborn<'_>, String> {
        // What one before it has not read, or not been heard with, is none of its business.
        drain(&self.far);
        drain(&self.near);
        let far = self.far.try_clone().map_err(|error| format!("no descriptor: {error}"))?;
        let child = Command::new(program)
            .args(task)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(far)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{} cannot be executed: {error}", program.display()))?;
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok();
        let deadline = Instant::now() + START_PATIENCE;
        Ok(Newborn { pid: child.id(), near: &self.near, process, deadline })
    }
}

impl Newborn<'_> {
    /// Tells it the configuration, with the log files that belong to it, and waits until it is ready.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn tell(
        &self,
        configuration: Configuration,
        logs: Vec<BorrowedFd<'_>>,
    ) -> Result<(), String> {
        match self.ask(configuration, logs, START_PATIENCE)? {
            FromSupervisor::Ready => Ok(()),
            FromSupervisor::Failed { reason } => Err(reason),
            FromSupervisor::Checked { .. } => Err("wsgi-supervisor has only checked".to_owned()),
        }
    }

    /// Tells it the configuration, and waits for what it says.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn ask(
        &self,
        configuration: Configuration,
        logs: Vec<BorrowedFd<'_>>,
        patience: Duration,
    ) -> Result<FromSupervisor, String> {
        let pid = self.pid;
        let told = |error| format!("wsgi-supervisor (pid {pid}) does not listen: {error}");
        for log in logs {
            let mut frame = Vec::new();
            wire::encode(&ToSupervisor::LogFile, &mut frame);
            self.send(&frame, Some(log)).map_err(told)?;
        }
        let mut frame = Vec::new();
        wire::encode(&ToSupervisor::Configure(configuration), &mut frame);
        self.send(&frame, None).map_err(told)?;

        let mut inbox = Inbox::new();
        let answer = inbox.wait_unless(self.near, patience, self.process.as_ref().map(AsFd::as_fd));
        let (answer, has_ended) = match answer {
            // It may have said why.
            Err(ReceiveError::GivenUp) => (inbox.wait(self.near, Duration::ZERO), true),
            answer => (answer, false),
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(_) if has_ended => Err(told(ended())),
            Err(error) => Err(format!("wsgi-supervisor (pid {pid}) gives no answer: {error}")),
        }
    }

    /// Sends all of `bytes`, as long as there is somebody to read them.
    fn send(&self, mut bytes: &[u8], mut descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        while !bytes.is_empty() {
            self.wait_for_room()?;
            let sent = match descriptor {
                Some(own) => channel::try_send_with_descriptor(self.near, bytes, own)?,
                None => channel::try_send(self.near, bytes)?,
            };
            if sent > 0 {
                descriptor = None;
            }
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    fn wait_for_room(&self) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut sources = vec![PollFd::new(self.near, PollFlags::OUT)];
        sources.extend(self.process.as_ref().map(|process| PollFd::new(process, PollFlags::IN)));
        match poll(&mut sources, Some(&timeout)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if sources.get(1).is_some_and(|process| !process.revents().is_empty()) => {
                Err(ended())
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "it has ended")
}

/// Throws away what has not been read from a socket; the kernel closes descriptors among it.
fn drain(socket: &UnixStream) {
    let mut some = [0; 4096];
    while rustix::net::recv(socket, &mut some, RecvFlags::DONTWAIT).is_ok_and(|(len, _)| len > 0) {}
}
