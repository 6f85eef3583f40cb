//! The socket at which httpd children ask for application groups, and for the ends of workers.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use channel::Inbox;
use nix::unistd::Uid;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use wire::Secret;
use wire::broker::{FromBroker, ToBroker};

use crate::closing::Closer;
use crate::logic::Ticket;

/// Connections at a time. Each is one thread of an httpd child; beyond it they wait in the
/// socket's queue.
const MAX_CLIENTS: usize = 1024;

/// Connections taken per turn of the loop.
const ACCEPTS_PER_TURN: usize = 64;

/// How long a child may take to put its question, which it does right after it connected.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// How long nobody is accepted after the system could not.
const REST: Duration = Duration::from_millis(100);

/// Longest reason that is told, in characters.
const MAX_REASON: usize = 4000;

/// Listens, and keeps the connections of those who have no answer yet.
#[derive(Debug)]
pub struct Broker {
    listener: OwnedFd,
    users: Vec<Uid>,
    secret: Secret,
    clients: BTreeMap<Ticket, Client>,
    last: u64,
    /// Until when nobody is let in, because the system could not.
    resting: Option<Instant>,
    closer: Closer,
}

/// A connection.
#[derive(Debug)]
struct Client {
    stream: OwnedFd,
    stage: Stage,
}

/// How far a connection has come.
#[derive(Debug)]
enum Stage {
    /// The question has not been read to its end, and is awaited until the given time.
    Asking(Inbox, Instant),
    /// The answer is not known yet.
    Waiting,
}

/// What came of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The way to an application group is asked for.
    Acquire {
        /// Whom to answer.
        ticket: Ticket,
        /// Name of the process group.
        process_group: Vec<u8>,
        /// Name of the application group.
        application_group: Vec<u8>,
        /// The script that is to run there, where clients may have made up the name.
        script: Option<Vec<u8>>,
    },
    /// The end of a worker is asked for.
    Inquire(Ticket, u32),
    /// Who asked does not wait any more.
    Abandoned(Ticket),
    /// Somebody was turned away, for this reason.
    TurnedAway(String),
}

impl Broker {
    /// Answers children that run as one of `users` and know `secret`.
    pub fn new(listener: OwnedFd, users: Vec<Uid>, secret: Secret) -> Self {
        Self {
            listener,
            users,
            secret,
            clients: BTreeMap::new(),
            last: 0,
            resting: None,
            closer: Closer::default(),
        }
    }

