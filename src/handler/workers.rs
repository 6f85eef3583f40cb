//! Connections to workers: found through the supervisor, kept for the next request.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
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
use wire::exchange::ToWorker;
use wire::{Secret, VERSION};

use super::admission::Admission;
use super::peer::Peer;
use super::queue::{GivenUp, QueueTime};
use super::turn::Outcome;
use super::windows::Windows;
use crate::generation::{ConnectionOptions, Generation};

/// How long a request waits for a supervisor that has gone: httpd's parent starts the next one at
/// once, or not soon.
const SUPERVISOR_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a request waits for a place in the workers' queue without `connect-timeout=`, and to be
/// accepted if it may not wait: a moment, as the queue may be full only for one.
pub const ACCEPT_TIMEOUT: Duration = Duration::from_millis(100);

/// Room for most requests, in bytes: growing it piece by piece would cost as much as filling it.
const MESSAGE: usize = 4 << 10;

/// How long receiving from a worker waits by itself.
const MOMENT: Duration = Duration::from_millis(50);

/// So many application groups are remembered without a further look: more than a process group has.
const MANY_GROUPS: usize = 128;

/// Between two looks for a supervisor.
const PAUSE: Duration = Duration::from_millis(20);

/// The workers of one application group, as this child knows them.
#[derive(Debug)]
pub struct Workers {
    socket: PathBuf,
    secret: Secret,
    processes: u32,
    options: ConnectionOptions,
    idle: Mutex<Vec<Connection>>,
}

/// A connection to one worker, which serves one request after the other.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: UnixStream,
    /// What has been received from it.
    pub inbox: Inbox,
    /// The worker, once it has accepted the connection.
    pub worker: Peer,
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
    /// The request is not waited for any longer.
    #[error(transparent)]
    GivenUp(#[from] GivenUp),
    /// As many requests wait as may (`listen-backlog=`).
    #[error("as many requests wait for its workers as may (listen-backlog=)")]
    Full,
    /// None of its workers' threads is free, and hardly any of httpd's.
    #[error(
        "its workers have no thread free, and too few of httpd's are for another request to wait"
    )]
    NotAdmitted,
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
    /// Counts its requests that hold threads.
    admission: Admission,
    /// Its workers, if it has spoken to them.
    workers: Option<Arc<Workers>>,
}

/// All that this child has had to do with, by process group and application group.
static KNOWN: Mutex<BTreeMap<Key, Known>> = Mutex::new(BTreeMap::new());

/// The count of requests that hold threads of this child for an application group, and how many groups
/// this child has had to do with.
pub fn admission(key: &Key) -> (Admission, usize) {
    let mut known = known();
    let admission = match known.get(key) {
        Some(group) => Arc::clone(&group.admission),
        None => {
            // Names may come from made-up host names: those that led nowhere are not kept, and of many
            // only those to whose workers there is a connection.
            let are_many = known.len() >= MANY_GROUPS;
            known.retain(|_, group| {
                let workers = group.workers.as_ref();
                Arc::strong_count(&group.admission) > 1
                    || workers.is_some_and(|workers| !are_many || workers.are_connected())
            });
            Arc::clone(&known.entry(key.clone()).or_default().admission)
        }
    };
    (admission, known.len())
}

impl Connection {
    /// Sends what a worker is asked for, behind what still has to be said first.
    ///
    /// # Errors
    /// Only part of the frame has arrived, if any: no worker begins that.
    pub fn send(&mut self, message: &ToWorker<'_>) -> Result<(), Outcome> {
        let mut bytes = std::mem::take(&mut self.greeting);
        bytes.reserve(MESSAGE);
        let memory = self.windows.offer(&mut bytes);
        wire::encode(message, &mut bytes);
        let sent = match memory {
            None => channel::send(&self.stream, &bytes),
            Some(memory) => channel::send_with_descriptor(&self.stream, &bytes, memory),
        };
        sent.map_err(|error| Outcome::NotBegun(format!("cannot be sent ({error})")))
    }
}

impl Workers {
    /// The workers of an application group; asks the supervisor unless they are known, and waits for
    /// them to start as long as `timeout`, in `queue`.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn of(
        generation: &Generation,
        (key, script): (&Key, Option<&[u8]>),
        options: ConnectionOptions,
        (queue, timeout): (&QueueTime<'_>, Duration),
    ) -> Result<Arc<Self>, Unavailable> {
        if let Some(workers) = known().get(key).and_then(|group| group.workers.clone()) {
            return Ok(workers);
        }
        let workers = Arc::new(ask(generation, (key, script), options, (queue, timeout))?);
        known().entry(key.clone()).or_default().workers = Some(Arc::clone(&workers));
        Ok(workers)
    }

    /// Forgets these workers, as their socket leads nowhere: the next request asks again.
    pub fn forget(self: &Arc<Self>, key: &Key) {
        if let Some(group) = known().get_mut(key) {
            group.workers.take_if(|workers| Arc::ptr_eq(workers, self));
        }
    }

    /// An idle connection, the one used last: its worker's caches are the warmest. Those of workers
    /// that have ended are closed.
    pub fn reuse(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        std::iter::from_fn(|| idle.pop()).find(|connection| !connection.worker.has_ended())
    }

