//! Puts what was measured into a page of `docs/`, between two lines; the rest of such a page is
//! written by hand.

use std::fs;

use anyhow::{Context, Result};

use crate::shell;

/// Replaces what stands in `file` between the marks of `command`.
///
/// # Errors
/// When the page or its marks are not there.
pub fn write(file: &str, command: &str, text: &str) -> Result<()> {
    let path = shell::root().join(file);
    let before = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
    let after = replace(&before, command, text)
        .with_context(|| format!("{file} lacks the line {}", marks(command).join(" or ")))?;
    fs::write(&path, after).with_context(|| format!("cannot write {file}"))
}

fn marks(command: &str) -> [String; 2] {
    ["begin", "end"].map(|word| format!("<!-- {word} of what `cargo xtask {command}` writes -->"))
}

fn replace(before: &str, command: &str, text: &str) -> Option<String> {
    let [begin, end] = marks(command);
    let (head, rest) = before.split_once(&begin)?;
    let (_, tail) = rest.split_once(&end)?;
    Some([head, &begin, "\n", text, &end, tail].concat())
}

/// The machine and the day, as the beginning of a sentence.
pub fn conditions() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let date = shell::capture(std::process::Command::new("date").arg("+%F")).unwrap_or_default();
    format!("Measured on {date}, on {cores} cores with {} GiB of memory", memory_size())
}

/// The machine's memory in GiB.
fn memory_size() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    (kib.unwrap_or(0) + (1 << 19)) >> 20
}

/// A number as people read it.
pub fn with_commas(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let text = [7.0, 999.6, 12_345.0, 1_234_567.0].map(with_commas);
        assert_eq!(text, ["7", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn only_what_lies_between_the_marks_is_replaced() {
        let [begin, end] = marks("bench");
        let before = format!("a\n{begin}\nold\n{end}\nb");
        let after = replace(&before, "bench", "new\n").unwrap();
        assert_eq!(after, format!("a\n{begin}\nnew\n{end}\nb"));
        assert_eq!(replace(&before, "soak", "new\n"), None);
    }
}
