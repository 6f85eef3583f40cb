//! The I/O thread: accepts connections, reads requests and queues them. It never touches Python.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use wire::exchange::{FromWorker, Inquiry, Purpose, Refusal, Request, ToWorker};

use crate::clock::now;
use crate::conversation::connection::{Connection, Token};
use crate::io::authentication::{Authenticator, Complaints, Greeting, Offence};
use crate::io::connections::{LISTENER, WAKE};
use crate::io::intake::{Intake, Job};
use crate::io::watch::Watch;

/// How long a connection may take to greet.
const GREETING_PATIENCE: Duration = Duration::from_secs(5);
/// How many connections may wait without having greeted; beyond it the oldest is closed.
const MAX_STRANGERS: usize = 64;
/// How many connections are accepted before others get their turn.
const ACCEPTS_AT_ONCE: usize = 64;
/// How long to leave the listening socket alone when descriptors or memory have run out.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(200);
const EVENTS_AT_ONCE: usize = 64;

/// The I/O thread's state.
pub struct Io {
    intake: Arc<Intake>,
    listener: OwnedFd,
    authenticator: Authenticator,
    complaints: Complaints,
    /// Connections that have not greeted yet, oldest first, and until when they may.
    strangers: VecDeque<(Instant, Token)>,
    /// When to accept again after running out of descriptors or memory.
    recover_at: Option<Instant>,
    watch: Watch,
}

