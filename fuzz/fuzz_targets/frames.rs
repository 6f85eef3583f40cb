//! Any bytes as a stream of frames, as long as they are some.
#![no_main]

const MAX: usize = 1 << 12;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    while let Ok(Some(frame)) = wire::split(rest, MAX) {
        assert!(frame.payload.len() <= MAX);
        let mut encoded = Vec::new();
        frame.header.encode(&mut encoded);
        encoded.extend_from_slice(frame.payload);
        assert_eq!(encoded, rest[..frame.size()]);
        // A frame is whole or it is not: one byte less is no frame, and no error either.
        assert_eq!(wire::split(&rest[..frame.size() - 1], MAX), Ok(None));
        rest = &rest[frame.size()..];
    }
});
