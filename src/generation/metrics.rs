//! The memory in which requests and workers are counted. httpd's parent makes it once, and all that comes
//! after inherits it: children, supervisors, and the configuration cycles to come.

use std::sync::OnceLock;

use metrics::{Child, Metrics};
use wire::exchange::Level;

use super::{GroupFacts, log};

/// `None`: there is none to be had, which has been logged.
static METRICS: OnceLock<Option<Metrics>> = OnceLock::new();

/// The place of this child of httpd.
static CHILD: OnceLock<Option<&'static Child>> = OnceLock::new();

/// The memory, if there is any.
pub fn metrics() -> Option<&'static Metrics> {
    METRICS.get().and_then(Option::as_ref)
}

/// Where the requests that this child has under way are counted.
pub fn child() -> Option<&'static Child> {
    CHILD.get().copied().flatten()
}

/// In the parent: a configuration cycle begins, with these groups.
pub(super) fn begin<'g>(groups: impl Iterator<Item = (&'g Vec<u8>, &'g GroupFacts)>) {
    let metrics = METRICS.get_or_init(|| {
        let failed =
            |error: &std::io::Error| log(Level::Warning, &format!("there are no metrics: {error}"));
        Metrics::create().inspect_err(failed).ok()
    });
    if let Some(metrics) = metrics {
        crate::log::obey(metrics);
        metrics.begin_generation();
        groups.for_each(|(name, facts)| metrics.define(name, &facts.server));
    }
}

/// In a new child.
pub(super) fn enter_child() {
    CHILD.get_or_init(|| metrics()?.enter_child());
}
