//! The conversation with one worker, over its standard input.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use channel::Inbox;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use wire::control::{FromWorker, ToWorker};

/// Receives per turn of the loop, so that a worker that floods us does not keep us from others.
const RECEIVES_PER_TURN: usize = 8;

/// How much may wait for a worker that does not read, in bytes. A worker can make us answer; the
/// longest of its orders are the settings, and scripts to load.
const LONGEST_OUTBOX: usize = 4 << 20;

/// How many characters of what a worker last wrote to its standard error are remembered until it
/// is ready.
const LAST_WORDS: usize = 1000;

/// Our end of the conversation.
#[derive(Debug)]
pub struct Link {
    /// The worker's process group, as an index.
    pub group: usize,
    /// The worker's process id.
    pub pid: u32,
    /// The application group that it serves, once it has one.
    pub application_group: Option<Vec<u8>>,
    stream: UnixStream,
    inbox: Inbox,
    outbox: VecDeque<Outgoing>,
    /// What the outbox takes in our memory, in bytes.
    waiting: usize,
    open: bool,
    last_words: Option<String>,
}

/// A message that has not been sent to its end.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    descriptor: Option<OwnedFd>,
}

/// A worker that does not read what it is told.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it does not read what it is told")]
pub struct NotReading;

/// What a worker's end of the conversation came to.
#[derive(Debug)]
pub enum Ended {
    /// It was closed.
    Closed,
    /// Something came that is no message.
    Broken(String),
}

impl Link {
    /// Begins the conversation with a worker that has just been executed.
    pub fn new(group: usize, pid: u32, stream: UnixStream) -> Self {
        Self {
            group,
            pid,
            application_group: None,
            stream,
            inbox: Inbox::refusing_descriptors(),
            outbox: VecDeque::new(),
            waiting: 0,
            open: true,
            last_words: Some(String::new()),
        }
    }

    /// Sends a message, now or when the worker can take it.
    ///
    /// # Errors
    /// The worker has not read for so long that it cannot be told anything any more.
    pub fn send(
        &mut self,
        message: &ToWorker,
        descriptor: Option<OwnedFd>,
    ) -> Result<(), NotReading> {
        let mut bytes = Vec::new();
        wire::encode(message, &mut bytes);
        if self.waiting > LONGEST_OUTBOX {
            return Err(NotReading);
        }
        let outgoing = Outgoing { bytes, sent: 0, descriptor };
        self.waiting += outgoing.cost();
        self.outbox.push_back(outgoing);
        self.flush();
        Ok(())
    }

    /// Sends what the worker takes without waiting.
    pub fn flush(&mut self) {
        while let Some(outgoing) = self.outbox.front_mut() {
            match outgoing.send_some(&self.stream) {
                Ok(true) => {
                    self.waiting -= outgoing.cost();
                    self.outbox.pop_front();
                }
                Ok(false) => return,
                // The worker is gone, which we hear of when we read from it.
                Err(_) => return self.forget_outgoing(),
            }
        }
    }

    fn forget_outgoing(&mut self) {
        self.outbox.clear();
        self.waiting = 0;
    }

    /// Receives what is there, at most a turn's share. The end is reported once.
    pub fn receive(&mut self, mut each: impl FnMut(FromWorker)) -> Option<Ended> {
        for _ in 0..RECEIVES_PER_TURN {
            if !self.open {
                return None;
            }
            match self.inbox.try_receive(&self.stream) {
                Ok(0) => return self.end(Ended::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return self.end(Ended::Broken(error.to_string()));
                }
                Err(_) => return self.end(Ended::Closed),
            }
            loop {
                match self.inbox.next() {
                    Ok(Some(message)) => each(message),
                    Ok(None) => break,
                    Err(error) => return self.end(Ended::Broken(error.to_string())),
                }
            }
        }
        None
    }

    /// Remembers a line of the worker's standard error, until it is ready.
    pub fn hear(&mut self, line: &[u8]) {
        let Some(words) = &mut self.last_words else {
            return;
        };
        if !words.is_empty() {
            words.push_str(" | ");
        }
        words.push_str(&String::from_utf8_lossy(line));
        let surplus = words.chars().count().saturating_sub(LAST_WORDS);
        *words = words.chars().skip(surplus).collect();
    }