    /// A new connection, to the worker that accepts it first. What is sent over it may take as long
    /// as `send_timeout`.
    ///
    /// # Errors
    /// [`Unavailable::NoConnection`], [`Unavailable::Full`], [`Unavailable::GivenUp`].
    pub fn connect(
        &self,
        queue: &QueueTime<'_>,
        may_wait: bool,
        send_timeout: Duration,
    ) -> Result<Connection, Unavailable> {
        let wait = self.options.connect_timeout.filter(|_| may_wait).unwrap_or_default();
        let wait = queue.left().map_or(wait, |left| left.min(wait));
        let deadline = Instant::now() + wait;
        let stream = loop {
            match connect(&self.socket, self.options, ACCEPT_TIMEOUT) {
                Ok(stream) => break stream,
                // unix(7): there was no place in the listener's queue.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= deadline {
                        return Err(Unavailable::Full);
                    }
                    queue.wait_for(&[], Duration::ZERO)?;
                }
                Err(source) => {
                    return Err(Unavailable::NoConnection { socket: self.socket.clone(), source });
                }
            }
        };
        let sent = set_socket_timeout(&stream, Timeout::Send, Some(send_timeout));
        sent.map_err(|error| Unavailable::NoConnection {
            socket: self.socket.clone(),
            source: error.into(),
        })?;
        let mut greeting = Vec::new();
        wire::encode(&wire::exchange::hello(self.secret), &mut greeting);
        // File descriptors come with responses that are files.
        let inbox = Inbox::with_descriptors();
        let windows = Windows::default();
        Ok(Connection { stream, inbox, worker: Peer::default(), windows, reused: false, greeting })
    }

    /// Whether a connection to a worker that has not ended is kept.
    fn are_connected(&self) -> bool {
        lock(&self.idle).iter().any(|connection| !connection.worker.has_ended())
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
    what: (&Key, Option<&[u8]>),
    options: ConnectionOptions,
    (queue, timeout): (&QueueTime<'_>, Duration),
) -> Result<Workers, Unavailable> {
    let deadline = Instant::now() + timeout.min(SUPERVISOR_TIMEOUT);
    loop {
        match ask_once(generation, what, options, (queue, timeout)) {
            Err(Asked::Gone(_)) if Instant::now() < deadline => {
                queue.wait_for(&[], PAUSE)?;
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
    ((process_group, application_group), script): (&Key, Option<&[u8]>),
    options: ConnectionOptions,
    (queue, timeout): (&QueueTime<'_>, Duration),
) -> Result<Workers, Asked> {
    let deadline = Instant::now() + timeout;
    let stream = connect(&generation.control, options, timeout.min(SUPERVISOR_TIMEOUT))
        .map_err(Asked::Gone)?;
    let question = ToBroker::Acquire {
        version: VERSION,
        secret: generation.secret,
        process_group,
        application_group,
        script,
    };
    channel::send_message(&stream, &question).map_err(Asked::Gone)?;
    let wait = queue.wait_for(&[stream.as_fd()], timeout);
    wait.map_err(|why| Asked::Answered(why.into()))?;
    // The answer comes in one piece.
    let left = deadline.saturating_duration_since(Instant::now());
    match Inbox::new().wait::<FromBroker>(&stream, left) {
        Err(ReceiveError::Timeout(_)) => {
            let (control, seconds) = (generation.control.clone(), timeout.as_secs_f64());
            let problem = format!("no workers have started within {seconds:.0} s");
            Err(Asked::Answered(Unavailable::NoSupervisor { control, problem }))
        }
        Ok(FromBroker::Granted { socket, secret, processes }) => {
            Ok(Workers { socket, secret, processes, options, idle: Mutex::default() })
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

/// Connects, and waits at most so long for a place in the listener's queue.
pub fn connect(
    path: &Path,
    options: ConnectionOptions,
    timeout: Duration,
) -> io::Result<UnixStream> {
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    // unix(7): a full queue blocks connect for as long as a send may block.
    set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(MOMENT))?;
    match options.send_buffer_size {
        Some(bytes) => set_socket_send_buffer_size(&socket, bytes as usize)?,
        None => channel::widen(&socket),
    }
    if let Some(bytes) = options.receive_buffer_size {
        set_socket_recv_buffer_size(&socket, bytes as usize)?;
    }
    loop {
        match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
            Ok(()) => {
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
        let sizes = |options: ConnectionOptions| {
            let socket = connect(&path, options, MOMENT).unwrap();
            (socket_send_buffer_size(&socket).unwrap(), socket_recv_buffer_size(&socket).unwrap())
        };
        let plain = sizes(ConnectionOptions::default());
        let send = sizes(ConnectionOptions {
            send_buffer_size: Some(4096),
            ..ConnectionOptions::default()
        });
        let receive = sizes(ConnectionOptions {
            receive_buffer_size: Some(4096),
            ..ConnectionOptions::default()
        });
        // Linux takes twice what it is asked for (socket(7)).
        assert_eq!(send, (8192, plain.1));
        assert_eq!(receive, (plain.0, 8192));
        drop(listener);
        std::fs::remove_file(path).unwrap();
    }
}
