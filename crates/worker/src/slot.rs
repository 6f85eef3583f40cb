//! What one runner is doing, for the watching thread, which never waits for Python. The runner
//! itself only writes to atomics and to a line of text that nobody else wants as a rule.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};

/// The two low bits of [`Slot::state`].
const RUNNING: u64 = 0;
const BEING_INTERRUPTED: u64 = 1;
const INTERRUPTED: u64 = 2;
const PHASE: u64 = 3;

/// A runner as others see it.
#[derive(Debug)]
pub struct Slot {
    /// Its number, from 1, as in the name of its thread.
    pub number: usize,
    epoch: Instant,
    /// 0 without a request; otherwise when it began, in milliseconds after `epoch` plus one, and
    /// whether it is interrupted.
    state: AtomicU64,
    /// When it last did something that counts against `inactivity-timeout=`, in milliseconds after
    /// `epoch` plus one.
    active: AtomicU64,
    notes_activity: bool,
    ignores_activity: AtomicBool,
    /// `threading.get_ident()` of its thread.
    ident: AtomicU64,
    /// [`crate::ffi::thread_state`] of its thread.
    thread_state: AtomicUsize,
    /// The system's number of its thread.
    thread: AtomicI32,
    /// Method and URI of the last request.
    line: Mutex<Vec<u8>>,
    /// Readable while the request is interrupted.
    wake: OwnedFd,
}

/// A request that is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    state: u64,
    began: Duration,
}

impl Run {
    /// When it began, after the worker did.
    pub fn began(self) -> Duration {
        self.began
    }

    /// Whether an exception has been raised in it.
    pub fn is_interrupted(self) -> bool {
        self.state & PHASE != RUNNING
    }
}

