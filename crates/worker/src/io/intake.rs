//! What the I/O thread and the runners share: requests on their way from the one to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use wire::control::Settings;
use wire::exchange::Refusal;

use crate::clock::now;
use crate::conversation::connection::Connection;
use crate::io::connections::Connections;
use crate::io::queue::Queue;
use crate::io::watch::Thread;
use crate::monitor::Monitor;

/// The way of requests into a worker that has been given its application group.
#[derive(Debug)]
pub struct Intake {
    /// What the supervisor said about process and Python.
    pub settings: Settings,
    /// The one application group that the worker serves.
    pub application_group: Vec<u8>,
    /// Requests on their way to the runners.
    pub queue: Queue<Job>,
    /// The runners' threads.
    pub threads: Vec<Thread>,
    /// What the worker does, measured by its limits.
    pub monitor: Arc<Monitor>,
    /// Connections without a request in progress.
    pub connections: Connections,
    /// Whether the listening socket is left to other workers until a runner is free.
    pub paused: AtomicBool,
    /// Connections that are on their way from a runner back to the others.
    pub returning: AtomicUsize,
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

impl Intake {
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
