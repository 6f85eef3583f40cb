//! Directives about metrics and diagnostics.

use std::time::Duration;

use super::{Directive, Outcome, Setter, globals, on_off, set_flag};
use crate::config::values::path;
use crate::config::{Arguments, Compatibility, ServerConfig, TelemetryService, lossy, suggestion};
use crate::ffi::command::{Command, Context, Form};
use crate::ffi::string::strtod;

/// Without `interval=`.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

/// `sun_path` holds one byte more, a zero (unix(7)).
const LONGEST_PATH: usize = 107;

pub static DIRECTIVES: [Directive; 6] = [
    Directive {
        name: c"WSGIServerMetrics",
        context: Context::Main,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: whether applications of the default group may ask for server metrics",
        compatibility: Compatibility::Same,
        set: Setter::Server(|config, command, argument| {
            set_flag(&mut globals(config).server_metrics, command, argument)
        }),
    },
    Directive {
        name: c"WSGITelemetryService",
        context: Context::Main,
        form: Form::Raw,
        default: "none",
        usage: c"unix:/path of the socket that metrics are sent to, then interval=SECONDS",
        compatibility: Compatibility::Better(
            "the log says so when nobody listens there, or reads too slowly",
        ),
        set: Setter::Server(telemetry_service),
    },
    Directive {
        name: c"WSGISlowRequests",
        context: Context::Main,
        form: Form::One,
        default: "0 (none)",
        usage: c"seconds after which telemetry reports a request as slow",
        compatibility: Compatibility::Same,
        set: Setter::Server(slow_requests),
    },
    Directive {
        name: c"WSGITelemetryOptions",
        context: Context::Main,
        form: Form::Raw,
        default: "None",
        usage: c"what telemetry may tell: All, None, or CaptureUserAgent with + or - in front",
        compatibility: Compatibility::Same,
        set: Setter::Server(telemetry_options),
    },
    Directive {
        name: c"WSGIStatusLocal",
        context: Context::ServerAndDirectory,
        form: Form::One,
        default: "On",
        usage: c"On or Off: whether wsgi-metrics, wsgi-health and wsgi-status are for this machine alone",
        compatibility: Compatibility::Better("mod_wsgi has no such pages"),
        set: Setter::Directory(|config, command, argument| {
            set_flag(&mut config.status_local, command, argument)
        }),
    },
    Directive {
        name: c"WSGIVerboseDebugging",
        context: Context::Main,
        form: Form::One,
        default: "Off",
        usage: c"On or Off",
        compatibility: Compatibility::NoEffect("as there; use `LogLevel wsgi:debug`"),
        set: Setter::Server(|_, command, argument| on_off(command, argument).map(|_| ())),
    },
];

fn telemetry_service(config: &mut ServerConfig, command: Command<'_>, arguments: &[u8]) -> Outcome {
    let mut arguments = Arguments::new(arguments);
    let (target, interval) = (arguments.word(), arguments.word());
    let Some(target) = target.filter(|_| arguments.word().is_none()) else {
        return Err(
            "WSGITelemetryService takes 1-2 arguments, unix:/path and interval=SECONDS".into()
        );
    };
    let Some(target) = target.strip_prefix(b"unix:") else {
        return Err("WSGITelemetryService target must be 'unix:/path' (remote 'udp:host:port' \
                    targets are no longer supported)"
            .into());
    };
    let interval = match interval {
        None => DEFAULT_INTERVAL,
        Some(interval) => {
            let seconds = interval
                .strip_prefix(b"interval=")
                .ok_or("WSGITelemetryService second argument must be 'interval=N', N in seconds")?;
            match seconds_of(command, seconds) {
                Some(seconds) if seconds < 0.5 => {
                    return Err("WSGITelemetryService interval must be at least 0.5 seconds".into());
                }
                seconds => seconds.map_or(DEFAULT_INTERVAL, Duration::from_secs_f64),
            }
        }
    };
    let shown = lossy(target);
    if target.len() > LONGEST_PATH {
        command.warn(&format!(
            "WSGITelemetryService: a socket's path has {LONGEST_PATH} bytes at most, and nobody can \
             be at 'unix:{shown}'; choose a shorter one."
        ));
    } else if !target.starts_with(b"/") {
        command.warn(&format!(
            "WSGITelemetryService: 'unix:{shown}' is not from the root, and each worker looks in its \
             own working directory; write unix:/path."
        ));
    }
    let service = TelemetryService { path: path(target), interval };
    globals(config).telemetry_service = Some(service);
    Ok(())
}

fn slow_requests(config: &mut ServerConfig, command: Command<'_>, argument: &[u8]) -> Outcome {
    let threshold = seconds_of(command, argument).unwrap_or_default();
    let threshold = Duration::try_from_secs_f64(threshold).map_err(|_| {
        let value = lossy(argument);
        format!("WSGISlowRequests threshold must be non-negative, not '{value}'")
    })?;
    globals(config).slow_requests = Some(threshold);
    Ok(())
}

/// The number of seconds in front, as mod_wsgi reads one, and warns of the rest; none for `nan`.
fn seconds_of(command: Command<'_>, text: &[u8]) -> Option<f64> {
    /// What a clock can still add up.
    const LONGEST: f64 = 1e9;
    let (seconds, rest) = strtod(text);
    if text.is_empty() || !rest.is_empty() || !seconds.is_finite() {
        command.warn(&format!("'{}' is no number of seconds: write one.", lossy(text)));
    }
    (!seconds.is_nan()).then(|| seconds.min(LONGEST))
}

fn telemetry_options(config: &mut ServerConfig, _: Command<'_>, arguments: &[u8]) -> Outcome {
    let mut arguments = Arguments::new(arguments);
    let mut relative = None;
    let mut captures = globals(config).capture_user_agent;
    while let Some(word) = arguments.word() {
        let (sign, name) = match word.as_slice() {
            [b'+' | b'-', name @ ..] => (true, name),
            name => (false, name),
        };
        let whole = name.eq_ignore_ascii_case(b"all") || name.eq_ignore_ascii_case(b"none");
        if whole && sign {
            let name = lossy(name);
            return Err(format!("WSGITelemetryOptions: '{name}' may not have a +/- prefix"));
        }
        if !whole && !name.eq_ignore_ascii_case(b"CaptureUserAgent") {
            let hint = suggestion(name, &["All", "None", "CaptureUserAgent"]);
            let name = lossy(name);
            return Err(format!("WSGITelemetryOptions: unknown flag '{name}'.{hint}"));
        }
        if *relative.get_or_insert(sign) != sign {
            return Err("WSGITelemetryOptions: cannot mix +/- form with absolute names in a \
                        single directive"
                .into());
        }
        captures = !word.starts_with(b"-") && !name.eq_ignore_ascii_case(b"none");
    }
    globals(config).capture_user_agent = captures;
    match relative {
        None => Err("WSGITelemetryOptions: at least one flag required; write None for none".into()),
        Some(_) => Ok(()),
    }
}