    /// The listening socket, when a further connection could be taken.
    pub fn listener(&self, now: Instant) -> Option<BorrowedFd<'_>> {
        let rests = self.resting.is_some_and(|until| until > now);
        (self.clients.len() < MAX_CLIENTS && !rests).then(|| self.listener.as_fd())
    }

    /// The connections.
    pub fn clients(&self) -> impl Iterator<Item = (Ticket, BorrowedFd<'_>)> {
        self.clients.iter().map(|(ticket, client)| (*ticket, client.stream.as_fd()))
    }

    /// Listens there from now on. Returns the socket at which it did before.
    pub fn replace_listener(&mut self, listener: OwnedFd) -> OwnedFd {
        std::mem::replace(&mut self.listener, listener)
    }

    /// What closes its connections.
    pub fn closer(&self) -> &Closer {
        &self.closer
    }

    /// When [`Broker::expire`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        self.clients.values().filter_map(Client::deadline).chain(self.resting).min()
    }

    /// Takes new connections.
    pub fn accept(&mut self, now: Instant) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        if self.closer.is_full() {
            self.resting = Some(now + REST);
            self.closer.close_due();
            return outcomes;
        }
        for _ in 0..ACCEPTS_PER_TURN.min(MAX_CLIENTS - self.clients.len()) {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(stream) => outcomes.extend(self.admit(stream, now)),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    // No descriptors, most likely. Who waits stays in the queue.
                    self.resting = Some(now + REST);
                    outcomes.push(Outcome::TurnedAway(format!("cannot accept: {error}")));
                    break;
                }
            }
        }
        outcomes
    }

    /// Reads from a connection that has something to read.
    pub fn read(&mut self, ticket: Ticket) -> Option<Outcome> {
        let client = self.clients.get_mut(&ticket)?;
        let Stage::Asking(inbox, _) = &mut client.stage else {
            // Only the end of the connection can come now, and anything else ends it too.
            self.hang_up(ticket);
            return Some(Outcome::Abandoned(ticket));
        };
        let refused = match inbox.try_receive(&client.stream) {
            Ok(0) if inbox.is_empty() => {
                self.hang_up(ticket);
                return None;
            }
            Ok(0) => Err("it went away before it had asked".to_owned()),
            Ok(_) => match inbox.next::<ToBroker<'_>>() {
                Ok(None) => return None,
                Ok(Some(question)) => check(ticket, &question, self.secret),
                Err(error) => Err(error.to_string()),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return None,
            Err(error) => Err(error.to_string()),
        };
        match refused {
            Ok(question) => {
                client.stage = Stage::Waiting;
                Some(question)
            }
            Err(why) => {
                let who = describe(&client.stream);
                self.hang_up(ticket);
                Some(Outcome::TurnedAway(format!("{who}: {why}")))
            }
        }
    }

    /// Turns away those who did not ask in time.
    pub fn expire(&mut self, now: Instant) -> Vec<Outcome> {
        self.resting = self.resting.filter(|until| *until > now);
        let limit = QUESTION_TIMEOUT.as_secs();
        let is_late = |client: &Client| client.deadline().is_some_and(|deadline| deadline <= now);
        let late = self.clients.iter().filter(|(_, client)| is_late(client));
        let late: Vec<_> =
            late.map(|(ticket, client)| (*ticket, describe(&client.stream))).collect();
        let mut outcomes = Vec::new();
        for (ticket, who) in late {
            self.hang_up(ticket);
            outcomes.push(Outcome::TurnedAway(format!("{who}: it asked nothing in {limit} s")));
        }
        outcomes
    }

    /// Answers and closes. A peer that cannot take an answer of this size at once is none of ours.
    pub fn answer(&mut self, ticket: Ticket, mut answer: FromBroker) {
        let Some(client) = self.clients.remove(&ticket) else {
            return;
        };
        if let FromBroker::Unavailable { reason: text, .. } | FromBroker::Ended { how: text, .. } =
            &mut answer
        {
            *text = text.chars().take(MAX_REASON).collect();
        }
        let mut bytes = Vec::new();
        wire::encode(&answer, &mut bytes);
        // A child that went away asks no more.
        let _ = channel::try_send(&client.stream, &bytes);
        self.closer.close(client.stream);
    }

    fn hang_up(&mut self, ticket: Ticket) {
        if let Some(client) = self.clients.remove(&ticket) {
            self.closer.close(client.stream);
        }
    }

    /// Lets somebody in who runs as httpd's user, as that of a `socket-user=`, or as root.
    fn admit(&mut self, stream: OwnedFd, now: Instant) -> Option<Outcome> {
        match rustix::net::sockopt::socket_peercred(&stream) {
            Ok(peer)
                if peer.uid.is_root() || self.users.contains(&Uid::from_raw(peer.uid.as_raw())) =>
            {
                self.last += 1;
                let stage = Stage::Asking(Inbox::refusing_descriptors(), now + QUESTION_TIMEOUT);
                self.clients.insert(Ticket(self.last), Client { stream, stage });
                None
            }
            Ok(_) => {
                let who = describe(&stream);
                self.closer.close(stream);
                Some(Outcome::TurnedAway(format!("{who}: only httpd's user may ask")))
            }
            Err(error) => {
                self.closer.close(stream);
                Some(Outcome::TurnedAway(format!("somebody unknown: {error}")))
            }
        }
    }
}

impl Client {
    fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Asking(_, deadline) => Some(*deadline),
            Stage::Waiting => None,
        }
    }
}

/// The question, if it may be answered, or why not.
fn check(ticket: Ticket, question: &ToBroker<'_>, secret: Secret) -> Result<Outcome, String> {
    let (ToBroker::Acquire { version, secret: shown, .. }
    | ToBroker::Inquire { version, secret: shown, .. }) = question;
    if *shown != secret {
        return Err("it does not know the secret of this generation".to_owned());
    }
    if *version != wire::VERSION {
        return Err(format!("it speaks version {version}, this is version {}", wire::VERSION));
    }
    Ok(match question {
        ToBroker::Acquire { process_group, application_group, script, .. } => Outcome::Acquire {
            ticket,
            process_group: process_group.to_vec(),
            application_group: application_group.to_vec(),
            script: script.map(<[u8]>::to_vec),
        },
        ToBroker::Inquire { worker, .. } => Outcome::Inquire(ticket, *worker),
    })
}

