//! Ends of workers that were not planned: the last ones, for those who ask what died and why.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::fence;
use std::time::SystemTime;

use crate::flight::printable;
use crate::layout::{CHANGING, Cause, LOSSES, SHOWN};
use crate::table::{Metrics, Place};

/// Such an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// How many there have been with this one.
    pub number: u64,
    /// When, in seconds since the epoch.
    pub time: u64,
    /// The application group.
    pub place: Place,
    /// Why.
    pub cause: Cause,
    /// The worker's process id, if it had one.
    pub worker: Option<u32>,
    /// What is known of it.
    pub story: String,
}

impl Metrics {
    /// Notes the end of a worker.
    pub fn note_loss(&self, place: Place, cause: Cause, worker: Option<u32>, story: &str) {
        let layout = self.layout();
        let number = layout.lost.fetch_add(1, AcqRel) + 1;
        let loss = &layout.losses[number as usize % LOSSES];
        loss.state.store(CHANGING, Relaxed);
        fence(Release);
        loss.number.store(number, Relaxed);
        let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        loss.time.store(time, Relaxed);
        loss.place.store(place.index() as u32, Relaxed);
        loss.cause.store(cause as u32, Relaxed);
        loss.worker.store(worker.unwrap_or(0), Relaxed);
        loss.story.set([story.as_bytes()]);
        loss.state.store(SHOWN, Release);
    }

    /// The ends that are remembered, the last one first.
    pub fn losses(&self) -> Vec<Lost> {
        let mut losses: Vec<_> = self.layout().losses.iter().filter_map(look).collect();
        losses.sort_by_key(|loss| std::cmp::Reverse(loss.number));
        losses
    }
}

fn look(loss: &crate::layout::Loss) -> Option<Lost> {
    if loss.state.load(Acquire) != SHOWN {
        return None;
    }
    let number = loss.number.load(Relaxed);
    let lost = Lost {
        number,
        time: loss.time.load(Relaxed),
        place: Place::of(loss.place.load(Relaxed))?,
        cause: *Cause::ALL.get(loss.cause.load(Relaxed) as usize)?,
        worker: Some(loss.worker.load(Relaxed)).filter(|pid| *pid != 0),
        story: printable(&loss.story.get()),
    };
    fence(Acquire);
    let same = loss.state.load(Relaxed) == SHOWN && loss.number.load(Relaxed) == number;
    same.then_some(lost)
}
