//! Requests while they run: each has a place in its child's row, which says what it is and how far it has
//! come. Others read it meanwhile, without a lock.

use std::cell::Cell;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::fence;

use crate::layout::{CHANGING, Child, FLIGHTS, FREE, Phase, SHOWN};
use crate::table::{Metrics, Place};

thread_local! {
    /// The place that this thread had last. Nearly always it is free.
    static LAST: Cell<Option<usize>> = const { Cell::new(None) };
}

/// A request of this process that others see as long as this lives.
#[derive(Debug)]
pub struct Flight {
    child: &'static Child,
    place: Place,
    /// `None`: there was no room to tell of this one.
    shown: Option<&'static crate::layout::Flight>,
}

/// What is known of a request before it is with a worker.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Its method.
    pub method: &'a [u8],
    /// Its path, without a query string.
    pub path: &'a [u8],
    /// Its id in log lines, if it has one.
    pub id: Option<&'a [u8]>,
    /// When it was received, in microseconds since the epoch.
    pub received: u64,
}

/// A request as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Process id of httpd's child.
    pub child: u32,
    /// The application group that it is for.
    pub place: Place,
    /// How far it has come.
    pub phase: Phase,
    /// Process id of the worker that has it.
    pub worker: Option<u32>,
    /// When it was received, in microseconds since the epoch.
    pub began: u64,
    /// Its method, and its path without a query string, as much as there was room for.
    pub line: String,
    /// Its id in log lines.
    pub id: Option<String>,
}

impl Flight {
    /// Shows a request for a slot that this process has, if there is room; it is counted in any case.
    pub fn begin(child: &'static Child, place: Place, about: About<'_>) -> Self {
        child.running(place).fetch_add(1, Relaxed);
        let shown = take(child);
        if let Some(shown) = shown {
            shown.version.fetch_add(1, Relaxed);
            // Whoever reads one of the following values sees the state or the version that came before.
            fence(Release);
            shown.place.store(place.index() as u32, Relaxed);
            shown.phase.store(Phase::Waiting as u32, Relaxed);
            shown.worker.store(0, Relaxed);
            shown.began.store(about.received, Relaxed);
            shown.line.set([about.method, b" ", about.path]);
            shown.id.set(about.id);
            shown.state.store(SHOWN, Release);
        }
        Self { child, place, shown }
    }

    /// A worker has accepted it.
    pub fn accepted(&self, worker: u32) {
        if let Some(shown) = self.shown {
            shown.worker.store(worker, Relaxed);
            shown.phase.store(Phase::Accepted as u32, Relaxed);
        }
    }

    /// Its response has begun.
    pub fn answering(&self) {
        if let Some(shown) = self.shown {
            shown.phase.store(Phase::Answering as u32, Relaxed);
        }
    }

    /// It waits for a worker again.
    pub fn waiting(&self) {
        if let Some(shown) = self.shown {
            shown.phase.store(Phase::Waiting as u32, Relaxed);
            shown.worker.store(0, Relaxed);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.child.running(self.place).fetch_sub(1, Relaxed);
        if let Some(shown) = self.shown {
            shown.state.store(FREE, Release);
        }
    }
}

/// A place that no other request has.
fn take(child: &'static Child) -> Option<&'static crate::layout::Flight> {
    let first = LAST.get().unwrap_or_else(|| child.used.load(Relaxed) as usize);
    let mut places = (first..FLIGHTS).chain(0..first);
    let place = places.find(|place| {
        let state = &child.flights[*place].state;
        state.compare_exchange(FREE, CHANGING, AcqRel, Relaxed).is_ok()
    })?;
    if LAST.replace(Some(place)) != Some(place) {
        child.used.fetch_max(place as u32 + 1, Relaxed);
    }
    Some(&child.flights[place])
}

impl Metrics {
    /// All requests that are with workers, or wait for them, but for those that there was no room for; the
    /// oldest first.
    pub fn running(&self) -> Vec<Running> {
        let mut running: Vec<_> = self
            .living_children()
            .flat_map(|(pid, child)| {
                let used = (child.used.load(Relaxed) as usize).min(FLIGHTS);
                child.flights[..used].iter().filter_map(move |flight| look(pid, flight))
            })
            .collect();
        running.sort_by_key(|request| request.began);
        running
    }
}

fn look(child: u32, flight: &crate::layout::Flight) -> Option<Running> {
    if flight.state.load(Acquire) != SHOWN {
        return None;
    }
    let version = flight.version.load(Relaxed);
    let id = flight.id.get();
    let running = Running {
        child,
        place: Place::of(flight.place.load(Relaxed))?,
        phase: *Phase::ALL.get(flight.phase.load(Relaxed) as usize)?,
        worker: Some(flight.worker.load(Relaxed)).filter(|worker| *worker != 0),
        began: flight.began.load(Relaxed),
        line: printable(&flight.line.get()),
        id: (!id.is_empty()).then(|| printable(&id)),
    };
    fence(Acquire);
    // Otherwise it was another request's meanwhile.
    let same = flight.state.load(Relaxed) == SHOWN && flight.version.load(Relaxed) == version;
    same.then_some(running)
}

/// Text without what would steer a terminal.
pub(crate) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace(char::is_control, "?")
}
