//! Connections to workers: found through the supervisor, kept for the next request.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use channel::{Inbox, ReceiveError};
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_send_buffer_size, set_socket_timeout,
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use wire::broker::{FromBroker, ToBroker};
use wire::{Secret, VERSION};

use super::crowd::Crowd;
use super::windows::Windows;
use crate::ffi::stopping;
use crate::generation::{Generation, Link};

/// How long a request waits for workers to start without `connect-timeout=`; also how long what is
/// sent to one may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// How long a request waits for a place in the workers' queue without `connect-timeout=`: a moment,
/// as it may be full only for one.
pub const FULL_PATIENCE: Duration = Duration::from_millis(100);

/// How long receiving from a worker waits by itself.
const MOMENT: Duration = Duration::from_millis(50);

/// Between two looks for a supervisor.
const PAUSE: Duration = Duration::from_millis(20);

/// The workers of one application group, as this child knows them.
#[derive(Debug)]
pub struct Workers {
    socket: PathBuf,
    secret: Secret,
    processes: u32,
    link: Link,
    idle: Mutex<Vec<Connection>>,
}

/// A connection to one worker, which serves one request after the other.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: UnixStream,
    /// What has been received from it.
    pub inbox: Inbox,
    /// The worker's process id, once it has said it.
    pub worker: Option<u32>,
    /// Memory shared with the worker, for large bodies.
    pub windows: Windows,
    /// Whether it has served a request before: its worker may have gone since.
    pub reused: bool,
    /// What still has to be sent in front of the first request.
    pub greeting: Vec<u8>,
}

/// No worker can take a request.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The supervisor says so.
    #[error("{reason}")]
    Refused {
        /// In its words.
        reason: String,
        /// Seconds after which to try again.
        retry_after: u32,
    },
    /// There is no supervisor to ask.
    #[error("the supervisor does not answer at {}: {problem}", control.display())]
    NoSupervisor {
        /// Its socket.
        control: PathBuf,
        /// What happened.
        problem: String,
    },
    /// As many requests wait as may (`listen-backlog=`).
    #[error("as many requests wait for its workers as may (listen-backlog=)")]
    Full,
    /// None of its workers' threads is free, and hardly any of httpd's.
    #[error(
        "its workers have no thread free, and too few of httpd's are for another request to wait"
    )]
    Crowded,
    /// The workers' socket does not take connections.
    #[error("no worker takes a connection at {}: {source}", socket.display())]
    NoConnection {
        /// Their socket.
        socket: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// Process group and application group.
pub type Key = (Vec<u8>, Vec<u8>);

/// What this child knows of an application group.
#[derive(Debug, Default)]
struct Known {
    /// Who holds its threads for it.
    crowd: Crowd,
    /// Its workers, if it has spoken to them.
    workers: Option<Arc<Workers>>,
}

/// All that this child has had to do with, by process group and application group.
static KNOWN: Mutex<BTreeMap<Key, Known>> = Mutex::new(BTreeMap::new());

/// Those who hold threads of this child for an application group.
pub fn crowd(key: &Key) -> Crowd {
    let mut known = known();
    match known.get(key) {
        Some(group) => Arc::clone(&group.crowd),
        None => {
            // Names may come from made-up host names: those that led nowhere are not kept.
            known.retain(|_, group| group.workers.is_some() || Arc::strong_count(&group.crowd) > 1);
            Arc::clone(&known.entry(key.clone()).or_default().crowd)
        }
    }
}

impl Workers {
    /// The workers of an application group; asks the supervisor unless they are known, and waits for
    /// them to start as long as `patience`.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn of(
        generation: &Generation,
        key: &Key,
        link: Link,
        patience: Duration,
    ) -> Result<Arc<Self>, Unavailable> {
        if let Some(workers) = known().get(key).and_then(|group| group.workers.clone()) {
            return Ok(workers);
        }
        let workers = Arc::new(ask(generation, key, link, patience)?);
        known().entry(key.clone()).or_default().workers = Some(Arc::clone(&workers));
        Ok(workers)
    }

    /// Forgets these workers, as their socket leads nowhere: the next request asks again.
    pub fn forget(self: &Arc<Self>, key: &Key) {
        if let Some(group) = known().get_mut(key) {
            group.workers.take_if(|workers| Arc::ptr_eq(workers, self));
        }
    }

    /// An idle connection, the one used last: its worker's caches are the warmest.
    pub fn reuse(&self) -> Option<Connection> {
        lock(&self.idle).pop()
    }

    /// A new connection, to the worker that accepts it first.
    ///
    /// # Errors
    /// [`Unavailable::NoConnection`], [`Unavailable::Full`].
    pub fn connect(&self, may_wait: bool) -> Result<Connection, Unavailable> {
        let wait = self.link.connect_timeout.filter(|_| may_wait).unwrap_or(FULL_PATIENCE);
        let wait = wait.max(FULL_PATIENCE);
        let stream =
            connect(&self.socket, self.link, wait).map_err(|source| match source.kind() {
                // unix(7): there was no place in the listener's queue.
                io::ErrorKind::WouldBlock => Unavailable::Full,
                _ => Unavailable::NoConnection { socket: self.socket.clone(), source },
            })?;
        let mut greeting = Vec::new();
        wire::encode(&wire::exchange::hello(self.secret), &mut greeting);
        // File descriptors come with responses that are files.
        let inbox = Inbox::with_descriptors();
        let windows = Windows::default();
        Ok(Connection { stream, inbox, worker: None, windows, reused: false, greeting })
    }

    /// Whether a worker that is busy may turn a request away, as another one may be free.
    pub fn have_choice(&self) -> bool {
        self.processes > 1
    }

    /// Keeps a connection whose response has been read to its end. One on which more has come than
    /// that is closed: it would pass for the answer to the next request.
    pub fn keep(&self, mut connection: Connection) {
        if !connection.inbox.is_empty() {
            return;
        }
        connection.inbox.relax();
        connection.reused = true;
        lock(&self.idle).push(connection);
    }
}

