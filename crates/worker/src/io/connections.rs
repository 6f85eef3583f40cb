//! Connections from httpd children: one that is idle lies in a table, armed in epoll, and costs no
//! thread; one that has sent a request belongs to the runner.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::UCred;

use crate::conversation::connection::{Connection, Token};

/// All connections, and the epoll that watches the idle ones.
#[derive(Debug)]
pub struct Connections {
    epoll: OwnedFd,
    wake: OwnedFd,
    idle: Mutex<Idle>,
    open: Arc<AtomicUsize>,
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct Idle {
    table: BTreeMap<Token, Connection>,
    /// Connections that came back with bytes in their inbox: epoll cannot know about those.
    unfinished: Vec<Connection>,
    closed: bool,
    last: Token,
}

/// The token of the eventfd that wakes the I/O thread.
pub const WAKE: Token = 0;
/// The token of the listening socket.
pub const LISTENER: Token = 1;

impl Connections {
    /// Makes the epoll, with nothing in it but the means to wake its thread.
    ///
    /// # Errors
    /// The system's error.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let idle = Mutex::new(Idle { last: LISTENER, ..Idle::default() });
        Ok(Self { epoll, wake, idle, open: Arc::default(), closing: AtomicBool::new(false) })
    }

    /// The epoll descriptor.
    pub fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Takes on a socket that was just accepted. It is not watched until it is [put
    /// back](Self::put_back).
    pub fn adopt(&self, socket: OwnedFd, peer: UCred) -> Connection {
        let token = {
            let mut idle = self.lock();
            idle.last += 1;
            idle.last
        };
        Connection::new(socket, peer, token, Arc::clone(&self.open))
    }

    /// How many connections exist, idle or not.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Watches a connection for its next message; when all are being closed, closes it.
    pub fn put_back(&self, mut connection: Connection) {
        let mut idle = self.lock();
        if idle.closed {
            drop(idle);
            connection.say_goodbye();
        } else if connection.inbox.ready::<wire::exchange::ToWorker<'_>>().unwrap_or(true) {
            idle.unfinished.push(connection);
            drop(idle);
            self.wake();
        } else {
            connection.inbox.relax();
            let interest = EventFlags::IN | EventFlags::ONESHOT;
            let data = EventData::new_u64(connection.token);
            // Under the lock: once in the table, another thread may take and close it.
            let watched = if connection.registered {
                epoll::modify(&self.epoll, &*connection.socket, data, interest)
            } else {
                epoll::add(&self.epoll, &*connection.socket, data, interest)
            };
            connection.registered = true;
            match watched {
                Ok(()) => {
                    idle.table.insert(connection.token, connection);
                }
                // Out of kernel memory for watches: the peer finds it closed and connects again.
                Err(_) => drop(connection),
            }
        }
    }

    /// Takes the connection that an event is about, if it is still there.
    pub fn take(&self, token: Token) -> Option<Connection> {
        self.lock().table.remove(&token)
    }

    /// Takes the connections that came back with bytes in their inbox.
    pub fn take_unfinished(&self) -> Vec<Connection> {
        std::mem::take(&mut self.lock().unfinished)
    }

    /// Orders the I/O thread to close the listening socket and all idle connections.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether [`Self::close`] was called.
    pub fn closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Closes all idle connections, and from now on those that are put back.
    pub fn close_idle(&self) {
        let mut idle = self.lock();
        idle.closed = true;
        let table = std::mem::take(&mut idle.table);
        let unfinished = std::mem::take(&mut idle.unfinished);
        drop(idle);
        table.into_values().chain(unfinished).for_each(Connection::say_goodbye);
    }

    /// Makes the epoll report [`WAKE`].
    pub fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Takes back the report of [`WAKE`].
    pub fn woken(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().expect("nobody panics while holding the table")
    }
}
