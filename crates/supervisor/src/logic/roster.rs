//! The workers, for somebody who wants to see them.

use std::time::Instant;

use wire::admin::{self, State};

use super::workers::Phase;
use super::{GroupIndex, Logic};

impl Logic {
    /// All workers of a group, or of all, whose process exists, by group and age. What only the
    /// system knows of them is left out.
    pub fn roster(&self, group: Option<GroupIndex>, now: Instant) -> Vec<admin::Worker> {
        let workers =
            self.workers.values().filter(|worker| group.is_none_or(|group| group == worker.group));
        let mut workers: Vec<_> =
            workers.filter_map(|worker| Some((worker, worker.pid()?))).collect();
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
                memory: 0,
                cpu: 0,
                python: worker.python.clone(),
            })
            .collect()
    }
}
