//! Directives about what is in requests, and what becomes of responses.

use std::sync::Arc;

use headers::{Network, TrustedHeader};

use super::{Directive, Outcome, Setter, on_off, set_flag};
use crate::config::{Arguments, Compatibility, DirConfig, MapHead, flag, lossy};
use crate::ffi::command::{Command, Context, Form};

pub static DIRECTIVES: [Directive; 11] = [
    Directive {
        name: c"WSGIPassAuthorization",
        context: Context::FileInfo,
        form: Form::One,
        default: "On where httpd does not authenticate, else Off",
        usage: c"On or Off: whether applications see the Authorization header",
        compatibility: Compatibility::Better(
            "unset, the header is passed where no AuthType is in force and the application has to \
             check passwords itself; Off is the way back. CGIPassAuth On passes it, too",
        ),
        set: Setter::Directory(|config, command, argument| {
            set_flag(&mut config.pass_authorization, command, argument)
        }),
    },
    Directive {
        name: c"WSGIPassApacheRequest",
        context: Context::ServerAndDirectory,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: whether applications in httpd get its request_rec",
        compatibility: Compatibility::NoEffect("no application runs in httpd"),
        set: Setter::Directory(|_, command, argument| on_off(command, argument).map(|_| ())),
    },
    Directive {
        name: c"WSGIChunkedRequest",
        context: Context::FileInfo,
        form: Form::One,
        default: "On",
        usage: c"On or Off: whether a request body may be chunked",
        compatibility: Compatibility::Better(
            "chunked bodies are accepted unless Off, which answers 411",
        ),
        set: Setter::Directory(|config, command, argument| {
            set_flag(&mut config.chunked_request, command, argument)
        }),
    },
    Directive {
        name: c"WSGIErrorOverride",
        context: Context::FileInfo,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: whether httpd's error pages replace those of applications",
        compatibility: Compatibility::Better(
            "in the default group, too; WWW-Authenticate, Proxy-Authenticate, Allow and \
             Retry-After stay",
        ),
        set: Setter::Directory(|config, command, argument| {
            set_flag(&mut config.error_override, command, argument)
        }),
    },
    Directive {
        name: c"WSGILocationRedirect",
        context: Context::FileInfo,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: whether status 200 with a Location that begins with / makes httpd answer with \
                 what is there",
        compatibility: Compatibility::Better(
            "an addition of ours: mod_wsgi does so with daemon processes, and nowhere else",
        ),
        set: Setter::Directory(|config, command, argument| {
            set_flag(&mut config.location_redirect, command, argument)
        }),
    },
    Directive {
        name: c"WSGIMapHEADToGET",
        context: Context::FileInfo,
        form: Form::One,
        default: "Auto",
        usage: c"Off, On or Auto: whether applications see GET for HEAD",
        compatibility: Compatibility::Same,
        set: Setter::Directory(map_head_to_get),
    },
    Directive {
        name: c"WSGIIgnoreActivity",
        context: Context::FileInfo,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: whether requests count as activity for inactivity-timeout=",
        compatibility: Compatibility::Same,
        set: Setter::Directory(|config, command, argument| {
            set_flag(&mut config.ignore_activity, command, argument)
        }),
    },
    Directive {
        name: c"WSGIEnableSendfile",
        context: Context::FileInfo,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: whether files of wsgi.file_wrapper are sent by the kernel",
        compatibility: Compatibility::NoEffect(
            "workers hand files over to httpd: see its `EnableSendfile`. Where nobody has written \
             that, the kernel sends those on local file systems",
        ),
        set: Setter::Directory(|_, command, argument| on_off(command, argument).map(|_| ())),
    },
    Directive {
        name: c"WSGIRequestStart",
        context: Context::FileInfo,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: whether HTTP_X_REQUEST_START tells when httpd, or a trusted proxy, got the \
                 request",
        compatibility: Compatibility::Better(
            "an addition of ours, off because mod_wsgi has no such variable",
        ),
        set: Setter::Directory(|config, command, argument| {
            set_flag(&mut config.request_start, command, argument)
        }),
    },
    Directive {
        name: c"WSGITrustedProxyHeaders",
        context: Context::FileInfo,
        form: Form::Raw,
        default: "none",
        usage: c"names of the headers that trusted proxies set",
        compatibility: Compatibility::Better("names that are not known are warned about"),
        set: Setter::Directory(trusted_proxy_headers),
    },
    Directive {
        name: c"WSGITrustedProxies",
        context: Context::FileInfo,
        form: Form::Raw,
        default: "every peer",
        usage: c"addresses and networks of the trusted proxies",
        compatibility: Compatibility::Same,
        set: Setter::Directory(trusted_proxies),
    },
];

fn map_head_to_get(config: &mut DirConfig, _: Command<'_>, argument: &[u8]) -> Outcome {
    config.map_head_to_get = Some(match flag(argument) {
        Some(true) => MapHead::On,
        Some(false) => MapHead::Off,
        None if argument.eq_ignore_ascii_case(b"auto") => MapHead::Auto,
        None => {
            let value = lossy(argument);
            return Err(format!("WSGIMapHEADToGET must be one of: Off | On | Auto, not '{value}'"));
        }
    });
    Ok(())
}

fn trusted_proxy_headers(
    config: &mut DirConfig,
    command: Command<'_>,
    arguments: &[u8],
) -> Outcome {
    let mut arguments = Arguments::new(arguments);
    let mut headers = Vec::new();
    while let Some(word) = arguments.word() {
        match TrustedHeader::find(&word) {
            Some(header) => headers.push(header),
            None => {
                let word = lossy(&word);
                command.warn(&format!("'{word}' is no header that proxies set; it is ignored."));
            }
        }
    }
    add(&mut config.trusted_proxy_headers, headers);
    Ok(())
}

fn trusted_proxies(config: &mut DirConfig, _: Command<'_>, arguments: &[u8]) -> Outcome {
    let mut arguments = Arguments::new(arguments);
    let words = std::iter::from_fn(|| arguments.word());
    let networks = words.map(|word| Network::parse(&word)).collect::<Result<Vec<_>, _>>();
    add(&mut config.trusted_proxies, networks.map_err(|error| error.to_string())?);
    Ok(())
}

/// Lines of one section add up.
fn add<T: Clone>(list: &mut Option<Arc<[T]>>, more: Vec<T>) {
    let before = list.as_deref().unwrap_or_default();
    *list = Some(before.iter().cloned().chain(more).collect());
}
