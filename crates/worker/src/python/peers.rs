//! What the workers of an application group know of each other's scripts where `reload=keep`: each
//! tells what it has loaded, and one that cannot load a script asks whether others can stand in.

use std::sync::{Condvar, Mutex, MutexGuard};

use pyo3::prelude::*;
use wire::control::FromWorker;

use crate::process::control::Reporter;

/// The way to the others, which leads over the supervisor. Nothing here is to be called while
/// attached to Python, but for what takes a `py`.
#[derive(Debug)]
pub struct Peers {
    reporter: Reporter,
    /// Held by the one thread that may ask: answers do not say which question they belong to.
    turn: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The answer to the question.
    answer: Option<Answer>,
    /// The answer to all questions from now on.
    last: Option<Answer>,
}

/// What becomes of a worker that cannot load a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nobody else can run what asks for the script either, or nobody can be asked.
    Alone,
    /// Others can. This worker finishes.
    Leave,
}

impl Peers {
    /// Speaks through `reporter`.
    pub fn new(reporter: Reporter) -> Self {
        let (turn, state, changed) = (Mutex::default(), Mutex::default(), Condvar::new());
        Self { reporter, turn, state, changed }
    }

    /// Tells why a script cannot be loaded, with the traceback.
    pub fn tell_why(&self, text: String) {
        self.reporter.unloaded(text);
    }

    /// Asks what becomes of this worker, which cannot load a script, and waits for the answer.
    pub fn ask(&self, py: Python<'_>, script: &[u8], reason: String) -> Answer {
        py.detach(|| {
            let _turn = self.turn.lock().expect("nobody panics in here");
            let mut state = self.lock();
            state.answer = None;
            if state.last.is_none() {
                self.reporter.send(&FromWorker::Unfit { script: script.to_vec(), reason });
            }
            loop {
                if let Some(answer) = state.last.or(state.answer) {
                    return answer;
                }
                state = self.changed.wait(state).expect("nobody panics in here");
            }
        })
    }

    /// Answers the question that has been asked.
    pub fn answer(&self, answer: Answer) {
        self.lock().answer = Some(answer);
        self.changed.notify_all();
    }

    /// Answers all questions from now on.
    pub fn close(&self, answer: Answer) {
        self.lock().last = Some(answer);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics in here")
    }
}
