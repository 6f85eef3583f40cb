//! Where options come from: the command line, then variables of the environment, then pyproject.toml.
//!
//! What the later ones say is put in front of the words of the command line, unless an earlier one
//! says it, and all of it is parsed as if it had been written there.

mod values;
mod variables;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, FromArgMatches};
use nix::unistd::geteuid;
use toml::Value;

use self::values::{listed, written};
pub use self::variables::Variables;
use self::variables::expand;
use crate::options::{self, Cli};

/// What the names of variables begin with.
const PREFIX: &str = "MOD_WSGI_RS_";

/// Why options cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Not text.
    #[error("{0:?} is not UTF-8: write it so")]
    Encoding(std::ffi::OsString),
    /// A file that is named cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not the TOML that it should be.
    #[error("{}: {message}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// root would do what another user says.
    #[error(
        "{} belongs to user {owner}, and this is root: name it with --pyproject if root is to follow it",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The id of its owner.
        owner: u32,
    },
    /// A line of an environment file.
    #[error("{}:{line}: it is not NAME=VALUE", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
    },
    /// A value that an option cannot have.
    #[error("{place}: {message}")]
    Value {
        /// The variable, or the key and its file.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// A line break, which would be the end of a directive.
    #[error("a value holds a line break: {0:?}")]
    LineBreak(String),
}

/// Reads the command of this process. Ends it over a command that is wrong, and for help.
pub fn read() -> Result<(Cli, Variables), SourceError> {
    let words = env::args_os().map(|word| word.into_string().map_err(SourceError::Encoding));
    let words = words.collect::<Result<Vec<_>, _>>()?;
    match parse(words, Variables::of_process(), Path::new("pyproject.toml"))? {
        Ok(read) => Ok(read),
        Err(error) => error.exit(),
    }
}

/// A command, or what clap says of it.
pub type Parsed = Result<(Cli, Variables), clap::Error>;

/// Reads a command; `project` is the file that is looked into unless another one is named.
pub fn parse(
    mut words: Vec<String>,
    mut variables: Variables,
    project: &Path,
) -> Result<Parsed, SourceError> {
    for word in words.iter_mut().skip(2) {
        *word = expand(word, &variables);
    }
    let definition = options::definition();
    words = separated(words, &definition);
    let matches = match definition.clone().try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(error) => return Ok(Err(error)),
    };
    if let Some((name, given)) = matches.subcommand() {
        let command = definition.find_subcommand(name).expect("clap has found it");
        let more = elsewhere(command, given, &mut variables, project)?;
        words.splice(2..2, more);
    }
    if let Some(word) = words.iter().find(|word| word.contains(['\n', '\r', '\0'])) {
        return Err(SourceError::LineBreak(word.clone()));
    }
    let matches = definition.try_get_matches_from(&words);
    Ok(matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, variables))))
}

/// What other sources say about an option.
struct Said<'c> {
    arg: &'c Arg,
    /// The variable, or the file and its key.
    place: String,
    value: Value,
}

/// The words for all that the command line leaves to other sources.
fn elsewhere(
    command: &clap::Command,
    given: &ArgMatches,
    variables: &mut Variables,
    project: &Path,
) -> Result<Vec<String>, SourceError> {
    let of_project = of_project(command, given, variables, project)?;
    for file in env_files(given, variables, &of_project)? {
        variables.read(&file)?;
    }
    let of_variables = command.get_arguments().filter_map(|arg| {
        let place = variable(arg);
        let value = Value::String(variables.get(&place)?.to_owned());
        Some(Said { arg, place, value })
    });
    let is_given =
        |arg: &&Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let mut known: Vec<&Arg> = command.get_arguments().filter(is_given).collect();
    let mut words = Vec::new();
    for source in [of_variables.collect(), of_project] {
        let source: Vec<Said<'_>> = source;
        let said =
            source.iter().filter(|said| !known.iter().any(|arg| say_the_same(arg, said.arg)));
        let said: Vec<_> = said.collect();
        for Said { arg, place, value } in &said {
            let written = written(arg, value)
                .map_err(|message| SourceError::Value { place: place.clone(), message })?;
            words.extend(written);
        }
        known.extend(said.iter().map(|said| said.arg));
    }
    Ok(words)
}

