//! Evidence that the kernel's out-of-memory killer has been at work: SIGKILL looks the same whoever
//! sent it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::logic::{Exit, Shortage};

/// The kernel's counts of processes that it has killed for want of memory.
#[derive(Debug)]
pub struct Shortages {
    /// The file in which the control group that we, and with us the workers, are in has its count.
    events: Option<PathBuf>,
    in_group: Option<u64>,
    on_machine: Option<u64>,
}

impl Shortages {
    /// Counts from now on.
    pub fn new() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let events = candidates(&groups).into_iter().find(|path| count(path).is_some());
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

/// Where the count may be, by the text of `/proc/self/cgroup`: `memory.events`
/// (Documentation/admin-guide/cgroup-v2.rst), or `memory.oom_control` of the first version
/// (cgroup-v1/memory.rst). A container may see its own group at the root, whatever its name is
/// outside.
fn candidates(groups: &str) -> Vec<PathBuf> {
    let place = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.events"),
            list if list.split(',').any(|controller| controller == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.oom_control")
            }
            _ => return None,
        };
        Some([Path::new(root).join(group).join(file), Path::new(root).join(file)])
    };
    groups.lines().filter_map(place).flatten().collect()
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
    fn the_count_is_looked_for_in_both_versions_of_control_groups() {
        let paths = candidates("4:memory:/docker/a7\n3:cpu,cpuacct:/docker/a7\n0::/docker/a7\n");
        let expected = [
            "/sys/fs/cgroup/memory/docker/a7/memory.oom_control",
            "/sys/fs/cgroup/memory/memory.oom_control",
            "/sys/fs/cgroup/docker/a7/memory.events",
            "/sys/fs/cgroup/memory.events",
        ];
        assert!(paths.iter().map(PathBuf::as_path).eq(expected.map(Path::new)), "{paths:?}");
        assert!(candidates("nonsense\n1:\n").is_empty());
    }

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
