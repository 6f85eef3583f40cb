//! Directives that lead from a URL to a script.

use std::sync::Arc;

use super::{Directive, Outcome, Setter, globals, set_flag};
use crate::config::{Alias, Mount};
use crate::config::{
    Arguments, Compatibility, DirConfig, HandlerScript, Import, Name, ServerConfig, Setting, flag,
    lossy, registry, suggestion,
};
use crate::ffi::command::{Command, Context, Form};
use crate::ffi::regex::Regex;

pub static DIRECTIVES: [Directive; 6] = [
    Directive {
        name: c"WSGIScriptAlias",
        context: Context::Server,
        form: Form::Raw,
        default: "–",
        usage: c"a URL path and the WSGI script or directory that serves it, then options",
        compatibility: Compatibility::Better(
            "a group may be defined behind the line that names it, and its ServerName, too; a \
             directory is not taken for a script to load in advance",
        ),
        set: Setter::Server(|config, command, arguments| {
            script_alias(config, command, arguments, false)
        }),
    },
    Directive {
        name: c"WSGIScriptAliasMatch",
        context: Context::Server,
        form: Form::Raw,
        default: "–",
        usage: c"an expression for URL paths and the WSGI script that serves them, then options",
        compatibility: Compatibility::Same,
        set: Setter::Server(|config, command, arguments| {
            script_alias(config, command, arguments, true)
        }),
    },
    Directive {
        name: c"WSGIHandlerScript",
        context: Context::ServerAndDirectory,
        form: Form::Raw,
        default: "–",
        usage: c"a name for SetHandler and the script whose handle_request it calls, then options",
        compatibility: Compatibility::Same,
        set: Setter::Directory(handler_script),
    },
    Directive {
        name: c"WSGIImportScript",
        context: Context::Server,
        form: Form::Raw,
        default: "–",
        usage: c"a script to load at start, its process-group= and its application-group=",
        compatibility: Compatibility::Better(
            "a group may be defined behind the line that names it, and its ServerName, too; the \
             application groups of a group load their scripts at the same time",
        ),
        set: Setter::Server(import_script),
    },
    Directive {
        name: c"WSGICaseSensitivity",
        context: Context::Main,
        form: Form::One,
        default: "On",
        usage: c"On or Off: whether paths that differ in case are different",
        compatibility: Compatibility::Better(
            "two files that differ all the same do not take turns at being loaded",
        ),
        set: Setter::Server(|config, command, argument| {
            set_flag(&mut globals(config).case_sensitivity, command, argument)
        }),
    },
    Directive {
        name: c"WSGIScriptReloading",
        context: Context::FileInfo,
        form: Form::One,
        default: "On",
        usage: c"On or Off: whether a script that has changed is loaded again",
        compatibility: Compatibility::Better(
            "workers are replaced one at a time, each when another one has loaded the new code; \
             requests that run meanwhile are served by the old one instead of waiting",
        ),
        set: Setter::Directory(|config, command, argument| {
            set_flag(&mut config.script_reloading, command, argument)
        }),
    },
];

fn script_alias(
    config: &mut ServerConfig,
    command: Command<'_>,
    arguments: &[u8],
    is_pattern: bool,
) -> Outcome {
    let mut alias =
        Alias::parse(arguments).map_err(|error| format!("{}: {error}", command.name()))?;
    if is_pattern {
        let regex = Regex::new(command.pool(), &alias.mount).ok_or_else(|| {
            let name = command.name();
            format!("{name}: Regular expression could not be compiled. '{}'", lossy(&alias.mount))
        })?;
        alias.kind = Mount::Pattern(regex);
    }
    let mut registry = registry::of(command.pool()).borrow_mut();
    if let Some(group) = &alias.process_group {
        registry.use_group(group, command.location());
    }
    if !is_pattern {
        registry.use_script(registry::Script {
            path: alias.target.clone(),
            location: command.location(),
            process_group: literal(alias.process_group.as_ref()),
            is_mapped: true,
        });
    }
    if let Some((process_group, application_group)) = alias.preloads() {
        config.imports.push(Arc::new(Import {
            script: alias.target.clone(),
            process_group: process_group.to_vec(),
            application_group: application_group.to_vec(),
            number: registry.count_import(),
            location: command.location(),
        }));
    }
    config.aliases.push(Arc::new(alias));
    Ok(())
}

/// The name of a process group, if it is known before the request.
fn literal(name: Option<&Name>) -> Option<Vec<u8>> {
    Some(name?.literal()?.to_vec())
}

