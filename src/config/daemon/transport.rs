//! Options about what is between httpd and a worker, and which scripts may be run.

use std::time::Duration;

use super::{DaemonOption, DaemonProcess, ScriptOwner};
use crate::config::compatibility::Compatibility;
use crate::config::values::{Verdict, find_known_group, find_user, flag, number};

/// As large as C's `int`.
const MOST: i64 = i32::MAX as i64;

pub static OPTIONS: [DaemonOption; 13] = [
    DaemonOption {
        name: "connect-timeout",
        what: "connect timeout",
        default: "httpd's `Timeout`",
        usage: "seconds that a request waits for workers to start, and where it is written, for a \
                place among those that wait",
        compatibility: Compatibility::Better("without it, a full queue answers 503 at once"),
        set: connect_timeout,
    },
    DaemonOption {
        name: "socket-timeout",
        what: "socket timeout",
        default: "httpd's `Timeout`",
        usage: "seconds that httpd waits for the next part of a response",
        compatibility: Compatibility::Same,
        set: socket_timeout,
    },
    DaemonOption {
        name: "queue-timeout",
        what: "queue timeout",
        default: "0 (no limit)",
        usage: "seconds after which a waiting request is turned away",
        compatibility: Compatibility::Better(
            "the request is answered when its time is over, not when a thread becomes free",
        ),
        set: |group, value| nonzero(value, &mut group.queue_timeout),
    },
    DaemonOption {
        name: "send-buffer-size",
        what: "send buffer size",
        default: "the system's",
        usage: "bytes that the socket to a worker buffers",
        compatibility: Compatibility::Same,
        set: send_buffer_size,
    },
    DaemonOption {
        name: "receive-buffer-size",
        what: "receive buffer size",
        default: "the system's",
        usage: "bytes that the socket from a worker buffers",
        compatibility: Compatibility::Same,
        set: receive_buffer_size,
    },
    DaemonOption {
        name: "header-buffer-size",
        what: "header buffer size",
        default: "1 MiB for all headers",
        usage: "longest header of a response, in bytes",
        compatibility: Compatibility::NoEffect("all headers of a response together may have 1 MiB"),
        set: |_, value| size(value, 8192, &mut None),
    },
    DaemonOption {
        name: "response-buffer-size",
        what: "response buffer size",
        default: "–",
        usage: "bytes of a response that httpd may hold back",
        compatibility: Compatibility::NoEffect(
            "nothing is held back while a response is waited for",
        ),
        set: |_, value| size(value, 65_536, &mut None),
    },
    DaemonOption {
        name: "response-flush-delay",
        what: "response flush delay",
        default: "–",
        usage: "milliseconds to wait for more of a response before it is passed on",
        compatibility: Compatibility::NoEffect(
            "what has come is passed on before httpd waits for more",
        ),
        set: |_, value| number::<i64>(value, 0, MOST, &mut None),
    },
    DaemonOption {
        name: "response-socket-timeout",
        what: "response socket timeout",
        default: "`socket-timeout=`, if that is written, or httpd's `Timeout`",
        usage: "seconds that a client may take to receive a part of a response",
        compatibility: Compatibility::Better(
            "streams of an HTTP/2 connection share a socket, for which httpd's own limits hold",
        ),
        set: |group, value| nonzero(value, &mut group.response_socket_timeout),
    },
    DaemonOption {
        name: "retry",
        what: "retry flag",
        default: "On",
        usage: "whether a GET or HEAD whose worker ends before it has answered anything is sent to \
                another worker, once; requests that no worker has begun are sent on in any case",
        compatibility: Compatibility::Better("an addition of ours"),
        set: |group, value| {
            group.retry = Some(flag(value).ok_or("must be On or Off")?);
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "socket-user",
        what: "socket user",
        default: "httpd's `User`",
        usage: "owner of the sockets, where httpd's children change users",
        compatibility: Compatibility::Better("children that keep httpd's `User` may connect, too"),
        set: |group, value| {
            let (user, verdict) = find_user(value)?;
            group.socket_user = Some(user.uid);
            Ok(verdict)
        },
    },
    DaemonOption {
        name: "script-user",
        what: "script user",
        default: "anybody",
        usage: "owner that scripts and their directories must have",
        compatibility: Compatibility::Same,
        set: |group, value| {
            let (user, verdict) = find_user(value)?;
            group.script_owner = Some(ScriptOwner::User(user.uid));
            Ok(verdict)
        },
    },
    DaemonOption {
        name: "script-group",
        what: "script group",
        default: "any",
        usage: "group that scripts and their directories must have",
        compatibility: Compatibility::Same,
        set: |group, value| {
            let (id, verdict) = find_known_group(value)?;
            group.script_owner = Some(ScriptOwner::Group(id));
            Ok(verdict)
        },
    },
];

fn connect_timeout(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    seconds(value, &mut group.connect_timeout)
}

fn socket_timeout(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    nonzero(value, &mut group.socket_timeout)
}

/// Seconds, or 0 for what holds without the option.
fn nonzero(value: &[u8], into: &mut Option<Duration>) -> Result<Verdict, String> {
    let verdict = seconds(value, into)?;
    *into = into.filter(|timeout| !timeout.is_zero());
    Ok(verdict)
}

fn seconds(value: &[u8], into: &mut Option<Duration>) -> Result<Verdict, String> {
    let mut seconds: Option<u64> = None;
    let verdict = number(value, 0, MOST, &mut seconds)?;
    *into = seconds.map(Duration::from_secs);
    Ok(verdict)
}

fn send_buffer_size(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    size(value, 512, &mut group.send_buffer_size)
}

fn receive_buffer_size(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    size(value, 512, &mut group.receive_buffer_size)
}

/// So many bytes at least, or 0 for the default.
fn size(value: &[u8], least: u32, into: &mut Option<u32>) -> Result<Verdict, String> {
    let mut bytes: Option<u32> = None;
    let verdict = number(value, 0, MOST, &mut bytes)?;
    *into = bytes.filter(|bytes| *bytes > 0);
    match into {
        Some(bytes) if *bytes < least => {
            Err(format!("must be >= {least} bytes, or 0 for the default"))
        }
        _ => Ok(verdict),
    }
}
