//! The version of the protocol changes whenever a message does.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::samples;
use crate::codec::DecodeError;
use crate::frame::{FrameError, Message, encode, split};
use crate::{VERSION, control, generation};

/// The version, and the digest of what its messages look like on the wire.
const RECORDED: (u16, u64) = (2, 0x5f45_67cd_bd8e_a48a);

/// Enough for each variant of each message, and each choice inside.
const SAMPLES: usize = 500;

#[test]
fn messages_do_not_change_without_the_version() {
    let mut digest = Digest::new();
    digest.add(samples::exchange_to_worker());
    digest.add(samples::exchange_from_worker());
    digest.add(samples::to_broker());
    digest.add(samples::from_broker());
    digest.add(samples::to_admin());
    digest.add(samples::from_admin());
    digest.add(samples::control_to_worker());
    digest.add(samples::control_from_worker());
    digest.add(samples::to_supervisor());
    digest.add(samples::from_supervisor());
    digest.add(samples::to_reader());
    digest.add(samples::scoreboard());
    let (version, recorded) = RECORDED;
    let digest = digest.0;
    assert_eq!(
        (version, recorded),
        (VERSION, digest),
        "the messages have changed since version {version}: raise wire::VERSION, unless it has been \
         raised since the last release, and record ({VERSION}, {digest:#x}) here"
    );
}

/// FNV-1a (RFC 9923) of encoded messages.
struct Digest(u64);

impl Digest {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds messages that are the same in each run.
    fn add<M: Message<'static>>(&mut self, samples: impl Strategy<Value = M>) {
        let mut runner = TestRunner::deterministic();
        for _ in 0..SAMPLES {
            let sample = samples.new_tree(&mut runner).unwrap().current();
            let mut bytes = Vec::new();
            encode(&sample, &mut bytes);
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
}

#[test]
fn what_opens_a_conversation_refuses_another_version() {
    fn check<M: Message<'static> + std::fmt::Debug>(message: &M) {
        let mut bytes = Vec::new();
        encode(message, &mut bytes);
        bytes[8..10].copy_from_slice(&7_u16.to_le_bytes());
        // Whatever that version has behind it.
        bytes.push(0xff);
        let length = bytes.len() as u32 - 8;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let bytes: &'static [u8] = bytes.leak();
        let refused = split(bytes, M::MAX_PAYLOAD).unwrap().unwrap().message::<M>().unwrap_err();
        let source = DecodeError::Version { theirs: 7 };
        assert_eq!(refused, FrameError::Payload { kind: message.kind(), source });
        let expected = format!("version 7 of the protocol, this is version {VERSION}");
        assert!(refused.to_string().contains(&expected), "{refused}");
    }
    check(&generation::ToSupervisor::Lifeline);
    check(&control::ToWorker::Configure(Box::default()));
    check(&control::FromWorker::Ready { python: "3.14".to_owned() });
}
