//! What a slow client has not taken yet of a response: a little in memory, more in a file without a
//! name.

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use channel::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::rand::GetRandomFlags;
use tracing::warn;

use super::budget::{Budget, Share};
use crate::log::Throttle;

/// How many bytes wait in memory before they go to the file.
const MEMORY: usize = 256 << 10;

/// How many bytes of a response may be in the file. A worker that sends more waits for the client.
const FILE: u64 = 1 << 30;

/// How many bytes the files of all responses may have together.
static FILES: Budget = Budget::new(4 << 30);

/// How many bytes of all responses may be in memory beyond [`MEMORY`], where no file can be made.
static BEYOND: Budget = Budget::new(64 << 20);

/// Bytes in the order in which they came: those in the file are older than those in memory.
#[derive(Debug)]
pub(super) struct Spool {
    file: Option<File>,
    /// The part of the file that holds bytes.
    begin: u64,
    end: u64,
    /// What the file has of what all may have.
    share: Share,
    memory: Vec<u8>,
    /// Where in `memory` the bytes begin.
    start: usize,
    /// What may be in memory beyond the usual.
    beyond: Share,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            file: None,
            begin: 0,
            end: 0,
            share: Share::of(&FILES),
            memory: Vec::new(),
            start: 0,
            beyond: Share::of(&BEYOND),
        }
    }
}

/// A part of a file.
pub(super) struct Part {
    /// The file.
    pub file: OwnedFd,
    /// Where the part begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// To be kept as long as the file.
    pub share: Share,
}

impl Spool {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.begin == self.end && self.start == self.memory.len()
    }

    /// Whether it should be given no more: the file has as much as it may, or cannot be written, and
    /// so has memory.
    pub fn is_full(&self) -> bool {
        (self.memory.len() - self.start) as u64 > MEMORY as u64 + self.beyond.bytes()
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
                self.share.shrink_to(0);
            }
            return Ok(());
        }
        let length = at_most.min(self.memory.len() - self.start);
        into.extend_from_slice(&self.memory[self.start..self.start + length]);
        self.start += length;
        if self.start == self.memory.len() {
            self.memory.clear();
            self.start = 0;
            self.beyond.shrink_to(0);
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
        let share = std::mem::replace(&mut self.share, Share::of(&FILES));
        Some(Part { file: file.into(), offset, length, share })
    }

    /// Moves to the file what is in memory, as far as that is possible.
    fn spill(&mut self) {
        static FULL: Throttle = Throttle::new();
        static NOWHERE: Once = Once::new();
        let Err(problem) = self.try_spill() else { return };
        let folder = folder();
        if self.file.is_none() {
            let held = (self.memory.len() - self.start) as u64;
            let usual = MEMORY as u64 + self.beyond.bytes();
            self.beyond.grow(held.saturating_sub(usual));
            NOWHERE.call_once(|| {
                warn!(
                    "No file for responses to slow clients can be made in {}: {problem}. They are \
                     kept in memory, as far as {} MiB go, and beyond that Python threads wait for \
                     these clients; name another folder in httpd's environment (TMPDIR)",
                    folder.display(),
                    BEYOND.limit() >> 20,
                );
            });
        } else if let Some(more) = FULL.pass() {
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
            let data = &self.memory[self.start..];
            let wanted = FILE.saturating_sub(self.end).min(data.len() as u64);
            let missing = (self.end + wanted).saturating_sub(self.share.bytes());
            let granted = self.share.grow(missing);
            let room = wanted - (missing - granted).min(wanted);
            let data = &data[..usize::try_from(room).unwrap_or(usize::MAX)];
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

/// A file that has no name: it is gone with its last descriptor.
fn open() -> io::Result<File> {
    let folder = folder();
    open_unnamed(&folder).or_else(|_| open_named(&folder))
}

/// One that never has a name, and cannot be given one.
fn open_unnamed(folder: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::EXCL | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// One that loses its name at once, for file systems that make none without.
fn open_named(folder: &Path) -> io::Result<File> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, GetRandomFlags::empty())?;
    let path = folder.join(format!("mod_wsgi_rs-{:032x}", u128::from_ne_bytes(random)));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::unlink(&path)?;
    Ok(file.into())
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
        let Part { file, offset, length, .. } = spool.take_file().unwrap();
        assert!(spool.is_empty() && spool.take_file().is_none());
        let mut content = vec![0; usize::try_from(length).unwrap()];
        File::from(file).read_exact_at(&mut content, offset).unwrap();
        assert_eq!(content, b"little");
    }

    #[test]
    fn all_files_together_have_a_bound() {
        static FEW: Budget = Budget::new(3 * MEMORY as u64);
        let spool = || Spool { share: Share::of(&FEW), ..Spool::default() };
        let (mut first, mut second) = (spool(), spool());
        first.push(&bytes(0, 2 * MEMORY)[..]);
        second.push(&bytes(0, 2 * MEMORY)[..]);
        assert!(!first.is_full() && !second.is_full(), "there are {MEMORY} bytes in memory");
        second.push(&b"more"[..]);
        assert!(second.is_full());
        // What one has given back is there for the other one.
        assert_eq!(drain(&mut first, 0), 2 * MEMORY);
        second.push(&b""[..]);
        assert!(!second.is_full());
    }

    #[test]
    fn a_file_loses_its_name_at_once() {
        let folder = env::temp_dir().join(format!("mwrs-spool-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let file = open_named(&folder).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        file.write_all_at(b"kept", 0).unwrap();
        let mut content = [0; 4];
        file.read_exact_at(&mut content, 0).unwrap();
        assert_eq!(content, *b"kept");
        std::fs::remove_dir(folder).unwrap();
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
