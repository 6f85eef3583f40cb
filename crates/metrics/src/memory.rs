//! The mapping of the shared memory: every unsafe operation of this crate.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::layout::Layout;

/// The size stays as it is, so that no process ends with SIGBUS because another one cut the file short.
const SEALS: SealFlags =
    SealFlags::from_bits_retain(SealFlags::SHRINK.bits() | SealFlags::GROW.bits())
        .union(SealFlags::SEAL);

/// Shared memory. It stays mapped until the process ends.
#[derive(Debug, Clone, Copy)]
pub struct Memory(NonNull<Layout>);

// SAFETY: all that is there are atomics, and they stay mapped.
unsafe impl Send for Memory {}
// SAFETY: atomics are there for several threads at a time.
unsafe impl Sync for Memory {}

impl Memory {
    /// Makes memory that is all zeros. The descriptor is for [`Self::adopt`] in another process.
    ///
    /// # Errors
    /// The system's.
    pub fn create() -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create(c"wsgi-metrics", flags)?;
        rustix::fs::ftruncate(&file, size_of::<Layout>() as u64)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Ok((Self::map(&file)?, file))
    }

    /// Maps what another process has made.
    ///
    /// # Errors
    /// It has another size, or may be cut short; or the system's.
    pub fn adopt(file: &OwnedFd) -> io::Result<Self> {
        let found = rustix::fs::fstat(file)?.st_size;
        let is_sealed = rustix::fs::fcntl_get_seals(file)?.contains(SEALS);
        if !is_sealed || usize::try_from(found) != Ok(size_of::<Layout>()) {
            return Err(io::Error::other(
                "memory for metrics that is not sealed, or of another size",
            ));
        }
        Self::map(file)
    }

    fn map(file: &OwnedFd) -> io::Result<Self> {
        let (size, access) = (size_of::<Layout>(), ProtFlags::READ | ProtFlags::WRITE);
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses an address at which nothing is mapped.
        let start =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), size, access, flags, file, 0) }?;
        NonNull::new(start.cast()).map(Self).ok_or(io::ErrorKind::OutOfMemory.into())
    }

    /// What is there.
    pub fn layout(&self) -> &'static Layout {
        // SAFETY: mapped for good, at the start of a page, with this size, which the seals keep. The
        // type consists of atomics alone, for which every content is valid, and through which any
        // process may change it.
        unsafe { self.0.as_ref() }
    }
}
