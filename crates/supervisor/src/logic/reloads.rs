//! Who waits for the end of a reload, and what came of it.

use std::collections::BTreeSet;

use super::{Action, GroupIndex, Logic, Ticket, WorkerId};

/// How many different failures of a reload are told, and how long each may be, in characters.
const MAX_FAILURES: usize = 8;
const LONGEST_FAILURE: usize = 16_000;

/// What came of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// How many workers have given way to others.
    pub replaced: u32,
    /// Why new code could not be loaded, with its traceback.
    pub failures: Vec<String>,
}

/// A reload that has not come to its end.
#[derive(Debug)]
pub struct Pending {
    ticket: Ticket,
    /// The workers that are still to be replaced.
    workers: BTreeSet<WorkerId>,
    outcome: Reloaded,
}

impl Logic {
    /// Answers when all workers that have been told to ask for their replacement have been replaced,
    /// or go on.
    pub(super) fn await_reload(&mut self, ticket: Ticket, group: Option<GroupIndex>) {
        let concerned = self.workers.iter().filter(|(_, worker)| {
            let is_service = self.groups[worker.group].plan.is_service;
            group.is_none_or(|group| group == worker.group)
                && (worker.reload_ordered || worker.cause.is_some())
                && (is_service || !worker.is_leaving())
        });
        let workers = concerned.map(|(id, _)| *id).collect();
        self.pending_reloads.push(Pending { ticket, workers, outcome: Reloaded::default() });
        self.answer_reloads();
    }

    /// Whether this is what a worker of the same set has said last, of a script that it cannot load. Each
    /// worker, and each attempt, finds out for itself; the log has it once.
    pub fn has_been_said(&mut self, id: WorkerId, text: &str) -> bool {
        let set = self.workers.get(&id).and_then(|worker| worker.set);
        let Some(set) = set.and_then(|set| self.sets.get_mut(&set)) else { return false };
        if set.last_traceback == text {
            return true;
        }
        text.clone_into(&mut set.last_traceback);
        false
    }

    /// A worker has said that a script cannot be loaded.
    pub(super) fn unloaded(&mut self, id: WorkerId, text: String) {
        let Some(old) = self.workers.get(&id).and_then(|worker| worker.replaces) else {
            return;
        };
        if let Some(old) = self.workers.get_mut(&old) {
            let text = text.chars().take(LONGEST_FAILURE).collect();
            old.successor_failed.get_or_insert(text);
        }
    }

    /// A worker that was replaced is gone: whatever comes now meets new code. Or it goes on, because of
    /// `failure`.
    pub(super) fn reload_ends_for(&mut self, id: WorkerId, failure: Option<String>) {
        for pending in &mut self.pending_reloads {
            if !pending.workers.remove(&id) {
                continue;
            }
            let Reloaded { replaced, failures } = &mut pending.outcome;
            match &failure {
                None => *replaced += 1,
                Some(failure) if failures.len() < MAX_FAILURES && !failures.contains(failure) => {
                    failures.push(failure.clone());
                }
                Some(_) => {}
            }
        }
        self.answer_reloads();
    }

    fn answer_reloads(&mut self) {
        let ended = self.pending_reloads.extract_if(.., |pending| pending.workers.is_empty());
        self.actions
            .extend(ended.map(|Pending { ticket, outcome, .. }| Action::Reloaded(ticket, outcome)));
    }
}
