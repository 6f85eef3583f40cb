//! One error log: a file, or the pipe of a logging program that may have stopped reading.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

use jiff::Zoned;
use logline::Line;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use wire::exchange::Level;

use super::format::{Facts, Format};

/// Longest line in a file, in bytes.
const LONGEST: usize = 8000;

/// Longest line in a file as JSON, which may hold a whole traceback.
const LONGEST_JSON: usize = 64 << 10;

/// Longest line in a pipe, in bytes: up to here a pipe takes a write whole or not at all (`pipe(7)`).
const LONGEST_IN_PIPE: usize = 4096;

/// How long a reader that does not keep up is waited for, once. After that lines are dropped until
/// it reads again: the supervisor has more to do than to log.
const WRITE_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
const NO_PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// How many bytes of lines are kept for a program whose successor has not been started yet.
const MOST_OWED: usize = 256 << 10;

/// A log that is written line by line.
#[derive(Debug)]
pub struct LogFile {
    descriptor: OwnedFd,
    is_pipe: bool,
    json: bool,
    /// Lines that could not be written since the last one that was.
    dropped: u64,
    /// Lines for a program that is gone: at a restart httpd ends it and starts another one.
    owed: VecDeque<Vec<u8>>,
}

impl LogFile {
    /// Writes to `descriptor`, which shares its position and mode with httpd's own.
    pub fn new(descriptor: OwnedFd, json: bool) -> Self {
        let (descriptor, is_pipe) = prepare(descriptor);
        Self { descriptor, is_pipe, json, dropped: 0, owed: VecDeque::new() }
    }

    /// How long a line may be, with its end.
    pub fn longest_line(&self) -> usize {
        match (self.is_pipe, self.json) {
            (true, _) => LONGEST_IN_PIPE,
            (false, true) => LONGEST_JSON,
            (false, false) => LONGEST,
        }
    }

    /// Goes on with this one, and writes what was kept for it.
    pub fn reopen(&mut self, descriptor: OwnedFd) {
        self.take_back();
        (self.descriptor, self.is_pipe) = prepare(descriptor);
        for line in std::mem::take(&mut self.owed) {
            self.write(line);
        }
    }

    /// Whether lines are kept for when it is opened anew.
    pub fn owes(&mut self) -> bool {
        self.take_back();
        !self.owed.is_empty()
    }

