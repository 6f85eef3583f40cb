//! What a peer may claim, and what happens when it claims more.

use super::*;
use crate::codec::{Reader, Writer};
use crate::exchange::Level;
use crate::{Secret, VERSION};

/// Reads a payload of that kind and tells what is wrong with it.
#[track_caller]
fn refused<M: Message<'static> + Debug>(
    kind: u8,
    write: impl FnOnce(&mut Writer<'_>),
) -> DecodeError {
    let mut payload = Vec::new();
    write(&mut Writer::new(&mut payload));
    let payload: &'static [u8] = payload.leak();
    let header = Header { len: payload.len() as u32, kind, descriptors: 0 };
    match (Frame { header, payload }).message::<M>() {
        Err(FrameError::Payload { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn kinds_that_do_not_exist_are_refused_in_each_direction() {
    check_kinds::<exchange::ToWorker<'_>>(11);
    check_kinds::<exchange::FromWorker<'_>>(16);
    check_kinds::<broker::ToBroker<'_>>(2);
    check_kinds::<broker::FromBroker>(5);
    check_kinds::<admin::ToAdmin<'_>>(4);
    check_kinds::<admin::FromAdmin>(8);
    check_kinds::<control::ToWorker>(9);
    check_kinds::<control::FromWorker>(14);
    check_kinds::<generation::ToSupervisor>(5);
    check_kinds::<generation::FromSupervisor>(4);
    check_kinds::<output::ToReader>(4);
}

/// Kinds are numbered from 1 to `last`.
#[track_caller]
fn check_kinds<M: Message<'static> + Debug>(last: u8) {
    for kind in (0..=u8::MAX).filter(|kind| !(1..=last).contains(kind)) {
        let error = refused::<M>(kind, |_| {});
        let unknown = matches!(error, DecodeError::Unknown { value, .. } if value == kind.into());
        assert!(unknown, "kind {kind}: {error:?}");
    }
    for kind in 1..=last {
        let header = Header { len: 0, kind, descriptors: 0 };
        let outcome = Frame { header, payload: &[] }.message::<M>();
        let unknown =
            matches!(outcome, Err(FrameError::Payload { source: DecodeError::Unknown { .. }, .. }));
        assert!(!unknown, "kind {kind}: {outcome:?}");
    }
}

#[test]
fn payloads_are_bounded_in_each_direction() {
    check_limit::<exchange::ToWorker<'_>>(16 << 20);
    check_limit::<exchange::FromWorker<'_>>(1 << 20);
    check_limit::<broker::ToBroker<'_>>(64 << 10);
    check_limit::<broker::FromBroker>(64 << 10);
    check_limit::<admin::ToAdmin<'_>>(64 << 10);
    check_limit::<admin::FromAdmin>(4 << 20);
    check_limit::<control::ToWorker>(1 << 20);
    check_limit::<control::FromWorker>(64 << 10);
    check_limit::<generation::ToSupervisor>(64 << 20);
    check_limit::<generation::FromSupervisor>(16 << 20);
    check_limit::<output::ToReader>(64 << 20);
}

/// The header alone decides: nothing has to be received, or allocated, to refuse a long frame.
#[track_caller]
fn check_limit<M: Message<'static>>(max: usize) {
    assert_eq!(M::MAX_PAYLOAD, max);
    let header = |len: u32| {
        let mut bytes = Vec::new();
        Header { len, kind: 1, descriptors: 0 }.encode(&mut bytes);
        bytes
    };
    let most = u32::try_from(max).unwrap();
    assert_eq!(split(&header(most), max), Ok(None));
    for len in [most + 1, u32::MAX] {
        assert_eq!(split(&header(len), max), Err(FrameError::TooLong { kind: 1, len, max }));
    }
}

#[test]
fn a_header_has_a_fixed_form() {
    let bytes = [0x04, 0x03, 0x02, 0x01, 7, 1, 0, 0];
    let header = Header { len: 0x0102_0304, kind: 7, descriptors: 1 };
    assert_eq!(Header::decode(&bytes, usize::MAX), Ok(header));
    let mut encoded = Vec::new();
    header.encode(&mut encoded);
    assert_eq!(encoded, bytes);
    for (reserved, place) in [(1, 6), (0x0100, 7)] {
        let mut bytes = bytes;
        bytes[place] = 1;
        assert_eq!(Header::decode(&bytes, usize::MAX), Err(FrameError::Reserved(reserved)));
    }
}

#[test]
fn lists_that_their_payload_cannot_hold_are_refused_before_they_are_allocated() {
    let count = u32::MAX;
    let head = refused::<exchange::FromWorker<'_>>(3, |writer| {
        writer.bytes(b"200 OK");
        writer.u32(count);
    });
    assert_eq!(head, DecodeError::Count { what: "headers", count });

    // One more pair than there is room for, at eight bytes each.
    let head = refused::<exchange::FromWorker<'_>>(3, |writer| {
        writer.bytes(b"200 OK");
        writer.u32(3);
        writer.raw(&[0; 23]);
    });
    assert_eq!(head, DecodeError::Count { what: "headers", count: 3 });

    let configuration = refused::<generation::ToSupervisor>(2, |writer| {
        writer.u16(VERSION);
        Secret::new([0; Secret::SIZE]).write(writer);
        writer.bytes(b"/run");
        writer.u32(0);
        writer.u32(0);
        // A log that is syslog, at level 4, without a format or a name; no syslog.
        writer.raw(&[0, 4, 0, 0, 0, 0, 0, 0]);
        writer.u32(count);
    });
    assert_eq!(configuration, DecodeError::Count { what: "groups", count });
}

