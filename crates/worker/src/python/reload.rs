//! Changed scripts: the request that finds a change is held back for a worker with the new code,
//! while this one goes on serving the others with what it has loaded.
//!
//! The supervisor is told once per change. It starts a worker that loads the new code, and then
//! either orders this one to finish ([`Reload::cease`]) or to go on ([`Reload::keep`]).

use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use wire::control::{FromWorker, Reload as Policy};
use wire::limits::Cause;

use crate::io::intake::Job;
use crate::process::control::Reporter;
use crate::python::script::{Scripts, Versions};

/// What becomes of requests for changed scripts. The functions without `py` are for threads that
/// are not attached to Python.
#[derive(Debug)]
pub struct Reload {
    reporter: Reporter,
    policy: Policy,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// No change has been found.
    Fresh,
    /// One has been reported, when the files had these versions, and these requests found it.
    Reported(Vec<Job>, Versions),
    /// Nobody takes this worker's place: there is no supervisor, or it is about to finish.
    Alone,
}

impl Reload {
    /// Reports changes through `reporter`, unless that is switched off.
    pub fn new(reporter: Reporter, policy: Policy) -> Self {
        Self { reporter, policy, state: Mutex::new(State::Fresh) }
    }

    /// Lets a request pass, or holds it back.
    pub fn admit(&self, py: Python<'_>, scripts: &Scripts, job: Job) -> Option<Job> {
        if self.policy == Policy::Off || !job.reloading || !scripts.has_changed(py, &job.script) {
            return Some(job);
        }
        let mut state = self.lock(py);
        match &*state {
            State::Reported(..) => Some(job),
            // Nobody could load it first, to see whether that goes well.
            State::Alone if self.policy == Policy::Keep => Some(job),
            State::Alone => {
                drop(state);
                // Loaded again, in place.
                scripts.forget(py, &job.script);
                Some(job)
            }
            State::Fresh => {
                let script = job.script.clone();
                *state = State::Reported(vec![job], scripts.versions(py));
                drop(state);
                let reason = format!("'{}' has changed", String::from_utf8_lossy(&script));
                let cause = Cause::ScriptReload;
                py.detach(|| {
                    let mut scripts = scripts.paths();
                    scripts.sort_by_key(|path| *path != script);
                    self.reporter.send(&FromWorker::Retire { cause, reason, scripts });
                });
                None
            }
        }
    }

    /// Nobody takes this worker's place, this time: what is loaded counts as unchanged until the next
    /// change after the one that was reported. Returns the requests that have been held back.
    #[must_use]
    pub fn keep(&self, py: Python<'_>, scripts: &Scripts) -> Vec<Job> {
        let (held, versions) = py.detach(|| self.leave(State::Fresh));
        if let Some(versions) = versions {
            scripts.accept(py, versions);
        }
        held
    }

    /// Nobody takes this worker's place any more: it finishes, or there is no supervisor who could
    /// start another one. Returns the requests that have been held back.
    #[must_use]
    pub fn cease(&self) -> Vec<Job> {
        self.leave(State::Alone).0
    }

    /// Whether a change has been reported, and another worker is to take this one's place.
    pub fn has_reported(&self) -> bool {
        // Not attached to Python, and held for moments only.
        matches!(&*self.state.lock().expect("nobody panics in here"), State::Reported(..))
    }

    fn leave(&self, next: State) -> (Vec<Job>, Option<Versions>) {
        let mut state = self.state.lock().expect("nobody panics in here");
        match std::mem::replace(&mut *state, next) {
            State::Reported(held, versions) => (held, Some(versions)),
            State::Fresh | State::Alone => (Vec::new(), None),
        }
    }

    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        self.state.lock_py_attached(py).expect("nobody panics in here")
    }
}
