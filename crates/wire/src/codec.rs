//! Primitive values on the wire: little-endian integers and length-prefixed byte strings.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why bytes are not a message. The peer is at fault, never the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The payload ended inside a value.
    #[error("payload ends {missing} bytes early in {what}")]
    Truncated {
        /// The value that was being read.
        what: &'static str,
        /// How many more bytes it needed, at least.
        missing: usize,
    },
    /// Bytes were left over after the last value.
    #[error("{0} bytes too many after the message")]
    Trailing(usize),
    /// An integer that stands for a choice was none of the known ones.
    #[error("{what} has the unknown value {value}")]
    Unknown {
        /// The value that was being read.
        what: &'static str,
        /// What stood there.
        value: u32,
    },
    /// A list said that it has more elements than its payload can hold.
    #[error("{what} claims {count} elements, more than its payload can hold")]
    Count {
        /// The list that was being read.
        what: &'static str,
        /// How many elements it claimed.
        count: u32,
    },
    /// The peer is of another build.
    #[error(
        "it speaks version {theirs} of the protocol, this is version {}; install all parts of \
         mod_wsgi-rs from one build, and restart httpd",
        crate::VERSION
    )]
    Version {
        /// The peer's version.
        theirs: u16,
    },
    /// Text that had to be UTF-8 was not.
    #[error("{0} is not UTF-8")]
    Utf8(&'static str),
}

/// Reads values from the front of a borrowed payload.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `payload`.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// Takes the next `len` bytes without copying them.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer are left.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(DecodeError::Truncated { what, missing: len - self.rest.len() }),
        }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    /// Reads the version with which a conversation opens, and insists on ours.
    ///
    /// # Errors
    /// [`DecodeError::Version`].
    pub fn version(&mut self) -> Result<(), DecodeError> {
        match self.u16("version")? {
            crate::VERSION => Ok(()),
            theirs => Err(DecodeError::Version { theirs }),
        }
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Reads a boolean; only 0 and 1 are one.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], [`DecodeError::Unknown`].
    pub fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Unknown { what, value: value.into() }),
        }
    }

    /// Reads a 16-bit integer.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    /// Reads a 32-bit integer.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// Reads a 64-bit integer.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Reads a byte string behind its 32-bit length.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u32(what)?;
        self.take(len as usize, what)
    }

    /// Reads a byte string that must be UTF-8.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], [`DecodeError::Utf8`].
    pub fn text(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| DecodeError::Utf8(what))
    }

    /// Reads a path, which may hold any bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn path(&mut self, what: &'static str) -> Result<PathBuf, DecodeError> {
        Ok(PathBuf::from(OsStr::from_bytes(self.bytes(what)?)))
    }

    /// Reads a value that may be absent.
    ///
    /// # Errors
    /// Those of `read`, and [`DecodeError::Unknown`] for a marker that is neither 0 nor 1.
    pub fn option<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        Ok(if self.bool(what)? { Some(read(self)?) } else { None })
    }

    /// Reads a list behind its 32-bit count. `least` is the size in bytes of the smallest element:
    /// a count that the rest of the payload cannot hold is refused before anything is allocated.
    ///
    /// # Errors
    /// Those of `read`, and [`DecodeError::Count`].
    pub fn list<T>(
        &mut self,
        what: &'static str,
        least: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.u32(what)?;
        if (count as usize).saturating_mul(least.max(1)) > self.rest.len() {
            return Err(DecodeError::Count { what, count });
        }
        let mut list = Vec::with_capacity(count as usize);
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }

    /// Takes whatever is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Ends the message.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] when bytes are left over.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }
}

/// Appends values to a buffer, in the form that [`Reader`] reads.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut Vec<u8>,
}

impl<'b> Writer<'b> {
    /// Appends behind what `buffer` already holds.
    pub fn new(buffer: &'b mut Vec<u8>) -> Self {
        Self { buffer }
    }

    /// Appends bytes without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.buffer.push(value);
    }

    /// Appends a boolean as 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.u8(value.into());
    }

    /// Appends a 16-bit integer.
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    /// Appends a 32-bit integer.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    /// Appends a 64-bit integer.
    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// Appends a byte string behind its 32-bit length.
    ///
    /// # Panics
    /// When `bytes` is 4 GiB or longer: no frame could carry it.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).expect("byte strings on the wire are below 4 GiB"));
        self.raw(bytes);
    }

    /// Appends a path as its bytes.
    pub fn path(&mut self, path: &Path) {
        self.bytes(path.as_os_str().as_bytes());
    }

    /// Appends a value that may be absent.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// Appends a list behind its 32-bit count.
    ///
    /// # Panics
    /// When the list has 2³² or more elements: no frame could carry it.
    pub fn list<T>(&mut self, list: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.u32(u32::try_from(list.len()).expect("lists on the wire are below 2^32 elements"));
        for element in list {
            write(self, element);
        }
    }
}
