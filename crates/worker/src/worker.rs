//! What the threads of a worker share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use wire::control::Settings;
use wire::exchange::Refusal;

use crate::connection::{Connection, Connections};
use crate::control::Reporter;
use crate::monitor::Monitor;
use crate::queue::Queue;
use crate::reload::Reload;
use crate::sender::Sender;
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
    /// What it does, measured by its limits.
    pub monitor: Arc<Monitor>,
    /// Requests that wait for new code.
    pub reload: Reload,
    /// The thread that sends small blocks.
    pub sender: Arc<Sender>,
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
    /// When it had been received by this worker, in microseconds since the epoch.
    pub queued: u64,
    /// When httpd had received it, likewise.
    pub received: u64,
}

impl Worker {
    /// Most requests that may run, or wait, where one more `may_wait`.
    pub fn capacity(&self, may_wait: bool) -> usize {
        let threads = usize::from(self.settings.threads.max(1));
        if !may_wait {
            return threads;
        }
        self.settings.backlog.map_or(usize::MAX, |waits| threads.saturating_add(waits as usize))
    }

    /// When the job has waited for too long (`queue-timeout=`), in microseconds since the epoch.
    pub fn too_late_for(&self, job: &Job) -> Option<u64> {
        let limit = u64::from(self.settings.queue_timeout) * 1_000_000;
        (limit > 0).then(|| job.received.saturating_add(limit))
    }

    /// Whether the job has waited for too long.
    pub fn is_late(&self, job: &Job) -> bool {
        self.too_late_for(job).is_some_and(|deadline| deadline <= now())
    }

    /// Answers a job that has waited for too long.
    pub fn give_up(&self, Job { mut connection, .. }: Job) {
        if connection.refuse(Refusal::Late) {
            self.connections.put_back(connection);
        }
    }
}

/// The time in microseconds since the epoch.
pub fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
