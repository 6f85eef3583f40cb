//! Where a group keeps code that works (`reload=keep`): what one worker of a set has loaded, all
//! load, so that the set serves what it served before, whichever of them a request comes to and
//! whatever has been deployed since.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use wire::limits::Cause;

use super::workers::{Phase, Worker};
use super::{Action, Logic, SetId, WorkerId};

/// How many scripts of a set are looked after, and how long a path may be: a worker is not trusted
/// with our memory.
const MAX_SCRIPTS: usize = 64;
const MAX_PATH: usize = libc::PATH_MAX as usize;

/// When a worker that is to take another one's place tries again to load what it could not. Until it
/// can, both serve, and nobody else of their set is replaced.
const LOAD_AGAIN: Duration = Duration::from_secs(30);

/// Which scripts a worker has.
#[derive(Debug, Default)]
pub struct Scripts {
    /// It has said that it has loaded these.
    loaded: BTreeSet<Vec<u8>>,
    /// It has these, or has been told to load them.
    told: BTreeSet<Vec<u8>>,
}

impl Scripts {
    /// The worker loads these before it serves.
    pub fn tell(&mut self, scripts: &[Vec<u8>]) {
        self.told.extend(scripts.iter().cloned());
    }

    /// The worker may be told again to load what it has not.
    fn forgive(&mut self) {
        self.told.clone_from(&self.loaded);
    }

    /// Whether the worker has loaded whatever that other one has.
    pub fn cover(&self, other: &Self) -> bool {
        self.loaded.is_superset(&other.loaded)
    }
}

impl Logic {
    /// A worker has loaded a script for the first time: so do the others of its set, where it keeps
    /// what works. Elsewhere a worker that is added to others that serve loads it beforehand, so that no
    /// request waits for that which one of the others could run.
    pub(super) fn loaded(&mut self, id: WorkerId, script: Vec<u8>, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let plan = &self.groups[worker.group].plan;
        let keeps = plan.keeps;
        let Some(set) = worker.set.filter(|_| keeps || plan.processes.most > 1) else {
            return self.broken(id, "it tells what it has loaded, which nobody wants to know", now);
        };
        if !self.note_scripts(set, std::slice::from_ref(&script)) || !keeps {
            return;
        }
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.scripts.loaded.insert(script.clone());
            worker.scripts.told.insert(script);
        }
        self.share_scripts(set);
        self.succeed(id, now);
    }

    /// Notes what the set's workers have loaded. Returns whether all of it is looked after.
    pub(super) fn note_scripts(&mut self, set: SetId, scripts: &[Vec<u8>]) -> bool {
        let Some(set) = self.sets.get_mut(&set) else {
            return false;
        };
        for script in scripts {
            if !set.scripts.contains(script)
                && set.scripts.len() < MAX_SCRIPTS
                && script.len() <= MAX_PATH
            {
                set.scripts.push(script.clone());
            }
        }
        scripts.iter().all(|script| set.scripts.contains(script))
    }

    /// Tells each worker of the set that serves to load what others have. One that does not serve
    /// yet is told when it does.
    pub(super) fn share_scripts(&mut self, set_id: SetId) {
        let Some(set) = self.sets.get(&set_id).filter(|set| self.groups[set.group].plan.keeps)
        else {
            return;
        };
        let serving = self
            .workers
            .iter_mut()
            .filter(|(_, worker)| worker.set == Some(set_id) && worker.phase == Phase::Serving);
        for (id, worker) in serving {
            let missing =
                set.scripts.iter().filter(|script| !worker.scripts.told.contains(*script));
            let missing: Vec<_> = missing.cloned().collect();
            if !missing.is_empty() {
                worker.scripts.tell(&missing);
                self.actions.push(Action::Load(*id, missing));
            }
        }
    }

    /// Tells a worker once more to load what others of its set have.
    pub(super) fn load_again(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && let Some(set) = worker.set
        {
            worker.scripts.forgive();
            self.share_scripts(set);
        }
    }

    /// A worker cannot load a script. If another one has it, and everything else that this one has,
    /// this one gives way: its place is taken as soon as the code can be loaded.
    pub(super) fn unfit(&mut self, id: WorkerId, script: &[u8], reason: &str, now: Instant) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let group = worker.group;
        match worker.phase {
            Phase::Serving if self.groups[group].plan.keeps => {}
            // The order to finish is its answer.
            Phase::Leaving(_) => return,
            _ => return self.broken(id, "it says that it is unfit, but is not asked", now),
        }
        let stands_in = |other: &Worker| {
            other.phase == Phase::Serving
                && other.scripts.loaded.contains(script)
                && other.scripts.cover(&worker.scripts)
        };
        let set = worker.set;
        let others =
            self.workers.iter().filter(|(other, worker)| **other != id && worker.set == set);
        if !others.into_iter().any(|(_, other)| stands_in(other)) {
            if let Some(worker) = self.workers.get_mut(&id).filter(|w| w.replaces.is_some()) {
                worker.load_later(now, LOAD_AGAIN);
            }
            return self.actions.push(Action::Alone(id));
        }
        let level = self.level_of(id, reason);
        let line = format!("{}: {reason}", self.name(id));
        let replaces = self.workers.get_mut(&id).and_then(|worker| worker.replaces.take());
        if !self.renewal_failed(replaces, &line, level) {
            self.log(group, level, format!("{line}; others serve on with what they have loaded"));
        }
        self.send_away(id, self.groups[group].plan.limits.grace(Cause::ScriptReload), now);
        self.refill(group, now);
    }
}