    /// The worker is ready: what it writes from now on explains no failed start.
    pub fn forget_last_words(&mut self) {
        self.last_words = None;
    }

    /// The end of what the worker wrote to its standard error before it was ready.
    pub fn last_words(&mut self) -> String {
        self.last_words.take().unwrap_or_default()
    }

    /// Whether the worker can still say something.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether something waits to be sent.
    pub fn has_outgoing(&self) -> bool {
        self.open && !self.outbox.is_empty()
    }

    /// The socket, which is to be closed with care.
    pub fn into_socket(self) -> OwnedFd {
        self.stream.into()
    }

    fn end(&mut self, ended: Ended) -> Option<Ended> {
        self.open = false;
        self.forget_outgoing();
        Some(ended)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Outgoing {
    /// What it takes in our memory, about.
    fn cost(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }

    /// Sends what can be sent now; `true` when that was the rest. The descriptor goes with the
    /// first byte.
    fn send_some(&mut self, stream: &UnixStream) -> rustix::io::Result<bool> {
        while self.sent < self.bytes.len() {
            let rest = [IoSlice::new(&self.bytes[self.sent..])];
            let descriptors: Vec<_> = self.descriptor.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::sendmsg(stream, &rest, &mut ancillary, flags) {
                Ok(sent) => {
                    self.sent += sent;
                    self.descriptor = None;
                }
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn messages_wait_for_a_worker_that_does_not_read() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut link = Link::new(0, 1, ours);
        let (read, write) = rustix::pipe::pipe().unwrap();
        let long = vec![b'x'; 900_000];
        let message = ToWorker::Assign {
            application_group: long.clone(),
            secret: wire::Secret::new([1; wire::Secret::SIZE]),
            preload: Vec::new(),
            interpreter: wire::control::Interpreter::default(),
        };
        link.send(&message, Some(write)).unwrap();
        link.send(&ToWorker::Drain { grace: 0 }, None).unwrap();
        assert!(link.has_outgoing());
        let worker = std::thread::spawn(move || {
            let mut inbox = Inbox::with_descriptors();
            let patience = Duration::from_secs(10);
            assert_eq!(inbox.wait::<ToWorker>(&theirs, patience).unwrap(), message);
            assert!(inbox.take_descriptor().is_some());
            let drain = ToWorker::Drain { grace: 0 };
            assert_eq!(inbox.wait::<ToWorker>(&theirs, patience).unwrap(), drain);
        });
        while link.has_outgoing() {
            link.flush();
        }
        worker.join().unwrap();
        assert_eq!(rustix::io::read(&read, &mut [0]).unwrap(), 0, "we kept the descriptor");
    }

    #[test]
    fn a_worker_that_never_reads_costs_a_bounded_amount() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut link = Link::new(0, 1, ours);
        let sent = (0..1_000_000).take_while(|_| link.send(&ToWorker::Alone, None).is_ok()).count();
        assert!((1000..200_000).contains(&sent), "{sent} orders");
        assert!(link.send(&ToWorker::Alone, None).is_err());
    }

    #[test]
    fn what_is_no_message_ends_the_conversation_once() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut link = Link::new(0, 1, ours);
        channel::send(&theirs, b"Segmentation fault\n").unwrap();
        assert!(matches!(link.receive(|_| panic!("a message")), Some(Ended::Broken(_))));
        assert!(link.receive(|_| panic!("a message")).is_none());
        assert!(!link.is_open());
    }

    #[test]
    fn only_the_end_of_the_last_words_is_kept() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut link = Link::new(0, 1, ours);
        (0..1000).for_each(|number| link.hear(format!("line é {number}").as_bytes()));
        let words = link.last_words();
        assert!(
            words.chars().count() <= LAST_WORDS && words.ends_with("line é 998 | line é 999"),
            "{words}"
        );
        link.hear(b"more");
        assert_eq!(link.last_words(), "");
    }
}