/// Asks the supervisor. One that is not there has died, or dies while it is asked: httpd's parent
/// starts another one, which is waited for.
fn ask(
    generation: &Generation,
    key: &Key,
    link: Link,
    patience: Duration,
) -> Result<Workers, Unavailable> {
    let deadline = Instant::now() + patience;
    loop {
        match ask_once(generation, key, link, patience) {
            Err(Asked::Gone(_)) if Instant::now() < deadline && !stopping::is_stopping() => {
                std::thread::sleep(PAUSE);
            }
            Err(Asked::Gone(error)) => {
                let (control, problem) = (generation.control.clone(), error.to_string());
                return Err(Unavailable::NoSupervisor { control, problem });
            }
            Err(Asked::Answered(unavailable)) => return Err(unavailable),
            Ok(workers) => return Ok(workers),
        }
    }
}

/// What came of asking, other than workers.
enum Asked {
    /// There is no supervisor, or none any more.
    Gone(io::Error),
    /// It said so, or is there and says nothing.
    Answered(Unavailable),
}

fn ask_once(
    generation: &Generation,
    (process_group, application_group): &Key,
    link: Link,
    patience: Duration,
) -> Result<Workers, Asked> {
    let stream = connect(&generation.control, link, patience).map_err(Asked::Gone)?;
    let question = ToBroker::Acquire {
        version: VERSION,
        secret: generation.secret,
        process_group,
        application_group,
    };
    channel::send_message(&stream, &question).map_err(Asked::Gone)?;
    let given_up = stopping::descriptor();
    match Inbox::new().wait_unless::<FromBroker>(&stream, patience, given_up) {
        Ok(FromBroker::Granted { socket, secret, processes }) => {
            Ok(Workers { socket, secret, processes, link, idle: Mutex::default() })
        }
        Ok(FromBroker::Unavailable { reason, retry_after }) => {
            Err(Asked::Answered(Unavailable::Refused { reason, retry_after }))
        }
        Err(ReceiveError::Closed) => Err(Asked::Gone(io::ErrorKind::UnexpectedEof.into())),
        Err(ReceiveError::Io(error)) => Err(Asked::Gone(error)),
        Err(error) => {
            let (control, problem) = (generation.control.clone(), error.to_string());
            Err(Asked::Answered(Unavailable::NoSupervisor { control, problem }))
        }
        Ok(other) => {
            let (control, problem) = (generation.control.clone(), format!("it says {other:?}"));
            Err(Asked::Answered(Unavailable::NoSupervisor { control, problem }))
        }
    }
}

/// `connect-timeout=`, as far as a request of this age has so much time (`queue-timeout=`). Nobody
/// can wait for no time at all.
pub fn patience(link: Link, age: Duration) -> Duration {
    let patience = link.connect_timeout.unwrap_or(CONNECT_PATIENCE).max(Duration::from_secs(1));
    let left = link.queue_timeout.map(|limit| limit.saturating_sub(age));
    left.map_or(patience, |left| left.min(patience).max(Duration::from_millis(1)))
}

/// Connects, and waits at most so long for a place in the listener's queue.
pub fn connect(path: &Path, link: Link, patience: Duration) -> io::Result<UnixStream> {
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    // unix(7): a full queue blocks connect for as long as a send may block.
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(MOMENT))?;
    match link.send_buffer_size {
        Some(bytes) => set_socket_send_buffer_size(&socket, bytes as usize)?,
        None => channel::widen(&socket),
    }
    if let Some(bytes) = link.receive_buffer_size {
        set_socket_recv_buffer_size(&socket, bytes as usize)?;
    }
    loop {
        match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
            Ok(()) => {
                set_socket_timeout(&socket, Timeout::Send, Some(CONNECT_PATIENCE))?;
                return Ok(UnixStream::from(socket));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn known() -> MutexGuard<'static, BTreeMap<Key, Known>> {
    lock(&KNOWN)
}

/// What these locks guard is whole at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use rustix::net::sockopt::{socket_recv_buffer_size, socket_send_buffer_size};

    use super::*;

    #[test]
    fn connections_have_buffers_of_the_configured_sizes() {
        let path = std::env::temp_dir().join(format!("mwrs-buffers-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let sizes = |link: Link| {
            let socket = connect(&path, link, MOMENT).unwrap();
            (socket_send_buffer_size(&socket).unwrap(), socket_recv_buffer_size(&socket).unwrap())
        };
        let plain = sizes(Link::default());
        let send = sizes(Link { send_buffer_size: Some(4096), ..Link::default() });
        let receive = sizes(Link { receive_buffer_size: Some(4096), ..Link::default() });
        // Linux takes twice what it is asked for (socket(7)).
        assert_eq!(send, (8192, plain.1));
        assert_eq!(receive, (plain.0, 8192));
        drop(listener);
        std::fs::remove_file(path).unwrap();
    }
}