    /// Takes back what is left in the pipe of a program that is gone: httpd ends it with SIGTERM, whatever it
    /// has still to read, and a pipe keeps that as long as it is open anywhere.
    fn take_back(&mut self) {
        let mut poll = [PollFd::new(&self.descriptor, PollFlags::OUT)];
        let is_asked = rustix::event::poll(&mut poll, Some(&NO_PATIENCE)).is_ok();
        // poll(2): of a pipe without a reader.
        let has_no_reader = poll[0].revents().contains(PollFlags::ERR);
        if !self.is_pipe || !is_asked || !has_no_reader {
            return;
        }
        let path = format!("/proc/self/fd/{}", self.descriptor.as_fd().as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(reader) = rustix::fs::open(path, flags, Mode::empty()) else { return };
        let (mut left, mut part) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = rustix::io::read(&reader, &mut part) {
            left.extend_from_slice(&part[..length]);
        }
        for line in left.split_inclusive(|byte| *byte == b'\n').rev() {
            if self.has_room_for(line) {
                self.owed.push_front(line.to_vec());
            }
        }
    }

    /// Writes a line with one system call, or drops and counts it.
    pub fn write(&mut self, line: Vec<u8>) {
        if self.dropped > 0 {
            let text = format!("{} log lines of workers could not be written here", self.dropped);
            let (now, pid) = (Zoned::now(), std::process::id());
            let facts = Facts { now: &now, level: Level::Error, pid, host: b"" };
            let text = text.as_bytes();
            let line = if self.json {
                let line = Line { level: "error", message: text, pid, ..Line::default() };
                line.encode(SystemTime::now(), LONGEST_IN_PIPE).concat()
            } else {
                let lines = Format::new(None, false).lines(&facts, text, LONGEST_IN_PIPE);
                [lines.concat(), b"\n".to_vec()].concat()
            };
            if self.try_write(&line).is_ok() {
                self.dropped = 0;
            }
        }
        if self.dropped > 0 {
            self.dropped += 1;
            return;
        }
        match self.try_write(&line) {
            Ok(()) => {}
            Err(Errno::PIPE) if self.is_pipe && self.has_room_for(&line) => {
                self.owed.push_back(line);
            }
            Err(_) => self.dropped += 1,
        }
    }

    fn has_room_for(&self, line: &[u8]) -> bool {
        self.owed.iter().map(Vec::len).sum::<usize>() + line.len() <= MOST_OWED
    }

    fn try_write(&self, line: &[u8]) -> Result<(), Errno> {
        let patience = if self.dropped == 0 { WRITE_TIMEOUT } else { NO_PATIENCE };
        let mut poll = [PollFd::new(&self.descriptor, PollFlags::OUT)];
        if rustix::event::poll(&mut poll, Some(&patience))? == 0 {
            return Err(Errno::AGAIN);
        }
        // A file takes less than it is given only when the disk is full.
        rustix::io::write(&self.descriptor, line).map(|_| ())
    }
}

impl AsFd for LogFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// What to write to, and whether it is a pipe.
fn prepare(descriptor: OwnedFd) -> (OwnedFd, bool) {
    let is_pipe = rustix::fs::fstat(&descriptor)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    (if is_pipe { without_waiting(descriptor) } else { descriptor }, is_pipe)
}

/// Opens the pipe once more for ourselves: we must not wait in a write, and httpd, which shares
/// the descriptor that it gave us, must.
fn without_waiting(descriptor: OwnedFd) -> OwnedFd {
    let path = format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).unwrap_or(descriptor)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_logger_that_stopped_reading_costs_lines_but_no_time() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let httpd = write.try_clone().unwrap();
        let mut log = LogFile::new(write, false);
        let line = vec![b'x'; 1024];
        let start = Instant::now();
        (0..2000).for_each(|_| log.write(line.clone()));
        // Had each of them waited, it would have been twice as long.
        assert!(start.elapsed() < Duration::from_secs(200), "{:?}", start.elapsed());
        assert!(log.dropped > 1000);
        let flags = rustix::fs::fcntl_getfl(&httpd).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK), "httpd's descriptor was changed");

        let mut read = std::fs::File::from(read);
        read.read_exact(&mut vec![0; 60 << 10]).unwrap();
        log.write(b"back\n".to_vec());
        drop((log, httpd));
        let mut rest = Vec::new();
        read.read_to_end(&mut rest).unwrap();
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.contains("log lines of workers could not be written here\n"), "{rest}");
        assert!(rest.ends_with("back\n"), "{rest}");
    }

    #[test]
    fn what_a_logger_has_not_read_when_it_ends_is_for_the_next_one() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut log = LogFile::new(write, false);
        log.write(b"one\n".to_vec());
        assert!(!log.owes(), "its program may read yet");
        drop(read);
        log.write(b"two\n".to_vec());
        assert!(log.owes());
        let (read, write) = rustix::pipe::pipe().unwrap();
        log.reopen(write);
        assert!(!log.owes());
        drop(log);
        let mut text = String::new();
        std::fs::File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn lines_for_a_logger_that_is_gone_wait_for_the_next_one() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        drop(read);
        let mut log = LogFile::new(write, false);
        log.write(b"late\n".to_vec());
        assert!(log.owes());
        let long = vec![b'x'; MOST_OWED];
        log.write(long);
        assert_eq!(log.dropped, 1, "not all of them");

        let (read, write) = rustix::pipe::pipe().unwrap();
        log.dropped = 0;
        log.reopen(write);
        assert!(!log.owes());
        drop(log);
        let mut text = String::new();
        std::fs::File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(text, "late\n");
    }
}
