//! Any bytes as what an httpd child says while an application reads `wsgi.input`, in any way.
#![no_main]

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use channel::{Inbox, Window};

use self::connection::{Connection, Windows};
use self::incoming::{Amount, BodyIs, Incoming, InputError};
use self::monitor::Slot;
use self::outgoing::Outgoing;
use self::outlet::Outlet;

#[path = "../../crates/worker/src/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../../crates/worker/src/incoming.rs"]
#[allow(dead_code)]
mod incoming;
#[path = "../../crates/worker/src/lines.rs"]
#[allow(dead_code)]
mod lines;
#[path = "../../crates/worker/src/outgoing.rs"]
#[allow(dead_code)]
mod outgoing;
#[path = "../../crates/worker/src/outlet.rs"]
#[allow(dead_code)]
mod outlet;
#[path = "../../crates/worker/src/ring.rs"]
#[allow(dead_code)]
mod ring;
#[path = "../../crates/worker/src/sender.rs"]
#[allow(dead_code)]
mod sender;
#[path = "../../crates/worker/src/monitor/slot.rs"]
#[allow(dead_code)]
mod slot;

/// What a request in progress knows of its connection.
mod connection {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    #[derive(Debug)]
    pub struct Connection {
        pub socket: Arc<OwnedFd>,
        pub inbox: channel::Inbox,
        pub windows: Windows,
    }

    impl Connection {
        pub fn say_goodbye(self) {}
    }

    #[derive(Debug)]
    pub struct Windows {
        pub body: Option<channel::Window>,
    }
}

mod ffi {
    pub fn let_others_go_first() {}
}

mod monitor {
    pub use super::slot::Slot;
}

/// Bytes of the window, each of which a frame can say is a piece of the body.
const WINDOW: u32 = 4096;

/// What fits into a socket's buffer, so that nobody has to read meanwhile.
const MOST: usize = 32 << 10;

fn read(incoming: &mut Incoming, amount: Amount, outlet: &Outlet) -> Result<Vec<u8>, InputError> {
    incoming.wait(amount, outlet)?;
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

    let socket = Arc::new(OwnedFd::from(near));
    let outlet = Outlet::new(Outgoing::new(Arc::clone(&socket), Vec::new()));
    let (window, _) = Window::create(WINDOW).expect("there is memory");
    let windows = Windows { body: Some(window) };
    let connection = Connection { socket, inbox: Inbox::with_descriptors(), windows };
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
        match read(&mut incoming, amount, &outlet) {
            Ok(data) => {
                total += data.len();
                let (Amount::Bytes(most) | Amount::LineWithin(most)) = amount else {
                    continue;
                };
                assert!(data.len() <= most);
            }
            Err(_) => {
                assert_eq!(read(&mut incoming, amount, &outlet), Err(InputError::FailedBefore));
                break;
            }
        }
    }
    assert!(total <= (said.len() + 1) * WINDOW as usize);
});
