//! Frames: a fixed header that says how long the payload is, and what kind of message it holds.

use crate::codec::{DecodeError, Reader, Writer};

/// A message of one direction of one conversation.
pub trait Message<'a>: Sized {
    /// Longest payload, in bytes, that the receiving end accepts in this direction. It bounds what
    /// a peer can make the receiver allocate.
    const MAX_PAYLOAD: usize;

    /// The kind that goes into the header.
    fn kind(&self) -> u8;

    /// How many file descriptors travel with the message.
    fn descriptors(&self) -> u8 {
        0
    }

    /// Appends the payload.
    fn encode_payload(&self, writer: &mut Writer<'_>);

    /// Reads the payload of a message of `kind`. It need not check for bytes left over.
    ///
    /// # Errors
    /// [`DecodeError`], also for a kind that does not exist in this direction.
    fn decode_payload(kind: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
}

/// What stands in front of each payload: length (u32), kind (u8), descriptors (u8), zero (u16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload that follow.
    pub len: u32,
    /// Kind of message, see [`Message::kind`].
    pub kind: u8,
    /// File descriptors that travel with this frame.
    pub descriptors: u8,
}

/// Why a byte stream is not a sequence of frames. The stream cannot be used any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The header's last two bytes were not zero: this is no peer of ours, or we lost our place.
    #[error("not a frame: the reserved bytes of its header are {0:#06x}")]
    Reserved(u16),
    /// The payload is longer than this direction allows.
    #[error("frame of kind {kind} announces {len} bytes, above the limit of {max}")]
    TooLong {
        /// Kind in the header.
        kind: u8,
        /// Announced length in bytes.
        len: u32,
        /// [`Message::MAX_PAYLOAD`] of the direction.
        max: usize,
    },
    /// The number of descriptors is not the one that this kind of message has.
    #[error("frame of kind {kind} announces {announced} descriptors, it has {expected}")]
    Descriptors {
        /// Kind in the header.
        kind: u8,
        /// Number in the header.
        announced: u8,
        /// Number that the message has.
        expected: u8,
    },
    /// The payload is not a message.
    #[error("frame of kind {kind}: {source}")]
    Payload {
        /// Kind in the header.
        kind: u8,
        /// What is wrong with it.
        source: DecodeError,
    },
}

impl Header {
    /// Size of an encoded header in bytes.
    pub const SIZE: usize = 8;

    /// Appends the header.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        let mut writer = Writer::new(buffer);
        writer.u32(self.len);
        writer.u8(self.kind);
        writer.u8(self.descriptors);
        writer.u16(0);
    }

    /// Reads a header and holds its length against `max`, before anything is allocated for it.
    ///
    /// # Errors
    /// [`FrameError::Reserved`], [`FrameError::TooLong`].
    pub fn decode(bytes: &[u8; Self::SIZE], max: usize) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, kind, descriptors, r0, r1] = *bytes;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        match u16::from_le_bytes([r0, r1]) {
            0 => {}
            reserved => return Err(FrameError::Reserved(reserved)),
        }
        if len as usize > max {
            return Err(FrameError::TooLong { kind, len, max });
        }
        Ok(Self { len, kind, descriptors })
    }
}

/// A whole frame at the front of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Bytes that the frame takes in its buffer, header and payload.
    pub fn size(&self) -> usize {
        Header::SIZE + self.payload.len()
    }

    /// Decodes the message that the frame holds, to its last byte.
    ///
    /// # Errors
    /// [`FrameError::Payload`], [`FrameError::Descriptors`].
    pub fn message<M: Message<'a>>(&self) -> Result<M, FrameError> {
        let Header { kind, descriptors: announced, .. } = self.header;
        let mut reader = Reader::new(self.payload);
        let message = M::decode_payload(kind, &mut reader)
            .and_then(|message| reader.finish().map(|()| message))
            .map_err(|source| FrameError::Payload { kind, source })?;
        match message.descriptors() {
            expected if expected == announced => Ok(message),
            expected => Err(FrameError::Descriptors { kind, announced, expected }),
        }
    }
}

/// Looks for a whole frame at the front of `buffer`. `None`: more bytes are needed.
///
/// # Errors
/// Those of [`Header::decode`], with `max` as the longest payload.
pub fn split(buffer: &[u8], max: usize) -> Result<Option<Frame<'_>>, FrameError> {
    let Some((header, rest)) = buffer.split_first_chunk::<{ Header::SIZE }>() else {
        return Ok(None);
    };
    let header = Header::decode(header, max)?;
    Ok(rest.get(..header.len as usize).map(|payload| Frame { header, payload }))
}

/// Appends `message` to `buffer` as one frame.
///
/// # Panics
/// When the payload is 4 GiB or longer.
pub fn encode<'a, M: Message<'a>>(message: &M, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    // A harmless length until the payload is there: an empty frame, not a hole.
    let mut header = Header { len: 0, kind: message.kind(), descriptors: message.descriptors() };
    header.encode(buffer);
    message.encode_payload(&mut Writer::new(buffer));
    let payload = buffer.len() - start - Header::SIZE;
    header.len = u32::try_from(payload).expect("payloads are below 4 GiB");
    buffer[start..start + 4].copy_from_slice(&header.len.to_le_bytes());
}

/// Appends `more` to the payload of the frame that begins at `start` and ends with `buffer`.
///
/// # Panics
/// When there is no frame at `start`, or its payload becomes 4 GiB or longer.
pub fn extend(buffer: &mut Vec<u8>, start: usize, more: &[u8]) {
    buffer.extend_from_slice(more);
    let payload = buffer.len() - start - Header::SIZE;
    let len = u32::try_from(payload).expect("payloads are below 4 GiB");
    buffer[start..start + 4].copy_from_slice(&len.to_le_bytes());
}
