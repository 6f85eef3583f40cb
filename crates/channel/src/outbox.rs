//! Sending encoded frames.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use wire::Message;

/// What is asked for as a socket's send buffer. Linux grants twice `net.core.wmem_max` at most.
const SEND_BUFFER: usize = 1 << 20;

/// Makes the send buffer of a socket large, so that a large message needs fewer turns. It is memory
/// only while it is filled.
pub fn widen(socket: impl AsFd) {
    // Whatever is granted is as good as it gets.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER);
}

/// Sends all of `bytes`, waiting as long as the socket's own timeout allows.
///
/// # Errors
/// `sendto(2)`'s, among them [`io::ErrorKind::WouldBlock`] when that timeout passed.
pub fn send(socket: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::net::send(&socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// [`send`] for bytes that lie in two places.
///
/// # Errors
/// As [`send`].
pub fn send_both(socket: impl AsFd, first: &[u8], second: &[u8]) -> io::Result<()> {
    let parts = [IoSlice::new(first), IoSlice::new(second)];
    let sent = loop {
        let mut nothing = SendAncillaryBuffer::default();
        match rustix::net::sendmsg(&socket, &parts, &mut nothing, SendFlags::NOSIGNAL) {
            Ok(sent) => break sent,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    send(&socket, first.get(sent..).unwrap_or_default())?;
    send(&socket, &second[sent.saturating_sub(first.len())..])
}

/// Sends what the socket takes at once, and returns how many bytes that were, possibly 0.
///
/// # Errors
/// `sendto(2)`'s, but for [`io::ErrorKind::WouldBlock`].
pub fn try_send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::net::send(&socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => return Ok(sent),
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// [`try_send`] for bytes that lie in two places.
///
/// # Errors
/// `sendmsg(2)`'s, but for [`io::ErrorKind::WouldBlock`].
pub fn try_send_both(socket: impl AsFd, first: &[u8], second: &[u8]) -> io::Result<usize> {
    let parts = [IoSlice::new(first), IoSlice::new(second)];
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        let mut nothing = SendAncillaryBuffer::default();
        match rustix::net::sendmsg(&socket, &parts, &mut nothing, flags) {
            Ok(sent) => return Ok(sent),
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Encodes and sends one message.
///
/// # Errors
/// As [`send`].
pub fn send_message<'a, M: Message<'a>>(socket: impl AsFd, message: &M) -> io::Result<()> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes);
    send(socket, &bytes)
}

/// Sends all of `bytes`, the start of which is a frame that has one descriptor, and lets
/// `descriptor` travel with them. The peer gets a descriptor of its own; the caller keeps this one.
///
/// # Errors
/// `sendmsg(2)`'s.
pub fn send_with_descriptor(
    socket: impl AsFd,
    bytes: &[u8],
    descriptor: impl AsFd,
) -> io::Result<()> {
    let sent = send_rights(&socket, bytes, descriptor, SendFlags::NOSIGNAL)?;
    // The descriptor has gone with the first byte.
    send(socket, &bytes[sent..])
}

/// As [`send_with_descriptor`], but sends what the socket takes at once. Returns how many bytes
/// that were; unless 0, the descriptor has gone with them.
///
/// # Errors
/// `sendmsg(2)`'s, but for [`io::ErrorKind::WouldBlock`].
pub fn try_send_with_descriptor(
    socket: impl AsFd,
    bytes: &[u8],
    descriptor: impl AsFd,
) -> io::Result<usize> {
    match send_rights(socket, bytes, descriptor, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        outcome => outcome,
    }
}

fn send_rights(
    socket: impl AsFd,
    bytes: &[u8],
    descriptor: impl AsFd,
    flags: SendFlags,
) -> io::Result<usize> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, flags) {
            Ok(sent) => return Ok(sent),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
