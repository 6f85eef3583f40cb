//! What all slow clients of a child may take together.

use std::sync::atomic::{AtomicU64, Ordering};

/// So many bytes, for all who share them.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    taken: AtomicU64,
}

/// What one of them has taken, as long as it lives.
#[derive(Debug)]
pub(super) struct Share {
    budget: &'static Budget,
    bytes: u64,
}

impl Budget {
    pub const fn new(limit: u64) -> Self {
        Self { limit, taken: AtomicU64::new(0) }
    }

    /// How many bytes there are.
    pub fn limit(&self) -> u64 {
        self.limit
    }
}

impl Share {
    /// Nothing, so far.
    pub const fn of(budget: &'static Budget) -> Self {
        Self { budget, bytes: 0 }
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes as much as there is of `bytes` more. Returns how much that was.
    pub fn grow(&mut self, bytes: u64) -> u64 {
        let limit = self.budget.limit;
        let mut granted = 0;
        let _ = self.budget.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            granted = bytes.min(limit.saturating_sub(taken));
            Some(taken + granted)
        });
        self.bytes += granted;
        granted
    }

    /// Gives all but `bytes` back.
    pub fn shrink_to(&mut self, bytes: u64) {
        let given_back = self.bytes.saturating_sub(bytes);
        self.budget.taken.fetch_sub(given_back, Ordering::Relaxed);
        self.bytes -= given_back;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_there_is() {
        static BUDGET: Budget = Budget::new(100);
        let (mut first, mut second) = (Share::of(&BUDGET), Share::of(&BUDGET));
        assert_eq!((first.grow(70), second.grow(70), second.grow(1)), (70, 30, 0));
        first.shrink_to(60);
        assert_eq!((second.grow(70), second.bytes()), (10, 40));
        drop(first);
        assert_eq!(second.grow(70), 60);
        drop(second);
        assert_eq!(BUDGET.taken.load(Ordering::Relaxed), 0);
    }
}
