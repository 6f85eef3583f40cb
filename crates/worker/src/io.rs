//! From the listening socket to the runner: peers are checked, requests read, queued and scheduled,
//! without Python.

pub mod authentication;
pub mod connections;
pub mod intake;
pub mod queue;
pub mod schedule;
pub mod thread;
pub mod watch;
