//! Directives with Python hooks: scripts that decide who may have what, and where it runs.

use std::sync::Arc;

use super::{Directive, Setter, on_off};
use crate::config::{Arguments, Compatibility, Hook, Name, Setting, lossy, registry, suggestion};
use crate::ffi::command::{Command, Context, Form};

pub static DIRECTIVES: [Directive; 5] = [
    Directive {
        name: c"WSGIDispatchScript",
        context: Context::ServerAndDirectory,
        form: Form::Raw,
        default: "–",
        usage: c"a script that chooses process group, application group and callable, then options",
        compatibility: Compatibility::Better(
            "runs in a worker of the default group, not inside httpd",
        ),
        set: Setter::Directory(|config, command, arguments| {
            config.dispatch_script = Some(hook(command, arguments, "dispatch")?);
            Ok(())
        }),
    },
    Directive {
        name: c"WSGIAccessScript",
        context: Context::AuthConfig,
        form: Form::Raw,
        default: "–",
        usage: c"a script that decides which clients may come, then options",
        compatibility: Compatibility::Better(
            "runs in a worker of the default group, not inside httpd; sees the whole request, \
             Authorization header included",
        ),
        set: Setter::Directory(|config, command, arguments| {
            config.access_script = Some(hook(command, arguments, "access")?);
            Ok(())
        }),
    },
    Directive {
        name: c"WSGIAuthUserScript",
        context: Context::AuthConfig,
        form: Form::Raw,
        default: "–",
        usage: c"a script that checks passwords for AuthBasicProvider wsgi, then options",
        compatibility: Compatibility::Better(
            "runs in a worker of the default group, not inside httpd; a user's name or hash with a \
             NUL in it is an error, not a shorter one",
        ),
        set: Setter::Directory(|config, command, arguments| {
            config.auth_user_script = Some(hook(command, arguments, "auth user")?);
            Ok(())
        }),
    },
    Directive {
        name: c"WSGIAuthGroupScript",
        context: Context::AuthConfig,
        form: Form::Raw,
        default: "–",
        usage: c"a script that knows the groups of users for Require wsgi-group, then options",
        compatibility: Compatibility::Better(
            "runs in a worker of the default group, not inside httpd",
        ),
        set: Setter::Directory(|config, command, arguments| {
            config.auth_group_script = Some(hook(command, arguments, "auth group")?);
            Ok(())
        }),
    },
    Directive {
        name: c"WSGIGroupAuthoritative",
        context: Context::AuthConfig,
        form: Form::One,
        default: "On",
        usage: c"On or Off",
        compatibility: Compatibility::NoEffect("as there: it is read, and nothing asks for it"),
        set: Setter::Directory(|_, command, argument| on_off(command, argument).map(|_| ())),
    },
];

fn hook(command: Command<'_>, arguments: &[u8], what: &str) -> Result<Arc<Hook>, String> {
    let is_from_htaccess = command.is_in_htaccess();
    let hook = Hook { is_from_htaccess, ..parse(arguments, what)? };
    registry::of(command.pool()).borrow_mut().use_script(registry::Script {
        path: hook.script.clone(),
        location: command.location(),
        // Hooks run in the default group.
        process_group: Some(Vec::new()),
        is_mapped: false,
    });
    Ok(Arc::new(hook))
}

fn parse(arguments: &[u8], what: &str) -> Result<Hook, String> {
    let mut arguments = Arguments::new(arguments);
    let script = arguments.word().filter(|word| !word.is_empty());
    let script = script
        .ok_or_else(|| format!("Location of {what} script not supplied. Write its path first."))?;
    let mut application_group = Name::Literal(Vec::new());
    let wrong = |word: &[u8]| {
        let word = lossy(word);
        format!(
            "Invalid option to WSGI {what} script definition. '{word}' is none; there is \
             application-group=NAME.{}",
            suggestion(word.as_bytes(), &["application-group"])
        )
    };
    while let Some(option) = arguments.option() {
        match option.map_err(|word| wrong(&word))? {
            Setting { name: b"application-group", value } if value.is_empty() => {
                return Err(
                    "Invalid name for WSGI application group. Write application-group=NAME, or \
                            leave the option out."
                        .into(),
                );
            }
            Setting { name: b"application-group", value } => {
                application_group = Name::parse_hook_group(&value);
            }
            Setting { name, .. } => return Err(wrong(name)),
        }
    }
    Ok(Hook { script, application_group, is_from_htaccess: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(arguments: &str, expected: &str) {
        let error = parse(arguments.as_bytes(), "access").unwrap_err();
        assert!(error.contains(expected), "{arguments}: {error}");
    }

    #[test]
    fn lines_are_read_and_wrong_ones_named() {
        let hook = parse(b"/a/b.py application-group=%{GLOBAL}", "access").unwrap();
        assert_eq!(hook.script, b"/a/b.py");
        assert_eq!(hook.application_group, Name::Literal(Vec::new()));
        let hook = parse(b"/a application-group='x y'", "access").unwrap();
        assert_eq!(hook.application_group, Name::Literal(b"x y".to_vec()));
        refused("", "Location of access script not supplied.");
        refused("/a word", "Invalid option to WSGI access script definition.");
        refused("/a process-group=x", "Invalid option to WSGI access script definition.");
        refused("/a application-group=", "Invalid name for WSGI application group.");
    }
}
