//! Every message of every direction: there and back, cut short, too long, and not at all.

mod bounds;
mod samples;
mod version;

use std::fmt::Debug;

use proptest::prelude::*;

use crate::codec::DecodeError;
use crate::frame::{Frame, FrameError, Header, Message, encode, split};
use crate::{admin, broker, control, exchange, generation, output};

/// How a payload ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// With a value that has an end of its own.
    Delimited,
    /// With bytes that go on as long as the frame does.
    Raw,
}

/// Checks all that must hold for a message, whichever it is. What is decoded borrows from what was
/// sent, which is why that is leaked here.
#[track_caller]
fn check<M: Message<'static> + PartialEq + Debug>(message: &M, tail: Tail) {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    let bytes: &'static [u8] = bytes.leak();
    let frame = split(bytes, M::MAX_PAYLOAD).unwrap().expect("the frame is whole");
    assert_eq!(frame.size(), bytes.len());
    assert_eq!(frame.header.kind, message.kind());
    assert_eq!(frame.message::<M>().as_ref(), Ok(message));

    check_prefixes(bytes, M::MAX_PAYLOAD);
    check_cuts(&frame, message, tail);
    check_trailing::<M>(&frame, tail);
    let announced = frame.header.descriptors + 1;
    let header = Header { descriptors: announced, ..frame.header };
    let (kind, expected) = (header.kind, frame.header.descriptors);
    let error = FrameError::Descriptors { kind, announced, expected };
    assert_eq!(Frame { header, ..frame }.message::<M>(), Err(error));
}

/// A frame is found only when all of it is there, and what follows it does not matter.
#[track_caller]
fn check_prefixes(bytes: &[u8], max: usize) {
    for end in 0..bytes.len() {
        assert_eq!(split(&bytes[..end], max), Ok(None), "{end} of {} bytes", bytes.len());
    }
    let more = [bytes, &[0xff; 9]].concat();
    assert_eq!(split(&more, max).unwrap().map(|frame| frame.size()), Some(bytes.len()));
}

/// A payload cut short at any byte is no message, and never another one.
#[track_caller]
fn check_cuts<M: Message<'static> + PartialEq + Debug>(
    frame: &Frame<'static>,
    message: &M,
    tail: Tail,
) {
    for end in 0..frame.payload.len() {
        let header = Header { len: end as u32, ..frame.header };
        match (Frame { header, payload: &frame.payload[..end] }.message::<M>(), tail) {
            (Ok(_), Tail::Delimited) => panic!("{message:?} was read from its first {end} bytes"),
            (Ok(cut), Tail::Raw) => assert_ne!(&cut, message),
            (
                Err(FrameError::Payload { source: DecodeError::Truncated { missing, .. }, .. }),
                _,
            ) => {
                assert!((1..=frame.payload.len() - end).contains(&missing), "{missing} at {end}");
            }
            // A count can be seen to be too high before the end is reached.
            (Err(FrameError::Payload { source: DecodeError::Count { .. }, .. }), _) => {}
            (Err(other), _) => panic!("{other:?} for the first {end} bytes of {message:?}"),
        }
    }
}

#[track_caller]
fn check_trailing<M: Message<'static> + PartialEq + Debug>(frame: &Frame<'static>, tail: Tail) {
    if tail == Tail::Raw {
        return;
    }
    let payload: &'static [u8] = [frame.payload, &[0; 3]].concat().leak();
    let header = Header { len: payload.len() as u32, ..frame.header };
    let source = DecodeError::Trailing(3);
    let error = FrameError::Payload { kind: header.kind, source };
    assert_eq!(Frame { header, payload }.message::<M>(), Err(error));
}

proptest! {
    #[test]
    fn exchange_to_worker(message in samples::exchange_to_worker()) {
        let raw = matches!(message, exchange::ToWorker::Body(_));
        check(&message, if raw { Tail::Raw } else { Tail::Delimited });
    }

    #[test]
    fn exchange_from_worker(message in samples::exchange_from_worker()) {
        use exchange::FromWorker::{Data, Log, LogFrom};
        let raw = matches!(message, Data(_) | Log { .. } | LogFrom { .. });
        check(&message, if raw { Tail::Raw } else { Tail::Delimited });
    }

    #[test]
    fn broker_question(message in samples::to_broker()) {
        check(&message, Tail::Delimited);
    }

    #[test]
    fn broker_answer(message in samples::from_broker()) {
        check(&message, Tail::Delimited);
    }

    #[test]
    fn admin_question(message in samples::to_admin()) {
        check(&message, Tail::Delimited);
    }

    #[test]
    fn admin_answer(message in samples::from_admin()) {
        check(&message, Tail::Delimited);
    }

    #[test]
    fn control_to_worker(message in samples::control_to_worker()) {
        check(&message, Tail::Delimited);
    }

    #[test]
    fn control_from_worker(message in samples::control_from_worker()) {
        check(&message, Tail::Delimited);
    }

    #[test]
    fn scoreboard(message in samples::scoreboard()) {
        check(&message, Tail::Delimited);
    }

    #[test]
    fn generation_to_supervisor(message in samples::to_supervisor()) {
        check(&message, Tail::Delimited);
    }

    #[test]
    fn generation_from_supervisor(message in samples::from_supervisor()) {
        check(&message, Tail::Delimited);
    }

    #[test]
    fn output_to_reader(message in samples::to_reader()) {
        check(&message, Tail::Delimited);
    }

    /// No bytes bring a decoder down, and what it takes it would have written like that.
    #[test]
    fn arbitrary_payloads(kind in 0..16_u8, payload in prop::collection::vec(0..6_u8, 0..200)) {
        let payload: &'static [u8] = payload.leak();
        check_arbitrary::<exchange::ToWorker<'_>>(kind, payload);
        check_arbitrary::<exchange::FromWorker<'_>>(kind, payload);
        check_arbitrary::<broker::ToBroker<'_>>(kind, payload);
        check_arbitrary::<broker::FromBroker>(kind, payload);
        check_arbitrary::<control::ToWorker>(kind, payload);
        check_arbitrary::<control::FromWorker>(kind, payload);
        check_arbitrary::<generation::ToSupervisor>(kind, payload);
        check_arbitrary::<generation::FromSupervisor>(kind, payload);
        check_arbitrary::<output::ToReader>(kind, payload);
    }
}

fn check_arbitrary<M: Message<'static> + Debug>(kind: u8, payload: &'static [u8]) {
    for descriptors in 0..2 {
        let header = Header { len: payload.len() as u32, kind, descriptors };
        if let Ok(message) = (Frame { header, payload }).message::<M>() {
            let (mut expected, mut bytes) = (Vec::new(), Vec::new());
            header.encode(&mut expected);
            expected.extend_from_slice(payload);
            encode(&message, &mut bytes);
            assert_eq!(bytes, expected, "{message:?}");
        }
    }
}
