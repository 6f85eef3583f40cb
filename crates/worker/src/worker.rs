//! What the runners share.

use std::sync::Arc;

use crate::conversation::sender::Sender;
use crate::io::intake::Intake;
use crate::process::proof::Proof;
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
    /// Whether a request has been answered, which the supervisor is told.
    pub proof: Arc<Proof>,
}
