//! What connects httpd's parent with the supervisors of a generation: a pipe that ends with the
//! generation, and a conversation with each of them, in which it is told what to do and asked
//! whether it still answers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use channel::{Inbox, ReceiveError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wire::generation::{Configuration, FromSupervisor, ToSupervisor};

use super::logs::LogFile;

/// How often in a row a supervisor may be found not to have answered. It answers within
/// milliseconds, and there are ten seconds between two looks.
const MISSES: u32 = 2;

/// How long a supervisor may take to answer that it is ready. It starts no worker before that.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// A pipe that tells supervisors when the generation is over: its writing end is open in the parent
/// and in all of httpd's children, and nowhere else. The reading end is kept for a supervisor that
/// has to be replaced.
pub struct Lifeline {
    read: OwnedFd,
    /// Held, and never written to.
    _write: OwnedFd,
}

/// A supervisor that has been told nothing yet.
pub struct Newborn<'l> {
    /// Its process id.
    pub pid: u32,
    lifeline: &'l Lifeline,
    conversation: UnixStream,
    /// Readable when the process has ended (`pidfd_open(2)`). Where the kernel does not know such
    /// descriptors, the deadline alone counts.
    process: Option<OwnedFd>,
    deadline: Instant,
}

/// The conversation with a supervisor that serves. Children have no part in it.
pub struct Watch {
    conversation: UnixStream,
    inbox: Inbox,
    /// How often it has been looked for an answer in vain.
    misses: u32,
}

impl Lifeline {
    /// A pipe without a supervisor.
    ///
    /// # Errors
    /// The system's, as a sentence.
    pub fn new() -> Result<Self, String> {
        let pipe = pipe_with(PipeFlags::CLOEXEC).map_err(|error| format!("no pipe: {error}"))?;
        Ok(Self { read: pipe.0, _write: pipe.1 })
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
        let (conversation, theirs) =
            UnixStream::pair().map_err(|error| format!("no socket pair: {error}"))?;
        let child = Command::new(program)
            .args(task)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{} cannot be executed: {error}", program.display()))?;
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok();
        let deadline = Instant::now() + START_TIMEOUT;
        Ok(Newborn { pid: child.id(), lifeline: self, conversation, process, deadline })
    }
}

impl Watch {
    /// To be called now and then: asks the supervisor whether it still answers, and returns whether
    /// it has answered one of the last [`MISSES`] times.
    pub fn answers(&mut self) -> bool {
        // One that has ended is not for us to find out.
        while self.inbox.try_receive(&self.conversation).is_ok_and(|received| received > 0) {
            while let Ok(Some(FromSupervisor::Pong)) = self.inbox.next() {
                self.misses = 0;
            }
        }
        if self.misses >= MISSES {
            return false;
        }
        let mut ping = Vec::new();
        wire::encode(&ToSupervisor::Ping, &mut ping);
        // What is not taken is not answered.
        let _ = channel::try_send(&self.conversation, &ping);
        self.misses += 1;
        true
    }

