//! `wsgictl top`: groups and requests, again and again.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use metrics::{Metrics, Summary};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::termios::{LocalModes, OptionalActions, Termios};

use crate::supervisor::Place;
use crate::{groups, requests, table};

/// How many rows there are where no terminal says so.
const ROWS: usize = 50;

/// On the terminal: another screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// The upper left corner; the rest of a line; the rest of the screen.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\r\n";
const CLEAR_REST: &str = "\x1b[J";

/// Shows what there is every `interval` seconds, `count` times at most.
///
/// # Errors
/// As [`Place::metrics`], or the terminal's.
pub fn run(place: &Place, interval: f64, count: Option<u32>) -> Result<()> {
    let interval = Duration::from_secs_f64(interval);
    // It outlives the supervisor, which need not be asked again.
    let metrics = place.metrics()?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let terminal = Terminal::enter()?;
    let mut before = Counts::of(&Summary::of(&metrics));
    let mut looks = 0;
    while count.is_none_or(|count| looks < count) && !ended.load(Ordering::Relaxed) {
        let summary = Summary::of(&metrics);
        let counts = Counts::of(&summary);
        let rows = terminal.as_ref().map_or(ROWS, Terminal::rows);
        let screen = screen(&metrics, &summary, &counts.since(&before), rows)?;
        before = counts;
        match &terminal {
            Some(terminal) => terminal.show(&screen)?,
            None => println!("{screen}"),
        }
        looks += 1;
        let is_last = count == Some(looks);
        let is_over = || match &terminal {
            Some(terminal) => terminal.wants_to_leave(interval, &ended),
            None => {
                std::thread::sleep(interval);
                false
            }
        };
        if is_last || is_over() {
            break;
        }
    }
    Ok(())
}

/// Requests of each group at one moment.
struct Counts {
    at: Instant,
    requests: BTreeMap<(String, Option<String>), u64>,
}

impl Counts {
    fn of(summary: &Summary) -> Self {
        let key = |it: &metrics::Group| (it.process_group.clone(), it.application_group.clone());
        let requests = summary.groups.iter().map(|group| (key(group), group.requests()));
        Self { at: Instant::now(), requests: requests.collect() }
    }

    /// Requests per second of each group.
    fn since(&self, before: &Self) -> BTreeMap<&(String, Option<String>), f64> {
        let time = (self.at - before.at).as_secs_f64();
        let rate = |(key, now): (_, &u64)| {
            let before = before.requests.get(key).copied().unwrap_or(0);
            let rate = if time > 0.0 { now.saturating_sub(before) as f64 / time } else { 0.0 };
            (key, rate)
        };
        self.requests.iter().map(rate).collect()
    }
}

/// What is shown, in at most so many lines.
fn screen(
    metrics: &Metrics,
    summary: &Summary,
    rates: &BTreeMap<&(String, Option<String>), f64>,
    rows: usize,
) -> io::Result<String> {
    let mut out = Vec::new();
    let mut groups = groups::of(summary, None);
    // Those that need attention come first.
    groups.sort_by_key(|group| std::cmp::Reverse((group.waiting(), group.busy())));
    let sum = |value: fn(&metrics::Group) -> u64| summary.groups.iter().map(value).sum::<u64>();
    let rate: f64 = rates.values().sum();
    writeln!(
        out,
        "{} groups, {} of {} threads busy, {} requests wait, {rate:.1} requests/s    q: quit",
        groups.len(),
        sum(metrics::Group::busy),
        sum(|group| group.threads),
        sum(metrics::Group::waiting),
    )?;
    writeln!(out)?;
    let running = requests::of(summary, metrics.running());
    let room = rows.saturating_sub(6);
    let for_groups = groups.len().min(room.saturating_sub(running.len().min(room / 2)));
    let more = groups.len() - for_groups;
    let row = |group: &metrics::Group| {
        let key = (group.process_group.clone(), group.application_group.clone());
        let rate = rates.get(&key).copied().unwrap_or(0.0);
        let [name, application, workers, busy, waiting, memory, requests, errors, refused, ..] =
            groups::row(group);
        let [.., restarts, half, most] = groups::row(group);
        let rate = format!("{rate:.1}");
        [
            name,
            application,
            rate,
            busy,
            waiting,
            half,
            most,
            memory,
            workers,
            requests,
            errors,
            refused,
            restarts,
        ]
    };
    let head = [
        "GROUP",
        "APPLICATION",
        "REQ/S",
        "BUSY",
        "WAITING",
        "P50",
        "P99",
        "MEMORY",
        "WORKERS",
        "REQUESTS",
        "5XX",
        "REFUSED",
        "RESTARTS",
    ];
    table::write(&mut out, head, groups.into_iter().take(for_groups).map(row))?;
    if more > 0 {
        writeln!(out, "and {more} more groups")?;
    }
    writeln!(out)?;
    let for_requests = room.saturating_sub(for_groups);
    let shown = running.iter().take(for_requests).map(requests::Request::row);
    table::write(&mut out, requests::HEAD, shown)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// A terminal that is given back as it was.
struct Terminal {
    before: Termios,
}

impl Terminal {
    /// Takes the terminal, if standard input and output are one.
    fn enter() -> io::Result<Option<Self>> {
        let (input, output) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        if !rustix::termios::isatty(input) || !rustix::termios::isatty(output) {
            return Ok(None);
        }
        let before = rustix::termios::tcgetattr(input)?;
        let mut raw = before.clone();
        // Ctrl-C is a key like q, so that the terminal is given back.
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        rustix::termios::tcsetattr(input, OptionalActions::Now, &raw)?;
        let terminal = Self { before };
        print!("{ENTER}");
        io::stdout().flush()?;
        Ok(Some(terminal))
    }

    fn size(&self) -> Option<(usize, usize)> {
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
        Some((size.ws_row.into(), size.ws_col.into())).filter(|(rows, columns)| rows * columns > 0)
    }

    fn rows(&self) -> usize {
        self.size().map_or(ROWS, |(rows, _)| rows)
    }

    fn show(&self, screen: &str) -> io::Result<()> {
        let columns = self.size().map_or(usize::MAX, |(_, columns)| columns);
        let mut text = HOME.to_owned();
        for line in screen.lines().take(self.rows().saturating_sub(1)) {
            text.extend(line.chars().take(columns));
            text.push_str(CLEAR_LINE);
        }
        text.push_str(CLEAR_REST);
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Waits until it is time for another look. Returns whether there is to be none.
    fn wants_to_leave(&self, interval: Duration, ended: &AtomicBool) -> bool {
        let deadline = Instant::now() + interval;
        let input = rustix::stdio::stdin();
        while !ended.load(Ordering::Relaxed) {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut sources = [PollFd::from_borrowed_fd(input, PollFlags::IN)];
            match rustix::event::poll(&mut sources, Some(&left)) {
                Ok(0) => return false,
                // A signal: perhaps the window has another size.
                Err(rustix::io::Errno::INTR) => return ended.load(Ordering::Relaxed),
                Err(_) => return true,
                Ok(_) => {}
            }
            let mut key = [0];
            match rustix::io::read(input, &mut key) {
                // q, Ctrl-C, Ctrl-D.
                Ok(1) if !matches!(key[0], b'q' | b'Q' | 3 | 4) => {}
                _ => return true,
            }
        }
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        print!("{LEAVE}");
        let _ = io::stdout().flush();
        let _ =
            rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}
