//! Directives about metrics and diagnostics.

use super::{Outcome, on_off};
use crate::config::values::atoi;
use crate::config::{Arguments, Compatibility, ServerConfig, lossy};
use crate::ffi::command::{Command, Context, Directive, Form, Setter};

pub static DIRECTIVES: [Directive; 5] = [
    Directive {
        name: c"WSGIServerMetrics",
        context: Context::Main,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: whether applications of the default group may ask for server metrics",
        compatibility: Compatibility::NotYet("there is no `mod_wsgi.server_metrics()`"),
        set: Setter::Server(server_metrics),
    },
    Directive {
        name: c"WSGITelemetryService",
        context: Context::Main,
        form: Form::Raw,
        default: "none",
        usage: c"unix:/path of the socket that metrics are sent to, then interval=SECONDS",
        compatibility: Compatibility::NotYet("nothing is sent"),
        set: Setter::Server(telemetry_service),
    },
    Directive {
        name: c"WSGISlowRequests",
        context: Context::Main,
        form: Form::One,
        default: "0 (none)",
        usage: c"seconds after which telemetry reports a request as slow",
        compatibility: Compatibility::NotYet("nothing is sent"),
        set: Setter::Server(slow_requests),
    },
    Directive {
        name: c"WSGITelemetryOptions",
        context: Context::Main,
        form: Form::Raw,
        default: "None",
        usage: c"what telemetry may tell: All, None, or CaptureUserAgent with + or - in front",
        compatibility: Compatibility::NotYet("nothing is sent"),
        set: Setter::Server(telemetry_options),
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

fn server_metrics(_: &mut ServerConfig, command: Command<'_>, argument: &[u8]) -> Outcome {
    if on_off(command, argument)? {
        command.warn("there are no server metrics yet; applications find no server_metrics().");
    }
    Ok(())
}

fn telemetry_service(_: &mut ServerConfig, command: Command<'_>, arguments: &[u8]) -> Outcome {
    let mut arguments = Arguments::new(arguments);
    let (target, interval) = (arguments.word(), arguments.word());
    let Some(target) = target.filter(|_| arguments.word().is_none()) else {
        return Err(
            "WSGITelemetryService takes 1-2 arguments, unix:/path and interval=SECONDS".into()
        );
    };
    if !target.starts_with(b"unix:") {
        return Err("WSGITelemetryService target must be 'unix:/path' (remote 'udp:host:port' \
                    targets are no longer supported)"
            .into());
    }
    if let Some(interval) = interval {
        let seconds = interval
            .strip_prefix(b"interval=")
            .ok_or("WSGITelemetryService second argument must be 'interval=N', N in seconds")?;
        if !seconds_of(seconds).is_some_and(|seconds| seconds >= 0.5) {
            return Err("WSGITelemetryService interval must be at least 0.5 seconds".into());
        }
    }
    command.warn("telemetry is not sent yet; collect metrics from httpd's logs meanwhile.");
    Ok(())
}

fn slow_requests(_: &mut ServerConfig, command: Command<'_>, argument: &[u8]) -> Outcome {
    let seconds = seconds_of(argument);
    if seconds.is_none() {
        let value = lossy(argument);
        command.warn(&format!("WSGISlowRequests '{value}' is no number of seconds: write one."));
    }
    if atoi(argument).0 < 0 || seconds.is_some_and(|seconds| seconds < 0.0) {
        let value = lossy(argument);
        return Err(format!("WSGISlowRequests threshold must be non-negative, not '{value}'"));
    }
    Ok(())
}

fn seconds_of(text: &[u8]) -> Option<f64> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    seconds.is_finite().then_some(seconds)
}

fn telemetry_options(_: &mut ServerConfig, _: Command<'_>, arguments: &[u8]) -> Outcome {
    let mut arguments = Arguments::new(arguments);
    let mut relative = None;
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
            return Err(format!("WSGITelemetryOptions: unknown flag '{}'", lossy(name)));
        }
        if *relative.get_or_insert(sign) != sign {
            return Err("WSGITelemetryOptions: cannot mix +/- form with absolute names in a \
                        single directive"
                .into());
        }
    }
    match relative {
        None => Err("WSGITelemetryOptions: at least one flag required; write None for none".into()),
        Some(_) => Ok(()),
    }
}
