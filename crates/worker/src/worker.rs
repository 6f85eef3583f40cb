//! What the runners share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::conversation::sender::Sender;
use crate::io::intake::Intake;
use crate::process::control::Reporter;
use crate::python::context::Context;
use crate::python::reload::Reload;

/// A worker that has been given its application group.
#[derive(Debug)]
pub struct Worker {
    /// Where its requests come from.
    pub intake: Arc<Intake>,
    /// What it has of Python.
    pub context: Arc<Context>,
    /// Requests that wait for new code.
    pub reload: Reload,
    /// The thread that sends small blocks.
    pub sender: Arc<Sender>,
    /// Whether a request has ended, which the supervisor has been told.
    pub proven: AtomicBool,
    /// How it is told.
    pub reporter: Reporter,
}
