//! Who holds Python's lock (the GIL). Up to Python 3.11 the interpreter says so itself. Since then
//! it tells each thread only of itself, and there is evidence: whoever runs a request and does not
//! wait where the thread for GIL tasks waits for the lock.

use std::sync::Arc;
use std::time::Duration;

use crate::ffi;
use crate::process::setup;
use crate::slot::Slot;

/// A waiting thread looks up from its wait every few milliseconds; one of so many looks at it finds
/// it waiting.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);
/// Threads that wait for the same condition variable do so at addresses within it (`pthread_cond_t`).
const CONDITION: u64 = 48;

/// What is known.
#[derive(Debug)]
pub enum Holder<'s> {
    /// This runner, for certain.
    Runner(&'s Arc<Slot>),
    /// A thread that is no runner, for certain.
    Other,
    /// One of these runners, by evidence.
    Likely(Vec<&'s Arc<Slot>>),
    /// Nothing.
    Unknown,
}

/// Who holds the lock now. `waiting` is the thread id of one that waits for it.
pub fn find<'s>(slots: &'s [Arc<Slot>], waiting: Option<i32>) -> Holder<'s> {
    if let Some(state) = ffi::lock_holder() {
        let runner = slots.iter().find(|slot| slot.thread_state() == state);
        return runner.map_or(Holder::Other, Holder::Runner);
    }
    // Files of a process that is hidden belong to root. To look takes milliseconds, and happens before
    // the worker is ended.
    let _shown = setup::show();
    let Some(place) = waiting.and_then(|thread| looks(thread).next()) else {
        return Holder::Unknown;
    };
    let waits_there =
        |slot: &Arc<Slot>| looks(slot.thread()).any(|address| address.abs_diff(place) < CONDITION);
    let busy = slots.iter().filter(|slot| slot.run().is_some());
    Holder::Likely(busy.filter(|slot| !waits_there(slot)).collect())
}

/// The addresses at which a thread of this process is found waiting, look by look.
fn looks(thread: i32) -> impl Iterator<Item = u64> {
    (0..LOOKS).filter_map(move |look| {
        if look > 0 {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).ok()?;
        futex_address(&text)
    })
}

/// Where a thread waits that is in `futex(2)`, from its `/proc/PID/task/TID/syscall`.
fn futex_address(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    let number: i64 = words.next()?.parse().ok()?;
    let address = words.next()?.strip_prefix("0x")?;
    (number == libc::SYS_futex).then(|| u64::from_str_radix(address, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_futex_waits_have_an_address() {
        let futex =
            format!("{} 0x7f10 0x189 0x0 0x7ffc 0x0 0xffffffff 0x7ffd 0x7f0e\n", libc::SYS_futex);
        assert_eq!(futex_address(&futex), Some(0x7f10));
        assert_eq!(futex_address("999 0x7f10 0x1 0x2 0x3 0x4 0x5 0x6 0x7\n"), None);
        assert_eq!(futex_address("running\n"), None);
    }

    #[test]
    fn threads_that_wait_for_one_condition_are_found_at_one_place() {
        let (lock, condition) = (std::sync::Mutex::new(false), std::sync::Condvar::new());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let sender = sender.clone();
                let (lock, condition) = (&lock, &condition);
                scope.spawn(move || {
                    sender.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
                    let mut over = lock.lock().unwrap();
                    while !*over {
                        over = condition.wait(over).unwrap();
                    }
                });
            }
            let places: Vec<_> =
                receiver.iter().take(2).map(|thread| looks(thread).last()).collect();
            *lock.lock().unwrap() = true;
            condition.notify_all();
            let (Some(one), Some(other)) = (places[0], places[1]) else { panic!("{places:?}") };
            assert!(one.abs_diff(other) < CONDITION);
        });
    }
}
