//! The environment, and files with further variables.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use super::{SourceError, text_of};

/// The variables of the environment, with those of `--env-file`.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    all: BTreeMap<String, String>,
    /// The names that come from a file.
    added: Vec<String>,
}

impl Variables {
    pub(super) fn of_process() -> Variables {
        // What is not UTF-8 is nothing that is looked for here; programs inherit it all the same.
        let all = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Variables { all, added: Vec::new() }
    }

    /// The value of a variable, unless it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What `--env-file` adds.
    pub fn added(&self) -> impl Iterator<Item = (&str, &str)> {
        self.added.iter().map(|name| (name.as_str(), self.all[name].as_str()))
    }

    /// Takes the lines of a file, but for variables that are there already.
    pub(super) fn read(&mut self, path: &Path) -> Result<(), SourceError> {
        let text = text_of(path)?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = line.strip_prefix("export ").unwrap_or(line);
            let wrong = || SourceError::Line { path: path.to_owned(), line: number + 1 };
            let (name, value) = line.split_once('=').ok_or_else(wrong)?;
            let name = name.trim();
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_name) {
                return Err(wrong());
            }
            let value = value.trim();
            // Quotes as in a shell; without, the value ends with the line.
            let value = match value.chars().next() {
                Some('"' | '\'') => shlex::split(value).ok_or_else(wrong)?.concat(),
                _ => value.to_owned(),
            };
            if !self.all.contains_key(name) {
                self.all.insert(name.to_owned(), value);
                self.added.push(name.to_owned());
            }
        }
        Ok(())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Variables {
    fn from(all: [(&str, &str); N]) -> Variables {
        let all = all.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Variables { all, added: Vec::new() }
    }
}

/// Puts the values of variables in the place of `$NAME` and `${NAME}`; unknown ones stay.
pub(super) fn expand(word: &str, variables: &Variables) -> String {
    let mut parts = word.split('$');
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, rest) = match part.strip_prefix('{').and_then(|part| part.split_once('}')) {
            Some(braced) => braced,
            None => part.split_at(part.find(|c| !is_name(c)).unwrap_or(part.len())),
        };
        match variables.all.get(name) {
            Some(value) => expanded.extend([value, rest]),
            None => expanded.extend(["$", part]),
        }
    }
    expanded
}
