//! What goes wrong under load, and what may be lost over it.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use testkit::until;

use super::load::{self, Tally};
use super::site::{PROCESSES, Site, THREADS, signal};

/// Something that happens to a server under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `apachectl graceful`.
    Graceful,
    /// The script's time of change changes.
    Touch,
    /// SIGTERM to a worker.
    Terminate,
    /// SIGKILL to a worker.
    Kill,
    /// The application brings its process down with a segmentation fault.
    Crash,
    /// SIGKILL to the supervisor.
    KillSupervisor,
    /// New code that cannot be imported, where the group has `reload=keep`.
    BrokenCode,
    /// A worker stands still for a while.
    Pause,
    /// The application ends its own process.
    Leave,
    /// The application takes every descriptor of its process.
    Descriptors,
    /// The application keeps ever more memory.
    Leak,
    /// The application forks.
    Fork,
    /// The application starts a hundred threads.
    Threads,
    /// Nothing can be written to any log, and httpd restarts gracefully.
    FullLog,
    /// `apachectl restart`.
    Restart,
}

/// What may be lost over a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing.
    Nothing,
    /// Requests that a dying worker was running and that nobody may send twice: each time so many.
    Running(usize),
    /// httpd itself ends connections.
    Nobodys,
}

impl Promise {
    /// Whether it is kept, where the fault happened `times` times.
    pub fn is_kept(self, tally: &Tally, times: usize) -> bool {
        match self {
            Promise::Nothing => tally.lost() == 0,
            Promise::Running(each) => tally.lost_gets == 0 && tally.lost_posts <= each * times,
            Promise::Nobodys => true,
        }
    }

    /// The promise in the table.
    pub fn text(self) -> &'static str {
        match self {
            Promise::Nothing => "0",
            Promise::Running(_) => "0 of GET, HEAD",
            Promise::Nobodys => "none: httpd ends connections",
        }
    }
}

impl Fault {
    /// All, in the order of the table.
    pub const ALL: [Fault; 15] = [
        Fault::Graceful,
        Fault::Touch,
        Fault::Terminate,
        Fault::Kill,
        Fault::Crash,
        Fault::KillSupervisor,
        Fault::BrokenCode,
        Fault::Pause,
        Fault::Leave,
        Fault::Descriptors,
        Fault::Leak,
        Fault::Fork,
        Fault::Threads,
        Fault::FullLog,
        Fault::Restart,
    ];

