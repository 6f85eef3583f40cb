//! What is counted of requests and workers, in memory that httpd's parent makes, and that its children
//! and its supervisors have mapped. It outlives workers, children, supervisors and configurations, so
//! that no counter ever falls. Workers have no part in it.
#![deny(unsafe_code)]

mod flight;
mod health;
mod history;
mod layout;
mod losses;
#[expect(unsafe_code, reason = "the one file of this crate that may")]
mod memory;
mod summary;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use flight::{About, Flight, Running};
pub use health::Health;
pub use history::{EVERY, Sample, Sampler};
pub use layout::{Cause, Child, Class, Histogram, Phase, Reason, Reload, Slot};
pub use losses::Lost;
pub use summary::{Group, Summary};
pub use table::{Metrics, Place};
pub use text::{Format, write};
