//! What a worker writes to its standard output or error, as lines.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use wire::exchange::Level;

use crate::logic::WorkerId;

/// Bytes read per turn of the loop, so that a worker that floods us does not keep us from others:
/// short lines cost a write each.
pub const PER_TURN: usize = 4 << 10;

/// What a pipe holds (pipe(7)): so much a worker can have left behind in one.
pub const CAPACITY: usize = 64 << 10;

/// Longest text, in bytes, that is waited for to become a line; longer ones are passed on in pieces.
const LONGEST: usize = 8000;

/// Number of one of a worker's two pipes. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutputId(pub u64);

/// Our end of one of a worker's two pipes. It may outlive the worker, in processes that the
/// application started.
#[derive(Debug)]
pub struct Output {
    /// The worker for which it was made.
    pub worker: WorkerId,
    /// The worker's process group, as an index.
    pub group: usize,
    /// The worker's process id.
    pub pid: u32,
    /// Level at which the lines are logged.
    pub level: Level,
    pipe: OwnedFd,
    partial: Vec<u8>,
}

impl Output {
    /// Reads from `pipe`, which must not wait.
    pub fn new(worker: WorkerId, group: usize, pid: u32, level: Level, pipe: OwnedFd) -> Self {
        Self { worker, group, pid, level, pipe, partial: Vec::new() }
    }

    /// Goes on where another process has read the beginning of a line.
    pub fn with_beginning(self, begun: Vec<u8>) -> Self {
        Self { partial: begun, ..self }
    }

    /// The beginning of a line that has been read.
    pub fn begun(&self) -> &[u8] {
        &self.partial
    }

    /// Reads what is there, until it is at least `most` bytes, and returns whether more can ever come.
    pub fn read(&mut self, most: usize, mut each: impl FnMut(&[u8])) -> bool {
        let mut buffer = [0; 8 << 10];
        let mut total = 0;
        while total < most {
            match rustix::io::read(&self.pipe, &mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    total += length;
                    self.split(&buffer[..length], &mut each);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => break,
            }
        }
        if total >= most {
            return true;
        }
        if !self.partial.is_empty() {
            each(&std::mem::take(&mut self.partial));
        }
        false
    }

    fn split(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(&bytes[..end]);
            each(self.partial.strip_suffix(b"\r").unwrap_or(&self.partial));
            self.partial.clear();
            bytes = &bytes[end + 1..];
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > LONGEST {
            each(&std::mem::take(&mut self.partial));
        }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::PipeFlags;

    use super::*;

    fn output() -> (Output, OwnedFd) {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK).unwrap();
        (Output::new(WorkerId(1), 0, 1, Level::Error, read), write)
    }

    fn read(output: &mut Output) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let more =
            output.read(PER_TURN, |line| lines.push(String::from_utf8(line.to_vec()).unwrap()));
        (lines, more)
    }

    #[test]
    fn lines_are_whole_however_they_are_written() {
        let (mut output, pipe) = output();
        rustix::io::write(&pipe, b"one\r\n\ntw").unwrap();
        assert_eq!(read(&mut output), (vec!["one".to_owned(), String::new()], true));
        rustix::io::write(&pipe, b"o\nthr").unwrap();
        assert_eq!(read(&mut output), (vec!["two".to_owned()], true));
        drop(pipe);
        assert_eq!(read(&mut output), (vec!["thr".to_owned()], false));
    }

    #[test]
    fn text_without_a_line_end_is_not_collected_for_ever() {
        let (mut output, pipe) = output();
        rustix::io::write(&pipe, &[b'x'; 40_000]).unwrap();
        // A turn takes a part of it only.
        let lines: Vec<_> = (0..10).flat_map(|_| read(&mut output).0).collect();
        assert!(lines.iter().all(|line| line.len() <= 2 * LONGEST + 384));
        assert!(lines.concat().len() > 40_000 - 2 * LONGEST);
    }
}
