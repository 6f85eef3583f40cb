//! What a slow client has not taken yet of a response: a little in memory, more in a file without a
//! name.

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use channel::Bytes;
use rustix::fs::{Mode, OFlags};
use tracing::warn;

use crate::log::Throttle;

/// How many bytes wait in memory before they go to the file.
const MEMORY: usize = 256 << 10;

/// How many bytes of a response may be in the file. Whoever sends more waits for the client.
const FILE: u64 = 1 << 30;

/// Bytes in the order in which they came: those in the file are older than those in memory.
#[derive(Debug, Default)]
pub(super) struct Spool {
    file: Option<File>,
    /// The part of the file that holds bytes.
    begin: u64,
    end: u64,
    memory: Vec<u8>,
    /// Where in `memory` the bytes begin.
    start: usize,
}

/// A part of a file.
pub(super) struct Part {
    /// The file.
    pub file: OwnedFd,
    /// Where the part begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

impl Spool {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.begin == self.end && self.start == self.memory.len()
    }

    /// Whether it should be given no more: the file has as much as it may, or cannot be written.
    pub fn is_full(&self) -> bool {
        self.memory.len() - self.start > MEMORY
    }

    /// Takes `data` in.
    pub fn push<'d>(&mut self, data: impl Into<Bytes<'d>>) {
        data.into().append_to(&mut self.memory);
        if self.is_full() {
            self.spill();
        }
    }

    /// Moves its oldest bytes to `into`, at most so many.
    ///
    /// # Errors
    /// `read(2)`'s: what is in the file is lost.
    pub fn take(&mut self, at_most: usize, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        if let Some(file) = self.file.as_ref().filter(|_| self.begin < self.end) {
            let length =
                usize::try_from(self.end - self.begin).map_or(at_most, |it| it.min(at_most));
            into.resize(length, 0);
            file.read_exact_at(into, self.begin)?;
            self.begin += length as u64;
            if self.begin == self.end {
                // From here on it is filled from its start, so that it never grows beyond the bound.
                file.set_len(0)?;
                (self.begin, self.end) = (0, 0);
            }
            return Ok(());
        }
        let length = at_most.min(self.memory.len() - self.start);
        into.extend_from_slice(&self.memory[self.start..self.start + length]);
        self.start += length;
        if self.start == self.memory.len() {
            self.memory.clear();
            self.start = 0;
        }
        Ok(())
    }

    /// All that it holds as a part of a file, if it can be written there. What cannot is left.
    pub fn take_file(&mut self) -> Option<Part> {
        if self.start < self.memory.len() {
            self.spill();
        }
        let file = self.file.take_if(|_| self.begin < self.end)?;
        let (offset, length) = (self.begin, self.end - self.begin);
        (self.begin, self.end) = (0, 0);
        Some(Part { file: file.into(), offset, length })
    }

    /// Moves to the file what is in memory, as far as that is possible.
    fn spill(&mut self) {
        static FULL: Throttle = Throttle::new();
        if let Err(problem) = self.try_spill()
            && let Some(more) = FULL.pass()
        {
            let folder = folder();
            warn!(
                "Responses to slow clients cannot be kept in {}: {problem}. Python threads wait \
                 for these clients meanwhile; free space there, or name another folder in \
                 httpd's environment (TMPDIR){more}",
                folder.display()
            );
        }
    }

    fn try_spill(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            file => file.insert(open()?),
        };
        while self.start < self.memory.len() {
            let room = usize::try_from(FILE.saturating_sub(self.end)).unwrap_or(usize::MAX);
            let data = &self.memory[self.start..];
            let data = &data[..data.len().min(room)];
            if data.is_empty() {
                // As much as may be: that is no problem of the folder's.
                return Ok(());
            }
            match file.write_at(data, self.end) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.start += written;
                    self.end += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.memory.clear();
        self.start = 0;
        Ok(())
    }
}

/// A file that has no name, and cannot be given one: it is gone with its last descriptor, and
/// nobody else can open it.
fn open() -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::EXCL | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder(), flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Where large files that nobody keeps belong: on a disk, which /tmp often is not
/// (file-hierarchy(7)).
fn folder() -> PathBuf {
    env::var_os("TMPDIR").filter(|path| !path.is_empty()).map_or("/var/tmp".into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that differ from place to place.
    fn bytes(from: usize, len: usize) -> Vec<u8> {
        (from..from + len).map(|at| (at % 251) as u8).collect()
    }

    #[track_caller]
    fn drain(spool: &mut Spool, from: usize) -> usize {
        let (mut piece, mut at) = (Vec::new(), from);
        while !spool.is_empty() {
            spool.take(10_007, &mut piece).unwrap();
            assert!(!piece.is_empty() && piece == bytes(at, piece.len()), "at {at}");
            at += piece.len();
        }
        at
    }

    #[test]
    fn what_comes_goes_in_the_same_order() {
        let (mut spool, mut piece) = (Spool::default(), Vec::new());
        let (mut pushed, mut taken) = (0, 0);
        for round in 0..400 {
            let len = 1 + round * 37;
            spool.push(&bytes(pushed, len)[..]);
            pushed += len;
            if round % 3 == 0 {
                spool.take(20_000, &mut piece).unwrap();
                assert!(piece == bytes(taken, piece.len()), "round {round}");
                taken += piece.len();
            }
        }
        assert!(spool.end > spool.begin, "it has outgrown memory");
        assert_eq!(drain(&mut spool, taken), pushed);
        assert_eq!((spool.begin, spool.end), (0, 0));
        // And once more from the start of the file.
        spool.push(&bytes(0, MEMORY + 1)[..]);
        assert_eq!((spool.begin, spool.end), (0, MEMORY as u64 + 1));
        assert_eq!(drain(&mut spool, 0), MEMORY + 1);
    }

    #[test]
    fn a_little_needs_no_file_unless_it_is_to_be_one() {
        let mut spool = Spool::default();
        assert!(spool.take_file().is_none());
        spool.push(b"little");
        assert!(spool.file.is_none());
        let Part { file, offset, length } = spool.take_file().unwrap();
        assert!(spool.is_empty() && spool.take_file().is_none());
        let mut content = vec![0; usize::try_from(length).unwrap()];
        File::from(file).read_exact_at(&mut content, offset).unwrap();
        assert_eq!(content, b"little");
    }

    #[test]
    fn a_full_disk_leaves_the_bytes_in_memory() {
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        let mut spool = Spool { file: Some(full), ..Spool::default() };
        spool.push(&bytes(0, MEMORY)[..]);
        assert!(!spool.is_full());
        spool.push(&bytes(MEMORY, 1)[..]);
        assert!(spool.is_full());
        assert!(spool.take_file().is_none());
        assert_eq!(drain(&mut spool, 0), MEMORY + 1);
        assert!(!spool.is_full());
    }

    #[test]
    fn a_file_that_has_as_much_as_it_may_takes_no_more() {
        let mut spool = Spool { begin: FILE - 10, end: FILE - 10, ..Spool::default() };
        spool.push(&bytes(0, MEMORY + 1)[..]);
        assert_eq!(spool.end, FILE);
        assert!(!spool.is_full());
        spool.push(&bytes(MEMORY + 1, 100)[..]);
        assert!(spool.is_full());
        assert_eq!(drain(&mut spool, 0), MEMORY + 101);
    }
}
