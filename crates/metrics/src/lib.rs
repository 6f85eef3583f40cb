//! What is counted of requests and workers, in memory that httpd's parent makes, and that its children
//! and its supervisors have mapped. It outlives workers, children, supervisors and configurations, so
//! that no counter ever falls. Workers have no part in it.
#![deny(unsafe_code)]

mod health;
mod layout;
#[expect(unsafe_code, reason = "the one file of this crate that may")]
mod memory;
mod summary;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use health::Health;
pub use layout::{Cause, Child, Class, Histogram, Reason, Reload, Slot};
pub use summary::{Group, Summary};
pub use table::{Metrics, Place};
pub use text::{Format, write};
