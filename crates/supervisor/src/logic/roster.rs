//! The workers, for somebody who wants to see them.

use std::time::Instant;

use wire::admin::{self, State};

use super::Logic;
use super::workers::Phase;

impl Logic {
    /// All workers whose process exists, by group and age.
    pub fn roster(&self, now: Instant) -> Vec<admin::Worker> {
        let mut workers: Vec<_> =
            self.workers.values().filter_map(|worker| Some((worker, worker.pid()?))).collect();
        workers.sort_by_key(|(worker, _)| (worker.group, worker.started()));
        workers
            .into_iter()
            .map(|(worker, pid)| admin::Worker {
                process_group: self.groups[worker.group].plan.name.clone(),
                application_group: worker.application_group().map(<[u8]>::to_vec),
                pid,
                state: match worker.phase {
                    Phase::Starting => State::Starting,
                    Phase::Idle => State::Idle,
                    Phase::Assigned => State::Loading,
                    Phase::Serving => State::Serving,
                    Phase::Leaving(_) => State::Finishing,
                },
                age: now.saturating_duration_since(worker.started()).as_secs(),
            })
            .collect()
    }
}
