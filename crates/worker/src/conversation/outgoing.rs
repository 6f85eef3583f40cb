//! The sending half of a request's conversation: frames are gathered and go out together.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use channel::Window;

use wire::exchange::{FromWorker, Level};
use wire::{Header, Message};

use crate::conversation::ring::Ring;
use crate::lines::{Lines, Source};

/// How many bytes are gathered before they are sent.
const GATHER: usize = 64 << 10;
/// Longest piece of body in one frame, in bytes. A socket's buffer holds about three, so that the
/// receiving end passes one on while the next ones come, and its own buffer stays small enough to
/// be kept. httpd takes no more at a time without waiting for a slow client.
const MAX_DATA: usize = 56 << 10;
/// Pieces of so many bytes and more are sent from where they are, not copied to be gathered.
const DIRECT: usize = 16 << 10;

/// In bytes: a log record is sent in parts of this size.
const RECORD: usize = 256 << 10;

/// Frames on their way to the httpd child.
///
/// Functions that send take a `wait`, called when the socket takes nothing more: it returns when
/// there is room again, or with the reason to give up. A thread that is attached to Python detaches
/// in there.
#[derive(Debug)]
pub struct Outgoing {
    /// `None` once the request is over.
    socket: Option<Arc<OwnedFd>>,
    buffer: Vec<u8>,
    sent: usize,
    /// Where the last frame of the buffer begins, if that is a piece of the body, which may grow.
    growing: Option<usize>,
    /// Whether the sender has a [`Load`]. What is in the buffer comes after it.
    lent: bool,
    /// How many threads wait for it to come back.
    pub awaited: usize,
    broken: Option<io::ErrorKind>,
    partial: [Lines; 3],
    /// Shared memory for large pieces.
    ring: Option<Ring>,
}

/// Frames that the sender has taken to send them.
#[derive(Debug)]
pub struct Load {
    /// Where to.
    pub socket: Arc<OwnedFd>,
    bytes: Vec<u8>,
    sent: usize,
}

/// How far the sender has come with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left.
    Done,
    /// More has been gathered meanwhile.
    More,
    /// The socket takes nothing more for now.
    Stuck,
}

impl Load {
    /// Sends what the socket takes, without waiting.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send(&mut self) -> io::Result<()> {
        self.sent += channel::try_send(&self.socket, &self.bytes[self.sent..])?;
        Ok(())
    }
}

impl Outgoing {
    /// Starts on a request. `buffer` is an empty one to reuse.
    pub fn new(socket: Arc<OwnedFd>, buffer: Vec<u8>) -> Self {
        Self {
            socket: Some(socket),
            buffer,
            sent: 0,
            growing: None,
            lent: false,
            awaited: 0,
            broken: None,
            partial: Default::default(),
            ring: None,
        }
    }

    /// Sends large pieces through `window`, if there is one.
    pub fn use_window(&mut self, window: Option<Window>) {
        self.ring = window.map(Ring::new);
    }

    /// Gives the window back.
    pub fn take_window(&mut self) -> Option<Window> {
        self.ring.take().map(Ring::into_window)
    }

    /// Whether the window, if there is one, has room for so much without a look for what httpd has
    /// given back of it.
    pub fn has_room_for(&self, len: usize) -> bool {
        self.ring.as_ref().is_none_or(|ring| len <= ring.free())
    }

    /// Notes how much httpd has given back of the window, all in all.
    pub fn note_taken(&mut self, taken: u64) {
        if let Some(ring) = &mut self.ring {
            ring.note_taken(taken);
        }
    }

    /// The connection, unless the request is over.
    pub fn socket(&self) -> Option<Arc<OwnedFd>> {
        self.socket.clone()
    }

    /// Whether the request is over.
    pub fn is_over(&self) -> bool {
        self.socket.is_none()
    }

    /// Whether the connection is known to be broken.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Gives up on the connection.
    pub fn break_off(&mut self) {
        self.broken.get_or_insert(io::ErrorKind::BrokenPipe);
    }

    /// Whether the sender has something, so that nobody else may send.
    pub fn is_lent(&self) -> bool {
        self.lent
    }

