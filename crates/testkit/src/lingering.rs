//! A descriptor that is harmful to close: a TCP socket with unsent data, for which the kernel waits.

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sockopt};

/// Longer than any test lasts.
const LINGER: Duration = Duration::from_secs(3600);

/// Sends such a descriptor with a byte that means nothing, once as urgent and once as ordinary data,
/// so that the receiver has the last reference. A socket that takes no more is no mistake.
pub fn send_lingering(to: impl AsFd) {
    for flags in [SendFlags::OOB, SendFlags::empty()] {
        let (lingering, reader) = pair().expect("loopback works");
        let descriptors = [lingering.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let byte = [IoSlice::new(b"\xff")];
        let sent = rustix::net::sendmsg(&to, &byte, &mut ancillary, flags | SendFlags::NOSIGNAL);
        std::mem::forget(reader);
        if sent.is_err() {
            // Nobody else has it: it is not for us to wait.
            std::mem::forget(lingering);
        }
    }
}

/// A connection whose writing end has more to send than is taken, and its reading end.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut writer = TcpStream::connect(listener.local_addr()?)?;
    let (reader, _) = listener.accept()?;
    sockopt::set_socket_linger(&writer, Some(LINGER))?;
    sockopt::set_socket_send_buffer_size(&writer, 1 << 12)?;
    writer.set_nonblocking(true)?;
    while writer.write(&[0; 1 << 16]).is_ok() {}
    Ok((writer.into(), reader.into()))
}
