//! When to look at sets of workers whose number follows the load: whether connections wait at their
//! sockets, and how many requests they have.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::logic::SetId;

/// How long a connection may wait before further workers are thought of: a worker that is free takes it
/// in far less.
const MOMENT: Duration = Duration::from_millis(30);

/// How often the load of sets is told that have more workers than the least.
const INTERVAL: Duration = Duration::from_secs(1);

/// Remembers what to look at, and when.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Sets at whose sockets a connection has come a moment ago.
    looks: BTreeMap<SetId, Instant>,
    /// Sets whose load is to be told.
    weighed: BTreeSet<SetId>,
    weigh_at: Option<Instant>,
}

impl Gauge {
    /// A connection has come to the socket of a set, or one still waits there.
    pub fn note_arrival(&mut self, set: SetId, now: Instant) {
        self.looks.insert(set, now + MOMENT);
    }

    /// The load of a set is to be told now and then, or no longer.
    pub fn weigh(&mut self, set: SetId, wanted: bool, now: Instant) {
        if wanted {
            self.weighed.insert(set);
        } else {
            self.weighed.remove(&set);
        }
        self.weigh_at = match self.weigh_at {
            _ if self.weighed.is_empty() => None,
            None => Some(now + INTERVAL),
            at => at,
        };
    }

    /// The set is no more.
    pub fn forget(&mut self, set: SetId, now: Instant) {
        self.looks.remove(&set);
        self.weigh(set, false, now);
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.looks.values().copied().chain(self.weigh_at).min()
    }

    /// The sets at whose sockets to look now.
    pub fn take_looks(&mut self, now: Instant) -> Vec<SetId> {
        let is_due = |at: &Instant| *at <= now;
        let due = self.looks.iter().filter(|(_, at)| is_due(at)).map(|(set, _)| *set).collect();
        self.looks.retain(|_, at| !is_due(at));
        due
    }

    /// The sets whose load is to be told now.
    pub fn take_weighed(&mut self, now: Instant) -> Vec<SetId> {
        if self.weigh_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.weigh_at = Some(now + INTERVAL);
        self.weighed.iter().copied().collect()
    }
}

/// Whether a connection waits at a listening socket.
pub fn is_waited_at(listener: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&listener, PollFlags::IN)];
    // Should it fail, there will be another look.
    let polled_any = rustix::event::poll(&mut polled, Some(&Timespec::default()));
    polled_any.is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_looked_at_a_moment_after_a_connection_has_come() {
        let (mut gauge, now) = (Gauge::default(), Instant::now());
        assert_eq!(gauge.deadline(), None, "nothing happens to a server that is idle");
        gauge.note_arrival(SetId(1), now);
        assert_eq!(gauge.take_looks(now), []);
        let due = gauge.deadline().unwrap();
        assert_eq!(gauge.take_looks(due), [SetId(1)]);
        assert_eq!(gauge.deadline(), None);
    }

    #[test]
    fn the_load_is_told_again_and_again_while_it_is_wanted() {
        let (mut gauge, mut now) = (Gauge::default(), Instant::now());
        gauge.weigh(SetId(1), true, now);
        gauge.weigh(SetId(2), true, now);
        for _ in 0..2 {
            assert_eq!(gauge.take_weighed(now), []);
            now = gauge.deadline().unwrap();
            assert_eq!(gauge.take_weighed(now), [SetId(1), SetId(2)]);
        }
        gauge.weigh(SetId(1), false, now);
        gauge.forget(SetId(2), now);
        assert_eq!(gauge.deadline(), None);
    }
}
