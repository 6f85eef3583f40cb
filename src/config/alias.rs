//! `WSGIScriptAlias` and `WSGIScriptAliasMatch`: which URLs lead to which file.

use super::arguments::{Arguments, Setting, suggestion};
use super::expansion::Name;
use super::values::{flag, lossy};
use crate::ffi::pool::Pool;
use crate::ffi::regex::Regex;

/// How an alias recognises its URLs.
#[derive(Debug, PartialEq)]
pub enum Mount {
    /// By the path in front (`WSGIScriptAlias`).
    Prefix,
    /// By an expression, whose groups the target may name (`WSGIScriptAliasMatch`).
    Pattern(Regex),
}

/// A `WSGIScriptAlias` or `WSGIScriptAliasMatch`.
#[derive(Debug, PartialEq)]
pub struct Alias {
    /// How it recognises its URLs.
    pub kind: Mount,
    /// URL path or expression, as written.
    pub mount: Vec<u8>,
    /// Script file, or directory of scripts, as written.
    pub target: Vec<u8>,
    /// `process-group=`.
    pub process_group: Option<Name>,
    /// `application-group=`.
    pub application_group: Option<Name>,
    /// `callable-object=`, never expanded.
    pub callable_object: Option<Vec<u8>>,
    /// `pass-authorization=`.
    pub pass_authorization: Option<bool>,
}

/// What is wrong with a `WSGIScriptAlias` line.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    /// No URL path, or no target.
    #[error(
        "requires at least two arguments, a URL path and the WSGI script or directory that serves \
         it, then options"
    )]
    Arguments,
    /// An option with nothing behind its `=`.
    #[error("Invalid name for WSGI {what}. Write {option}=NAME, or leave the option out.")]
    EmptyName {
        /// What it would have named.
        what: &'static str,
        /// The option.
        option: &'static str,
    },
    /// `pass-authorization=` with something else.
    #[error(
        "Invalid value for authorization flag. pass-authorization must be On or Off, not '{0}'."
    )]
    Flag(String),
    /// Another option, or a word that is none.
    #[error(
        "Invalid option to WSGI script alias definition. '{0}' is none of process-group=NAME, \
         application-group=NAME, callable-object=NAME, pass-authorization=On|Off.{hint}",
        hint = suggestion(.0.as_bytes(), &OPTIONS)
    )]
    Option(String),
}

/// The names of its options.
const OPTIONS: [&str; 4] =
    ["process-group", "application-group", "callable-object", "pass-authorization"];

impl Alias {
    /// Reads the arguments of a `WSGIScriptAlias` line.
    ///
    /// # Errors
    /// [`AliasError`].
    pub fn parse(arguments: &[u8]) -> Result<Self, AliasError> {
        let mut arguments = Arguments::new(arguments);
        let mut word = || arguments.word().filter(|word| !word.is_empty());
        let (Some(mount), Some(target)) = (word(), word()) else {
            return Err(AliasError::Arguments);
        };
        let mut alias = Self {
            kind: Mount::Prefix,
            mount,
            target,
            process_group: None,
            application_group: None,
            callable_object: None,
            pass_authorization: None,
        };
        let group = |value: Vec<u8>, what, option| {
            if value.is_empty() {
                return Err(AliasError::EmptyName { what, option });
            }
            Ok(Some(Name::parse_group(&value)))
        };
        while let Some(option) = arguments.option() {
            let Setting { name, value } =
                option.map_err(|word| AliasError::Option(lossy(&word)))?;
            match name {
                b"process-group" => {
                    alias.process_group = group(value, "process group", "process-group")?;
                }
                b"application-group" => {
                    alias.application_group =
                        group(value, "application group", "application-group")?;
                }
                b"callable-object" if value.is_empty() => {
                    let (what, option) = ("callable object", "callable-object");
                    return Err(AliasError::EmptyName { what, option });
                }
                b"callable-object" => alias.callable_object = Some(value),
                b"pass-authorization" => {
                    let passed = flag(&value).ok_or_else(|| AliasError::Flag(lossy(&value)))?;
                    alias.pass_authorization = Some(passed);
                }
                _ => return Err(AliasError::Option(lossy(name))),
            }
        }
        Ok(alias)
    }

    /// Process group and application group whose workers load the script in advance, if both are
    /// named and the same for all requests, and so is the script.
    pub fn preloads(&self) -> Option<(&[u8], &[u8])> {
        fn known(name: &Option<Name>) -> Option<&[u8]> {
            name.as_ref()?.literal().filter(|name| !contains(name, b"%{"))
        }
        if matches!(self.kind, Mount::Pattern(_)) && self.target.contains(&b'$') {
            return None;
        }
        Some((known(&self.process_group)?, known(&self.application_group)?))
    }

