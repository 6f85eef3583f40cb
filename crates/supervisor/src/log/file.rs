//! One error log: a file, or the pipe of a logging program that may have stopped reading.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::SystemTime;

use logline::Line;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// Longest line in a file, in bytes.
const LONGEST: usize = 8000;

/// Longest line in a file as JSON, which may hold a whole traceback.
const LONGEST_JSON: usize = 64 << 10;

/// Longest line in a pipe, in bytes: up to here a pipe takes a write whole or not at all (`pipe(7)`).
const LONGEST_IN_PIPE: usize = 4096;

/// How long a reader that does not keep up is waited for, once. After that lines are dropped until
/// it reads again: the supervisor has more to do than to log.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
const NO_PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A log that is written line by line.
#[derive(Debug)]
pub struct LogFile {
    descriptor: OwnedFd,
    is_pipe: bool,
    json: bool,
    /// Lines that could not be written since the last one that was.
    dropped: u64,
}

impl LogFile {
    /// Writes to `descriptor`, which shares its position and mode with httpd's own.
    pub fn new(descriptor: OwnedFd, json: bool) -> Self {
        let is_pipe = rustix::fs::fstat(&descriptor)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        let descriptor = if is_pipe { without_waiting(descriptor) } else { descriptor };
        Self { descriptor, is_pipe, json, dropped: 0 }
    }

    /// How long a line may be, with its end.
    pub fn longest_line(&self) -> usize {
        match (self.is_pipe, self.json) {
            (true, _) => LONGEST_IN_PIPE,
            (false, true) => LONGEST_JSON,
            (false, false) => LONGEST,
        }
    }

    /// Writes a line with one system call, or drops and counts it.
    pub fn write(&mut self, line: &[u8]) {
        if self.dropped > 0 {
            let pid = std::process::id();
            let dropped = self.dropped;
            let text = format!("{dropped} log lines of workers could not be written here");
            let text = if self.json {
                let message = text.as_bytes();
                let line = Line { level: "error", message, pid, ..Line::default() };
                line.encode(SystemTime::now(), LONGEST_IN_PIPE).concat()
            } else {
                let prefix = super::line::prefix(wire::exchange::Level::Error, pid);
                format!("{prefix}{text}\n").into_bytes()
            };
            if self.try_write(&text).is_ok() {
                self.dropped = 0;
            }
        }
        if self.dropped > 0 || self.try_write(line).is_err() {
            self.dropped += 1;
        }
    }

    fn try_write(&self, line: &[u8]) -> Result<(), Errno> {
        let patience = if self.dropped == 0 { PATIENCE } else { NO_PATIENCE };
        let mut poll = [PollFd::new(&self.descriptor, PollFlags::OUT)];
        if rustix::event::poll(&mut poll, Some(&patience))? == 0 {
            return Err(Errno::AGAIN);
        }
        // A file takes less than it is given only when the disk is full.
        rustix::io::write(&self.descriptor, line).map(|_| ())
    }
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
        let line = [b'x'; 1024];
        let start = Instant::now();
        (0..2000).for_each(|_| log.write(&line));
        // Had each of them waited, it would have been twice as long.
        assert!(start.elapsed() < Duration::from_secs(200), "{:?}", start.elapsed());
        assert!(log.dropped > 1000);
        let flags = rustix::fs::fcntl_getfl(&httpd).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK), "httpd's descriptor was changed");

        let mut read = std::fs::File::from(read);
        read.read_exact(&mut vec![0; 60 << 10]).unwrap();
        log.write(b"back\n");
        drop((log, httpd));
        let mut rest = Vec::new();
        read.read_to_end(&mut rest).unwrap();
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.contains("log lines of workers could not be written here\n"), "{rest}");
        assert!(rest.ends_with("back\n"), "{rest}");
    }

    #[test]
    fn a_logger_that_is_gone_is_no_trouble() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        drop(read);
        let mut log = LogFile::new(write, false);
        log.write(b"line\n");
        assert_eq!(log.dropped, 1);
    }
}
