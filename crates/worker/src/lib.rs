//! A worker: runs the WSGI applications of one application group in the Python of its process.
//!
//! Folders stand on floors, and import only from those below (`cargo xtask tidy` holds this):
//! the files here without a folder, `process`, `conversation`, `monitor`, `io`, `wsgi`, `telemetry`,
//! `python`, and on top `worker`, `runner` and `lifecycle`.
#![deny(unsafe_code)]

mod clock;
pub mod conversation;
mod embedded;
pub mod ffi;
mod forked;
mod interruption;
mod io;
mod lifecycle;
pub mod lines;
mod monitor;
mod process;
mod python;
mod runner;
pub mod slot;
mod telemetry;
mod worker;
mod wsgi;

pub use lifecycle::{main, prepare};
