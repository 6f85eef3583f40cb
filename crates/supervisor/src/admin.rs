//! The socket at which an administrator gives orders: root, or the user whom the supervisor runs as.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use channel::Inbox;
use nix::unistd::Uid;
use rustix::net::SocketFlags;
use wire::admin::{FromAdmin, ToAdmin};

use crate::logic::Ticket;

/// Connections at a time. Whoever comes beyond takes the place of the one that has been there for
/// longest without a question.
const MAX_CLIENTS: usize = 8;

/// Listens, and keeps the connections of those who have not asked yet.
#[derive(Debug)]
pub struct Admin {
    listener: OwnedFd,
    clients: Vec<(OwnedFd, Inbox)>,
    /// Those who wait for the end of a reload.
    waiting: BTreeMap<Ticket, Order>,
    last: u64,
}

/// What is asked, and by whom.
#[derive(Debug)]
pub struct Order {
    stream: OwnedFd,
    /// The question.
    pub wish: Wish,
}

/// What an administrator can ask.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// A reload of the group of that name, or of all, and whether its end is awaited.
    Reload(Option<Vec<u8>>, bool),
    /// A list of the workers of the group of that name, or of all.
    Status(Option<Vec<u8>>),
    /// The memory in which requests and workers are counted.
    Metrics,
    /// The threads of Python of the group of that name, or of all.
    Stacks(Option<Vec<u8>>),
    /// Something that another version knows.
    Foreign,
}

impl Admin {
    /// Takes connections from `listener`.
    pub fn new(listener: OwnedFd) -> Self {
        Self { listener, clients: Vec::new(), waiting: BTreeMap::new(), last: 0 }
    }

    /// Listens there from now on.
    pub fn replace_listener(&mut self, listener: OwnedFd) {
        self.listener = listener;
    }

    /// All that can become readable.
    pub fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let clients = self.clients.iter().map(|(stream, _)| stream.as_fd());
        std::iter::once(self.listener.as_fd()).chain(clients)
    }

    /// Keeps an order until its answer is known. Whoever has waited longest gives way to others.
    pub fn keep(&mut self, order: Order) -> Ticket {
        if self.waiting.len() >= MAX_CLIENTS
            && let Some((_, oldest)) = self.waiting.pop_first()
        {
            oldest.answer(&FromAdmin::Reloading);
        }
        self.last += 1;
        self.waiting.insert(Ticket(self.last), order);
        Ticket(self.last)
    }

    /// Answers an order that was kept.
    pub fn answer(&mut self, ticket: Ticket, answer: &FromAdmin) {
        if let Some(order) = self.waiting.remove(&ticket) {
            order.answer(answer);
        }
    }

    /// Takes new connections, and reads from those that there are. Nothing of it waits.
    pub fn read(&mut self) -> Vec<Order> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(stream) = rustix::net::accept_with(&self.listener, flags) {
            // The mode of the socket keeps others out already.
            let peer = rustix::net::sockopt::socket_peercred(&stream);
            let own = Uid::effective().as_raw();
            if peer.is_ok_and(|peer| peer.uid.is_root() || peer.uid.as_raw() == own) {
                self.clients.push((stream, Inbox::new()));
            }
            if self.clients.len() > MAX_CLIENTS {
                self.clients.remove(0);
            }
        }
        let mut orders = Vec::new();
        for (stream, mut inbox) in std::mem::take(&mut self.clients) {
            match wish(&stream, &mut inbox) {
                Ok(Some(wish)) => orders.push(Order { stream, wish }),
                Ok(None) => self.clients.push((stream, inbox)),
                // It has gone, or is none that we understand: nobody to answer.
                Err(_) => {}
            }
        }
        orders
    }
}

impl Order {
    /// Hands over the memory and closes.
    pub fn hand_over(self, memory: BorrowedFd<'_>) {
        let mut bytes = Vec::new();
        wire::encode(&FromAdmin::Metrics, &mut bytes);
        // As in `answer`.
        let _ = channel::try_send_with_descriptor(&self.stream, &bytes, memory);
    }

    /// Answers and closes.
    pub fn answer(self, answer: &FromAdmin) {
        let mut bytes = Vec::new();
        wire::encode(answer, &mut bytes);
        channel::widen(&self.stream);
        // Who went away hears nothing.
        let _ = channel::try_send(&self.stream, &bytes);
    }
}

/// What a connection asks, once all of it is there.
fn wish(stream: &OwnedFd, inbox: &mut Inbox) -> io::Result<Option<Wish>> {
    match inbox.try_receive(stream) {
        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
        Err(error) => return Err(error),
    }
    // What cannot be understood is another version's: it hears of ours.
    let question = match inbox.next::<ToAdmin<'_>>() {
        Ok(question) => question,
        Err(_) => return Ok(Some(Wish::Foreign)),
    };
    Ok(question.map(|question| match question {
        ToAdmin::Reload { version: wire::VERSION, process_group, wait } => {
            Wish::Reload(process_group.map(<[u8]>::to_vec), wait)
        }
        ToAdmin::Status { version: wire::VERSION, process_group } => {
            Wish::Status(process_group.map(<[u8]>::to_vec))
        }
        ToAdmin::Metrics { version: wire::VERSION } => Wish::Metrics,
        ToAdmin::Stacks { version: wire::VERSION, process_group } => {
            Wish::Stacks(process_group.map(<[u8]>::to_vec))
        }
        _ => Wish::Foreign,
    }))
}
