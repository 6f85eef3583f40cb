//! How workers ended, for httpd children that lost a request with one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wire::limits::Cause;

use super::{Action, Exit, Logic, Ticket};

/// How many ends are remembered. A child asks within moments, and a flood of deaths is slowed down.
const REMEMBERED: usize = 256;

/// How long who asks may wait for a worker to end. A thread of httpd does nothing else meanwhile.
const EXIT_TIMEOUT: Duration = Duration::from_millis(800);

/// What is known of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It has ended.
    Ended(ExitReason),
    /// It is still there.
    Running,
    /// There is no such worker, and was none lately.
    Nothing,
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitReason {
    /// The rest of a sentence that begins with the worker.
    pub how: String,
    /// Whether it was made to end because requests took too long.
    pub too_slow: bool,
}

/// Why a worker ends before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopReason {
    /// What it did.
    text: String,
    /// Who ends it.
    by: By,
    /// Whether requests took too long.
    too_slow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Supervisor,
    Itself,
}

impl StopReason {
    /// The supervisor ends it; from what the log says.
    pub fn of(text: &str) -> Self {
        let text = text.strip_prefix("killed: ").unwrap_or(text).to_owned();
        Self { text, by: By::Supervisor, too_slow: false }
    }

    /// It wants to be replaced, and ends when its time is over, whatever is still running.
    pub fn wished(cause: Cause, reason: &str) -> Self {
        let too_slow =
            matches!(cause, Cause::RequestTimeout | Cause::DeadlockTimeout | Cause::StartupTimeout);
        Self { text: reason.to_owned(), by: By::Itself, too_slow }
    }
}

/// Recent ends, and who waits for one.
#[derive(Debug, Default)]
pub struct ExitReasons {
    /// By process id, the last one at the end.
    ends: VecDeque<(u32, ExitReason)>,
    /// Who waits for the end of which process, and until when.
    waiting: Vec<(Ticket, u32, Instant)>,
}

impl ExitReasons {
    /// The process id is a new worker's now.
    pub fn begin(&mut self, pid: u32) {
        self.ends.retain(|(ended, _)| *ended != pid);
    }

    /// When somebody has waited long enough.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|(_, _, until)| *until).min()
    }

    fn find(&self, pid: u32) -> Option<&ExitReason> {
        self.ends.iter().find(|(ended, _)| *ended == pid).map(|(_, exit_reason)| exit_reason)
    }
}

impl ExitReason {
    /// Puts together what is known, and no more.
    pub fn of(exit: Exit, stop_reason: Option<StopReason>) -> Self {
        let too_slow = stop_reason.as_ref().is_some_and(|stop_reason| stop_reason.too_slow);
        let how = match (stop_reason, exit) {
            (Some(StopReason { text, by: By::Supervisor, .. }), exit) => {
                format!("was ended by the supervisor ({exit}): {text}")
            }
            (Some(StopReason { text, by: By::Itself, .. }), exit) => {
                format!("ended with {exit} before its requests had: {text}")
            }
            (None, Exit::Status(_)) => {
                format!("ended itself with {exit}, as os._exit() in an application does")
            }
            (None, Exit::Signal(libc::SIGKILL)) => {
                format!("was killed with {exit}, which the supervisor did not send")
            }
            (None, exit) => format!("was killed with {exit}"),
        };
        Self { how, too_slow }
    }
}

impl Logic {
    /// Tells how the worker with this process id ended, now or when it has.
    pub(super) fn inquire(&mut self, ticket: Ticket, pid: u32, now: Instant) {
        let known = match self.exit_reasons.find(pid) {
            Some(exit_reason) => Known::Ended(exit_reason.clone()),
            None if self.workers.values().any(|worker| worker.pid() == Some(pid)) => {
                return self.exit_reasons.waiting.push((ticket, pid, now + EXIT_TIMEOUT));
            }
            None => Known::Nothing,
        };
        self.actions.push(Action::Tell(ticket, known));
    }

    /// Remembers an end, and tells those who wait for it.
    pub(super) fn remember(&mut self, pid: Option<u32>, exit_reason: ExitReason) {
        let Some(pid) = pid else { return };
        let ExitReasons { ends, waiting } = &mut self.exit_reasons;
        waiting.retain(|(ticket, of, _)| {
            if *of == pid {
                self.actions.push(Action::Tell(*ticket, Known::Ended(exit_reason.clone())));
            }
            *of != pid
        });
        if ends.len() >= REMEMBERED {
            ends.pop_front();
        }
        ends.push_back((pid, exit_reason));
    }

    /// Who asked does not wait any more.
    pub(super) fn forget_inquiry(&mut self, ticket: Ticket) {
        self.exit_reasons.waiting.retain(|(waiting, ..)| *waiting != ticket);
    }

    /// Lets those go who have waited long enough.
    pub(super) fn pass_inquiry_deadlines(&mut self, now: Instant) {
        self.exit_reasons.waiting.retain(|(ticket, _, until)| {
            if *until <= now {
                self.actions.push(Action::Tell(*ticket, Known::Running));
            }
            *until > now
        });
    }

    /// Nothing will be known any more of workers that have not ended so far.
    pub(super) fn end_inquiries(&mut self) {
        for (ticket, ..) in std::mem::take(&mut self.exit_reasons.waiting) {
            self.actions.push(Action::Tell(ticket, Known::Running));
        }
    }
}
