//! Directives that choose process, interpreter and callable.

use std::sync::Arc;

use super::{Directive, Outcome, Setter, globals, set_flag};
use crate::config::{Arguments, Compatibility, DirConfig, Name, daemon, registry};
use crate::ffi::command::{Command, Context, Form};

pub static DIRECTIVES: [Directive; 6] = [
    Directive {
        name: c"WSGIDaemonProcess",
        context: Context::Server,
        form: Form::Raw,
        default: "–",
        usage: c"the name of a process group, then options",
        compatibility: Compatibility::Better(
            "one Python version per group, from its `python-home`; `%{GLOBAL}` as the name \
             configures the default group",
        ),
        set: Setter::Server(daemon::daemon_process),
    },
    Directive {
        name: c"WSGIProcessGroup",
        context: Context::ServerAndDirectory,
        form: Form::One,
        default: "the default group",
        usage: c"name of the process group to run WSGI applications in",
        compatibility: Compatibility::Better(
            "without one, applications run in worker processes as httpd's user, not inside httpd; \
             an unknown group is named at configtest",
        ),
        set: Setter::Directory(process_group),
    },
    Directive {
        name: c"WSGIApplicationGroup",
        context: Context::ServerAndDirectory,
        form: Form::One,
        default: "`%{RESOURCE}`",
        usage: c"name of the application group to run WSGI applications in",
        compatibility: Compatibility::Better(
            "each application group is a process with a main interpreter and a GIL of its own; \
             clients cannot make up groups with ports in their Host header",
        ),
        set: Setter::Directory(|config, _, argument| {
            config.application_group = Some(Arc::new(Name::parse_group(argument)));
            Ok(())
        }),
    },
    Directive {
        name: c"WSGICallableObject",
        context: Context::FileInfo,
        form: Form::One,
        default: "`application`",
        usage: c"name of the global in the WSGI script that is called",
        compatibility: Compatibility::Same,
        set: Setter::Directory(|config, _, argument| {
            config.callable_object = Some(Arc::new(Name::parse_callable(argument)));
            Ok(())
        }),
    },
    Directive {
        name: c"WSGIRestrictProcess",
        context: Context::ServerAndDirectory,
        form: Form::Raw,
        default: "no restriction",
        usage: c"names of the process groups that may be used here",
        compatibility: Compatibility::Same,
        set: Setter::Directory(restrict_process),
    },
    Directive {
        name: c"WSGIRestrictEmbedded",
        context: Context::Main,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: whether requests need a process group that is not the default one",
        compatibility: Compatibility::Better(
            "there is no Python in httpd either way; On refuses the default group with status 500, \
             and hooks that .htaccess files name; those of the server's own configuration run there \
             as in mod_wsgi",
        ),
        set: Setter::Server(|config, command, argument| {
            set_flag(&mut globals(config).restrict_embedded, command, argument)
        }),
    },
];

fn process_group(config: &mut DirConfig, command: Command<'_>, argument: &[u8]) -> Outcome {
    let name = Name::parse_group(argument);
    registry::of(command.pool()).borrow_mut().use_group(&name, command.location());
    config.process_group = Some(Arc::new(name));
    Ok(())
}

fn restrict_process(config: &mut DirConfig, _: Command<'_>, arguments: &[u8]) -> Outcome {
    let mut arguments = Arguments::new(arguments);
    let names = std::iter::from_fn(|| arguments.word());
    let is_global = |name: &Vec<u8>| name.eq_ignore_ascii_case(b"%{GLOBAL}");
    config.restrict_process =
        Some(names.map(|name| if is_global(&name) { Vec::new() } else { name }).collect());
    Ok(())
}
