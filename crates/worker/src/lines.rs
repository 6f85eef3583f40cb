//! Cuts what an application writes into log lines.

use wire::exchange::Level;

/// Longest line in bytes: with what httpd puts before it, it fits into 8 KiB.
const MAX_LINE: usize = 7800;

/// Where in a request a log line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `wsgi.errors`.
    Errors,
    /// `sys.stderr`.
    Stderr,
    /// `sys.stdout`.
    Stdout,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Errors, Self::Stderr, Self::Stdout];

    /// The level of its lines in the log.
    pub fn level(self) -> Level {
        match self {
            Self::Errors | Self::Stderr => Level::Error,
            // Notices are written whatever the LogLevel, and prints are expected to show up.
            Self::Stdout => Level::Notice,
        }
    }
}

/// Collects the pieces of a line until its end comes.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Emits each line that `bytes` completes, without its end, and keeps the rest. A line that is
    /// too long becomes several.
    pub fn feed(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let line = &bytes[..end];
            bytes = &bytes[end + 1..];
            if self.partial.is_empty() {
                cut(line, &mut emit);
            } else {
                self.partial.extend_from_slice(line);
                cut(&std::mem::take(&mut self.partial), &mut emit);
            }
        }
        self.partial.extend_from_slice(bytes);
        while self.partial.len() > MAX_LINE {
            let rest = self.partial.split_off(boundary(&self.partial));
            emit(&std::mem::replace(&mut self.partial, rest));
        }
    }

    /// Emits each line of `text`, also one without an end.
    pub fn feed_whole(mut self, text: &[u8], mut emit: impl FnMut(&[u8])) {
        self.feed(text, &mut emit);
        self.flush(emit);
    }

    /// Emits what there is of an unfinished line.
    pub fn flush(&mut self, mut emit: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            emit(&std::mem::take(&mut self.partial));
        }
    }
}

fn cut(mut line: &[u8], emit: &mut impl FnMut(&[u8])) {
    while line.len() > MAX_LINE {
        let (piece, rest) = line.split_at(boundary(line));
        emit(piece);
        line = rest;
    }
    emit(line);
}

/// Where to cut a line that is too long: not inside a UTF-8 character.
fn boundary(line: &[u8]) -> usize {
    (MAX_LINE - 3..=MAX_LINE).rev().find(|at| line[*at] & 0xC0 != 0x80).unwrap_or(MAX_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], expected: &[&str]) {
        let mut lines = Lines::default();
        let mut emitted = Vec::new();
        for piece in pieces {
            lines.feed(piece.as_bytes(), |line| emitted.push(line.to_vec()));
        }
        lines.flush(|line| emitted.push(line.to_vec()));
        let emitted: Vec<_> = emitted.iter().map(|line| str::from_utf8(line).unwrap()).collect();
        assert_eq!(emitted, expected);
    }

    #[test]
    fn lines_are_emitted_when_they_end() {
        check(&["one\n"], &["one"]);
        check(&["one", "\n"], &["one"]);
        check(&["one\ntwo\nthr", "ee\n\nfour"], &["one", "two", "three", "", "four"]);
        check(&["", "\n"], &[""]);
    }

    #[test]
    fn long_lines_are_split_between_characters_and_lose_nothing() {
        let long = format!("{}{}", "x".repeat(7799), "€".repeat(4000));
        for ending in ["\n", ""] {
            let mut lines = Lines::default();
            let mut emitted = Vec::new();
            lines.feed(format!("{long}{ending}").as_bytes(), |line| emitted.push(line.to_vec()));
            lines.flush(|line| emitted.push(line.to_vec()));
            assert!(emitted.iter().all(|line| line.len() <= MAX_LINE));
            assert!(emitted.iter().all(|line| str::from_utf8(line).is_ok()));
            assert_eq!(emitted.concat(), long.as_bytes());
        }
    }
}
