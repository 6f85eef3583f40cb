//! The conversation with the supervisor: its orders, our reports, and the signals that count as an
//! order to drain.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use channel::Inbox;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGXCPU};
use wire::FrameError;
use wire::control::{FromWorker, Stack, ToWorker};
use wire::exchange::Level;

/// Longest text of a report, in bytes; the supervisor accepts a little more.
const MAX_TEXT: usize = 32 << 10;

/// Longest request line of such a report.
const MAX_LINE: usize = 1000;

/// The receiving half.
#[derive(Debug)]
pub struct Control {
    socket: Arc<OwnedFd>,
    inbox: Inbox,
    signals: [(Signal, UnixStream); 3],
    hung_up: bool,
}

/// What happened to a worker.
#[derive(Debug)]
pub enum Event {
    /// The supervisor said something; a descriptor may have come along.
    Order(ToWorker, Option<OwnedFd>),
    /// A signal came.
    Signal(Signal),
    /// The supervisor is gone. Told once.
    Orphaned,
    /// Nothing, for as long as the caller would wait.
    Nothing,
}

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end.
    Shutdown,
    /// SIGUSR1: another worker is to take this one's place.
    Eviction,
    /// SIGXCPU: `cpu-time-limit=` is used up.
    CpuTime,
}

/// Why there is no use in listening to the supervisor.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// This program was not started by a supervisor.
    #[error("standard input is no socket; workers are started by wsgi-supervisor")]
    NoSupervisor,
    /// What the supervisor said is no message.
    #[error("the supervisor sent something that is no order: {0}")]
    Garbage(#[from] FrameError),
    /// The system refused.
    #[error("cannot listen to the supervisor: {0}")]
    Io(#[from] io::Error),
}

impl Control {
    /// Takes over the socket that is this process's standard input, and leaves `/dev/null` there
    /// for the application. Signals are noted from now on.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn take_stdin() -> Result<Self, ControlError> {
        let stdin = rustix::stdio::stdin();
        if rustix::net::sockopt::socket_type(stdin).is_err() {
            return Err(ControlError::NoSupervisor);
        }
        crate::ffi::reset_interrupt();
        // A handler that writes into a pipe, rather than blocked signals: programs that the
        // application starts would inherit the mask and could not be ended.
        let note = |meaning, numbers: &[i32]| -> io::Result<_> {
            let (signals, noted) = UnixStream::pair()?;
            for number in numbers {
                crate::ffi::note_signal(*number, noted.try_clone()?.into())?;
            }
            Ok((meaning, signals))
        };
        let signals = [
            note(Signal::Shutdown, &[SIGTERM, SIGINT])?,
            note(Signal::Eviction, &[SIGUSR1])?,
            note(Signal::CpuTime, &[SIGXCPU])?,
        ];

        let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3).map_err(io::Error::from)?;
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null).map_err(io::Error::from)?;
        let inbox = Inbox::with_descriptors();
        Ok(Self { socket: Arc::new(socket), inbox, signals, hung_up: false })
    }

    /// The sending half.
    pub fn reporter(&self) -> Reporter {
        Reporter { socket: Arc::new(Mutex::new(Arc::clone(&self.socket))) }
    }

    /// Waits for the next event, for ever without `patience`.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn next(&mut self, patience: Option<Duration>) -> Result<Event, ControlError> {
        let timeout = patience.map(|patience| Timespec {
            tv_sec: patience.as_secs().cast_signed(),
            tv_nsec: patience.subsec_nanos().into(),
        });
        loop {
            if let Some(order) = self.inbox.next::<ToWorker>()? {
                let descriptor = match order {
                    ToWorker::Assign { .. } => self.inbox.take_descriptor(),
                    ToWorker::Configure(_)
                    | ToWorker::Drain { .. }
                    | ToWorker::Keep
                    | ToWorker::Retire
                    | ToWorker::Load { .. }
                    | ToWorker::Alone
                    | ToWorker::Dismiss
                    | ToWorker::Stacks { .. } => None,
                };
                return Ok(Event::Order(order, descriptor));
            }
            let signals = self.signals.iter();
            let mut sources: Vec<_> =
                signals.map(|(_, signal)| PollFd::new(signal, PollFlags::IN)).collect();
            if !self.hung_up {
                sources.push(PollFd::new(&*self.socket, PollFlags::IN));
            }
            match rustix::event::poll(&mut sources, timeout.as_ref()) {
                Ok(0) => return Ok(Event::Nothing),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            }
            let came = self.signals.iter().zip(&sources);
            if let Some(((signal, noted), _)) =
                came.into_iter().find(|(_, source)| !source.revents().is_empty())
            {
                let _ = rustix::io::read(noted, &mut [0; 16]).map_err(io::Error::from)?;
                return Ok(Event::Signal(*signal));
            }
            match self.inbox.try_receive(&self.socket) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.hung_up = true;
                    return Ok(Event::Orphaned);
                }
            }
        }
    }
}

/// The sending half, shared by all threads. A supervisor that is gone hears nothing, and nobody
/// is told: the receiving half finds out.
#[derive(Debug, Clone)]
pub struct Reporter {
    socket: Arc<Mutex<Arc<OwnedFd>>>,
}

impl Reporter {
    /// Sends a report.
    pub fn send(&self, report: &FromWorker) {
        let socket = self.socket.lock().expect("nobody panics while reporting");
        let _ = channel::send_message(socket.as_fd(), report);
    }

    /// Reports that the worker cannot start.
    pub fn failed(&self, mut reason: String) {
        shorten(&mut reason);
        self.send(&FromWorker::Failed { reason });
    }

    /// Reports that a script could not be loaded beforehand, in lines for the log.
    pub fn unloaded(&self, mut text: String) {
        shorten(&mut text);
        self.send(&FromWorker::Unloaded { text });
    }

    /// Reports what a thread of Python does, with as many of its frames, from the innermost one on, as
    /// there is room for.
    pub fn stack(&self, ticket: u64, mut stack: Stack) {
        let mut room = MAX_TEXT;
        stack.frames.retain(|frame| {
            room = room.saturating_sub(frame.len() + size_of::<u32>());
            room > 0
        });
        stack.request = stack.request.map(|line| line.chars().take(MAX_LINE).collect());
        self.send(&FromWorker::Stack { ticket, stack });
    }

    /// Reports a log line that belongs to no request.
    pub fn log(&self, level: Level, mut text: String) {
        shorten(&mut text);
        self.send(&FromWorker::Log { level, text });
    }
}

fn shorten(text: &mut String) {
    if let Some(end) = (0..=MAX_TEXT).rev().find(|end| text.is_char_boundary(*end)) {
        text.truncate(end);
    }
}
