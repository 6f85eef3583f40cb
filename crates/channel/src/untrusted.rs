//! Receiving from a peer with fewer rights, which must not make this process close a descriptor.
//!
//! Whoever drops the last reference to a file closes it, and that may take as long as its owner
//! likes: `inet_release` in the kernel waits for `SO_LINGER` as long as data is unsent. A receiver
//! drops descriptors that it does not take (`__scm_destroy`), and so does one that closes a socket
//! in whose queue they are. Only a process that is ending does not wait (`PF_EXITING`).

use std::io::{self, IoSliceMut};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, Shutdown, recv, recvmsg, shutdown};

/// Receives bytes, as long as no descriptor is among them.
///
/// # Errors
/// `recvmsg(2)`'s, and [`io::ErrorKind::PermissionDenied`] when there is a descriptor, with which
/// everything stays in the socket. It can only be [emptied](empty) then.
pub fn receive(socket: impl AsFd, room: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    // Urgent data would be thrown away without being seen here first, and descriptors with it.
    rustix::net::sockopt::set_socket_oobinline(&socket, true)?;
    let mut parts = [IoSliceMut::new(room)];
    let mut no_descriptors = RecvAncillaryBuffer::default();
    let seen = recvmsg(&socket, &mut parts, &mut no_descriptors, flags | RecvFlags::PEEK)?;
    if seen.flags.contains(ReturnFlags::CTRUNC) {
        let text = "the peer sent a descriptor, and may send none";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    match &mut room[..seen.bytes] {
        [] => Ok(0),
        // Not a byte more than was looked at: others may have come meanwhile.
        seen => Ok(recv(socket, seen, flags)?.1),
    }
}

/// Ends both directions of a socket, and throws away what has come. Returns whether it can be
/// closed: otherwise it holds a descriptor, which a process that is ending has to close.
#[must_use]
pub fn empty(socket: impl AsFd) -> bool {
    // From here on nothing more comes: `unix_stream_sendmsg` looks at this when it queues.
    if shutdown(&socket, Shutdown::Both).is_err() {
        return false;
    }
    let mut some = [0; 4096];
    loop {
        match receive(&socket, &mut some, RecvFlags::DONTWAIT) {
            Ok(0) => return true,
            Ok(_) => {}
            // A peer that has left before it had read everything: told once, in place of the end.
            Err(error) if error.raw_os_error() == Some(Errno::CONNRESET.raw_os_error()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    fn send(socket: &UnixStream, bytes: &[u8], flags: SendFlags) {
        let null = std::fs::File::open("/dev/null").unwrap();
        let descriptors = [null.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(socket, &[io::IoSlice::new(bytes)], &mut ancillary, flags).unwrap();
    }

    fn received(socket: &UnixStream) -> io::Result<Vec<u8>> {
        let mut room = [0; 64];
        let length = receive(socket, &mut room, RecvFlags::DONTWAIT)?;
        Ok(room[..length].to_vec())
    }

    #[test]
    fn a_descriptor_is_seen_and_stays_where_it_is() {
        for flags in [SendFlags::empty(), SendFlags::OOB] {
            let (near, far) = UnixStream::pair().unwrap();
            crate::send(&near, b"first").unwrap();
            assert_eq!(received(&far).unwrap(), b"first");
            send(&near, b"x", flags);
            crate::send(&near, b"after").unwrap();
            for _ in 0..2 {
                assert_eq!(received(&far).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            }
            assert!(!empty(&far));
            assert!(crate::send(&near, b"more").is_err(), "it still takes what is sent");
        }
    }

    #[test]
    fn a_socket_without_descriptors_is_emptied() {
        let (near, far) = UnixStream::pair().unwrap();
        crate::send(&far, b"never read").unwrap();
        crate::send(&near, &[b'x'; 10_000]).unwrap();
        drop(near);
        assert!(empty(&far));
    }
}