    /// Tells a supervisor of an earlier generation which logs there are now, and returns whether it is
    /// still there to hear of others. It is not waited for: one that reads nothing keeps its own.
    pub fn hand_on(&self, logs: &[LogFile<'_>]) -> bool {
        logs.iter().all(|log| {
            let (message, descriptor) = announce(log);
            let sent = channel::try_send_with_descriptor(&self.conversation, &message, descriptor);
            sent.is_ok_and(|sent| sent == message.len())
        })
    }

    /// Whether the other end has been closed.
    pub fn has_ended(&self) -> bool {
        let mut end = [PollFd::new(&self.conversation, PollFlags::empty())];
        let polled = poll(&mut end, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_ok() && end[0].revents().contains(PollFlags::HUP)
    }
}

/// The message with which a log goes along.
fn announce<'s>(log: &LogFile<'s>) -> (Vec<u8>, BorrowedFd<'s>) {
    let mut message = Vec::new();
    wire::encode(&ToSupervisor::LogFile { name: log.name.clone() }, &mut message);
    (message, log.descriptor)
}

impl Newborn<'_> {
    /// Tells it the configuration, with the log files that belong to it, its number and the memory for
    /// metrics, and waits until it is ready.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn tell(
        self,
        configuration: Configuration,
        logs: &[LogFile<'_>],
        metrics: Option<(u64, BorrowedFd<'_>)>,
    ) -> Result<Watch, String> {
        let pid = self.pid;
        let mut inbox = Inbox::new();
        match self.ask(configuration, (logs, metrics), START_TIMEOUT, &mut inbox)? {
            FromSupervisor::Ready => {
                Ok(Watch { conversation: self.conversation, inbox, misses: 0 })
            }
            FromSupervisor::Failed { reason } => Err(reason),
            FromSupervisor::Pong | FromSupervisor::Checked { .. } => {
                Err(format!("wsgi-supervisor (pid {pid}) answers what it was not asked"))
            }
        }
    }

    /// Tells it to check the configuration, and waits for what it says.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn check(
        self,
        configuration: Configuration,
        logs: &[LogFile<'_>],
        timeout: Duration,
    ) -> Result<FromSupervisor, String> {
        self.ask(configuration, (logs, None), timeout, &mut Inbox::new())
    }

    fn ask(
        &self,
        configuration: Configuration,
        (logs, metrics): (&[LogFile<'_>], Option<(u64, BorrowedFd<'_>)>),
        timeout: Duration,
        inbox: &mut Inbox,
    ) -> Result<FromSupervisor, String> {
        let pid = self.pid;
        let told = |error| format!("wsgi-supervisor (pid {pid}) does not listen: {error}");
        let encoded = |(message, descriptor)| {
            let mut frame = Vec::new();
            wire::encode(&message, &mut frame);
            (frame, descriptor)
        };
        let lifeline = (ToSupervisor::Lifeline, self.lifeline.read.as_fd());
        let metrics = metrics.map(|(number, file)| (ToSupervisor::Metrics { number }, file));
        let others = std::iter::once(lifeline).chain(metrics).map(encoded);
        for (frame, descriptor) in others.chain(logs.iter().map(announce)) {
            self.send(&frame, Some(descriptor)).map_err(told)?;
        }
        let mut frame = Vec::new();
        wire::encode(&ToSupervisor::Configure(configuration), &mut frame);
        self.send(&frame, None).map_err(told)?;

        let process = self.process.as_ref().map(AsFd::as_fd);
        let answer = inbox.wait_unless(&self.conversation, timeout, process);
        let (answer, has_ended) = match answer {
            // It may have said why.
            Err(ReceiveError::GivenUp) => (inbox.wait(&self.conversation, Duration::ZERO), true),
            answer => (answer, false),
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(_) if has_ended => Err(told(ended())),
            Err(ReceiveError::Closed | ReceiveError::Truncated) => Err(told(ended())),
            Err(ReceiveError::Io(error)) => Err(told(ended_if_hung_up(error))),
            Err(error) => Err(format!("wsgi-supervisor (pid {pid}) gives no answer: {error}")),
        }
    }

    /// Sends all of `bytes`, as long as there is somebody to read them.
    fn send(&self, mut bytes: &[u8], mut descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        while !bytes.is_empty() {
            self.wait_for_room()?;
            let sent = match descriptor {
                Some(own) => channel::try_send_with_descriptor(&self.conversation, bytes, own),
                None => channel::try_send(&self.conversation, bytes),
            };
            let sent = sent.map_err(ended_if_hung_up)?;
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
        let mut sources = vec![PollFd::new(&self.conversation, PollFlags::OUT)];
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

/// Its end of the conversation goes with it, before the process has ended altogether.
fn ended_if_hung_up(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ended(),
        _ => error,
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "it has ended")
}
