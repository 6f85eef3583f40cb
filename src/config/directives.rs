//! Every directive, by theme: an entry in a table is all that httpd and the documentation need to
//! know one.

mod access;
mod groups;
mod mapping;
mod metrics;
mod observed;
mod python;
mod removed;
mod requests;
mod sockets;

use std::sync::Arc;

use super::Compatibility;
use super::registry;
use super::settings::{DirConfig, Globals, Interpreter, ServerConfig};
use super::values::{self, lossy};
use crate::ffi::command::{self, Command, CommandTable};

/// A directive of ours.
type Directive = command::Directive<ServerConfig, DirConfig, Compatibility>;

/// What it changes.
type Setter = command::Setter<ServerConfig, DirConfig>;

/// All tables, in the order of the documentation.
pub static THEMES: [&[Directive]; 8] = [
    &mapping::DIRECTIVES,
    &groups::DIRECTIVES,
    &sockets::DIRECTIVES,
    &python::DIRECTIVES,
    &requests::DIRECTIVES,
    &access::DIRECTIVES,
    &metrics::DIRECTIVES,
    &removed::DIRECTIVES,
];

/// How many there are.
pub const COUNT: usize = {
    let (mut sum, mut theme) = (0, 0);
    while theme < THEMES.len() {
        sum += THEMES[theme].len();
        theme += 1;
    }
    sum
};

/// The same for httpd, and what is observed.
pub static COMMANDS: CommandTable<
    ServerConfig,
    DirConfig,
    { COUNT + observed::DIRECTIVES.len() + 1 },
> = {
    let mut tables: [&[Directive]; THEMES.len() + 1] = [&observed::DIRECTIVES; THEMES.len() + 1];
    let mut theme = 0;
    while theme < THEMES.len() {
        tables[theme] = THEMES[theme];
        theme += 1;
    }
    CommandTable::new(&tables)
};

/// What a setter returns: the error is the sentence that httpd shows.
type Outcome = Result<(), String>;

fn globals(config: &mut ServerConfig) -> &mut Globals {
    Arc::make_mut(&mut config.globals)
}

/// The settings that a line is about which may stand in `<WSGIInterpreterOptions>`.
fn interpreter<'s>(config: &'s mut ServerConfig, command: Command<'_>) -> &'s mut Interpreter {
    let globals = globals(config);
    match registry::block(command.pool()).get() {
        Some(number) => &mut globals.blocks[number].1,
        None => &mut globals.interpreter,
    }
}

/// Reads `On` or `Off`.
fn on_off(command: Command<'_>, argument: &[u8]) -> Result<bool, String> {
    values::flag(argument).ok_or_else(|| {
        format!("{} must be one of: Off | On, not '{}'", command.name(), lossy(argument))
    })
}

fn set_flag(into: &mut Option<bool>, command: Command<'_>, argument: &[u8]) -> Outcome {
    *into = Some(on_off(command, argument)?);
    Ok(())
}