fn empty_name(what: &str) -> String {
    format!("Invalid name for WSGI {what} group. Write {what}-group=NAME.")
}

/// The name behind an option, which must not be empty.
fn group_name(value: &[u8], what: &str) -> Result<Name, String> {
    if value.is_empty() {
        return Err(empty_name(what));
    }
    Ok(Name::parse_group(value))
}

fn handler_script(config: &mut DirConfig, command: Command<'_>, arguments: &[u8]) -> Outcome {
    let mut arguments = Arguments::new(arguments);
    let handler = arguments.word().filter(|word| !word.is_empty());
    let handler = handler
        .ok_or("Name for handler script not supplied. Write WSGIHandlerScript NAME PATH.")?;
    let script = arguments.word().filter(|word| !word.is_empty());
    let script = script
        .ok_or("Location of handler script not supplied. Write WSGIHandlerScript NAME PATH.")?;
    let mut entry = HandlerScript {
        handler,
        script,
        process_group: None,
        application_group: None,
        pass_authorization: None,
    };
    let wrong = |word: &[u8]| {
        let word = lossy(word);
        format!(
            "Invalid option to WSGI handler script definition. '{word}' is none of \
             process-group=NAME, application-group=NAME, pass-authorization=On|Off.{}",
            suggestion(
                word.as_bytes(),
                &["process-group", "application-group", "pass-authorization"]
            )
        )
    };
    while let Some(option) = arguments.option() {
        let Setting { name, value } = option.map_err(|word| wrong(&word))?;
        match name {
            b"process-group" => entry.process_group = Some(group_name(&value, "process")?),
            b"application-group" => {
                entry.application_group = Some(group_name(&value, "application")?);
            }
            b"pass-authorization" => {
                let passed = flag(&value).ok_or_else(|| {
                    let value = lossy(&value);
                    format!(
                        "Invalid value for authorization flag. pass-authorization must be On or \
                         Off, not '{value}'."
                    )
                })?;
                entry.pass_authorization = Some(passed);
            }
            _ => return Err(wrong(name)),
        }
    }
    let mut registry = registry::of(command.pool()).borrow_mut();
    if let Some(group) = &entry.process_group {
        registry.use_group(group, command.location());
    }
    registry.use_script(registry::Script {
        path: entry.script.clone(),
        location: command.location(),
        process_group: literal(entry.process_group.as_ref()),
        is_mapped: false,
    });
    config.handler_scripts.retain(|other| other.handler != entry.handler);
    config.handler_scripts.push(Arc::new(entry));
    Ok(())
}

fn import_script(config: &mut ServerConfig, command: Command<'_>, arguments: &[u8]) -> Outcome {
    let mut arguments = Arguments::new(arguments);
    let missing = |what: &str| {
        format!("{what} Write WSGIImportScript PATH process-group=NAME application-group=NAME.")
    };
    let script = arguments.word().filter(|word| !word.is_empty());
    let script = script.ok_or_else(|| missing("Location of import script not supplied."))?;
    let wrong = |word: &[u8]| {
        let word = lossy(word);
        format!(
            "Invalid option to WSGI import script definition. '{word}' is none of \
             process-group=NAME, application-group=NAME.{}",
            suggestion(word.as_bytes(), &["process-group", "application-group"])
        )
    };
    // As they stand: nothing is expanded where there is no request.
    let literal = |value: Vec<u8>, what: &str| match value.as_slice() {
        b"" => Err(empty_name(what)),
        b"%{GLOBAL}" => Ok(Vec::new()),
        _ => Ok(value),
    };
    let (mut process_group, mut application_group) = (None, None);
    while let Some(option) = arguments.option() {
        let Setting { name, value } = option.map_err(|word| wrong(&word))?;
        match name {
            b"process-group" => process_group = Some(literal(value, "process")?),
            b"application-group" => application_group = Some(literal(value, "application")?),
            _ => return Err(wrong(name)),
        }
    }
    let application_group =
        application_group.ok_or_else(|| missing("Name of WSGI application group required."))?;
    let process_group =
        process_group.ok_or_else(|| missing("Name of WSGI process group required."))?;
    let mut registry = registry::of(command.pool()).borrow_mut();
    registry.use_script(registry::Script {
        path: script.clone(),
        location: command.location(),
        process_group: Some(process_group.clone()),
        is_mapped: false,
    });
    config.imports.push(Arc::new(Import {
        script,
        process_group,
        application_group,
        number: registry.count_import(),
        location: command.location(),
    }));
    Ok(())
}
