//! What headers may say, as the module sees it: those that a worker sends to a client, and those in which
//! proxies tell an application about it.
//!
//! This crate knows neither httpd nor sockets, and has no `unsafe`, so that any bytes can be tried on it
//! (`fuzz/`).
#![forbid(unsafe_code)]

pub mod head;
mod proxies;
pub mod trust;

pub use proxies::{Category, Network, NetworkError, TrustedHeader};
