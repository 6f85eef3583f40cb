//! The many descriptors that workers have given us, watched at a cost that does not grow with them
//! (`epoll(7)`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::logic::{SetId, WorkerId};
use crate::output::OutputId;

/// How many of those that are ready are looked at in a turn of the loop. Others come in the next.
const PER_TURN: usize = 256;

/// A descriptor to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// The conversation with a worker.
    Link(WorkerId),
    /// A pipe of a worker's.
    Output(OutputId),
    /// The listening socket of a set, until a connection has come ([`Watch::once`]).
    Arrival(SetId),
}

/// Watches them.
#[derive(Debug)]
pub struct Watch {
    epoll: OwnedFd,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// `epoll_create1(2)`'s.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Watches a descriptor until [`Self::remove`].
    ///
    /// # Errors
    /// `epoll_ctl(2)`'s.
    pub fn add(&self, descriptor: impl AsFd, watched: Watched) -> io::Result<()> {
        let data = EventData::new_u64(watched.number());
        Ok(epoll::add(&self.epoll, descriptor, data, EventFlags::IN)?)
    }

    /// Watches a descriptor until it can be read for the first time. Again, if it was watched so before.
    ///
    /// # Errors
    /// `epoll_ctl(2)`'s.
    pub fn once(&self, descriptor: impl AsFd, watched: Watched) -> io::Result<()> {
        let data = EventData::new_u64(watched.number());
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        match epoll::add(&self.epoll, &descriptor, data, flags) {
            Err(rustix::io::Errno::EXIST) => {
                Ok(epoll::modify(&self.epoll, &descriptor, data, flags)?)
            }
            added => Ok(added?),
        }
    }

    /// Forgets a descriptor. That it is closed would not be enough: a process that is about to become
    /// a worker may still have a copy.
    pub fn remove(&self, descriptor: impl AsFd) {
        // One that could not be added.
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Those that can be read.
    pub fn ready(&self) -> Vec<Watched> {
        let mut events = Vec::with_capacity(PER_TURN);
        // Should it fail, the next turn asks again.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&Timespec::default()));
        events.iter().map(|event| Watched::of_number(event.data.u64())).collect()
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Watched {
    fn number(self) -> u64 {
        match self {
            Self::Link(WorkerId(id)) => id << 2,
            Self::Output(OutputId(id)) => id << 2 | 1,
            Self::Arrival(SetId(id)) => id << 2 | 2,
        }
    }

    fn of_number(number: u64) -> Self {
        match number & 3 {
            0 => Self::Link(WorkerId(number >> 2)),
            1 => Self::Output(OutputId(number >> 2)),
            _ => Self::Arrival(SetId(number >> 2)),
        }
    }
}
