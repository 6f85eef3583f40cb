//! The real worker, driven over its sockets as supervisor and httpd children do.
#![expect(clippy::unwrap_used, reason = "the helpers are test code, too")]

mod admission;
mod client;
mod concurrency;
mod harness;
mod input;
mod lifecycle;
mod logs;
mod module;
mod responses;
mod scripts;
mod start_response;