/// What pyproject.toml says.
fn of_project<'c>(
    command: &'c clap::Command,
    given: &ArgMatches,
    variables: &Variables,
    usual: &Path,
) -> Result<Vec<Said<'c>>, SourceError> {
    let all = || command.get_arguments();
    let Some(option) = all().find(|arg| arg.get_id() == "pyproject") else {
        return Ok(Vec::new());
    };
    let named = paths(given, "pyproject").next();
    let named = named.or_else(|| variables.get(&variable(option)).map(PathBuf::from));
    let path = named.as_deref().unwrap_or(usual);
    let table = project_table(named.as_deref(), usual)?;
    let said = table.into_iter().map(|(name, value)| {
        let place = format!("{}: {name}", path.display());
        let name = name.replace('_', "-");
        match all().find(|arg| key(arg) == name) {
            Some(arg) => Ok(Said { arg, place, value }),
            None => {
                let message = format!("there is no option --{name}");
                Err(SourceError::Value { place, message })
            }
        }
    });
    said.collect()
}

/// The files with variables, which the first source names that names any.
fn env_files(
    given: &ArgMatches,
    variables: &Variables,
    project: &[Said<'_>],
) -> Result<Vec<PathBuf>, SourceError> {
    let named: Vec<PathBuf> = paths(given, "env_file").collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let (value, place) = if let Some(value) = variables.get("MOD_WSGI_RS_ENV_FILE") {
        (Value::String(value.to_owned()), "MOD_WSGI_RS_ENV_FILE".to_owned())
    } else if let Some(said) = project.iter().find(|said| said.arg.get_id() == "env_file") {
        (said.value.clone(), said.place.clone())
    } else {
        return Ok(Vec::new());
    };
    let listed = listed(&value, 1).map_err(|message| SourceError::Value { place, message })?;
    Ok(listed.into_iter().map(PathBuf::from).collect())
}

/// Whether what one option says leaves nothing for another one to say.
fn say_the_same(one: &Arg, other: &Arg) -> bool {
    // Both of these name the application.
    let application = |arg: &Arg| ["script", "entry_point"].contains(&arg.get_id().as_str());
    one.get_id() == other.get_id() || application(one) && application(other)
}

/// The name of the variable for an option.
fn variable(arg: &Arg) -> String {
    format!("{PREFIX}{}", key(arg).to_uppercase().replace('-', "_"))
}

/// Takes the first of two values off the option's name, where the two are joined by `=`.
fn separated(words: Vec<String>, definition: &clap::Command) -> Vec<String> {
    let command = words.get(1).and_then(|name| definition.find_subcommand(name));
    let takes_two = |name: &str| {
        let mut args = command.into_iter().flat_map(clap::Command::get_arguments);
        args.any(|arg| is_called(arg, name) && values_of(arg) == 2)
    };
    let separate =
        |word: String| match word.strip_prefix("--").and_then(|word| word.split_once('=')) {
            Some((name, value)) if takes_two(name) => vec![format!("--{name}"), value.to_owned()],
            _ => vec![word],
        };
    words.into_iter().flat_map(separate).collect()
}

/// Whether an option has this name, or has had it.
fn is_called(arg: &Arg, name: &str) -> bool {
    arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|names| names.contains(&name))
}

/// How many values an option takes each time.
fn values_of(arg: &Arg) -> usize {
    arg.get_num_args().map_or(1, |range| range.min_values())
}

/// The name of an option, or of the argument.
fn key(arg: &Arg) -> &str {
    arg.get_long().unwrap_or(arg.get_id().as_str())
}

fn paths<'m>(given: &'m ArgMatches, id: &str) -> impl Iterator<Item = PathBuf> + 'm {
    let found = given.try_get_many::<PathBuf>(id).ok().flatten();
    found.into_iter().flatten().cloned()
}

fn text_of(path: &Path) -> Result<String, SourceError> {
    fs::read_to_string(path).map_err(|source| SourceError::Read { path: path.to_owned(), source })
}

/// The table in the file that is named, or in the usual one if it is there.
fn project_table(named: Option<&Path>, usual: &Path) -> Result<toml::Table, SourceError> {
    let path = named.unwrap_or(usual);
    if named.is_none() && !path.is_file() {
        return Ok(toml::Table::new());
    }
    let wrong = |message: String| SourceError::Toml { path: path.to_owned(), message };
    let mut all: toml::Table =
        text_of(path)?.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    let found = all.get_mut("tool").and_then(|tool| tool.as_table_mut()?.remove("mod_wsgi_rs"));
    match found {
        None => Ok(toml::Table::new()),
        Some(Value::Table(table)) => {
            let owner = fs::metadata(path).map_or(0, |found| found.uid());
            match named {
                None if geteuid().is_root() && owner != 0 => {
                    Err(SourceError::Foreign { path: path.to_owned(), owner })
                }
                _ => Ok(table),
            }
        }
        Some(_) => Err(wrong("tool.mod_wsgi_rs is no table".to_owned())),
    }
}

#[cfg(test)]
mod tests;
