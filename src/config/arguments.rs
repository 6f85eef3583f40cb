//! The words of a `RAW_ARGS` directive, by the rules of `ap_getword_conf`: separated by blanks,
//! quoted with `"` or `'`, a backslash in front of a backslash or of the quote that is open.

/// Words still to be read.
pub struct Arguments<'a>(&'a [u8]);

/// `name=value`, the form of all options.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting<'a> {
    /// What stands in front of `=`, directly.
    pub name: &'a [u8],
    /// What stands behind it, unquoted; blanks may come first.
    pub value: Vec<u8>,
}

impl<'a> Arguments<'a> {
    /// Starts at the first of `words`.
    pub fn new(words: &'a [u8]) -> Self {
        Self(words.trim_ascii())
    }

    /// The next word, unquoted; `None` when none is left.
    pub fn word(&mut self) -> Option<Vec<u8>> {
        let (quote, rest) = match self.0 {
            [] => return None,
            [quote @ (b'"' | b'\''), rest @ ..] => (Some(*quote), rest),
            rest => (None, rest),
        };
        let mut word = Vec::new();
        let mut at = 0;
        let after = loop {
            match rest[at..] {
                [] => break at,
                [b'\\', escaped, ..] if escaped == b'\\' || Some(escaped) == quote => {
                    word.push(escaped);
                    at += 2;
                }
                [byte, ..] if Some(byte) == quote => break at + 1,
                [byte, ..] if quote.is_none() && byte.is_ascii_whitespace() => break at,
                [byte, ..] => {
                    word.push(byte);
                    at += 1;
                }
            }
        };
        self.0 = rest[after..].trim_ascii_start();
        Some(word)
    }

    /// The next option; the word itself as the error when it is not of the form `name=value`.
    pub fn option(&mut self) -> Option<Result<Setting<'a>, Vec<u8>>> {
        let end = self.0.iter().position(|byte| *byte == b'=' || byte.is_ascii_whitespace());
        match end {
            Some(end) if self.0[end] == b'=' => {
                let name = &self.0[..end];
                // `ap_getword_conf` skips blanks in front of a word.
                self.0 = self.0[end + 1..].trim_ascii_start();
                let value = self.word().unwrap_or_default();
                Some(Ok(Setting { name, value }))
            }
            _ => self.word().map(Err),
        }
    }
}

/// Asks whether the nearest of the names was meant, if there is one that is near: a sentence that comes
/// behind another one, or nothing.
pub fn suggestion(written: &[u8], names: &[&str]) -> String {
    let written = String::from_utf8_lossy(written).to_lowercase();
    // What follows `=`, or stands in its place, is no part of the name.
    let end = written.find(|at: char| !at.is_ascii_alphanumeric() && at != '-' && at != '_');
    let written = written[..end.unwrap_or(written.len())].replace('_', "-");
    let distance = |name: &str| strsim::damerau_levenshtein(&written, &name.to_lowercase());
    let nearest = names.iter().map(|name| (distance(name), *name)).min();
    // A third of a name may be wrong; more is no slip.
    match nearest {
        Some((distance, name)) if distance <= written.len().max(name.len()) / 3 => {
            format!(" Did you mean {name}?")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn words(line: &str, expected: &[&str]) {
        let mut arguments = Arguments::new(line.as_bytes());
        let found: Vec<_> = std::iter::from_fn(|| arguments.word())
            .map(|word| String::from_utf8(word).unwrap())
            .collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn words_are_split_and_unquoted() {
        words("", &[]);
        words("  a\tb  ", &["a", "b"]);
        words(r#""a b" 'c "d"'"#, &["a b", "c \"d\""]);
        words(r#""a\"b" 'c\'d' e\\f g\h"#, &["a\"b", "c'd", "e\\f", "g\\h"]);
        words(r#""open end"#, &["open end"]);
        words(r#""" x"#, &["", "x"]);
    }

    #[track_caller]
    fn option(line: &str, expected: Result<(&str, &str), &str>) {
        let found = Arguments::new(line.as_bytes()).option().unwrap();
        let expected = match expected {
            Ok((name, value)) => Ok(Setting { name: name.as_bytes(), value: value.into() }),
            Err(word) => Err(word.as_bytes().to_vec()),
        };
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        let names = ["threads", "processes", "user", "group", "python-home", "python-path"];
        let suggested = |written: &str| suggestion(written.as_bytes(), &names);
        for (written, name) in [
            ("thread", "threads"),
            ("threads", "threads"),
            ("threads:5", "threads"),
            ("Threads", "threads"),
            ("process", "processes"),
            ("python_home", "python-home"),
            ("python-ptah", "python-path"),
            ("usr", "user"),
        ] {
            assert_eq!(suggested(written), format!(" Did you mean {name}?"), "{written}");
        }
        for written in ["", "=", "colour", "x", "\u{fc}\u{fc}"] {
            assert_eq!(suggested(written), "", "{written}");
        }
    }

    #[test]
    fn options_need_their_equals_sign_at_the_name() {
        option("threads=12 x", Ok(("threads", "12")));
        option("home='/a b' x", Ok(("home", "/a b")));
        option("user= x", Ok(("user", "x")));
        option("user= ", Ok(("user", "")));
        option("user=", Ok(("user", "")));
        option("user = x", Err("user"));
        option("word", Err("word"));
    }
}
