//! Secrets that prove a peer's right to a conversation.

use crate::codec::{DecodeError, Reader, Writer};

/// 32 random bytes. Never printed, compared in constant time.
#[derive(Clone, Copy)]
pub struct Secret([u8; Self::SIZE]);

impl Secret {
    /// Size in bytes.
    pub const SIZE: usize = 32;

    /// Wraps random bytes; the caller says where the randomness comes from.
    pub const fn new(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.raw(&self.0);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut bytes = [0; Self::SIZE];
        bytes.copy_from_slice(reader.take(Self::SIZE, "secret")?);
        Ok(Self(bytes))
    }
}

impl PartialEq for Secret {
    /// Looks at every byte whatever the first ones are, so that timing tells a guesser nothing.
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
    }
}

impl Eq for Secret {}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(..)")
    }
}
