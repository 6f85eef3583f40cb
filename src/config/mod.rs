//! The directives, and the settings that they make: per server, per directory, per process group.

mod arguments;
mod check;
mod daemon;
mod expansion;
pub mod python;
mod registry;

use std::sync::Arc;

pub use arguments::{Arguments, Setting};
pub use check::{check, install_directory};
pub use daemon::{DaemonProcess, working_directory};
pub use expansion::Name;

use crate::ffi::command::{Command, CommandTable, Context, Directive, Form, Setter};
use crate::mapping::Alias;

/// Every directive. An entry here is all that httpd needs to know one.
static DIRECTIVES: [Directive; 5] = [
    Directive {
        name: c"WSGIScriptAlias",
        context: Context::Server,
        form: Form::Raw,
        usage: c"a URL path and the WSGI script or directory that serves it, then options",
        set: Setter::Server(script_alias),
    },
    Directive {
        name: c"WSGIDaemonProcess",
        context: Context::Server,
        form: Form::Raw,
        usage: c"the name of a process group, then options",
        set: Setter::Server(daemon::daemon_process),
    },
    Directive {
        name: c"WSGIProcessGroup",
        context: Context::ServerAndDirectory,
        form: Form::One,
        usage: c"name of the process group to run WSGI applications in",
        set: Setter::Directory(process_group),
    },
    Directive {
        name: c"WSGIApplicationGroup",
        context: Context::ServerAndDirectory,
        form: Form::One,
        usage: c"name of the application group to run WSGI applications in",
        set: Setter::Directory(application_group),
    },
    Directive {
        name: c"WSGICallableObject",
        context: Context::ServerAndDirectory,
        form: Form::One,
        usage: c"name of the global in the WSGI script that is called",
        set: Setter::Directory(callable_object),
    },
];

/// The same for httpd.
pub static COMMANDS: CommandTable<{ DIRECTIVES.len() + 1 }> = CommandTable::new(&DIRECTIVES);

/// Settings of a main server or virtual host.
#[derive(Debug, Default)]
pub struct ServerConfig {
    /// `WSGIScriptAlias`, in the order in which they are tried.
    pub aliases: Vec<Arc<Alias>>,
    /// `WSGIDaemonProcess`, as defined in this server.
    pub groups: Vec<Arc<DaemonProcess>>,
}

impl ServerConfig {
    /// The settings of a virtual host, over those of the main server: its own aliases come first.
    pub fn merged_with(&self, virtual_host: &Self) -> Self {
        Self {
            aliases: [virtual_host.aliases.as_slice(), &self.aliases].concat(),
            groups: virtual_host.groups.clone(),
        }
    }
}

/// Settings of a section or .htaccess file. What is not set there comes from the outer one.
#[derive(Debug, Default)]
pub struct DirConfig {
    /// `WSGIProcessGroup`.
    pub process_group: Option<Arc<Name>>,
    /// `WSGIApplicationGroup`.
    pub application_group: Option<Arc<Name>>,
    /// `WSGICallableObject`.
    pub callable_object: Option<Arc<Name>>,
}

impl DirConfig {
    /// The settings of `inner`, over these.
    pub fn merged_with(&self, inner: &Self) -> Self {
        let inner_or_outer =
            |inner: &Option<_>, outer: &Option<_>| inner.as_ref().or(outer.as_ref()).cloned();
        Self {
            process_group: inner_or_outer(&inner.process_group, &self.process_group),
            application_group: inner_or_outer(&inner.application_group, &self.application_group),
            callable_object: inner_or_outer(&inner.callable_object, &self.callable_object),
        }
    }
}

fn script_alias(
    config: &mut ServerConfig,
    command: Command<'_>,
    arguments: &[u8],
) -> Result<(), String> {
    let alias = Alias::parse(arguments).map_err(|error| format!("{}: {error}", command.name()))?;
    if let Some(group) = &alias.process_group {
        registry::of(command.pool()).borrow_mut().use_group(group, command.location());
    }
    config.aliases.push(Arc::new(alias));
    Ok(())
}

fn process_group(
    config: &mut DirConfig,
    command: Command<'_>,
    argument: &[u8],
) -> Result<(), String> {
    let name = Name::parse_group(argument);
    registry::of(command.pool()).borrow_mut().use_group(&name, command.location());
    config.process_group = Some(Arc::new(name));
    Ok(())
}

fn application_group(
    config: &mut DirConfig,
    _: Command<'_>,
    argument: &[u8],
) -> Result<(), String> {
    config.application_group = Some(Arc::new(Name::parse_group(argument)));
    Ok(())
}

fn callable_object(config: &mut DirConfig, _: Command<'_>, argument: &[u8]) -> Result<(), String> {
    config.callable_object = Some(Arc::new(Name::parse_callable(argument)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(name: &str) -> Option<Arc<Name>> {
        Some(Arc::new(Name::parse_group(name.as_bytes())))
    }

    #[test]
    fn an_inner_section_keeps_what_it_does_not_set() {
        let outer = DirConfig {
            process_group: literal("outer"),
            application_group: literal("%{GLOBAL}"),
            callable_object: None,
        };
        let inner = DirConfig { process_group: literal("inner"), ..DirConfig::default() };
        let merged = outer.merged_with(&inner);
        assert_eq!(merged.process_group, literal("inner"));
        assert_eq!(merged.application_group, literal("%{GLOBAL}"));
        assert_eq!(merged.callable_object, None);
    }

    #[test]
    fn a_virtual_hosts_aliases_come_before_the_main_servers() {
        let server = |mount: &str| ServerConfig {
            aliases: vec![Arc::new(Alias::parse(format!("{mount} /script").as_bytes()).unwrap())],
            groups: Vec::new(),
        };
        let merged = server("/main").merged_with(&server("/virtual"));
        let mounts: Vec<_> = merged.aliases.iter().map(|alias| alias.mount.as_slice()).collect();
        assert_eq!(mounts, [b"/virtual".as_slice(), b"/main"]);
    }
}
