//! Whether all is there that is to be there before any request.

use std::sync::atomic::Ordering::Relaxed;

use crate::summary::Summary;
use crate::table::Metrics;

/// What keeps httpd from being ready, in sentences. None: it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The sentences.
    pub problems: Vec<String>,
}

impl Health {
    /// Reads it. This waits for nothing.
    pub fn of(metrics: &Metrics) -> Self {
        let summary = Summary::of(metrics);
        if !summary.is_answering {
            return Self { problems: vec!["The supervisor has not started yet.".to_owned()] };
        }
        let is_missing = |slot: &crate::Slot| {
            slot.is_expected.load(Relaxed) > 0 && slot.workers_ready.load(Relaxed) == 0
        };
        let problems = summary.groups.iter().filter(|group| is_missing(group.slot)).map(|group| {
            let name = &group.process_group;
            match &group.application_group {
                None => format!("Process group '{name}' has no worker that has started."),
                Some(application) => format!(
                    "Process group '{name}', application group '{application}' has no worker that \
                     has loaded its scripts."
                ),
            }
        });
        Self { problems: problems.collect() }
    }
}
