//! Waiting for a condition, with a bound: the one place where the tests let time pass.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before the test gives up. Generous, because a loaded machine is
/// slow and a passing test never waits this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks: short enough not to be noticed, long enough to leave the processor alone.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `look` finds something, and gives that; `None` when [`PATIENCE`] runs out first.
pub fn until<T>(look: impl FnMut() -> Option<T>) -> Option<T> {
    until_within(PATIENCE, look)
}

/// [`until`] with a bound of its own.
pub(crate) fn until_within<T>(
    patience: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(PAUSE);
    }
}