impl Io {
    /// Prepares to serve `listener`, which other workers may share.
    ///
    /// # Errors
    /// The system's error.
    pub fn new(
        intake: Arc<Intake>,
        listener: OwnedFd,
        authenticator: Authenticator,
        complaints: Complaints,
    ) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        let io = Self {
            intake,
            listener,
            authenticator,
            complaints,
            strangers: VecDeque::new(),
            recover_at: None,
            watch: Watch::new(Instant::now()),
        };
        let interest = EventFlags::IN | EventFlags::ONESHOT;
        let data = EventData::new_u64(LISTENER);
        epoll::add(io.intake.connections.epoll(), &io.listener, data, interest)?;
        Ok(io)
    }

    /// Serves until [`crate::io::connections::Connections::close`], then closes the listening socket
    /// and all idle connections.
    pub fn run(mut self) {
        // httpd's thread that has sent a request soon waits for its answer, and others may send
        // theirs meanwhile.
        crate::ffi::let_others_go_first();
        let intake = Arc::clone(&self.intake);
        let connections = &intake.connections;
        let mut space = [const { MaybeUninit::<Event>::uninit() }; EVENTS_AT_ONCE];
        while !connections.closing() {
            let timeout = self.housekeeping();
            let events = match epoll::wait(connections.epoll(), &mut space, timeout.as_ref()) {
                Ok((events, _)) => events,
                Err(Errno::INTR) => continue,
                Err(error) => panic!("epoll_wait(2) fails only on wrong use: {error}"),
            };
            for event in events {
                match event.data.u64() {
                    WAKE => connections.woken(),
                    LISTENER => self.accept(),
                    token => {
                        if let Some(connection) = connections.take(token) {
                            self.receive(connection);
                        }
                    }
                }
            }
            for connection in connections.take_unfinished() {
                self.proceed(connection);
            }
        }
        self.intake.queue.unwatch();
        connections.close_idle();
    }

    /// Sees to everything that has become due, and returns how long there is nothing to do.
    fn housekeeping(&mut self) -> Option<Timespec> {
        let now = Instant::now();
        while let Some(&(deadline, token)) = self.strangers.front()
            && deadline <= now
        {
            self.strangers.pop_front();
            self.expel(token, Offence::Silent(GREETING_PATIENCE));
        }
        if self.recover_at.is_some_and(|at| at <= now) {
            self.recover_at = None;
            self.watch_listener();
        }
        if self.intake.paused.load(Ordering::SeqCst) && self.may_accept() {
            self.intake.paused.store(false, Ordering::SeqCst);
            self.watch_listener();
        }
        let due = [
            self.expel_late(now),
            self.complaints.say(),
            self.strangers.front().map(|(deadline, _)| *deadline),
            self.recover_at,
            self.watch.look(&self.intake.queue, &self.intake.threads, now),
        ];
        let left = due.into_iter().flatten().min()?.saturating_duration_since(now);
        Some(Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() })
    }

    /// Turns away requests that have waited longer than `queue-timeout=`. Returns when the next one
    /// will have.
    fn expel_late(&self, clock: Instant) -> Option<Instant> {
        let intake = &self.intake;
        if intake.settings.queue_timeout == 0 {
            return None;
        }
        intake
            .queue
            .take_late(|job| intake.is_late(job))
            .into_iter()
            .for_each(|job| intake.give_up(job));
        let next = intake.queue.first_waiting(|job| intake.too_late_for(job)).flatten()?;
        Some(clock + Duration::from_micros(next.saturating_sub(now())))
    }

    /// Whether a connection that is accepted now would find a free runner. Otherwise it is left to
    /// the other workers that share the socket.
    fn may_accept(&self) -> bool {
        let Intake { settings, queue, .. } = &*self.intake;
        let threads = usize::from(settings.threads.max(1));
        settings.processes <= 1 || queue.load() + self.strangers.len() < threads
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_AT_ONCE {
            if !self.may_accept() {
                // A runner that has become free since then, or does from now on, sees the flag.
                self.intake.paused.store(true, Ordering::SeqCst);
                return;
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => self.admit(socket),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    // Out of descriptors or memory: the connection stays in the backlog, and
                    // trying at once would only burn time.
                    self.complaints.note(format!("cannot accept connections: {error}"));
                    self.recover_at = Some(Instant::now() + EXHAUSTION_PAUSE);
                    return;
                }
            }
        }
        self.watch_listener();
    }

    fn watch_listener(&self) {
        let interest = EventFlags::IN | EventFlags::ONESHOT;
        let data = EventData::new_u64(LISTENER);
        epoll::modify(self.intake.connections.epoll(), &self.listener, data, interest)
            .expect("the listener is registered, and modifying needs no memory");
    }

    fn admit(&mut self, socket: OwnedFd) {
        let peer = match rustix::net::sockopt::socket_peercred(&socket) {
            Ok(peer) => peer,
            Err(error) => {
                return self.complaints.note(format!("cannot identify a peer: {error}"));
            }
        };
        let connection = self.intake.connections.adopt(socket, peer);
        if let Err(offence) = self.authenticator.check_peer(&peer) {
            return self.turn_away(connection, &offence);
        }
        if self.strangers.len() >= MAX_STRANGERS
            && let Some((_, oldest)) = self.strangers.pop_front()
        {
            self.expel(oldest, Offence::TooMany);
        }
        self.strangers.push_back((Instant::now() + GREETING_PATIENCE, connection.token));
        // Greeting and request have usually come already.
        self.receive(connection);
    }

    /// Takes what has come over a connection.
    fn receive(&mut self, mut connection: Connection) {
        match connection.inbox.try_receive(&connection.socket) {
            Ok(0) if connection.inbox.is_empty() => self.forget(connection.token),
            Ok(0) => self.turn_away(connection, &Offence::Truncated),
            Ok(_) => self.proceed(connection),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                self.intake.connections.put_back(connection);
            }
            Err(_) => self.forget(connection.token),
        }
    }

    /// Acts on all messages that a connection has whole.
    fn proceed(&mut self, mut connection: Connection) {
        loop {
            let step = match connection.authentic {
                false => self.greet(&mut connection),
                true => self.examine(&mut connection),
            };
            match step {
                Ok(Step::Wait) => return self.intake.connections.put_back(connection),
                // About the request before, whose end it crossed on the way.
                Ok(Step::Late) => {}
                Ok(Step::Window { purpose, size }) => {
                    // Without room for it in our memory, the peer has to be served without it.
                    if let Err(error) = connection.take_window(purpose, size) {
                        self.complaints.note(format!("cannot share memory with httpd: {error}"));
                        return connection.say_goodbye();
                    }
                }
                Ok(Step::Greeted) => {
                    connection.authentic = true;
                    self.forget(connection.token);
                    let worker = std::process::id();
                    if !connection.tell(&FromWorker::Welcome { worker }) {
                        return;
                    }
                }
                Ok(Step::Queue { script, reloading, may_refuse, may_wait, received }) => {
                    let job = Job { connection, script, reloading, queued: now(), received };
                    // Nobody else adds jobs that would have to wait.
                    let refusal = if self.intake.queue.pending() >= self.intake.capacity(may_wait) {
                        connection = job.connection;
                        Refusal::Full
                    } else {
                        match self.intake.queue.push(job, may_refuse) {
                            Ok(()) => return,
                            Err(job) => connection = job.connection,
                        }
                        Refusal::Busy
                    };
                    if !connection.refuse(refusal) {
                        return;
                    }
                }
                Ok(Step::Refuse(refusal)) => {
                    if !connection.refuse(refusal) {
                        return;
                    }
                }
                Err(offence) => return self.turn_away(connection, &offence),
            }
        }
    }

    fn greet(&self, connection: &mut Connection) -> Result<Step, Offence> {
        match connection.inbox.next::<Greeting>().map_err(Offence::NoGreeting)? {
            None => Ok(Step::Wait),
            Some(greeting) => self.authenticator.check_greeting(&greeting).map(|()| Step::Greeted),
        }
    }

    fn examine(&self, connection: &mut Connection) -> Result<Step, Offence> {
        match connection.inbox.peek().map_err(Offence::NoRequest)? {
            None => Ok(Step::Wait),
            Some(ToWorker::Request(request)) => {
                let Request { script, application_group, script_reloading, .. } = request;
                let Request { may_refuse, may_wait, received, .. } = request;
                Ok(self.admit_request(application_group, || Step::Queue {
                    script: script.to_vec(),
                    reloading: script_reloading,
                    may_refuse,
                    may_wait,
                    received,
                }))
            }
            Some(ToWorker::Ask(inquiry)) => {
                let Inquiry { script, application_group, script_reloading, .. } = inquiry;
                let Inquiry { may_refuse, may_wait, .. } = inquiry;
                Ok(self.admit_request(application_group, || Step::Queue {
                    script: script.to_vec(),
                    reloading: script_reloading,
                    may_refuse,
                    may_wait,
                    received: now(),
                }))
            }
            Some(ToWorker::Window { purpose, size }) => Ok(Step::Window { purpose, size }),
            Some(ToWorker::Taken { .. }) => {
                let _ = connection.inbox.next::<ToWorker<'_>>();
                Ok(Step::Late)
            }
            Some(ToWorker::ClientGone { certain }) => {
                if certain {
                    self.intake.monitor.count_deserted();
                }
                let _ = connection.inbox.next::<ToWorker<'_>>();
                Ok(Step::Late)
            }
            Some(_) => Err(Offence::OutOfTurn),
        }
    }

    fn admit_request(&self, application_group: &[u8], queue: impl FnOnce() -> Step) -> Step {
        if application_group == self.intake.application_group {
            queue()
        } else {
            Step::Refuse(Refusal::WrongGroup)
        }
    }

    /// Closes the connection of a peer that has no business here.
    fn turn_away(&mut self, connection: Connection, offence: &Offence) {
        let mut bytes = Vec::new();
        wire::encode(&FromWorker::Refused(offence.refusal()), &mut bytes);
        let _ = channel::try_send(&connection.socket, &bytes);
        self.complaints.about(&connection.peer, offence);
        self.forget(connection.token);
    }

    /// Turns away the connection with this number, if it is still there.
    fn expel(&mut self, token: Token, offence: Offence) {
        if let Some(connection) = self.intake.connections.take(token) {
            self.turn_away(connection, &offence);
        }
    }

    /// Counts a connection no longer among those that have not greeted.
    fn forget(&mut self, token: Token) {
        self.strangers.retain(|(_, stranger)| *stranger != token);
    }
}

enum Step {
    /// More has to come first.
    Wait,
    /// A message that has become meaningless was taken away.
    Late,
    /// Memory is to be shared.
    Window { purpose: Purpose, size: u32 },
    /// The connection is authentic.
    Greeted,
    /// A request is there, or a question about one.
    Queue { script: Vec<u8>, reloading: bool, may_refuse: bool, may_wait: bool, received: u64 },
    /// A request is there, for somebody else.
    Refuse(Refusal),
}
