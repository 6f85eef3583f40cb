//! Options about the process: identity, environment, Python, size.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::{DaemonOption, DaemonProcess};
use crate::config::chroot::Root;
use crate::config::compatibility::Compatibility;
use crate::config::values::{
    Verdict, absolute, find_group, find_user, flag, interval, is_missing, is_no_group, lossy,
    number, path, search_path,
};

/// As large as C's `int`.
const MOST: i64 = i32::MAX as i64;

pub static OPTIONS: [DaemonOption; 19] = [
    DaemonOption {
        name: "user",
        what: "user",
        default: "httpd's `User`",
        usage: "name or #id of the user that workers run as",
        compatibility: Compatibility::Better("an unknown user is named with file and line"),
        set: |group, value| {
            let (user, verdict) = find_user(value)?;
            group.user = Some(user);
            Ok(verdict)
        },
    },
    DaemonOption {
        name: "group",
        what: "group",
        default: "httpd's `Group`",
        usage: "name or #id of the group that workers run as",
        compatibility: Compatibility::Better("an unknown group is named with file and line"),
        set: primary_group,
    },
    DaemonOption {
        name: "supplementary-groups",
        what: "supplementary groups",
        default: "those of the user",
        usage: "further groups of the workers, separated by commas",
        compatibility: Compatibility::Better("groups behind a comma in front count, too"),
        set: supplementary_groups,
    },
    DaemonOption {
        name: "umask",
        what: "umask",
        default: "httpd's",
        usage: "mask for new files, octal",
        compatibility: Compatibility::Same,
        set: umask,
    },
    DaemonOption {
        name: "chroot",
        what: "chroot directory",
        default: "none",
        usage: "directory that workers are confined to",
        compatibility: Compatibility::Better(
            "a directory that is not there is refused; the user's groups are those of the system, not \
             of files inside; programs inside gain no rights by their file's mode; a script outside \
             gets status 500, not 502; scripts of `WSGIImportScript`, of `WSGIHandlerScript` and of \
             preloading aliases are found by their path outside as well",
        ),
        set: chroot,
    },
    DaemonOption {
        name: "home",
        what: "home directory",
        default: "the user's, if it is not httpd's user",
        usage: "working directory, and first entry of sys.path",
        compatibility: Compatibility::Better(
            "workers of a user whose own directory is not there start in /; mod_wsgi's never start",
        ),
        set: |group, value| {
            group.home = Some(absolute(value)?);
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "lang",
        what: "lang",
        default: "httpd's",
        usage: "environment variable LANG",
        compatibility: Compatibility::Same,
        set: |group, value| {
            group.lang = Some(value.to_vec());
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "locale",
        what: "locale",
        default: "httpd's",
        usage: "environment variable LC_ALL, and the locale",
        compatibility: Compatibility::Better(
            "a locale that is not installed is warned about at configtest",
        ),
        set: |group, value| {
            group.locale = Some(value.to_vec());
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "python-home",
        what: "Python home",
        default: "`WSGIPythonHome`",
        usage: "virtual environment or prefix of Python",
        compatibility: Compatibility::Better(
            "workers run in the interpreter of that environment, of whatever version; configtest \
             tells of one that cannot be used, which costs no other group",
        ),
        set: |group, value| {
            group.python_home = Some(path(value));
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "python-path",
        what: "Python path",
        default: "none",
        usage: "directories in front of sys.path, separated by colons",
        compatibility: Compatibility::Better(
            "a directory that is not there is warned about at configtest",
        ),
        set: |group, value| {
            group.python_path = search_path(value);
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "python-eggs",
        what: "Python eggs",
        default: "none",
        usage: "environment variable PYTHON_EGG_CACHE",
        compatibility: Compatibility::Same,
        set: |group, value| {
            group.python_eggs = Some(value.to_vec());
            Ok(Verdict::Good)
        },
    },
    DaemonOption {
        name: "switch-interval",
        what: "switch interval",
        default: "`WSGISwitchInterval`",
        usage: "seconds after which Python lets another thread run",
        compatibility: Compatibility::Same,
        set: switch_interval,
    },
    DaemonOption {
        name: "display-name",
        what: "display name",
        default: "the worker's name",
        usage: "name in lists of processes; %{GROUP} for (wsgi:NAME)",
        compatibility: Compatibility::Better("is never cut"),
        set: display_name,
    },
    DaemonOption {
        name: "server-metrics",
        what: "server metrics flag",
        default: "Off",
        usage: "On or Off: whether applications may ask for server metrics",
        compatibility: Compatibility::Same,
        set: server_metrics,
    },
    DaemonOption {
        name: "processes",
        what: "process count",
        default: "1; of `%{GLOBAL}`, if `threads=` is not written either: as many as the load needs, up to as many \
                  as httpd has children",
        usage: "workers for each application group; a range, as `1-6`, lets their number follow the \
                load",
        compatibility: Compatibility::Better(
            "per application group, not for all of them together; 10000 at most; ranges are an \
             addition of ours",
        ),
        set: processes,
    },
    DaemonOption {
        name: "idle-timeout",
        what: "idle timeout",
        default: "60",
        usage: "seconds for which workers beyond the least of `processes=` have to be too many before \
                they go; 0: they stay",
        compatibility: Compatibility::Better("an addition of ours"),
        set: |group, value| number(value, 0, MOST, &mut group.idle_timeout),
    },
    DaemonOption {
        name: "threads",
        what: "thread count",
        default: "15; of `%{GLOBAL}`: as many as a child of httpd has, which is 1 with prefork",
        usage: "requests that a worker runs at the same time",
        compatibility: Compatibility::Better(
            "0 is a service, whose script runs on the main thread of a process for each application \
             group; one that ends at once is run again at growing intervals; requests for it get \
             status 500 at once",
        ),
        set: threads,
    },
    DaemonOption {
        name: "stack-size",
        what: "stack size",
        default: "8 MiB",
        usage: "bytes of stack for each thread",
        compatibility: Compatibility::Better("131072 at least, with which Python can run"),
        set: stack_size,
    },
    DaemonOption {
        name: "listen-backlog",
        what: "listen backlog",
        default: "seven eighths of `MaxRequestWorkers`, less `processes=` times `threads=`",
        usage: "requests that wait for each application group, beyond those that run",
        compatibility: Compatibility::Better(
            "bounds all that wait, so that a group that is stuck leaves httpd's threads to others; \
             whoever comes beyond it gets status 503 at once. So does, whatever is written here, who \
             would have to wait when fewer than an eighth of httpd's threads are free, and his group \
             holds more than its share of them",
        ),
        set: |group, value| number(value, 0, MOST, &mut group.listen_backlog),
    },
];

/// No machine has room for more workers of a group than this, and each is looked after.
const MOST_PROCESSES: u32 = 10_000;

fn primary_group(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    if is_no_group(value) {
        group.group = None;
        return Ok(Verdict::Doubtful(
            "stands for no group and counts as httpd's Group: leave the option out".into(),
        ));
    }
    let (id, verdict) = find_group(value)?;
    group.group = Some(id);
    Ok(verdict)
}

fn supplementary_groups(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    let names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let mut verdict = if names.clone().any(<[u8]>::is_empty) {
        Verdict::Doubtful("has a comma too many: write names with one between them".into())
    } else {
        Verdict::Good
    };
    let mut ids = Vec::new();
    for name in names.filter(|name| !name.is_empty()) {
        let (id, about) = find_group(name)
            .map_err(|why| format!("names '{}', which {why}", path(name).display()))?;
        ids.push(id);
        if let Verdict::Doubtful(why) = about {
            verdict = Verdict::Doubtful(format!("names '{}', which {why}", path(name).display()));
        }
    }
    group.supplementary_groups = Some(ids);
    Ok(verdict)
}

fn umask(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    let text = std::str::from_utf8(value).unwrap_or_default().trim_ascii_start();
    // mod_wsgi takes a sign, and refuses what is less than 0.
    let is_zero = |digits: &&str| !digits.is_empty() && digits.bytes().all(|digit| digit == b'0');
    let text = text.strip_prefix('-').filter(is_zero).unwrap_or(text);
    let mask = u32::from_str_radix(text, 8);
    let mask = mask.map_err(|_| "must be an octal number from 0 to 777".to_owned())?;
    group.umask = Some(mask & 0o777);
    Ok(if mask <= 0o777 {
        Verdict::Good
    } else {
        Verdict::Doubtful(format!("is more than 777 and counts as {:o}", mask & 0o777))
    })
}

fn chroot(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    let path = absolute(value)?;
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err("is no directory".into()),
        Err(error) => return Err(format!("cannot be entered ({error}); make the directory")),
    }
    group.chroot = Some(Root::new(path));
    Ok(Verdict::Good)
}

/// What cannot work as meant in a group whose options have all been read: where a path leads is
/// known when `chroot=` is.
pub fn doubts(group: &DaemonProcess) -> Vec<String> {
    let root = group.chroot.as_ref();
    let mut doubts = Vec::new();
    // With a root of their own, workers have locales of their own.
    if let Some(locale) = group.locale.as_ref().filter(|_| root.is_none())
        && !crate::ffi::process::has_locale(locale)
    {
        doubts.push(format!(
            "locale='{}' is no locale of this system (see `locale -a`): applications will run in \
             the C locale",
            lossy(locale)
        ));
    }
    let is_missing = |path: &&PathBuf| match root {
        None => is_missing(path),
        Some(root) => is_missing(&root.outside(path)),
    };
    let place = root.map(|root| format!(" in chroot='{}'", root.path().display()));
    let place = place.unwrap_or_default();
    if let Some(entry) = group.python_path.iter().find(is_missing) {
        let entry = entry.display();
        doubts.push(format!("python-path= names {entry}, which is not there{place}"));
    }
    if let Some(home) = group.home.as_ref().filter(is_missing) {
        doubts.push(format!(
            "home='{}' is not there{place}: workers cannot start before it is",
            home.display()
        ));
    }
    doubts
}

fn stack_size(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    /// How many bytes of stack the system gives a thread at least (`PTHREAD_STACK_MIN`); it ignores
    /// who asks for less.
    const LEAST: u64 = 16_384;
    let verdict = number(value, 1, 1 << 40, &mut group.stack_size)?;
    if group.stack_size.is_some_and(|bytes| bytes < LEAST) {
        group.stack_size = None;
        return Ok(Verdict::Doubtful(format!(
            "is less than {LEAST}, the least for a thread, and has no effect: write bytes"
        )));
    }
    Ok(verdict)
}

fn switch_interval(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    let (interval, verdict) = interval(value)?;
    group.switch_interval = interval;
    Ok(verdict)
}

fn display_name(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    group.display_name = Some(match value {
        b"%{GROUP}" => [b"(wsgi:", group.name.as_slice(), b")"].concat(),
        value => value.to_vec(),
    });
    Ok(Verdict::Good)
}

fn server_metrics(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    group.server_metrics = flag(value).ok_or("must be On or Off")?;
    Ok(Verdict::Good)
}

fn threads(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    let verdict = number(value, 0, 65_533, &mut group.threads)?;
    Ok(match verdict {
        Verdict::Doubtful(why) if group.threads == Some(0) => {
            Verdict::Doubtful(format!("{why}; 0 makes a service, which takes no requests"))
        }
        verdict => verdict,
    })
}

fn processes(group: &mut DaemonProcess, value: &[u8]) -> Result<Verdict, String> {
    let mut processes: Option<u32> = None;
    let (range, verdict) = match range(value) {
        Some(range) => (range?, Verdict::Good),
        None => {
            let verdict = number(value, 1, i64::from(i32::MAX), &mut processes)?;
            let processes = processes.unwrap_or(1);
            (processes..=processes, verdict)
        }
    };
    let (least, most) = (*range.start(), *range.end());
    group.processes = Some(least.min(MOST_PROCESSES)..=most.min(MOST_PROCESSES));
    Ok(if most <= MOST_PROCESSES {
        verdict
    } else {
        Verdict::Doubtful(format!("is more than can be and counts as {MOST_PROCESSES}"))
    })
}

/// Two numbers with a `-` between them; none where nothing stands in front of that, which is then the
/// sign of one number.
fn range(value: &[u8]) -> Option<Result<RangeInclusive<u32>, String>> {
    let text = value.trim_ascii();
    let dash = text.iter().skip(1).position(|byte| *byte == b'-')? + 1;
    let number = |text: &[u8]| {
        let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
    };
    Some(match (number(&text[..dash]), number(&text[dash + 1..])) {
        (Some(0), Some(_)) => Err("begins at 0: write 1 or more, as in 1-6".into()),
        (Some(least), Some(most)) if least > most => {
            Err(format!("begins with the larger number: write {most}-{least}"))
        }
        (Some(least), Some(most)) => Ok(least..=most),
        _ => {
            Err("is no range: write two numbers from 1 on with a - between them, as in 1-6".into())
        }
    })
}
