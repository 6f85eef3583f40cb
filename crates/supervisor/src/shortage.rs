//! Evidence that the kernel's out-of-memory killer has been at work: SIGKILL looks the same whoever
//! sent it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::logic::{Exit, Shortage};

/// The kernel's counts of processes that it has killed for want of memory.
#[derive(Debug)]
pub struct Shortages {
    /// `memory.events` of the control group that we, and with us the workers, are in
    /// (Documentation/admin-guide/cgroup-v2.rst).
    events: Option<PathBuf>,
    in_group: Option<u64>,
    on_machine: Option<u64>,
}

impl Shortages {
    /// Counts from now on.
    pub fn new() -> Self {
        let events = fs::read_to_string("/proc/self/cgroup").ok().and_then(|list| {
            let group = list.lines().find_map(|line| line.strip_prefix("0::/"))?;
            Some(Path::new("/sys/fs/cgroup").join(group).join("memory.events"))
        });
        let mut shortages = Self { events, in_group: None, on_machine: None };
        shortages.news();
        shortages
    }

    /// How a process ended, with what can be known of a SIGKILL.
    pub fn explain(&mut self, exit: Exit) -> Exit {
        match exit {
            Exit::Signal(libc::SIGKILL) => self.news().map_or(exit, Exit::OutOfMemory),
            exit => exit,
        }
    }

    /// Where a count has risen since the last look.
    fn news(&mut self) -> Option<Shortage> {
        let in_group = self.events.as_deref().and_then(count);
        let on_machine = count(Path::new("/proc/vmstat"));
        let rose = |before: Option<u64>, now: Option<u64>| now > before && before.is_some();
        let group_rose = rose(std::mem::replace(&mut self.in_group, in_group), in_group);
        let machine_rose = rose(std::mem::replace(&mut self.on_machine, on_machine), on_machine);
        match (group_rose, machine_rose) {
            (true, _) => Some(Shortage::ControlGroup),
            (false, true) => Some(Shortage::Machine),
            (false, false) => None,
        }
    }
}

/// The line `oom_kill` of a file of names and numbers.
fn count(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sigkill_counts_as_want_of_memory_only_when_the_kernel_has_counted_one() {
        let events = std::env::temp_dir().join(format!("memory.events-{}", std::process::id()));
        let write = |kills: u64| {
            fs::write(&events, format!("low 0\noom 3\noom_kill {kills}\noom_group_kill 0\n"))
                .unwrap();
        };
        write(4);
        let mut shortages =
            Shortages { events: Some(events.clone()), in_group: None, on_machine: None };
        shortages.news();
        let killed = Exit::Signal(libc::SIGKILL);
        // Whatever goes on elsewhere on this machine.
        let told = |exit| exit == Exit::OutOfMemory(Shortage::ControlGroup);
        assert!(!told(shortages.explain(killed)));
        write(5);
        assert_eq!(shortages.explain(Exit::Signal(libc::SIGSEGV)), Exit::Signal(libc::SIGSEGV));
        assert!(told(shortages.explain(killed)));
        assert!(!told(shortages.explain(killed)), "one count is one death");
        fs::remove_file(&events).unwrap();
    }
}
