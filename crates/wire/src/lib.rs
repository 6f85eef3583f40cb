//! The messages between the httpd module, the supervisor and the workers, and their codec.
//!
//! This crate does no I/O and has no `unsafe`. Decoding any bytes returns a value or an error; no
//! length that a peer states is allocated before it has been checked against the bytes at hand.
//! `docs/PROTOCOL.md` tells who says what to whom, and when.
//!
//! Each direction of each conversation has an enum of its own, so that no end can send what only
//! the other end may say:
//!
//! | conversation | towards the server | back |
//! |---|---|---|
//! | [`exchange`]: httpd child and worker, one HTTP request after the other | [`exchange::ToWorker`] | [`exchange::FromWorker`] |
//! | [`broker`]: httpd child and supervisor, "where is this application group?", "what became of that worker?" | [`broker::ToBroker`] | [`broker::FromBroker`] |
//! | [`admin`]: administrator and supervisor, "reload that group", "who works?" | [`admin::ToAdmin`] | [`admin::FromAdmin`] |
//! | [`control`]: supervisor and worker, settings and life cycle | [`control::ToWorker`] | [`control::FromWorker`] |
//! | [`generation`]: httpd parent and supervisor, one configuration cycle | [`generation::ToSupervisor`] | [`generation::FromSupervisor`] |
//! | [`output`]: supervisor and the process that reads on what programs write | [`output::ToReader`] | – |
//! | [`scoreboard`]: worker and httpd, "what does httpd do?" | the connection itself | [`scoreboard::Scoreboard`] |
#![forbid(unsafe_code)]

pub mod admin;
pub mod broker;
mod codec;
pub mod control;
pub mod exchange;
mod frame;
pub mod generation;
pub mod limits;
pub mod output;
pub mod scoreboard;
mod secret;
pub mod telemetry;
#[cfg(test)]
mod tests;

pub use codec::{DecodeError, Reader, Writer};
pub use frame::{Frame, FrameError, Header, Message, encode, extend, split};
pub use secret::Secret;

/// Version of the whole protocol. Both ends of every conversation must have the same one: module,
/// supervisor and workers are installed together, so there is nothing to negotiate. Each conversation
/// opens with it, and what opens it keeps its place in all versions. A test fails when messages
/// change and this does not.
pub const VERSION: u16 = 2;
