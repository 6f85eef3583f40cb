//! Options about time limits and limits of the system.

use wire::control::Reload;

use super::{DaemonOption, DaemonProcess};
use crate::config::compatibility::Compatibility;
use crate::config::values::{Verdict, number};
use crate::ffi::string::strtod;

/// As large as C's `int`.
const MOST: i64 = i32::MAX as i64;

pub static OPTIONS: [DaemonOption; 17] = [
    DaemonOption {
        name: "maximum-requests",
        what: "request count",
        default: "0 (no limit)",
        usage: "requests after which a worker is replaced",
        compatibility: Compatibility::Better(
            "workers differ by up to 10 %, so that they do not end together; no request is lost",
        ),
        set: |group, value| limit(value, &mut group.limits.maximum_requests),
    },
    DaemonOption {
        name: "inactivity-timeout",
        what: "inactivity timeout",
        default: "0 (no limit)",
        usage: "seconds without a request after which a worker is replaced",
        compatibility: Compatibility::Same,
        set: |group, value| limit(value, &mut group.limits.inactivity_timeout),
    },
    DaemonOption {
        name: "restart-interval",
        what: "restart interval",
        default: "0 (no limit)",
        usage: "seconds after which a worker is replaced",
        compatibility: Compatibility::Better(
            "workers differ by up to 10 %, so that they do not end together; no request is lost",
        ),
        set: |group, value| limit(value, &mut group.limits.restart_interval),
    },
    DaemonOption {
        name: "request-timeout",
        what: "request timeout",
        default: "0 (no limit)",
        usage: "seconds that a request may take",
        compatibility: Compatibility::Better(
            "works without deadlock-timeout, too; whose request did not end gets 504",
        ),
        set: |group, value| limit(value, &mut group.limits.request_timeout),
    },
    DaemonOption {
        name: "interrupt-timeout",
        what: "interrupt timeout",
        default: "0 (none)",
        usage: "seconds that a request has to end when it is interrupted",
        compatibility: Compatibility::Same,
        set: |group, value| limit(value, &mut group.limits.interrupt_timeout),
    },
    DaemonOption {
        name: "deadlock-timeout",
        what: "deadlock timeout",
        default: "300",
        usage: "seconds without the GIL after which a worker is replaced",
        compatibility: Compatibility::Better(
            "0 switches off this one alone; whose request did not end gets 504",
        ),
        set: |group, value| limit(value, &mut group.limits.deadlock_timeout),
    },
    DaemonOption {
        name: "startup-timeout",
        what: "startup timeout",
        default: "0 (no limit)",
        usage: "seconds that a script may take to load",
        compatibility: Compatibility::Same,
        set: |group, value| limit(value, &mut group.limits.startup_timeout),
    },
    DaemonOption {
        name: "graceful-timeout",
        what: "graceful timeout",
        default: "15",
        usage: "seconds that requests have to end when a worker is replaced",
        compatibility: Compatibility::Better(
            "also for a changed script; meanwhile another worker takes the requests",
        ),
        set: |group, value| limit(value, &mut group.limits.graceful_timeout),
    },
    DaemonOption {
        name: "eviction-timeout",
        what: "eviction timeout",
        default: "`graceful-timeout`",
        usage: "the same on an order from outside",
        compatibility: Compatibility::Same,
        set: |group, value| limit(value, &mut group.limits.eviction_timeout),
    },
    DaemonOption {
        name: "shutdown-timeout",
        what: "shutdown timeout",
        default: "5",
        usage: "seconds that a worker has to exit",
        compatibility: Compatibility::Same,
        set: |group, value| limit(value, &mut group.limits.shutdown_timeout),
    },
    DaemonOption {
        name: "reload",
        what: "reload policy",
        default: "on",
        usage: "what a changed script does: `on`, a new worker loads it and takes over; `keep`, only \
                if it can load it; `stop-first`, as `on`, but the old worker goes first, for what can \
                exist only once; `off`, nothing",
        compatibility: Compatibility::Better("an addition of ours"),
        set: reload,
    },
    DaemonOption {
        name: "cpu-priority",
        what: "CPU priority",
        default: "0",
        usage: "nice value of the workers",
        compatibility: Compatibility::Better("out of range is warned about"),
        set: cpu_priority,
    },
    DaemonOption {
        name: "cpu-time-limit",
        what: "CPU time limit",
        default: "0 (no limit)",
        usage: "seconds of CPU time after which a worker is replaced",
        compatibility: Compatibility::Better("another worker takes over before this one ends"),
        set: |group, value| limit(value, &mut group.limits.cpu_time_limit),
    },
    DaemonOption {
        name: "memory-limit",
        what: "memory limit",
        default: "0 (no limit)",
        usage: "bytes of data that a worker may have (RLIMIT_DATA)",
        compatibility: Compatibility::Same,
        set: |group, value| number(value, 0, i64::MAX, &mut group.memory_limit),
    },
    DaemonOption {
        name: "virtual-memory-limit",
        what: "virtual memory limit",
        default: "0 (no limit)",
        usage: "bytes of address space that a worker may have (RLIMIT_AS)",
        compatibility: Compatibility::Same,
        set: |group, value| number(value, 0, i64::MAX, &mut group.virtual_memory_limit),
    },
    DaemonOption {
        name: "slow-request",
        what: "slow request time",
        default: "0 (none)",
        usage: "time (2, 2s, 0.5, 500ms) after which a request that still runs is logged, with its stack",
        compatibility: Compatibility::Better("mod_wsgi has none"),
        set: slow_request,
    },
    DaemonOption {
        name: "memory-max",
        what: "memory maximum",
        default: "0 (no limit)",
        usage: "bytes of resident memory beyond which a worker is replaced",
        compatibility: Compatibility::Better("mod_wsgi has none"),
        set: |group, value| {
            let mut bytes = None;
            let verdict = number(value, 0, i64::MAX, &mut bytes)?;
            group.limits.memory_max = bytes.unwrap_or_default();
            Ok(verdict)
        },
    },
];

fn slow_request(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    let (number, unit) = strtod(value);
    let seconds = match unit {
        b"" | b"s" => number,
        b"ms" => number / 1000.0,
        _ => f64::NAN,
    };
    let milliseconds = (seconds * 1000.0).ceil();
    if value == unit || !(0.0..=f64::from(u32::MAX)).contains(&milliseconds) {
        return Err("must be a time such as 2, 2s, 0.5 or 500ms, up to 49 days".into());
    }
    group.limits.slow_request = milliseconds as u32;
    Ok(Verdict::Good)
}

/// Sets one of the limits that workers watch.
fn limit(value: &[u8], into: &mut u32) -> Result<Verdict, String> {
    let mut number_of = None;
    let verdict = number(value, 0, MOST, &mut number_of)?;
    *into = number_of.unwrap_or_default();
    Ok(verdict)
}

fn reload(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    group.reload = match value.to_ascii_lowercase().as_slice() {
        b"on" => Reload::On,
        b"keep" => Reload::Keep,
        b"off" => Reload::Off,
        b"stop-first" => Reload::StopFirst,
        _ => return Err("is none of on, keep, stop-first and off".into()),
    };
    Ok(Verdict::Good)
}

fn cpu_priority(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    Ok(match number(value, i64::from(i32::MIN), MOST, &mut group.cpu_priority)? {
        Verdict::Good if !(-20..=19).contains(&group.cpu_priority.unwrap_or(0)) => {
            Verdict::Doubtful("lies outside of -20 to 19 and counts as the nearest of these".into())
        }
        verdict => verdict,
    })
}