    /// Whether as much is gathered as may be.
    fn is_full(&self) -> bool {
        self.buffer.len() - self.sent >= GATHER
    }

    /// Takes what is gathered away, to be sent without the lock, and leaves `spare` in its place.
    pub fn lend(&mut self, spare: &mut Vec<u8>) -> Option<Load> {
        if self.lent || self.buffer.is_empty() || self.is_broken() {
            return None;
        }
        let socket = Arc::clone(self.socket.as_ref()?);
        self.lent = true;
        self.growing = None;
        let bytes = std::mem::replace(&mut self.buffer, std::mem::take(spare));
        Some(Load { socket, bytes, sent: std::mem::take(&mut self.sent) })
    }

    /// Takes back what has been lent, with the outcome of sending it. A buffer that is empty now
    /// becomes the `spare` one.
    pub fn take_back(
        &mut self,
        Load { mut bytes, sent, .. }: Load,
        outcome: io::Result<()>,
        spare: &mut Vec<u8>,
    ) -> Progress {
        self.lent = false;
        if let Err(error) = outcome {
            self.broken.get_or_insert(error.kind());
            let _ = self.sent_all();
        }
        let all_sent = self.is_broken() || sent == bytes.len();
        if !all_sent {
            bytes.append(&mut self.buffer);
            std::mem::swap(&mut bytes, &mut self.buffer);
            (self.sent, self.growing) = (sent, None);
        }
        bytes.clear();
        *spare = bytes;
        match all_sent {
            false => Progress::Stuck,
            true if self.buffer.is_empty() => Progress::Done,
            true => Progress::More,
        }
    }

    /// Gathers a frame.
    pub fn push(&mut self, message: &FromWorker<'_>) {
        if !self.is_over() && !self.is_broken() {
            wire::encode(message, &mut self.buffer);
            self.growing = None;
        }
    }

    /// Gathers a block of the response body for the sender. Returns whether it has: it is small, and
    /// there is room for it.
    pub fn gather_block(&mut self, block: &[u8]) -> bool {
        let fits = block.len() < DIRECT && !self.is_full() && !self.is_broken();
        if fits {
            self.gather(block);
        }
        fits
    }

    /// Gathers a piece of the response body, in one frame with the piece before it where they
    /// follow each other.
    fn gather(&mut self, piece: &[u8]) {
        match self.growing {
            Some(start) if self.buffer.len() - start + piece.len() <= MAX_DATA => {
                wire::extend(&mut self.buffer, start, piece);
            }
            _ => {
                let start = self.buffer.len();
                self.push(&FromWorker::Data(piece));
                self.growing = (self.buffer.len() > start).then_some(start);
            }
        }
    }

    /// Gathers a piece of the response body, and sends when there is much.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn push_data(
        &mut self,
        mut data: &[u8],
        wait: &mut impl FnMut(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<()> {
        while !data.is_empty() {
            if let Some(len) = self.put_into_window(data) {
                data = &data[len..];
                continue;
            }
            let (piece, rest) = data.split_at(data.len().min(MAX_DATA));
            data = rest;
            if piece.len() >= DIRECT {
                self.send_directly(piece, wait)?;
                continue;
            }
            self.gather(piece);
            if self.is_full() {
                self.flush(wait)?;
            }
        }
        Ok(())
    }

    /// Puts the start of a large piece into the window, as far as there is room for it, and gathers
    /// a frame that says so. Returns how much that is.
    fn put_into_window(&mut self, data: &[u8]) -> Option<usize> {
        if data.len() < DIRECT || self.is_broken() {
            return None;
        }
        let (offset, len) = self.ring.as_mut()?.put(data, DIRECT)?;
        let number = |size| u32::try_from(size).expect("windows are below 4 GiB");
        self.push(&FromWorker::DataAt { offset: number(offset), len: number(len) });
        Some(len)
    }

    /// Sends what has been gathered, and then a frame with a piece of the response body.
    fn send_directly(
        &mut self,
        data: &[u8],
        wait: &mut impl FnMut(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        let len = u32::try_from(data.len()).expect("pieces are below 4 GiB");
        let message = FromWorker::Data(data);
        Header { len, kind: message.kind(), descriptors: message.descriptors() }
            .encode(&mut self.buffer);
        while self.broken.is_none() && self.sent < self.buffer.len() + data.len() {
            let gathered = self.buffer.get(self.sent..).unwrap_or_default();
            let rest = &data[self.sent.saturating_sub(self.buffer.len())..];
            match channel::try_send_both(socket, gathered, rest) {
                Ok(0) => self.broken = wait(socket).err().map(|error| error.kind()),
                Ok(sent) => self.sent += sent,
                Err(error) => self.broken = Some(error.kind()),
            }
        }
        self.sent_all()
    }

    /// Sends what has been gathered.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn flush(&mut self, wait: &mut impl FnMut(&OwnedFd) -> io::Result<()>) -> io::Result<()> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        while self.broken.is_none() && self.sent < self.buffer.len() {
            match channel::try_send(socket, &self.buffer[self.sent..]) {
                Ok(0) => self.broken = wait(socket).err().map(|error| error.kind()),
                Ok(sent) => self.sent += sent,
                Err(error) => self.broken = Some(error.kind()),
            }
        }
        self.sent_all()
    }

