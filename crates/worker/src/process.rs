//! The process itself: its conversation with the supervisor, its limits, its output outside of
//! requests.

pub mod confinement;
pub mod control;
pub mod log;
pub mod memory;
pub mod proof;
pub mod setup;
pub mod threads;
pub mod title;
