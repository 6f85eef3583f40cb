//! Counts tests from what `cargo test` prints.

use std::fmt;
use std::ops::AddAssign;

/// How many tests there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that passed.
    pub passed: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those that were not run, for a reason that was printed.
    pub skipped: u32,
}

impl Tally {
    /// Counts tests as skipped that libtest takes for passed.
    pub fn skip(&mut self, count: u32) {
        self.passed = self.passed.saturating_sub(count);
        self.skipped += count;
    }

    /// Reads a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub fn parse(line: &str) -> Option<Tally> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let word = counts.split("; ").find_map(|part| part.strip_suffix(what))?;
            word.trim().parse().ok()
        };
        Some(Tally {
            passed: count("passed")?,
            failed: count("failed")?,
            skipped: count("ignored")?,
        })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; \
                    5 filtered out; finished in 1.73s";
        let mut tally = Tally { passed: 3, failed: 1, skipped: 2 };
        assert_eq!(Tally::parse(line), Some(tally));
        tally += tally;
        assert_eq!(tally.to_string(), "6 passed, 2 failed, 4 skipped");
    }

    #[test]
    fn other_lines() {
        assert_eq!(Tally::parse("test a::b ... ok"), None);
        assert_eq!(Tally::parse("test result: "), None);
    }
}