impl Slot {
    /// A runner without a request. Times are measured from `epoch`.
    ///
    /// # Errors
    /// The system's error.
    pub fn new(number: usize, epoch: Instant, notes_activity: bool) -> io::Result<Self> {
        Ok(Self {
            number,
            epoch,
            state: AtomicU64::new(0),
            active: AtomicU64::new(0),
            notes_activity,
            ignores_activity: AtomicBool::new(false),
            ident: AtomicU64::new(0),
            thread_state: AtomicUsize::new(0),
            thread: AtomicI32::new(0),
            line: Mutex::default(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// The runner's thread is this one, which Python knows by this number and this record.
    pub fn identify(&self, ident: u64, thread_state: usize) {
        self.ident.store(ident, Ordering::SeqCst);
        self.thread_state.store(thread_state, Ordering::SeqCst);
        self.thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::SeqCst);
    }

    /// Python's record of its thread.
    pub fn thread_state(&self) -> usize {
        self.thread_state.load(Ordering::SeqCst)
    }

    /// The system's number of its thread.
    pub fn thread(&self) -> i32 {
        self.thread.load(Ordering::SeqCst)
    }

    /// The number by which Python knows its thread.
    pub fn ident(&self) -> u64 {
        self.ident.load(Ordering::SeqCst)
    }

    /// A request begins.
    pub fn begin(&self, method: &[u8], uri: &[u8], ignores_activity: bool) {
        {
            let mut line = self.line.lock().expect("nobody panics in here");
            line.clear();
            line.extend_from_slice(method);
            line.push(b' ');
            line.extend_from_slice(uri);
        }
        let now = self.now();
        self.state.store(now << 2 | RUNNING, Ordering::SeqCst);
        self.ignores_activity.store(ignores_activity, Ordering::Relaxed);
        self.touch();
    }

    /// The request ends. Returns whether it was interrupted: Python may still have to raise the
    /// exception then.
    pub fn end(&self) -> bool {
        self.touch();
        loop {
            let state = self.state.load(Ordering::SeqCst);
            // Only where threads do not take turns: the other one is about to be done.
            if state & PHASE == BEING_INTERRUPTED {
                std::thread::yield_now();
                continue;
            }
            if self.state.compare_exchange(state, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                let interrupted = state & PHASE == INTERRUPTED;
                if interrupted {
                    let _ = rustix::io::read(&self.wake, &mut [0; 8]);
                }
                return interrupted;
            }
        }
    }

    /// The request does something: it begins, ends, reads or writes.
    pub fn touch(&self) {
        if self.notes_activity && !self.ignores_activity.load(Ordering::Relaxed) {
            self.active.store(self.now(), Ordering::Relaxed);
        }
    }

    /// When it last did, after the worker began.
    pub fn last_active(&self) -> Option<Duration> {
        let active = self.active.load(Ordering::Relaxed);
        (active > 0).then(|| Duration::from_millis(active - 1))
    }

    /// The request that is running.
    pub fn run(&self) -> Option<Run> {
        let state = self.state.load(Ordering::SeqCst);
        (state > 0).then(|| Run { state, began: Duration::from_millis((state >> 2) - 1) })
    }

    /// For how long the request that is running has.
    pub fn age(&self) -> Option<Duration> {
        self.run().map(|run| self.epoch.elapsed().saturating_sub(run.began()))
    }

    /// Method and URI of the request that is running, or ran last.
    pub fn line(&self) -> String {
        String::from_utf8_lossy(&self.line.lock().expect("nobody panics in here")).into_owned()
    }

    /// As [`Self::line`], without the query string.
    pub fn public_line(&self) -> String {
        let mut line = self.line();
        line.truncate(line.find('?').unwrap_or(line.len()));
        line
    }

    /// Interrupts `run`, if it is still running: `raise` arranges that Python raises an exception in
    /// its thread. A wait for httpd ends.
    pub fn interrupt(&self, run: Run, raise: impl FnOnce()) -> bool {
        let change = |from: u64, to: u64| {
            self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        };
        if run.is_interrupted() || !change(run.state, run.state | BEING_INTERRUPTED) {
            return false;
        }
        raise();
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        change(run.state | BEING_INTERRUPTED, run.state | INTERRUPTED);
        true
    }

    /// Waits until `socket` is ready for `what`, or broken. Not to be called while attached to
    /// Python.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] when the request is.
    pub fn wait_for(&self, socket: BorrowedFd<'_>, what: PollFlags) -> io::Result<()> {
        loop {
            let wake = PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN);
            let mut sources = [PollFd::from_borrowed_fd(socket, what), wake];
            match rustix::event::poll(&mut sources, None) {
                Ok(_) if !sources[1].revents().is_empty() => {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX >> 2) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot::new(1, Instant::now(), true).unwrap()
    }

    #[test]
    fn a_request_can_be_interrupted_once_and_only_while_it_runs() {
        let slot = slot();
        assert_eq!(slot.run(), None);
        slot.begin(b"GET", b"/a", false);
        assert_eq!(slot.line(), "GET /a");
        slot.end();
        slot.begin(b"GET", b"/a?token=1", false);
        assert_eq!((slot.line(), slot.public_line()), ("GET /a?token=1".into(), "GET /a".into()));
        let run = slot.run().unwrap();
        let mut raised = 0;
        assert!(slot.interrupt(run, || raised += 1));
        assert!(!slot.interrupt(run, || raised += 1));
        assert!(!slot.interrupt(slot.run().unwrap(), || raised += 1));
        assert!(slot.end());
        assert_eq!(slot.run(), None);
        assert!(!slot.interrupt(run, || raised += 1), "it is over");
        assert_eq!(raised, 1);
        slot.begin(b"GET", b"/b", false);
        assert!(!slot.end(), "the next one has nothing to do with it");
    }

    #[test]
    fn a_wait_ends_when_the_request_is_interrupted_and_not_for_the_next_one() {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let slot = slot();
        slot.begin(b"GET", b"/", false);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| slot.wait_for(near.as_fd(), PollFlags::IN));
            slot.interrupt(slot.run().unwrap(), || {});
            let error = waits.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        });
        assert!(slot.end());
        slot.begin(b"GET", b"/", false);
        rustix::io::write(&far, b"x").unwrap();
        slot.wait_for(near.as_fd(), PollFlags::IN).unwrap();
    }

    #[test]
    fn only_activity_that_counts_is_noted() {
        let slot = slot();
        assert_eq!(slot.last_active(), None);
        slot.begin(b"GET", b"/health", true);
        slot.end();
        assert_eq!(slot.last_active(), None);
        slot.begin(b"GET", b"/", false);
        assert!(slot.last_active().is_some());
    }
}
