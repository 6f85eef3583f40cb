//! Directives about the sockets between httpd and workers.

use super::{Directive, Outcome, Setter, globals, on_off};
use crate::config::{Compatibility, ServerConfig, lossy};
use crate::ffi::command::{Command, Context, Form};

pub static DIRECTIVES: [Directive; 3] = [
    Directive {
        name: c"WSGISocketPrefix",
        context: Context::Main,
        form: Form::One,
        default: "`wsgi` in DefaultRuntimeDir",
        usage: c"path in front of the name of the directory that holds the sockets",
        compatibility: Compatibility::Better(
            "all sockets of a configuration cycle are in one directory, PREFIX.PID.NUMBER, that \
             only httpd's user can enter; a prefix too long for that gives way to DefaultRuntimeDir",
        ),
        set: Setter::Server(socket_prefix),
    },
    Directive {
        name: c"WSGISocketRotation",
        context: Context::Main,
        form: Form::One,
        default: "On",
        usage: c"On or Off: whether sockets change their names at restarts",
        compatibility: Compatibility::NoEffect(
            "each configuration cycle has sockets of its own, and keeps them until its last \
             request is answered, so that a restart loses no request either way",
        ),
        set: Setter::Server(|_, command, argument| on_off(command, argument).map(|_| ())),
    },
    Directive {
        name: c"WSGIAcceptMutex",
        context: Context::Main,
        form: Form::One,
        default: "default",
        usage: c"how the processes of a group take turns in accepting connections",
        compatibility: Compatibility::NoEffect(
            "workers share a socket on which the kernel wakes one of them; there is no lock",
        ),
        set: Setter::Server(accept_mutex),
    },
];

const MUTEXES: [&str; 6] = ["default", "flock", "fcntl", "sysvsem", "posixsem", "pthread"];

fn socket_prefix(config: &mut ServerConfig, command: Command<'_>, argument: &[u8]) -> Outcome {
    let path = command
        .below_server_root(argument)
        .ok_or_else(|| format!("Invalid WSGISocketPrefix '{}'. It is no path.", lossy(argument)))?;
    globals(config).socket_prefix = Some(path);
    Ok(())
}

fn accept_mutex(_: &mut ServerConfig, _: Command<'_>, argument: &[u8]) -> Outcome {
    if MUTEXES.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(argument)) {
        return Ok(());
    }
    Err(format!(
        "Accept mutex lock mechanism '{}' is invalid. Valid accept mutex mechanisms for this \
         platform are: {}.",
        lossy(argument),
        MUTEXES.join(", ")
    ))
}