    /// What `--row` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Graceful => "graceful",
            Fault::Touch => "touch",
            Fault::Terminate => "sigterm",
            Fault::Kill => "sigkill",
            Fault::Crash => "sigsegv",
            Fault::KillSupervisor => "supervisor",
            Fault::BrokenCode => "broken-code",
            Fault::Pause => "sigstop",
            Fault::Leave => "os-exit",
            Fault::Descriptors => "descriptors",
            Fault::Leak => "leak",
            Fault::Fork => "fork",
            Fault::Threads => "threads",
            Fault::FullLog => "full-log",
            Fault::Restart => "restart",
        }
    }

    /// What the table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Fault::Graceful => "`apachectl graceful`",
            Fault::Touch => "touch of the .wsgi script",
            Fault::Terminate => "SIGTERM to a worker",
            Fault::Kill => "SIGKILL to a worker",
            Fault::Crash => "segmentation fault in a worker",
            Fault::KillSupervisor => "SIGKILL to the supervisor",
            Fault::BrokenCode => "broken code deployed, `reload=keep`",
            Fault::Pause => "SIGSTOP to a worker, SIGCONT after 0.3 s",
            Fault::Leave => "the application calls `os._exit`",
            Fault::Descriptors => "the application takes all descriptors for 0.2 s",
            Fault::Leak => "the application leaks 64 MiB, `memory-max=`",
            Fault::Fork => "the application forks",
            Fault::Threads => "the application starts 100 threads",
            Fault::FullLog => "all logs on a full disk, and `apachectl graceful`",
            Fault::Restart => "`apachectl restart`",
        }
    }

    /// What may be lost of ours.
    pub fn promise(self) -> Promise {
        match self {
            Fault::Kill => Promise::Running(THREADS),
            // One of its threads is the culprit, whose request is not counted.
            Fault::Crash | Fault::Leave => Promise::Running(THREADS - 1),
            Fault::Restart => Promise::Nobodys,
            _ => Promise::Nothing,
        }
    }

    /// What our supervisor logs when the server has recovered from it, and how often.
    pub fn recovery(self) -> (&'static str, usize) {
        match self {
            Fault::Terminate | Fault::Kill | Fault::Crash | Fault::Leave => (": serving", 1),
            // Old workers serve for as long as a child is connected to them.
            Fault::KillSupervisor => (": ready after", PROCESSES),
            Fault::Graceful | Fault::Restart => (": serving", PROCESSES),
            _ => ("", 0),
        }
    }

    /// Whether it can happen to mod_wsgi, too.
    pub fn suits_theirs(self) -> bool {
        self != Fault::KillSupervisor
    }

    /// What our workers' group needs for it.
    pub fn options(self) -> &'static str {
        match self {
            Fault::BrokenCode => "reload=keep",
            // A worker that has leaked twice.
            Fault::Leak => "memory-max=134217728",
            _ => "",
        }
    }

    /// What httpd needs for it.
    pub fn conf(self) -> &'static str {
        match self {
            // Writing to it fails as on a full disk.
            Fault::FullLog => "ErrorLog /dev/full\nCustomLog /dev/full combined",
            _ => "",
        }
    }

    /// What clients ask for.
    pub fn path(self) -> &'static str {
        match self {
            Fault::FullLog => "/?chatter",
            _ => "/",
        }
    }

    /// Lets it happen once.
    ///
    /// # Errors
    /// When there is nobody to whom it could happen.
    pub fn strike(self, site: &Site) -> Result<()> {
        let worker = || until(|| site.worker()).context("there is no worker");
        match self {
            Fault::Graceful | Fault::FullLog => signal(site.parent(), Signal::SIGUSR1),
            Fault::Restart => signal(site.parent(), Signal::SIGHUP),
            Fault::Touch => site.touch()?,
            Fault::BrokenCode => site.break_code()?,
            Fault::Terminate => signal(worker()?, Signal::SIGTERM),
            Fault::Kill => signal(worker()?, Signal::SIGKILL),
            Fault::Crash => ask_for(site, "crash"),
            Fault::Pause => {
                let worker = worker()?;
                signal(worker, Signal::SIGSTOP);
                thread::sleep(Duration::from_millis(300));
                signal(worker, Signal::SIGCONT);
            }
            Fault::KillSupervisor => {
                let supervisor = until(|| site.supervisor());
                let supervisor = supervisor.context("there is no supervisor")?;
                signal(supervisor, Signal::SIGKILL);
            }
            Fault::Leave => ask_for(site, "leave"),
            Fault::Descriptors => ask_for(site, "descriptors"),
            Fault::Leak => ask_for(site, "leak"),
            Fault::Fork => ask_for(site, "fork"),
            Fault::Threads => ask_for(site, "threads"),
        }
        Ok(())
    }
}

/// Asks the application for trouble. Whether it survives that is not for this request to tell; a
/// POST, or it would be sent to another worker, too.
fn ask_for(site: &Site, trouble: &str) {
    let _ = load::ask(site.port(), &format!("/?{trouble}"), true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises() {
        let tally = |lost_gets, lost_posts| Tally { lost_gets, lost_posts, ..Tally::default() };
        assert!(Promise::Nothing.is_kept(&tally(0, 0), 1));
        assert!(!Promise::Nothing.is_kept(&tally(0, 1), 1));
        assert!(Promise::Running(5).is_kept(&tally(0, 10), 2));
        assert!(!Promise::Running(5).is_kept(&tally(0, 11), 2));
        assert!(!Promise::Running(5).is_kept(&tally(1, 0), 2));
        assert!(Promise::Nobodys.is_kept(&tally(9, 9), 1));
    }

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        for fault in Fault::ALL {
            let same = Fault::ALL.into_iter().filter(|other| other.name() == fault.name());
            assert_eq!(same.count(), 1, "{}", fault.name());
        }
    }
}
