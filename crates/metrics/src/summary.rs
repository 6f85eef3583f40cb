//! What the memory says at one moment, group by group, for those who show it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::layout::{BOUNDS, Class, Histogram, Slot};
use crate::table::{Metrics, Place};

/// All groups of the current configuration.
#[derive(Debug)]
pub struct Summary {
    /// Process groups and their application groups, sorted by name.
    pub groups: Vec<Group>,
    /// Whether the supervisor has said what it is to keep running.
    pub is_answering: bool,
}

/// An application group, or a process group apart from its application groups.
#[derive(Debug)]
pub struct Group {
    /// `ServerName` of where the process group is defined.
    pub server: String,
    /// Name of the process group, `%{GLOBAL}` for the default one.
    pub process_group: String,
    /// Name of the application group. `None`: what belongs to no application group.
    pub application_group: Option<String>,
    /// Requests that are with its workers, or wait for them.
    pub in_flight: u64,
    /// Threads of workers that serve.
    pub threads: u64,
    /// Where it is counted.
    pub place: Place,
    /// What is counted.
    pub slot: &'static Slot,
}

impl Summary {
    /// Reads it. This waits for nothing.
    pub fn of(metrics: &Metrics) -> Self {
        let layout = metrics.layout();
        let generation = layout.generation.load(Relaxed);
        let is_answering = layout.answering.load(Acquire) == layout.supervisor.load(Relaxed);
        let is_application = |slot: &Slot| slot.is_application.load(Relaxed) != 0;
        let defined: BTreeMap<_, _> = metrics
            .slots()
            .filter(|(_, slot)| !is_application(slot))
            .filter(|(_, slot)| slot.defined.load(Relaxed) == generation)
            .map(|(_, slot)| (slot.process_group.get(), slot.server.get()))
            .collect();
        let in_flight = metrics.in_flight();
        let mut groups: Vec<_> = metrics
            .slots()
            .filter_map(|(place, slot)| {
                let process_group = slot.process_group.get();
                let server = defined.get(&process_group)?;
                let application_group =
                    is_application(slot).then(|| shown(&slot.application_group.get()));
                Some(Group {
                    server: text(server),
                    process_group: shown(&process_group),
                    application_group,
                    in_flight: in_flight[place.index()],
                    threads: slot.threads.load(Relaxed),
                    place,
                    slot,
                })
            })
            .collect();
        let key = |group: &Group| (group.process_group.clone(), group.application_group.clone());
        groups.sort_by_cached_key(key);
        Self { groups, is_answering }
    }
}

impl Summary {
    /// The group that is counted there.
    pub fn group(&self, place: Place) -> Option<&Group> {
        self.groups.iter().find(|group| group.place == place)
    }
}

impl Group {
    /// Threads that run a request, as far as there are requests for them.
    pub fn busy(&self) -> u64 {
        self.in_flight.min(self.threads)
    }

    /// Requests for which there is no thread.
    pub fn waiting(&self) -> u64 {
        self.in_flight - self.busy()
    }

    /// Requests that have ended.
    pub fn requests(&self) -> u64 {
        self.slot.requests.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Requests that have ended with an error of the server.
    pub fn errors(&self) -> u64 {
        self.slot.requests[Class::ServerError as usize].load(Relaxed)
    }

    /// Requests that no worker has begun.
    pub fn refused(&self) -> u64 {
        self.slot.refused.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Workers that have ended, or gave way to others.
    pub fn restarts(&self) -> u64 {
        self.slot.restarts.iter().map(|count| count.load(Relaxed)).sum()
    }
}

impl Histogram {
    /// How many have been observed.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// All that has been observed together, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum.load(Relaxed) as f64 / 1e6
    }

    /// The bound in seconds, below which this part of all is, from 0 to 1. `None`: nothing has been
    /// observed, or it is beyond the last bound.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = self.count() as f64 * part;
        let mut below = 0;
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            below += bucket.load(Relaxed);
            if below > 0 && below as f64 >= wanted {
                return Some(bound as f64 / 1e6);
            }
        }
        None
    }
}

/// A name as people write it.
fn shown(name: &[u8]) -> String {
    if name.is_empty() { "%{GLOBAL}".to_owned() } else { text(name) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
