//! Received bytes and descriptors, until they are whole messages.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recv, recvmsg,
};
use wire::{FrameError, Header, Message};

use crate::untrusted;

/// Room for most requests and small responses; more is made as whole frames need it.
const INITIAL: usize = 16 << 10;

/// Descriptors that may wait for their frames. One travels per frame, so more is no peer of ours.
const MAX_WAITING_DESCRIPTORS: usize = 8;

/// Bytes received from one peer, from which messages are taken.
#[derive(Debug)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    descriptors: Descriptors,
}

/// What becomes of descriptors that the peer sends.
#[derive(Debug)]
enum Descriptors {
    /// The kernel drops them.
    Dropped,
    /// They end the conversation, and are not touched.
    Refused,
    /// They wait here for their messages.
    Taken(VecDeque<OwnedFd>),
}

/// Why no further message can be received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The peer closed the connection between two messages.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer closed the connection inside a message.
    #[error("the peer closed the connection inside a message")]
    Truncated,
    /// Nothing came for as long as the caller would wait.
    #[error("no message within {0:?}")]
    Timeout(Duration),
    /// The caller does not want to wait any more.
    #[error("the wait was given up")]
    GivenUp,
    /// The peer sent something that is no message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Inbox {
    /// For a peer of our own from which descriptors are never wanted: the kernel drops any that it
    /// sends.
    pub fn new() -> Self {
        Self { buffer: vec![0; INITIAL], start: 0, end: 0, descriptors: Descriptors::Dropped }
    }

    /// For a peer that may send descriptors along with its messages.
    pub fn with_descriptors() -> Self {
        Self { descriptors: Descriptors::Taken(VecDeque::new()), ..Self::new() }
    }

    /// For a peer with fewer rights than this process: a descriptor that it sends is an error, and
    /// stays in the socket (see [`untrusted`]).
    pub fn refusing_descriptors() -> Self {
        Self { descriptors: Descriptors::Refused, ..Self::new() }
    }

    /// Receives once, without waiting when the socket is non-blocking. Returns the number of bytes;
    /// 0 means that the peer closed its end.
    ///
    /// # Errors
    /// `recvmsg(2)`'s, among them [`io::ErrorKind::WouldBlock`].
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.receive_with(socket, RecvFlags::CMSG_CLOEXEC)
    }

    /// Receives what is there, without waiting whatever the socket's mode is.
    ///
    /// # Errors
    /// `recvmsg(2)`'s, among them [`io::ErrorKind::WouldBlock`].
    pub fn try_receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.receive_with(socket, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)
    }

    fn receive_with(&mut self, socket: impl AsFd, flags: RecvFlags) -> io::Result<usize> {
        self.make_room();
        let room = &mut self.buffer[self.end..];
        let received = match &mut self.descriptors {
            Descriptors::Dropped => recv(socket, room, flags - RecvFlags::CMSG_CLOEXEC)?.1,
            Descriptors::Refused => {
                untrusted::receive(socket, room, flags - RecvFlags::CMSG_CLOEXEC)?
            }
            Descriptors::Taken(waiting) => {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let message = recvmsg(socket, &mut [IoSliceMut::new(room)], &mut ancillary, flags)?;
                for part in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = part {
                        waiting.extend(rights);
                    }
                }
                if message.flags.contains(ReturnFlags::CTRUNC)
                    || waiting.len() > MAX_WAITING_DESCRIPTORS
                {
                    return Err(io::Error::other("the peer sent more descriptors than it may"));
                }
                message.bytes
            }
        };
        self.end += received;
        Ok(received)
    }

    /// Whether a whole message of this direction has been received.
    ///
    /// # Errors
    /// [`FrameError`] when what was received cannot be the start of one.
    pub fn ready<'m, M: Message<'m>>(&self) -> Result<bool, FrameError> {
        Ok(wire::split(self.pending(), M::MAX_PAYLOAD)?.is_some())
    }

    /// Looks at the next message without taking it, if a whole one has been received.
    ///
    /// # Errors
    /// [`FrameError`] when what was received is no message of this direction.
    pub fn peek<'a, M: Message<'a>>(&'a self) -> Result<Option<M>, FrameError> {
        let frame = wire::split(self.pending(), M::MAX_PAYLOAD)?;
        frame.map(|frame| frame.message()).transpose()
    }

    /// Takes the next message, if a whole one has been received. Its borrowed parts stay valid
    /// until the next call that receives.
    ///
    /// # Errors
    /// [`FrameError`] when what was received is no message of this direction.
    pub fn next<'a, M: Message<'a>>(&'a mut self) -> Result<Option<M>, FrameError> {
        let Some(frame) = wire::split(&self.buffer[self.start..self.end], M::MAX_PAYLOAD)? else {
            return Ok(None);
        };
        self.start += frame.size();
        frame.message().map(Some)
    }

    /// Takes the descriptor that came with the message just taken.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        match &mut self.descriptors {
            Descriptors::Taken(waiting) => waiting.pop_front(),
            Descriptors::Dropped | Descriptors::Refused => None,
        }
    }

    /// Waits for a message, at most for `patience`.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub fn wait<'a, M: Message<'a>>(
        &'a mut self,
        socket: impl AsFd,
        patience: Duration,
    ) -> Result<M, ReceiveError> {
        self.wait_unless(socket, patience, None)
    }

    /// As [`Self::wait`], but no longer than until `given_up` is readable.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub fn wait_unless<'a, M: Message<'a>>(
        &'a mut self,
        socket: impl AsFd,
        patience: Duration,
        given_up: Option<BorrowedFd<'_>>,
    ) -> Result<M, ReceiveError> {
        let deadline = Instant::now() + patience;
        while !self.ready::<M>()? {
            self.fill(&socket, deadline, given_up).map_err(|error| match error {
                ReceiveError::Timeout(_) => ReceiveError::Timeout(patience),
                error => error,
            })?;
        }
        // `ready` has just seen the frame; only its payload can still be at fault.
        self.next()?.ok_or(ReceiveError::Truncated)
    }

    /// Waits until more bytes have come.
    fn fill(
        &mut self,
        socket: impl AsFd,
        deadline: Instant,
        given_up: Option<BorrowedFd<'_>>,
    ) -> Result<(), ReceiveError> {
        let mut sources = vec![PollFd::new(&socket, PollFlags::IN)];
        sources.extend(given_up.as_ref().map(|given_up| PollFd::new(given_up, PollFlags::IN)));
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match rustix::event::poll(&mut sources, Some(&timeout)) {
                Ok(0) => return Err(ReceiveError::Timeout(left)),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            }
            if sources.get(1).is_some_and(|given_up| !given_up.revents().is_empty()) {
                return Err(ReceiveError::GivenUp);
            }
            match self.try_receive(&socket) {
                Ok(0) if self.pending().is_empty() => return Err(ReceiveError::Closed),
                Ok(0) => return Err(ReceiveError::Truncated),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether nothing is waiting here, not even a part of a message, or a descriptor.
    pub fn is_empty(&self) -> bool {
        let waits = matches!(&self.descriptors, Descriptors::Taken(waiting) if !waiting.is_empty());
        self.pending().is_empty() && !waits
    }

    /// Gives back the room that a large message took. For connections about to be idle.
    pub fn relax(&mut self) {
        if self.pending().is_empty() && self.buffer.len() > 16 * INITIAL {
            (self.buffer, self.start, self.end) = (vec![0; INITIAL], 0, 0);
        }
    }

    fn pending(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Leaves room behind `end`. A large frame gets room as its bytes come, doubling, never all at
    /// once on the word of its header.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end < self.buffer.len() {
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end > self.buffer.len() / 2 {
            let wanted = match self.pending().first_chunk::<{ Header::SIZE }>() {
                Some(header) => Header::decode(header, usize::MAX)
                    .map_or(0, |header| Header::SIZE + header.len as usize),
                None => 0,
            };
            let len = wanted.clamp(self.buffer.len() + INITIAL, 2 * self.buffer.len());
            self.buffer.resize(len, 0);
        }
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use wire::exchange::{FromWorker, ToWorker};

    use super::*;

    const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn messages_arrive_in_order_however_they_are_cut() {
        let large = vec![7; 900_000];
        let sent = [FromWorker::Data(b"a"), FromWorker::Data(&large), FromWorker::End];
        let mut bytes = Vec::new();
        sent.iter().for_each(|message| wire::encode(message, &mut bytes));
        let (near, far) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            for piece in bytes.chunks(70_001) {
                crate::send(&near, piece).unwrap();
            }
        });
        let mut inbox = Inbox::new();
        for message in &sent {
            assert_eq!(inbox.wait::<FromWorker<'_>>(&far, MESSAGE_TIMEOUT).unwrap(), *message);
        }
        writer.join().unwrap();
        assert!(matches!(
            inbox.wait::<FromWorker<'_>>(&far, MESSAGE_TIMEOUT),
            Err(ReceiveError::Closed)
        ));
    }

    #[test]
    fn a_connection_that_ends_inside_a_message_is_told_from_one_that_ends_after() {
        let (near, far) = UnixStream::pair().unwrap();
        crate::send(&near, &[9, 0, 0, 0, 3]).unwrap();
        drop(near);
        let outcome = Inbox::new().wait::<ToWorker<'_>>(&far, MESSAGE_TIMEOUT).unwrap_err();
        assert!(matches!(outcome, ReceiveError::Truncated), "{outcome}");
    }

    #[test]
    fn a_peer_that_never_ends_its_message_costs_no_more_than_it_sends() {
        let (near, far) = UnixStream::pair().unwrap();
        let header = Header { len: 16 << 20, kind: 3, descriptors: 0 };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        bytes.resize(40_000, 0);
        crate::send(&near, &bytes).unwrap();
        let mut inbox = Inbox::new();
        let outcome = inbox.wait::<ToWorker<'_>>(&far, Duration::ZERO);
        assert!(outcome.is_err());
        assert!(inbox.buffer.len() <= 4 * bytes.len(), "{} bytes", inbox.buffer.len());
    }

    #[test]
    fn descriptors_travel_with_their_message() {
        let (near, far) = UnixStream::pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut bytes = Vec::new();
        wire::encode(&wire::generation::ToSupervisor::Lifeline, &mut bytes);
        crate::send_with_descriptor(&near, &bytes, &write).unwrap();
        drop(write);
        let mut inbox = Inbox::with_descriptors();
        inbox.wait::<wire::generation::ToSupervisor>(&far, MESSAGE_TIMEOUT).unwrap();
        let received = inbox.take_descriptor().unwrap();
        rustix::io::write(&received, b"x").unwrap();
        assert_eq!(rustix::io::read(&read, &mut [0; 8]).unwrap(), 1);
        assert!(inbox.take_descriptor().is_none());
    }

    #[test]
    fn a_peer_that_may_send_no_descriptors_leaves_none_behind() {
        let (near, far) = UnixStream::pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        crate::send_with_descriptor(&near, b"12345678", &write).unwrap();
        drop(write);
        Inbox::new().receive(&far).unwrap();
        assert_eq!(rustix::io::read(&read, &mut [0; 8]).unwrap(), 0, "the pipe is still open");
    }
}
