//! Builds httpd's configuration: lines, sections, and values in quotes where they need them.

use std::path::Path;

/// A configuration as far as it is written.
#[derive(Debug, Default)]
pub struct Conf {
    text: String,
    depth: usize,
}

impl Conf {
    /// Adds a directive with its arguments, which are quoted as needed. The first word is the
    /// directive's name.
    pub fn line(&mut self, words: &[&str]) {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        self.raw(&words.join(" "));
    }

    /// Adds a line as it is.
    pub fn raw(&mut self, line: &str) {
        self.text.extend(std::iter::repeat_n("    ", self.depth));
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Adds a heading.
    pub fn comment(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.raw(&format!("# {text}"));
    }

    /// Adds a section; its name may be followed by an argument.
    pub fn section(&mut self, name: &str, argument: &str, inside: impl FnOnce(&mut Conf)) {
        match argument {
            "" => self.raw(&format!("<{name}>")),
            _ => self.raw(&format!("<{name} {}>", always_quoted(argument))),
        }
        self.depth += 1;
        inside(self);
        self.depth -= 1;
        self.raw(&format!("</{name}>"));
    }

    /// All of it.
    pub fn text(self) -> String {
        self.text
    }
}

/// A path as a word.
pub fn path(path: &Path) -> String {
    path.display().to_string()
}

/// A path as a word, from the root: httpd would begin relative ones at its own.
pub fn absolute(path: &Path) -> String {
    self::path(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

/// An option of a directive, `name=value`, with the value in quotes where it needs them. It goes into
/// [`Conf::raw`].
pub fn option(name: &str, value: &str) -> String {
    format!("{name}={}", quoted(value))
}

/// A word of `ap_getword_conf`: in quotes if it has to be.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && !"\"'\\#<>".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        always_quoted(word)
    }
}

fn always_quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_they_need_it() {
        let mut conf = Conf::default();
        conf.line(&["Define", "a b", "plain", "", "q\"\\"]);
        conf.section("Directory", "/x", |conf| conf.raw(&option("home", "/a b")));
        let expected = "Define \"a b\" plain \"\" \"q\\\"\\\\\"\n<Directory \"/x\">\n    home=\"/a b\"\n\
                        </Directory>\n";
        assert_eq!(conf.text(), expected);
    }
}
