//! Thousands of graceful restarts under load, and what they leave behind.

use std::fmt;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use testkit::{Process, until};

use super::load;
use super::report::{self, FILE};
use super::site::{PROCESSES, Server, Site, signal};
use crate::record::{self, with_commas};

/// From one restart to the next, at least. httpd ignores an order that comes while it restarts.
const PAUSE: Duration = Duration::from_millis(400);

/// What httpd logs when a restart is over.
const READY: &str = "resuming normal operations";

/// How often it is measured.
const MEASUREMENTS: usize = 20;

/// By how much the memory of a process may differ from the first measurement: the allocator's
/// arenas, not something for each restart.
const SLACK: u64 = 2 << 20;

/// Restarts `times` times under load and demands that nothing is lost and nothing grows.
///
/// # Errors
/// When something is or does.
pub fn run(server: &Server, times: usize, record: bool) -> Result<()> {
    let site = Site::start(server, "", "LogLevel notice wsgi:warn")?;
    let shared_before = shared_memory();
    let start = Instant::now();
    let (tally, figures) = load::during(site.port(), "/", || restart(&site, times));
    let took = start.elapsed();
    report::tally("  in total   ", &tally);
    let figures = figures?;
    let (first, last) = figures.first().zip(figures.last()).context("nothing was measured")?;
    site.stop(server)?;
    let shared = shared_memory().saturating_sub(shared_before);
    if record {
        let text = table(server, times, took, &tally, [first, last], shared);
        record::write(FILE, "soak --graceful", &text)?;
        println!("Written to {FILE}.");
    }
    ensure!(tally.lost() == 0, "{} requests were lost", tally.lost());
    ensure!(shared == 0, "{shared} segments of shared memory are left");
    first.compare(last)
}

fn restart(site: &Site, times: usize) -> Result<Vec<Figures>> {
    let mut figures = Vec::new();
    let mut read = 0;
    let every = (times / MEASUREMENTS).max(1);
    for time in 1..=times {
        let next = Instant::now() + PAUSE;
        signal(site.parent(), Signal::SIGUSR1);
        let ready = until(|| {
            let log = site.log_since(read);
            let end = log.find(READY)? + READY.len();
            read += end as u64;
            Some(())
        });
        ensure!(ready.is_some(), "httpd does not come back from restart {time}");
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if time == 1 || time.is_multiple_of(every) {
            let now = Figures::settled(site);
            println!("  {time:>5} restarts: {now}");
            figures.push(now);
        }
    }
    // The first one is taken when everything has been done once, restarting included.
    Ok(figures.split_off(usize::from(figures.len() > 2)))
}

/// What a server has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Figures {
    /// httpd's parent.
    parent: Usage,
    /// httpd's children, all together.
    children: Usage,
    /// The supervisor.
    supervisor: Usage,
    /// The workers, all together.
    workers: Usage,
    zombies: usize,
    /// Sockets and directories of theirs in httpd's runtime directory.
    files: usize,
}

/// What processes occupy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    processes: usize,
    /// Resident and proportional set size, in bytes.
    resident: u64,
    proportional: u64,
    descriptors: usize,
    threads: usize,
    /// Entries in the table of memory mappings: libraries that were not unloaded show there.
    mappings: usize,
}

impl Figures {
    /// Measures when there is one generation, all of it, and httpd has taken note of what has
    /// ended. If that never comes, it shows.
    fn settled(site: &Site) -> Figures {
        let is_settled = |now: &Figures| {
            now.supervisor.processes == 1
                && now.workers.processes == PROCESSES
                && now.children.processes > 0
                && now.zombies == 0
        };
        until(|| Some(Figures::of(site)).filter(is_settled)).unwrap_or_else(|| Figures::of(site))
    }

    fn of(site: &Site) -> Figures {
        let mut figures =
            Figures { files: files(&site.folder().join("run")), ..Figures::default() };
        for process in site.processes() {
            if process.zombie {
                figures.zombies += 1;
            } else if process.pid == site.parent() {
                figures.parent.add(&process);
            } else if process.program == "wsgi-supervisor" {
                figures.supervisor.add(&process);
            } else if process.program.starts_with("wsgi-worker") {
                figures.workers.add(&process);
            } else {
                figures.children.add(&process);
            }
        }
        figures
    }

