//! Any bytes as what an application gives of a response: one head, and no more of a body than its
//! Content-Length.
#![no_main]

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use channel::Inbox;
use wire::exchange::FromWorker;
use worker::conversation::outgoing::Outgoing;
use worker::conversation::reply::{Head, Reply, Surplus};

/// What fits into a socket's buffer, so that nothing has to be read meanwhile.
const MOST: usize = 32 << 10;

/// The Content-Length of each head that was sent.
fn lengths(outgoing: &mut Outgoing, far: &UnixStream) -> Vec<Vec<Vec<u8>>> {
    let _ = outgoing.flush(&mut |_| Err(io::ErrorKind::WouldBlock.into()));
    let mut inbox = Inbox::new();
    let mut heads = Vec::new();
    while matches!(inbox.try_receive(far), Ok(1..)) {
        while let Some(FromWorker::Head { headers, .. }) = inbox.next().expect("ours") {
            let lengths =
                headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
            heads.push(lengths.map(|(_, value)| value.to_vec()).collect());
        }
    }
    heads
}

const CODES: [u16; 8] = [200, 204, 205, 206, 304, 404, 500, 100];
const NAMES: [&[u8]; 4] = [b"Content-Length", b"content-length", b"Transfer-Encoding", b"X"];

/// A head: a byte for the status, and a line for each header.
fn head(text: &[u8]) -> Head {
    let (code, text) = text.split_first().unwrap_or((&0, b""));
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| line.split_first());
    let headers = lines.map(|(name, value)| {
        (NAMES[usize::from(*name) % NAMES.len()].to_vec(), value.to_vec())
    });
    let code = CODES[usize::from(*code) % CODES.len()];
    Head { code, status: code.to_string().into_bytes(), headers: headers.collect() }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((is_head, input)) = input.split_first() else { return };
    let is_head = is_head & 1 == 1;
    let input = &input[..input.len().min(MOST)];
    let (near, far) = UnixStream::pair().expect("there are descriptors");
    for end in [&near, &far] {
        end.set_nonblocking(true).expect("a socket");
    }
    let mut outgoing = Outgoing::new(Arc::new(near.into()), Vec::new());
    let mut reply = Reply::new(is_head);
    let (mut sent, mut cut, mut given) = (0, false, None);
    for step in input.split(|byte| *byte == b'\r') {
        let Some((kind, rest)) = step.split_first() else { continue };
        match kind & 3 {
            // `start_response` refuses this where the head is on its way.
            0 if reply.is_committed() => {}
            0 => {
                given = Some(head(rest));
                reply.start(head(rest));
            }
            1 => {
                let length = (rest.len() > 1).then_some(rest.len());
                assert!(reply.commit(length, &mut outgoing).is_err() || reply.is_committed());
            }
            2 => {
                if let Some(length) = reply.file_length(rest.len() as u64) {
                    assert!(!reply.is_committed() && (1..=rest.len() as u64).contains(&length));
                }
            }
            _ if reply.commit(None, &mut outgoing).is_ok() => {
                let (admitted, surplus) = reply.admit(rest);
                assert!(rest.starts_with(admitted));
                assert_eq!(admitted.len() < rest.len(), surplus != Surplus::No);
                assert!(surplus != Surplus::FirstCut || !cut, "said once");
                cut |= surplus != Surplus::No;
                sent += admitted.len() as u64;
            }
            _ => assert!(!reply.is_committed()),
        }
    }
    let heads = lengths(&mut outgoing, &far);
    assert!(heads.len() <= 1 && reply.is_committed() == (heads.len() == 1));
    let Some(lengths) = heads.first() else { return };
    let head = given.expect("committed");
    let has_body = !is_head && !matches!(head.code, 100..=199 | 204 | 205 | 304);
    let named = |(name, _): &&(Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(b"content-length");
    match head.headers.iter().rfind(named) {
        Some((_, value)) => {
            let length: u64 = str::from_utf8(value).expect("digits").parse().expect("a number");
            assert!(sent <= length);
            assert_eq!(reply.missing(), if has_body { length - sent } else { 0 });
        }
        // A length that is added comes from the body's only block.
        None => assert!(lengths.len() <= 1 && reply.missing() == 0 && !cut),
    }
});
