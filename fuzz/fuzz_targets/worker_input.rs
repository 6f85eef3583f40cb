//! Any bytes as what an httpd child says while an application reads `wsgi.input`, in any way.
#![no_main]

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use channel::Window;
use worker::conversation::connection::Connection;
use worker::conversation::incoming::{Amount, BodyIs, Incoming, InputError};
use worker::conversation::outgoing::Outgoing;
use worker::conversation::send_queue::SendQueue;
use worker::slot::Slot;

/// Bytes of the window, each of which a frame can say is a piece of the body.
const WINDOW: u32 = 4096;

/// What fits into a socket's buffer, so that nobody has to read meanwhile.
const MOST: usize = 32 << 10;

fn read(incoming: &mut Incoming, amount: Amount, send_queue: &SendQueue) -> Result<Vec<u8>, InputError> {
    incoming.wait(amount, send_queue)?;
    let len = incoming.ready(amount).expect("it has been awaited");
    let mut data = Vec::new();
    incoming.take(len, |parts| parts.iter().for_each(|part| part.append_to(&mut data)));
    assert_eq!(data.len(), len);
    Ok(data)
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((ways, said)) = input.split_first_chunk::<4>() else {
        return;
    };
    let said = &said[..said.len().min(MOST)];
    let (near, far) = UnixStream::pair().expect("there are descriptors");
    assert_eq!(rustix::io::write(&far, said), Ok(said.len()));
    rustix::net::shutdown(&far, rustix::net::Shutdown::Write).expect("it is connected");
    near.set_nonblocking(true).expect("a socket");

    let peer = rustix::net::sockopt::socket_peercred(&near).expect("a socket");
    let mut connection = Connection::new(near.into(), peer, 2, Arc::default());
    let send_queue = SendQueue::new(Outgoing::new(Arc::clone(&connection.socket), Vec::new()));
    let (window, _) = Window::create(WINDOW).expect("there is memory");
    connection.windows.body = Some(window);
    let slot = Slot::new(1, Instant::now(), false).expect("there are descriptors");
    // Also where all of the window is the body, or more would be.
    let body = match ways[0] & 12 {
        0 => BodyIs::InWindow(WINDOW + u32::from(ways[1] & 1)),
        _ => BodyIs::Elsewhere,
    };
    let mut incoming = Incoming::new(connection, body, Arc::default(), Arc::new(slot));
    let mut total = 0;
    for way in ways.iter().cycle().take(64) {
        let limit = usize::from(way >> 2) * 100;
        let amount = match way & 3 {
            0 => Amount::All,
            1 => Amount::Bytes(limit),
            2 => Amount::Line,
            _ => Amount::LineWithin(limit),
        };
        match read(&mut incoming, amount, &send_queue) {
            Ok(data) => {
                total += data.len();
                let (Amount::Bytes(most) | Amount::LineWithin(most)) = amount else {
                    continue;
                };
                assert!(data.len() <= most);
            }
            Err(_) => {
                assert_eq!(read(&mut incoming, amount, &send_queue), Err(InputError::FailedBefore));
                break;
            }
        }
    }
    assert!(total <= (said.len() + 1) * WINDOW as usize);
});
