//! Reads `/proc`: which processes an httpd has, and what they hold.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

/// A process as it was when we looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id, which the system may give to another process later.
    pub pid: i32,
    /// The id of its parent.
    pub parent: i32,
    /// The file name of its program; for a worker, and for a zombie, which has none, the name that the
    /// kernel keeps.
    pub program: String,
    /// Whether it has ended and its parent has not taken note.
    pub zombie: bool,
    /// When it started, in clock ticks since boot: tells it from a later one with the same id.
    started: u64,
}

impl Process {
    /// All processes of the machine.
    pub fn all() -> Vec<Process> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(Process::find)
            .collect()
    }

    /// The process with this id, if there is one.
    pub fn find(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut process = Process::parse(&stat)?;
        // Workers run in interpreters, and have a name of their own.
        if !process.program.starts_with("wsgi-")
            && let Ok(program) = fs::read_link(format!("/proc/{pid}/exe"))
            && let Some(name) = program.file_name()
        {
            // The kernel adds this to the name of a program that has been replaced on disk.
            process.program = name.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
        }
        Some(process)
    }

    /// Whether the process with this id is there and has a handler for a signal
    /// (`proc_pid_status(5)`).
    pub fn handles(pid: i32, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|caught| u64::from_str_radix(caught.trim(), 16).ok());
        caught.is_some_and(|caught| caught >> (signal as i32 - 1) & 1 == 1)
    }

    /// Children, their children, and so on, of the process with this id.
    pub fn descendants(pid: i32) -> Vec<Process> {
        let all = Process::all();
        let mut found: Vec<Process> = Vec::new();
        let mut parents = vec![pid];
        while let Some(parent) = parents.pop() {
            for process in all.iter().filter(|process| process.parent == parent) {
                parents.push(process.pid);
                found.push(process.clone());
            }
        }
        found
    }

    /// Processes that have a file below this folder open or as their working directory.
    pub fn holding(folder: &Path) -> Vec<Process> {
        Process::all()
            .into_iter()
            .filter(|process| process.open_files().iter().any(|file| file.starts_with(folder)))
            .collect()
    }

    /// Whether it still runs. A zombie does not: it waits for nothing but its parent.
    pub fn runs(&self) -> bool {
        Process::find(self.pid).is_some_and(|now| now.started == self.started && !now.zombie)
    }

    /// When it started, in clock ticks since boot.
    pub fn started(&self) -> u64 {
        self.started
    }

    /// How many file descriptors it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).map(Iterator::count).unwrap_or(0)
    }

    /// How many bytes of memory it occupies.
    pub fn memory(&self) -> u64 {
        self.kilobytes("VmRSS") * 1024
    }

    /// The most bytes of memory that it has occupied so far.
    pub fn peak_memory(&self) -> u64 {
        self.kilobytes("VmHWM") * 1024
    }

    fn kilobytes(&self, field: &str) -> u64 {
        self.status(field).and_then(|field| field.parse().ok()).unwrap_or(0)
    }

    /// The effective user id.
    pub fn uid(&self) -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// The command line, its arguments separated by blanks.
    pub fn command(&self) -> String {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned()
    }

    /// What its descriptors and its working directory point at, as far as we may look.
    fn open_files(&self) -> Vec<PathBuf> {
        let folder = PathBuf::from(format!("/proc/{}", self.pid));
        let descriptors = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
        descriptors
            .map(|entry| entry.path())
            .chain([folder.join("cwd")])
            .filter_map(|link| fs::read_link(link).ok())
            .collect()
    }

    /// The first word of a field in its `status` file.
    fn status(&self, field: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find(|line| line.starts_with(&format!("{field}:")))?;
        line.split_whitespace().nth(1).map(str::to_owned)
    }

    /// Reads `pid (name) state parent …`. The name may hold blanks and parentheses.
    fn parse(stat: &str) -> Option<Process> {
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Process {
            pid: pid.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            program: name.to_owned(),
            zombie: matches!(*fields.first()?, "Z" | "X"),
            // Field 22 of proc(5); the first three are in front of these.
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9876 0 0";

    #[test]
    fn stat_with_an_awkward_name() {
        let process = Process::parse(STAT).unwrap();
        assert_eq!((process.pid, process.parent, process.started), (42, 7, 9876));
        assert_eq!(process.program, "a (b) c");
        assert!(!process.zombie);
        assert!(Process::parse(&STAT.replace(" S ", " Z ")).unwrap().zombie);
    }

    #[test]
    fn this_process() {
        let here = Process::find(std::process::id().cast_signed()).unwrap();
        assert!(here.runs());
        assert!(here.descriptors() > 2);
        assert!(here.memory() > 100_000);
        assert!(Process::descendants(here.parent).contains(&here));
        assert!(Process::holding(&std::env::current_dir().unwrap()).contains(&here));
    }

    #[test]
    fn nobody() {
        assert_eq!(Process::find(i32::MAX), None);
        assert!(Process::parse("garbage").is_none());
    }
}
