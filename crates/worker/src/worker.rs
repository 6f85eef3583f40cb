//! What the threads of a worker share.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use wire::control::Settings;

use crate::connection::{Connection, Connections};
use crate::control::Reporter;
use crate::queue::Queue;
use crate::reload::Reload;
use crate::watch::Thread;

/// A worker that has been given its application group.
#[derive(Debug)]
pub struct Worker {
    /// What the supervisor said about process and Python.
    pub settings: Settings,
    /// The one application group that it serves.
    pub application_group: Vec<u8>,
    /// Requests on their way to the runners.
    pub queue: Queue<Job>,
    /// The runners' threads.
    pub threads: Vec<Thread>,
    /// Requests that wait for new code.
    pub reload: Reload,
    /// Connections without a request in progress.
    pub connections: Connections,
    /// Whether the listening socket is left to other workers until a runner is free.
    pub paused: AtomicBool,
    /// Connections that are on their way from a runner back to the others.
    pub returning: AtomicUsize,
    /// Whether a request has ended, which the supervisor has been told.
    pub proven: AtomicBool,
    /// How it is told.
    pub reporter: Reporter,
}

/// A request that has been received.
#[derive(Debug)]
pub struct Job {
    /// The connection; the request is the next message in its inbox.
    pub connection: Connection,
    /// Path of its script.
    pub script: Vec<u8>,
    /// Whether a change of the script matters (`WSGIScriptReloading`).
    pub reloading: bool,
    /// When it had been received, in microseconds since the epoch.
    pub queued: u64,
}

/// The time in microseconds since the epoch.
pub fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
