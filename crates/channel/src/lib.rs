//! Framed Unix sockets: `wire` messages, and the file descriptors that travel with them, over
//! blocking and non-blocking stream sockets.
//!
//! [`Inbox`] turns received bytes into messages; [`send`] and its relatives write encoded frames. A
//! [`Window`] is memory beside a socket, for what is too large to be copied through it.
//! [`untrusted`] is for peers with fewer rights than the process that reads.
//! All sends ask for no SIGPIPE (`MSG_NOSIGNAL`): the host process decides nothing about us, and
//! we nothing about its signal handlers.
#![deny(unsafe_code)]

mod inbox;
mod outbox;
pub mod untrusted;
mod window;

pub use inbox::{Inbox, ReceiveError};
pub use outbox::{
    send, send_both, send_message, send_with_descriptor, try_send, try_send_both,
    try_send_with_descriptor, widen,
};
pub use window::{Bytes, Window};