    /// The file that `uri` is mapped to: the target, and what of the URI lies behind the mount
    /// point. `None` when it does not lie below the mount point.
    pub fn map(&self, pool: Pool<'_>, uri: &[u8]) -> Option<Vec<u8>> {
        match &self.kind {
            Mount::Prefix => self.map_prefix(uri),
            Mount::Pattern(regex) => {
                // What lies in front of the match is consumed with it.
                let found = regex.find(pool, uri, &self.target)?;
                let rest = rest(uri, &uri[..found.end], found.end);
                Some([found.substituted.as_slice(), rest].concat())
            }
        }
    }

    fn map_prefix(&self, uri: &[u8]) -> Option<Vec<u8>> {
        let consumed = match_prefix(uri, &self.mount)?;
        Some([self.target.as_slice(), rest(uri, &self.mount, consumed)].concat())
    }
}

/// What of `uri` is behind the `place` at which it matches, which takes up its first bytes: with `/`
/// alone, the whole URI is.
fn rest<'u>(uri: &'u [u8], place: &[u8], consumed: usize) -> &'u [u8] {
    if place == b"/" { uri } else { &uri[consumed..] }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// How much of `uri` the path `mount` matches, whole components only. A run of slashes on either
/// side matches a run on the other (mod_alias's rule).
fn match_prefix(uri: &[u8], mount: &[u8]) -> Option<usize> {
    let slashes = |path: &[u8]| path.iter().take_while(|byte| **byte == b'/').count();
    let (mut at, mut expected) = (0, 0);
    while expected < mount.len() {
        if mount[expected] == b'/' {
            let found = slashes(&uri[at..]);
            if found == 0 {
                return None;
            }
            at += found;
            expected += slashes(&mount[expected..]);
        } else if uri.get(at) == Some(&mount[expected]) {
            at += 1;
            expected += 1;
        } else {
            return None;
        }
    }
    let at_boundary = mount.last() == Some(&b'/') || matches!(uri.get(at), None | Some(b'/'));
    at_boundary.then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn maps(line: &str, uri: &str, expected: Option<&str>) {
        let alias = Alias::parse(line.as_bytes()).unwrap();
        let mapped = alias.map_prefix(uri.as_bytes()).map(|path| String::from_utf8(path).unwrap());
        assert_eq!(mapped.as_deref(), expected, "{line} with {uri}");
    }

    #[test]
    fn mount_points_match_whole_components() {
        for (uri, expected) in [
            ("/app", Some("/s.wsgi")),
            ("/app/", Some("/s.wsgi/")),
            ("/app/x", Some("/s.wsgi/x")),
            ("//app///x", Some("/s.wsgi///x")),
            ("/application", None),
            ("/ap", None),
            ("/", None),
        ] {
            maps("/app /s.wsgi", uri, expected);
        }
    }

    #[test]
    fn the_root_maps_everything() {
        maps("/ /s.wsgi", "/", Some("/s.wsgi/"));
        maps("/ /s.wsgi", "/x/y", Some("/s.wsgi/x/y"));
        maps("/ /s.wsgi", "//x", Some("/s.wsgi//x"));
    }

    #[test]
    fn a_mount_point_that_ends_with_a_slash_wants_one_behind_its_target() {
        maps("/app/ /dir/", "/app/x.wsgi/y", Some("/dir/x.wsgi/y"));
        maps("/app/ /dir/", "/app", None);
    }

    #[test]
    fn scripts_that_are_loaded_in_advance() {
        let preloads = |options: &str| {
            let alias = Alias::parse(format!("/ /s {options}").as_bytes()).unwrap();
            alias.preloads().map(|(process, group)| [process.to_vec(), group.to_vec()])
        };
        let both = |process: &str, group: &str| Some([process, group].map(Into::into));
        assert_eq!(preloads(""), None);
        assert_eq!(preloads("process-group=p"), None);
        assert_eq!(preloads("application-group=a"), None);
        assert_eq!(preloads("process-group=p application-group=a"), both("p", "a"));
        assert_eq!(preloads("process-group=%{GLOBAL} application-group=%{GLOBAL}"), both("", ""));
        assert_eq!(preloads("process-group=p application-group=%{HOST}"), None);
        assert_eq!(preloads("process-group=p application-group=%{OTHER}"), None);
        assert_eq!(preloads("process-group=%{ENV:X} application-group=a"), None);
    }

    #[track_caller]
    fn refused(line: &str, expected: &str) {
        let error = Alias::parse(line.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }

    #[test]
    fn wrong_lines_are_named() {
        refused("/", "requires at least two arguments");
        refused("/ /s process-group=", "Invalid name for WSGI process group.");
        refused("/ /s application-group=''", "Invalid name for WSGI application group.");
        refused("/ /s callable-object=", "Invalid name for WSGI callable object.");
        refused("/ /s pass-authorization=yes", "not 'yes'");
        refused("/ /s word", "'word' is none of");
        refused("/ /s other=x", "'other' is none of");
    }
}
