//! One request's conversation with the httpd child: what comes in, what goes out, and what both
//! share. Nothing here knows PEP 3333.

pub mod client;
pub mod connection;
pub mod exchange;
pub mod incoming;
pub mod meter;
pub mod outgoing;
pub mod particulars;
pub mod reply;
pub mod ring;
pub mod send_queue;
pub mod sender;