#[test]
fn byte_strings_longer_than_their_payload_are_refused() {
    let reason = refused::<generation::FromSupervisor>(2, |writer| {
        writer.u32(u32::MAX);
        writer.raw(b"abc");
    });
    let missing = u32::MAX as usize - 3;
    assert_eq!(reason, DecodeError::Truncated { what: "reason", missing });
}

#[test]
fn values_out_of_range_are_refused() {
    let level = refused::<exchange::FromWorker<'_>>(5, |writer| writer.u8(8));
    assert_eq!(level, DecodeError::Unknown { what: "level", value: 8 });
    for value in [0, 8, 255] {
        let refusal = refused::<exchange::FromWorker<'_>>(1, |writer| writer.u8(value));
        assert_eq!(refusal, DecodeError::Unknown { what: "refusal", value: value.into() });
    }
    let magic = refused::<exchange::ToWorker<'_>>(1, |writer| writer.raw(b"HTTP"));
    assert_eq!(magic, DecodeError::Unknown { what: "magic", value: 0 });
    let text = refused::<control::FromWorker>(3, |writer| writer.bytes(b"\xff"));
    assert_eq!(text, DecodeError::Utf8("reason"));
    let marker = Reader::new(&[2]).option("identity", |_| Ok(()));
    assert_eq!(marker, Err(DecodeError::Unknown { what: "identity", value: 2 }));
    assert_eq!(Reader::new(&[3]).bool("x"), Err(DecodeError::Unknown { what: "x", value: 3 }));
}

#[test]
fn numbers_are_little_endian() {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    writer.u16(0x0102);
    writer.u32(0x0304_0506);
    writer.u64(7);
    assert_eq!(bytes, [2, 1, 6, 5, 4, 3, 7, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn levels_are_the_numbers_of_httpd() {
    for number in 0..8 {
        assert_eq!(Level::from_number(number).number(), number);
    }
    assert_eq!(Level::from_number(3), Level::Error);
    assert_eq!(Level::from_number(15), Level::Debug, "the trace levels");
}

#[test]
fn secrets_are_not_printed() {
    let secret = Secret::new([0xa7; Secret::SIZE]);
    let hello = exchange::hello(secret);
    for printed in [format!("{secret:?}"), format!("{hello:?}"), format!("{hello:#?}")] {
        assert!(!printed.contains("167") && !printed.contains("a7"), "{printed}");
    }
}

#[test]
fn secrets_differ_when_any_byte_does() {
    let secret = Secret::new([1; Secret::SIZE]);
    assert_eq!(secret, Secret::new([1; Secret::SIZE]));
    for place in 0..Secret::SIZE {
        let mut bytes = [1; Secret::SIZE];
        bytes[place] ^= 0x80;
        assert_ne!(secret, Secret::new(bytes));
    }
}

#[test]
fn messages_follow_each_other_in_one_buffer() {
    let messages =
        [control::ToWorker::Drain { grace: 7 }, control::ToWorker::Configure(Default::default())];
    let mut bytes = Vec::new();
    messages.iter().for_each(|message| encode(message, &mut bytes));
    let mut rest = bytes.as_slice();
    for message in &messages {
        let frame = split(rest, control::ToWorker::MAX_PAYLOAD).unwrap().unwrap();
        assert_eq!(frame.message::<control::ToWorker>().as_ref(), Ok(message));
        rest = &rest[frame.size()..];
    }
    assert!(rest.is_empty());
}
