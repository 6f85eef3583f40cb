//! What all targets check: decoding any bytes gives a message or an error, and a message that was
//! decoded is written exactly like that again.
#![forbid(unsafe_code)]

use wire::{Frame, Header, Message};

/// Reads `input` as a message: kind, number of descriptors, payload.
pub fn check<'a, M: Message<'a>>(input: &'a [u8]) {
    let [kind, descriptors, payload @ ..] = input else {
        return;
    };
    let Ok(len) = u32::try_from(payload.len()) else {
        return;
    };
    let header = Header { len, kind: *kind, descriptors: *descriptors };
    let Ok(message) = (Frame { header, payload }).message::<M>() else {
        return;
    };
    let (mut expected, mut encoded) = (Vec::new(), Vec::new());
    header.encode(&mut expected);
    expected.extend_from_slice(payload);
    wire::encode(&message, &mut encoded);
    assert_eq!(encoded, expected);
}
