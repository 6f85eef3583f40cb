//! One connection from an httpd child, with what has been received over it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use channel::{Inbox, Window};
use rustix::net::{Shutdown, UCred};
use wire::FrameError;
use wire::exchange::{FromWorker, Purpose, Refusal, ToWorker};

use crate::forked::has_forked;

/// Number of a connection, never used twice, so that a late event cannot hit another one.
pub type Token = u64;

/// One connection, with what has been received over it.
#[derive(Debug)]
pub struct Connection {
    /// The socket. A request in progress holds a second reference, for sending.
    pub socket: Arc<OwnedFd>,
    /// Received bytes.
    pub inbox: Inbox,
    /// Whether it has opened with the right secret.
    pub authentic: bool,
    /// Who connected, as the kernel knows it.
    pub peer: UCred,
    /// Its number.
    pub token: Token,
    /// Shared memory for large bodies.
    pub windows: Windows,
    /// Whether epoll knows the socket.
    pub registered: bool,
    open: Arc<AtomicUsize>,
}

/// Memory that is shared with the peer for as long as the connection lasts.
#[derive(Debug, Default)]
pub struct Windows {
    /// For response bodies.
    pub response: Option<Window>,
    /// For request bodies.
    pub body: Option<Window>,
}

impl Drop for Connection {
    /// A process that the application forked may still hold a copy of the descriptor; the peer
    /// must see the end all the same.
    fn drop(&mut self) {
        if !has_forked() {
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        }
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connection {
    /// Takes on a socket that was just accepted. `open` counts the connections that exist.
    pub fn new(socket: OwnedFd, peer: UCred, token: Token, open: Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        channel::widen(&socket);
        Self {
            socket: Arc::new(socket),
            inbox: Inbox::with_descriptors(),
            authentic: false,
            peer,
            token,
            windows: Windows::default(),
            registered: false,
            open,
        }
    }

    /// Answers the request at the front of the inbox. Returns whether the connection is still good.
    pub fn refuse(&mut self, refusal: Refusal) -> bool {
        let taken: Result<Option<ToWorker<'_>>, FrameError> = self.inbox.next();
        taken.is_ok() && self.tell(&FromWorker::Refused(refusal))
    }

    /// Takes the window that the message at the front of the inbox brings.
    ///
    /// # Errors
    /// It cannot be used; or the system's.
    pub fn take_window(&mut self, purpose: Purpose, size: u32) -> io::Result<()> {
        let _ = self.inbox.next::<ToWorker<'_>>();
        let memory = self.inbox.take_descriptor().ok_or(io::ErrorKind::NotFound)?;
        let window = Window::adopt(&memory, size)?;
        match purpose {
            Purpose::Response => self.windows.response = Some(window),
            Purpose::Body => self.windows.body = Some(window),
        }
        Ok(())
    }

    /// Sends a small message to a peer that awaits it, and therefore has room for it. Returns
    /// whether the connection is still good.
    pub fn tell(&self, message: &FromWorker<'_>) -> bool {
        let mut bytes = Vec::new();
        wire::encode(message, &mut bytes);
        channel::try_send(&self.socket, &bytes).is_ok_and(|sent| sent == bytes.len())
    }

    /// Tells the peer that no request will be begun on this connection any more, and closes it.
    pub fn say_goodbye(mut self) {
        let mut bytes = Vec::new();
        wire::encode(&FromWorker::Goodbye, &mut bytes);
        let _ = channel::try_send(&self.socket, &bytes);
        // A socket closed with something unread in it would reset the connection, and the peer
        // might not get to read the goodbye.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Read);
        while matches!(self.inbox.try_receive(&self.socket), Ok(1..)) {
            self.inbox = Inbox::new();
        }
    }
}
