//! Names that mod_wsgi has removed, and that still stand in configurations in the wild: httpd
//! starts with them, and says once what to do about each.

use super::{Directive, Setter};
use crate::config::Compatibility;
use crate::ffi::command::{Context, Form};

pub static DIRECTIVES: [Directive; 6] = [
    removed(
        c"WSGILazyInitialization",
        "httpd never holds Python, and starts workers when they are needed",
    ),
    removed(
        c"WSGIReloadMechanism",
        "a script that has changed is loaded again; see WSGIScriptReloading",
    ),
    removed(c"WSGINewRelicConfigFile", "wrap the application in the agent in the WSGI script"),
    removed(c"WSGINewRelicEnvironment", "wrap the application in the agent in the WSGI script"),
    removed(c"WSGIOutputBuffering", "responses are sent as they come"),
    removed(c"WSGIPy3kWarningFlag", "there is no Python 2 any more"),
];

const fn removed(name: &'static std::ffi::CStr, why: &'static str) -> Directive {
    Directive {
        name,
        context: Context::FileInfo,
        form: Form::Raw,
        default: "–",
        usage: c"removed from mod_wsgi long ago",
        compatibility: Compatibility::NoEffect(why),
        set: Setter::Directory(|_, command, _| {
            let name = command.name();
            let entry = DIRECTIVES.iter().find(|entry| entry.name.to_bytes() == name.as_bytes());
            if let Some(Compatibility::NoEffect(why)) = entry.map(|entry| entry.compatibility) {
                command.warn(&format!("it has no effect any more: {why}. Remove the line."));
            }
            Ok(())
        }),
    }
}