    /// Starts to gather anew.
    fn sent_all(&mut self) -> io::Result<()> {
        self.buffer.clear();
        (self.sent, self.growing) = (0, None);
        match self.broken {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }

    /// Sends a part of a file as the body, in one go with what has been gathered: httpd is to see
    /// the head together with all of its body.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send_file(
        &mut self,
        file: &OwnedFd,
        (offset, length): (u64, u64),
        wait: &mut impl FnMut(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<()> {
        self.push(&FromWorker::File { offset, length });
        if let Some(socket) = &self.socket {
            // The descriptor goes with the first byte; the receiving end keeps it for its frame.
            while self.broken.is_none() && self.sent == 0 && !self.buffer.is_empty() {
                match channel::try_send_with_descriptor(socket, &self.buffer, file) {
                    Ok(0) => self.broken = wait(socket).err().map(|error| error.kind()),
                    Ok(sent) => self.sent = sent,
                    Err(error) => self.broken = Some(error.kind()),
                }
            }
        }
        self.flush(wait)
    }

    /// Sends the lines that `bytes` completes as log lines of the request, at once: they are rare,
    /// and of use while the request runs.
    pub fn log(
        &mut self,
        source: Source,
        bytes: &[u8],
        wait: &mut impl FnMut(&OwnedFd) -> io::Result<()>,
    ) {
        self.gather_log(source, bytes);
        if bytes.contains(&b'\n') {
            // A connection that broke shows at the next piece of the response.
            let _ = self.flush(wait);
        }
    }

    /// Gathers the lines that `bytes` completes as log lines of the request.
    pub fn gather_log(&mut self, source: Source, bytes: &[u8]) {
        let mut partial = std::mem::take(&mut self.partial[source as usize]);
        partial.feed(bytes, |text| self.push(&FromWorker::Log { level: source.level(), text }));
        self.partial[source as usize] = partial;
    }

    /// Sends one log line at a level of the caller's choice.
    /// `place` is the source file and line that it comes from, where known.
    pub fn log_at(
        &mut self,
        level: Level,
        text: &[u8],
        (path, line): (Option<&str>, u32),
        wait: &mut impl FnMut(&OwnedFd) -> io::Result<()>,
    ) {
        Lines::default().feed_whole(text, |text| match path {
            Some(path) => {
                self.push(&FromWorker::LogFrom { level, path: path.as_bytes(), line, text })
            }
            None => self.push(&FromWorker::Log { level, text }),
        });
        let _ = self.flush(wait);
    }

    /// Sends a log record as it is, also one with several lines.
    pub fn log_record(
        &mut self,
        level: Level,
        of: (&str, &str),
        text: &[u8],
        wait: &mut impl FnMut(&OwnedFd) -> io::Result<()>,
    ) {
        self.gather_record(level, of, text);
        let _ = self.flush(wait);
    }

    /// Gathers a log record as it is. `of` is the name of its level, and of its logger.
    pub fn gather_record(&mut self, level: Level, (name, logger): (&str, &str), text: &[u8]) {
        let (name, logger) = (name.as_bytes(), logger.as_bytes());
        let mut rest = text;
        loop {
            let end = boundary_below(rest, RECORD);
            let (text, more) = rest.split_at(end);
            self.push(&FromWorker::Record { level, name, logger, text });
            rest = more;
            if rest.is_empty() {
                return;
            }
        }
    }

    /// Sends what there is of an unfinished log line.
    pub fn flush_log(&mut self, source: Source, wait: &mut impl FnMut(&OwnedFd) -> io::Result<()>) {
        let mut partial = std::mem::take(&mut self.partial[source as usize]);
        partial.flush(|text| self.push(&FromWorker::Log { level: source.level(), text }));
        let _ = self.flush(wait);
    }

    /// Sends `last`, and ends the request. Returns the buffer, for the next one.
    pub fn finish(
        &mut self,
        last: &FromWorker<'_>,
        wait: &mut impl FnMut(&OwnedFd) -> io::Result<()>,
    ) -> Vec<u8> {
        for source in Source::ALL {
            let mut partial = std::mem::take(&mut self.partial[source as usize]);
            partial.flush(|text| self.push(&FromWorker::Log { level: source.level(), text }));
        }
        self.push(last);
        let _ = self.flush(wait);
        self.socket = None;
        let mut buffer = std::mem::take(&mut self.buffer);
        // One large response must not keep its room for ever.
        buffer.shrink_to(4 * GATHER);
        buffer
    }
}

/// Where to cut bytes of which at most so many go out at once: not inside a UTF-8 character.
fn boundary_below(bytes: &[u8], most: usize) -> usize {
    if bytes.len() <= most {
        return bytes.len();
    }
    (most - 3..=most).rev().find(|at| bytes[*at] & 0xC0 != 0x80).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use channel::Inbox;
    use rustix::event::{PollFd, PollFlags};

    use super::*;

    const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

    fn pair() -> (Outgoing, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        (Outgoing::new(Arc::new(near.into()), Vec::new()), far)
    }

    #[test]
    fn a_small_response_is_one_write() {
        let (mut outgoing, far) = pair();
        let never = &mut |_: &OwnedFd| panic!("there is room");
        outgoing.push(&FromWorker::Head { status: b"200 OK", headers: vec![] });
        outgoing.push_data(b"hello", never).unwrap();
        far.set_nonblocking(true).unwrap();
        let mut inbox = Inbox::new();
        assert!(inbox.receive(&far).is_err(), "nothing is sent before the end");
        outgoing.finish(&FromWorker::End, never);
        inbox.receive(&far).unwrap();
        assert!(matches!(inbox.next(), Ok(Some(FromWorker::Head { .. }))));
        assert_eq!(inbox.next(), Ok(Some(FromWorker::Data(b"hello"))));
        assert_eq!(inbox.next(), Ok(Some(FromWorker::End)));
    }

    #[test]
    fn a_large_response_waits_for_a_slow_reader_and_arrives_whole() {
        let (mut outgoing, far) = pair();
        let body: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
        let reader = std::thread::spawn(move || {
            let (mut inbox, mut received) = (Inbox::new(), Vec::new());
            loop {
                match inbox.wait(&far, WRITE_TIMEOUT).unwrap() {
                    FromWorker::Data(data) => received.extend_from_slice(data),
                    FromWorker::End => return received,
                    other => panic!("{other:?}"),
                }
            }
        });
        let wait = &mut |socket: &OwnedFd| {
            let mut sources = [PollFd::new(socket, PollFlags::OUT)];
            Ok(rustix::event::poll(&mut sources, None).map(drop)?)
        };
        outgoing.push_data(&body, wait).unwrap();
        outgoing.finish(&FromWorker::End, wait);
        assert!(reader.join().unwrap() == body);
    }

    #[test]
    fn a_peer_that_is_gone_shows_as_an_error_and_stays_one() {
        let (mut outgoing, far) = pair();
        drop(far);
        let never = &mut |_: &OwnedFd| panic!("a broken connection is not waited for");
        outgoing.push(&FromWorker::Data(b"x"));
        assert_eq!(outgoing.flush(never).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        outgoing.push(&FromWorker::Data(b"y"));
        assert!(outgoing.flush(never).is_err());
        assert!(outgoing.is_broken());
    }
}
