//! How much a client's socket has room for.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::LazyLock;

/// Where SO_MEMINFO puts the size of the send buffer, and what is in it (`SK_MEMINFO_SNDBUF` and
/// `SK_MEMINFO_WMEM_QUEUED` in Linux's include/uapi/linux/sock_diag.h).
const SEND_BUFFER: usize = 3;
const QUEUED: usize = 5;

/// Whether the kernel takes no more than it sends soon (ip-sysctl, `tcp_notsent_lowat`), whatever
/// there is room for. By default it does not.
static IS_LIMITED: LazyLock<bool> = LazyLock::new(|| {
    let limit = fs::read_to_string("/proc/sys/net/ipv4/tcp_notsent_lowat");
    limit.is_ok_and(|limit| limit.trim() != u32::MAX.to_string())
});

/// How many bytes can be written to the socket without waiting, by the kernel's own count: what it
/// keeps with the bytes is included, so that it takes a little less.
pub fn room(socket: BorrowedFd<'_>) -> Option<usize> {
    if *IS_LIMITED {
        return None;
    }
    let mut found = [0_u32; 9];
    let mut length = size_of_val(&found) as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed; the kernel writes at most `length` bytes
    // to the array, which has so many.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            found.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let has_both = status == 0 && length as usize > QUEUED * size_of::<u32>();
    has_both.then(|| found[SEND_BUFFER].saturating_sub(found[QUEUED]) as usize)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_there_is_room_for_is_taken_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _far = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        while let Some(room) = room(near.as_fd()) {
            let piece = vec![0; room - room / 8];
            if piece.len() < 4096 {
                break;
            }
            assert_eq!(near.write(&piece).unwrap(), piece.len());
        }
    }

    #[test]
    fn what_is_no_socket_has_none() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(room(file.as_fd()), None);
    }
}
