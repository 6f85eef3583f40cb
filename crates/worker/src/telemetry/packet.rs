//! One datagram: a header of 24 bytes, and fields that each have a number, a type and a value. All of
//! it is little endian, as mod_wsgi's receivers read it.

/// Datagrams of more bytes are not read.
const MOST: usize = 8192;
/// Texts of more bytes are cut, and end in dots.
const LONGEST_TEXT: usize = 511;
const DOTS: &[u8] = b"...";

/// What a datagram tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// What requests have come to since the last one of these.
    Requests = 2,
    /// A slow request.
    Slow = 4,
    /// The worker serves from now on.
    Started = 5,
    /// It is about to end.
    Stopping = 6,
    /// It ends.
    Stopped = 7,
    /// What the garbage collector has come to.
    Garbage = 8,
    /// One run of it.
    Collection = 9,
}

/// A datagram in the making. Sequence number and time come last, when it is sent.
#[derive(Debug, Clone)]
pub struct Packet {
    bytes: Vec<u8>,
}

impl Packet {
    /// Without fields.
    pub fn new(kind: Kind) -> Self {
        let mut bytes = b"WSGI\x01".to_vec();
        bytes.push(kind as u8);
        // Flags, of which there are none, and what is filled in later.
        bytes.resize(24, 0);
        Self { bytes }
    }

    /// Adds a number.
    pub fn count(&mut self, field: u16, value: u64) {
        self.add(field, 1, &value.to_le_bytes());
    }

    /// Adds seconds, or a ratio.
    pub fn float(&mut self, field: u16, value: f64) {
        self.add(field, 2, &value.to_le_bytes());
    }

    /// Adds a text.
    pub fn text(&mut self, field: u16, text: &[u8]) {
        let mut value = vec![0; 2];
        match text.get(..LONGEST_TEXT - DOTS.len()) {
            Some(start) if text.len() > LONGEST_TEXT => value.extend([start, DOTS].concat()),
            _ => value.extend(text),
        }
        self.add_counted(field, 4, value, 1);
    }

    /// Adds a text, unless there is none.
    pub fn text_if_any(&mut self, field: u16, text: &[u8]) {
        if !text.is_empty() {
            self.text(field, text);
        }
    }

    /// Adds a list of numbers.
    pub fn counts(&mut self, field: u16, list: impl IntoIterator<Item = i32>) {
        let mut value = vec![0; 2];
        list.into_iter().for_each(|number| value.extend(number.to_le_bytes()));
        self.add_counted(field, 5, value, 4);
    }

    /// Adds a list of seconds.
    pub fn floats(&mut self, field: u16, list: impl IntoIterator<Item = f64>) {
        let mut value = vec![0; 2];
        list.into_iter().for_each(|number| value.extend(number.to_le_bytes()));
        self.add_counted(field, 6, value, 8);
    }

    /// The whole datagram.
    pub fn finish(&mut self, pid: u32, sequence: u32, time: f64) -> &[u8] {
        self.bytes[8..12].copy_from_slice(&pid.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&sequence.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&time.to_le_bytes());
        &self.bytes
    }

    /// Adds elements of this size, the number of which stands in front.
    fn add_counted(&mut self, field: u16, kind: u8, mut value: Vec<u8>, size: usize) {
        let count = u16::try_from((value.len() - 2) / size).unwrap_or(u16::MAX);
        value[..2].copy_from_slice(&count.to_le_bytes());
        self.add(field, kind, &value);
    }

    /// A field for which there is no room is left out: the others can still be read.
    fn add(&mut self, field: u16, kind: u8, value: &[u8]) {
        if self.bytes.len() + 3 + value.len() <= MOST {
            self.bytes.extend(field.to_le_bytes());
            self.bytes.push(kind);
            self.bytes.extend(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_datagram() {
        let mut packet = Packet::new(Kind::Started);
        packet.count(7, 258);
        packet.float(13, 0.5);
        packet.text(5, b"host");
        packet.counts(90, [1, -1]);
        packet.floats(111, [2.0]);
        let expected = [
            b"WSGI\x01\x05\0\0\x04\x03\x02\x01\x09\0\0\0\0\0\0\0\0\0\xf8\x3f".as_slice(),
            b"\x07\0\x01\x02\x01\0\0\0\0\0\0",
            b"\x0d\0\x02\0\0\0\0\0\0\xe0\x3f",
            b"\x05\0\x04\x04\0host",
            b"\x5a\0\x05\x02\0\x01\0\0\0\xff\xff\xff\xff",
            b"\x6f\0\x06\x01\0\0\0\0\0\0\0\0\x40",
        ];
        assert_eq!(packet.finish(0x01020304, 9, 1.5), expected.concat());
    }

    #[test]
    fn long_texts_end_in_dots() {
        let text_of = |length: usize| {
            let mut packet = Packet::new(Kind::Slow);
            packet.text(214, &vec![b'x'; length]);
            packet.bytes[29..].to_vec()
        };
        assert_eq!(text_of(511), [b'x'; 511]);
        assert_eq!(text_of(512), [[b'x'; 508].as_slice(), b"..."].concat());
        assert_eq!(text_of(100_000).len(), 511);
        let mut packet = Packet::new(Kind::Slow);
        packet.text_if_any(213, b"");
        assert_eq!(packet.bytes.len(), 24);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut packet = Packet::new(Kind::Requests);
        packet.floats(111, (0..1000).map(|_| 0.0));
        packet.floats(112, (0..1000).map(|_| 0.0));
        packet.count(20, 1);
        assert_eq!(packet.bytes.len(), 24 + 5 + 8000 + 11);
    }
}