/// Who is at the other end.
fn describe(stream: &OwnedFd) -> String {
    rustix::net::sockopt::socket_peercred(stream).map_or_else(
        |error| format!("somebody unknown ({error})"),
        |peer| format!("process {} of uid {}", peer.pid.as_raw_nonzero(), peer.uid.as_raw()),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;

    use super::*;

    struct World {
        broker: Broker,
        path: PathBuf,
        now: Instant,
    }

    const SECRET: Secret = Secret::new([7; Secret::SIZE]);

    impl World {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sb-{}-{name}", std::process::id()));
            let listener = UnixListener::bind(&path).unwrap();
            listener.set_nonblocking(true).unwrap();
            let broker = Broker::new(listener.into(), vec![Uid::effective()], SECRET);
            Self { broker, path, now: Instant::now() }
        }

        fn connect(&mut self) -> (UnixStream, Ticket) {
            let stream = UnixStream::connect(&self.path).unwrap();
            assert_eq!(self.broker.accept(self.now), []);
            (stream, Ticket(self.broker.last))
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn question(secret: Secret, version: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (process_group, application_group) = (b"blog".as_slice(), b"".as_slice());
        let script = Some(b"/app.wsgi".as_slice());
        let question =
            ToBroker::Acquire { version, secret, process_group, application_group, script };
        wire::encode(&question, &mut bytes);
        bytes
    }

    #[test]
    fn a_question_may_come_in_pieces() {
        let mut world = World::new("pieces");
        let (stream, ticket) = world.connect();
        let bytes = question(SECRET, wire::VERSION);
        for byte in &bytes[..bytes.len() - 1] {
            channel::send(&stream, &[*byte]).unwrap();
            assert_eq!(world.broker.read(ticket), None);
        }
        channel::send(&stream, &bytes[bytes.len() - 1..]).unwrap();
        let asked = Outcome::Acquire {
            ticket,
            process_group: b"blog".to_vec(),
            application_group: Vec::new(),
            script: Some(b"/app.wsgi".to_vec()),
        };
        assert_eq!(world.broker.read(ticket), Some(asked));
        assert_eq!(world.broker.deadline(), None, "who has asked may wait");
        drop(stream);
        assert_eq!(world.broker.read(ticket), Some(Outcome::Abandoned(ticket)));
    }

    #[track_caller]
    fn check_turned_away(name: &str, sent: &[u8], expected: &str) {
        let mut world = World::new(name);
        let (stream, ticket) = world.connect();
        channel::send(&stream, sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut outcome = None;
        while world.broker.clients.contains_key(&ticket) && outcome.is_none() {
            outcome = world.broker.read(ticket);
        }
        match outcome {
            Some(Outcome::TurnedAway(why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(world.broker.clients.is_empty());
    }

    #[test]
    fn strangers_are_turned_away() {
        let wrong = Secret::new([8; Secret::SIZE]);
        check_turned_away("secret", &question(wrong, wire::VERSION), "does not know the secret");
        check_turned_away("version", &question(SECRET, 999), "version 999, this is version");
        check_turned_away("garbage", b"GET / HTTP/1.1\r\n\r\n", "not a frame");
        check_turned_away("short", b"\x01", "before it had asked");
    }

    #[test]
    fn who_connects_and_leaves_is_not_worth_a_word() {
        let mut world = World::new("leaves");
        let (stream, ticket) = world.connect();
        drop(stream);
        assert_eq!(world.broker.read(ticket), None);
        assert!(world.broker.clients.is_empty());
    }

    #[test]
    fn who_does_not_ask_in_time_is_turned_away() {
        let mut world = World::new("late");
        let (_stream, _) = world.connect();
        assert_eq!(world.broker.expire(world.now), []);
        let deadline = world.broker.deadline().unwrap();
        assert_eq!(world.broker.expire(deadline).len(), 1);
        assert!(world.broker.clients.is_empty());
    }
}
