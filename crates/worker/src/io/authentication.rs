//! Who may speak to this worker: credentials, version and secret of each peer, and the log lines
//! about those that are turned away.

use std::time::{Duration, Instant};

use rustix::net::UCred;
use wire::control::Settings;
use wire::exchange::{self, Level, Refusal};
use wire::{DecodeError, FrameError, Message, Reader, Secret, Writer};

use crate::process::control::Reporter;

/// How often a line about peers that were turned away is logged, at most.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Checks peers.
#[derive(Debug)]
pub struct Authenticator {
    secret: Secret,
    peer_uid: u32,
    socket_user: Option<u32>,
}

/// Why a peer is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Offence {
    /// Another user's process connected.
    #[error("it belongs to another user than httpd's")]
    WrongUser,
    /// It does not know the secret.
    #[error("it does not know the secret of this application group")]
    WrongSecret,
    /// Module and worker come from different installations.
    #[error("it speaks version {0} of the protocol, not {ours}", ours = wire::VERSION)]
    WrongVersion(u16),
    /// It opened with something else than a greeting.
    #[error("it did not greet: {0}")]
    NoGreeting(FrameError),
    /// It did not greet in time.
    #[error("it did not greet within {} seconds", .0.as_secs())]
    Silent(Duration),
    /// It was one of too many that had not greeted yet.
    #[error("too many connections wait without greeting")]
    TooMany,
    /// It greeted well, but then sent something that is no request.
    #[error("it sent something that is no request: {0}")]
    NoRequest(FrameError),
    /// It sent an answer where only a request may come.
    #[error("it sent request data without a request")]
    OutOfTurn,
    /// It left in the middle of a message.
    #[error("it closed the connection inside a message")]
    Truncated,
}

impl Offence {
    /// What the peer is told.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::WrongVersion(_) => Refusal::WrongVersion,
            _ => Refusal::NotAuthentic,
        }
    }

    fn level(&self) -> Level {
        match self {
            Self::WrongVersion(_) => Level::Error,
            _ => Level::Warning,
        }
    }
}

impl Authenticator {
    /// Admits processes that know `secret` of httpd's user, of `socket-user=`, and of root.
    pub fn new(settings: &Settings, secret: Secret) -> Self {
        Self { secret, peer_uid: settings.peer_uid, socket_user: settings.socket_user }
    }

    /// Checks who connected.
    ///
    /// # Errors
    /// [`Offence::WrongUser`].
    pub fn check_peer(&self, peer: &UCred) -> Result<(), Offence> {
        match peer.uid.as_raw() {
            0 => Ok(()),
            uid if uid == self.peer_uid || Some(uid) == self.socket_user => Ok(()),
            _ => Err(Offence::WrongUser),
        }
    }

    /// Checks how a connection opened.
    ///
    /// # Errors
    /// [`Offence::WrongVersion`], [`Offence::WrongSecret`].
    pub fn check_greeting(&self, greeting: &Greeting) -> Result<(), Offence> {
        if greeting.version != wire::VERSION {
            return Err(Offence::WrongVersion(greeting.version));
        }
        if greeting.secret != self.secret {
            return Err(Offence::WrongSecret);
        }
        Ok(())
    }
}

/// [`exchange::ToWorker::Hello`], the only message that a stranger may send: it bounds what a
/// connection can make us hold before it is known to be authentic.
#[derive(Debug)]
pub struct Greeting {
    version: u16,
    secret: Secret,
}

impl<'a> Message<'a> for Greeting {
    const MAX_PAYLOAD: usize = 64;

    fn kind(&self) -> u8 {
        exchange::hello(self.secret).kind()
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        let Self { version, secret } = *self;
        exchange::ToWorker::Hello { version, secret }.encode_payload(writer);
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match exchange::ToWorker::decode_payload(kind, reader)? {
            exchange::ToWorker::Hello { version, secret } => Ok(Self { version, secret }),
            _ => Err(DecodeError::Unknown { what: "greeting", value: kind.into() }),
        }
    }
}

/// Log lines about peers, at most one per [`LOG_INTERVAL`]: whoever connects in a loop must not
/// fill the error log.
#[derive(Debug)]
pub struct Complaints {
    reporter: Reporter,
    /// Whose worker this is, for the text.
    name: String,
    last: Option<Instant>,
    unsaid: Option<(Level, String)>,
    count: u32,
}

impl Complaints {
    /// For the worker that `name` describes.
    pub fn new(reporter: Reporter, name: String) -> Self {
        Self { reporter, name, last: None, unsaid: None, count: 0 }
    }

    /// Notes that a peer was turned away, and logs it, now or later.
    pub fn about(&mut self, peer: &UCred, offence: &Offence) {
        let text = format!(
            "turned away a connection from pid {} (uid {}) to the worker of {}: {offence}",
            peer.pid.as_raw_nonzero(),
            peer.uid.as_raw(),
            self.name,
        );
        self.hold(offence.level(), text);
    }

    /// Notes trouble with the listening socket, and logs it, now or later.
    pub fn note(&mut self, trouble: String) {
        self.hold(Level::Error, format!("the worker of {}: {trouble}", self.name));
    }

    fn hold(&mut self, level: Level, text: String) {
        self.unsaid = Some((level, text));
        self.count += 1;
        self.say();
    }

    /// Logs what was held back, if it is time. Returns when to call again.
    pub fn say(&mut self) -> Option<Instant> {
        self.unsaid.as_ref()?;
        let now = Instant::now();
        if let Some(due) = self.last.map(|last| last + LOG_INTERVAL)
            && due > now
        {
            return Some(due);
        }
        let (level, mut text) = self.unsaid.take()?;
        if self.count > 1 {
            text.push_str(&format!(" ({} times since the last such line)", self.count));
        }
        self.reporter.log(level, text);
        self.last = Some(now);
        self.count = 0;
        None
    }
}
