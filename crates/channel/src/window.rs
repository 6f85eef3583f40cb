//! Memory that two processes share, through which one of them hands large pieces to the other: every
//! unsafe operation of this crate.
//!
//! No reference to that memory is ever made: the other process may write to it at any time, whatever
//! was agreed. It is read and written by copying, or its address is passed on to C.
#![expect(unsafe_code, reason = "the one file of this crate that may")]

use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// What keeps the memory there as long as anybody has it mapped: without, whoever cut the file short
/// would end the others with SIGBUS.
const SEALS: SealFlags =
    SealFlags::from_bits_retain(SealFlags::SHRINK.bits() | SealFlags::GROW.bits())
        .union(SealFlags::SEAL);

/// Shared memory, mapped for as long as this lives.
#[derive(Debug)]
pub struct Window {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and whoever has the value has the only
// way of this process to it.
unsafe impl Send for Window {}
// SAFETY: through a shared reference the memory is only read, as raw bytes that may change anyway.
unsafe impl Sync for Window {}

impl Window {
    /// Makes new memory, which is there once it is written to. The descriptor is for the peer.
    ///
    /// # Errors
    /// The system's error.
    pub fn create(size: u32) -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = rustix::fs::memfd_create(c"wsgi-window", flags)?;
        rustix::fs::ftruncate(&memory, size.into())?;
        rustix::fs::fcntl_add_seals(&memory, SEALS)?;
        Ok((Self::map(&memory, size)?, memory))
    }

    /// Maps what a peer has made.
    ///
    /// # Errors
    /// It is not of this size, or may be cut short; or the system's.
    pub fn adopt(memory: &OwnedFd, size: u32) -> io::Result<Self> {
        let found = rustix::fs::fstat(memory)?.st_size;
        if !rustix::fs::fcntl_get_seals(memory)?.contains(SEALS) || found != i64::from(size) {
            return Err(io::Error::other(
                "a window that is not sealed, or not as large as announced",
            ));
        }
        Self::map(memory, size)
    }

    fn map(memory: impl AsFd, size: u32) -> io::Result<Self> {
        let (size, access) = (size as usize, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: the kernel chooses an address at which nothing is mapped.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), size, access, MapFlags::SHARED, memory, 0)
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, size })
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Copies `data` to `offset`.
    ///
    /// # Panics
    /// When there is no room for it.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        assert!(offset.checked_add(data.len()).is_some_and(|end| end <= self.size), "it fits");
        // SAFETY: the offset is within the mapping, by the line above.
        let to = unsafe { self.start.as_ptr().add(offset) };
        // SAFETY: the mapping has these bytes, likewise, and the seals keep them there. They are
        // written without a reference, as another process may access them; `data` is other memory,
        // since no reference to the mapping is ever made.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) };
    }

    /// The bytes at this place, if it has them.
    pub fn bytes(&self, offset: u32, len: u32) -> Option<Bytes<'_>> {
        let (offset, len) = (offset as usize, len as usize);
        if offset.checked_add(len)? > self.size {
            return None;
        }
        // SAFETY: the offset is within the mapping, or at its end.
        let start = unsafe { self.start.as_ptr().add(offset) };
        Some(Bytes { start, len, place: PhantomData })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this size; whatever points there borrows from the window.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast::<c_void>(), self.size) };
    }
}

/// Bytes that are to be read once: they may be a peer's, who can change them meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a> {
    start: *const u8,
    len: usize,
    place: PhantomData<&'a [u8]>,
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { start: bytes.as_ptr(), len: bytes.len(), place: PhantomData }
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Bytes<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::from(&bytes[..])
    }
}

impl Bytes<'_> {
    /// Where they are. They are readable for as long as this value may live.
    pub fn as_ptr(&self) -> *const u8 {
        self.start
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first `middle` of them, or all if they are fewer, and the rest.
    pub fn split_at(self, middle: usize) -> (Self, Self) {
        let middle = middle.min(self.len);
        // SAFETY: `middle` is within the bytes, or at their end.
        let rest = unsafe { self.start.add(middle) };
        (Self { len: middle, ..self }, Self { start: rest, len: self.len - middle, ..self })
    }

    /// Appends a copy of them to `into`.
    pub fn append_to(&self, into: &mut Vec<u8>) {
        into.reserve(self.len);
        let room = into.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: the vector has that much room, which is its own; the bytes are readable while
        // `self` lives, and are read without a reference, as another process may change them.
        unsafe { std::ptr::copy_nonoverlapping(self.start, room, self.len) };
        let len = into.len() + self.len;
        // SAFETY: so many have been initialised by now.
        unsafe { into.set_len(len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(bytes: Bytes<'_>) -> Vec<u8> {
        let mut copy = Vec::new();
        bytes.append_to(&mut copy);
        copy
    }

    #[test]
    fn what_one_side_writes_the_other_one_reads() {
        let (mut near, memory) = Window::create(10_000).unwrap();
        let far = Window::adopt(&memory, 10_000).unwrap();
        drop(memory);
        near.write(9_990, b"0123456789");
        assert_eq!(copy(far.bytes(9_990, 10).unwrap()), b"0123456789");
        let (first, rest) = far.bytes(9_992, 8).unwrap().split_at(3);
        assert_eq!((&copy(first)[..], &copy(rest)[..]), (&b"234"[..], &b"56789"[..]));
        assert!(far.bytes(10_000, 0).unwrap().is_empty());
    }

    #[test]
    fn nothing_lies_outside() {
        let (window, _memory) = Window::create(4096).unwrap();
        for (offset, len) in [(4096, 1), (0, 4097), (u32::MAX, 1), (1, u32::MAX)] {
            assert!(window.bytes(offset, len).is_none(), "{offset} {len}");
        }
    }

    #[test]
    #[should_panic(expected = "it fits")]
    fn nothing_is_written_outside() {
        let (mut window, _memory) = Window::create(4096).unwrap();
        window.write(4090, b"0123456789");
    }

    #[test]
    fn a_peer_can_neither_cut_it_short_nor_offer_one_that_can_be() {
        let (_window, memory) = Window::create(4096).unwrap();
        assert!(rustix::fs::ftruncate(&memory, 0).is_err());
        assert!(Window::adopt(&memory, 8192).is_err());
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let unsealed = rustix::fs::memfd_create(c"unsealed", flags).unwrap();
        rustix::fs::ftruncate(&unsealed, 4096).unwrap();
        assert!(Window::adopt(&unsealed, 4096).is_err());
        let (read, _write) = rustix::pipe::pipe().unwrap();
        assert!(Window::adopt(&read, 0).is_err());
    }
}