    /// Demands that what lives through all restarts has not grown, and that what is started anew
    /// is no larger than before.
    fn compare(&self, last: &Figures) -> Result<()> {
        ensure!(last.zombies == 0, "{} zombies", last.zombies);
        let supervisors = last.supervisor.processes;
        ensure!(supervisors == 1, "{supervisors} supervisors: old generations do not go");
        ensure!(last.files <= self.files, "{} sockets or directories are left", last.files);
        let (before, after) = (&self.parent, &last.parent);
        ensure!(
            after.descriptors <= before.descriptors && after.mappings <= before.mappings,
            "httpd's parent had {} descriptors and {} mappings, and has {} and {}",
            before.descriptors,
            before.mappings,
            after.descriptors,
            after.mappings
        );
        for (who, before, after) in [
            ("httpd's parent", self.parent, last.parent),
            ("the supervisor", self.supervisor, last.supervisor),
        ] {
            let (before, after) = (before.resident, after.resident);
            ensure!(after <= before + SLACK, "{who} had {before} bytes, and has {after}");
        }
        Ok(())
    }
}

impl Usage {
    fn add(&mut self, process: &Process) {
        self.processes += 1;
        self.resident += process.memory();
        self.descriptors += process.descriptors();
        let proc = |name: &str| {
            fs::read_to_string(format!("/proc/{}/{name}", process.pid)).unwrap_or_default()
        };
        let number = |file: String, field: &str| -> u64 {
            let line = file.lines().find_map(|line| line.strip_prefix(field).map(str::to_owned));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        self.proportional += number(proc("smaps_rollup"), "Pss:") * 1024;
        self.threads += number(proc("status"), "Threads:") as usize;
        self.mappings += proc("maps").lines().count();
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (who, usage) in [
            ("parent", self.parent),
            ("children", self.children),
            ("supervisor", self.supervisor),
            ("workers", self.workers),
        ] {
            write!(f, "{who} {usage}; ")?;
        }
        write!(f, "{} zombies, {} sockets and directories", self.zombies, self.files)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: u64| with_commas(bytes as f64 / 1024.0);
        write!(
            f,
            "{} × {} KiB ({} PSS), {} descriptors, {} threads, {} mappings",
            self.processes,
            kib(self.resident),
            kib(self.proportional),
            self.descriptors,
            self.threads,
            self.mappings
        )
    }
}

/// What stands in `docs/`.
fn table(
    server: &Server,
    times: usize,
    took: Duration,
    tally: &load::Tally,
    [first, last]: [&Figures; 2],
    shared: usize,
) -> String {
    let mut text = format!(
        "{}, with {server}: {} graceful restarts in {:.0} minutes, under the load of the table \
         above. {} requests, {} lost. {} zombies, {shared} segments of shared memory and {} sockets \
         or directories more than at first.\n\n\
         | | processes | RSS, KiB | PSS, KiB | descriptors | threads | mappings |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
        record::conditions(),
        with_commas(times as f64),
        took.as_secs_f64() / 60.0,
        with_commas(tally.requests as f64),
        tally.lost(),
        last.zombies,
        last.files.saturating_sub(first.files),
    );
    for (when, figures) in [("at first", first), ("at last", last)] {
        for (who, usage) in [
            ("httpd's parent", figures.parent),
            ("httpd's children", figures.children),
            ("supervisor", figures.supervisor),
            ("workers", figures.workers),
        ] {
            let kib = |bytes: u64| with_commas(bytes as f64 / 1024.0);
            text += &format!(
                "| {who}, {when} | {} | {} | {} | {} | {} | {} |\n",
                usage.processes,
                kib(usage.resident),
                kib(usage.proportional),
                usage.descriptors,
                usage.threads,
                usage.mappings,
            );
        }
    }
    text
}

/// Files of supervisors below a folder: their directories, and the sockets in them.
fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.path().is_dir());
    directories.map(|entry| 1 + fs::read_dir(entry.path()).map_or(0, Iterator::count)).sum()
}

/// Segments of shared memory in the whole system: System V's, and files in memory.
fn shared_memory() -> usize {
    let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let segments = segments.lines().count().saturating_sub(1);
    segments + fs::read_dir("/dev/shm").map_or(0, Iterator::count)
}
