//! Any bytes as the head of a response, or as early hints, up to what the module hands to httpd:
//! nothing in it may split a response.
#![no_main]

use headers::head::{Head, Header};
use wire::exchange::FromWorker;
use wire::{Frame, Header as FrameHeader};

/// Looks at text that httpd would send as it is.
fn check_text(bytes: &[u8]) {
    assert!(!bytes.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'));
}

fn check_header((name, value): Header<'_>) {
    let framing = [&b"content-length"[..], b"transfer-encoding", b"connection"];
    assert!(!framing.iter().any(|other| name.eq_ignore_ascii_case(other)));
    let separates = |byte: &u8| byte.is_ascii_control() || b" :\"".contains(byte);
    assert!(!name.is_empty() && !name.iter().any(separates));
    check_text(value);
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((hints, payload)) = input.split_first() else {
        return;
    };
    let kind = if hints & 1 == 0 { 3 } else { 10 };
    let len = u32::try_from(payload.len()).expect("inputs are short");
    let header = FrameHeader { len, kind, descriptors: 0 };
    match (Frame { header, payload }).message::<FromWorker<'_>>() {
        Ok(FromWorker::Head { status, headers }) => {
            let Ok(head) = Head::check(status, &headers) else { return };
            assert!((200..=999).contains(&head.code));
            assert!(head.line.starts_with(head.code.to_string().as_bytes()));
            check_text(head.line);
            head.content_type.into_iter().for_each(check_text);
            assert!(head.content_length.is_none_or(|length| i64::try_from(length).is_ok()));
            head.headers.into_iter().for_each(check_header);
        }
        Ok(FromWorker::EarlyHints { headers }) => {
            Head::check_hints(&headers).into_iter().flatten().for_each(check_header);
        }
        _ => {}
    }
});
