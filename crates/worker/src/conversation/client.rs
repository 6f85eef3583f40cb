//! Whether the client of a request is still there, as far as httpd has said.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How often a response that goes out piece by piece looks whether somebody is there to read it.
const LOOK_EVERY_MICROSECONDS: u64 = 100_000;

/// What is known of a request's client.
#[derive(Debug, Default)]
pub struct Client {
    hung_up: AtomicBool,
    lost: AtomicBool,
    looked: AtomicU64,
    taken: AtomicU64,
}

impl Client {
    /// Notes that the client has closed its direction, or cannot be reached at all.
    pub fn note(&self, certain: bool) {
        self.hung_up.store(true, Ordering::Relaxed);
        self.lost.fetch_or(certain, Ordering::Relaxed);
    }

    /// Notes that nothing can reach the client.
    pub fn lose(&self) {
        self.note(true);
    }

    /// Notes that httpd has passed on so many more bytes of the window.
    pub fn note_taken(&self, len: u32) {
        self.taken.fetch_add(len.into(), Ordering::Relaxed);
    }

    /// How many bytes of the window httpd has passed on.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether the client has closed its direction at least.
    pub fn has_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::Relaxed)
    }

    /// Whether nothing can reach the client.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether it is time to look again, `now` in microseconds since the epoch; it is for one caller.
    pub fn look_is_due(&self, now: u64) -> bool {
        let last = self.looked.load(Ordering::Relaxed);
        now.abs_diff(last) >= LOOK_EVERY_MICROSECONDS && {
            self.looked.store(now, Ordering::Relaxed);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hangs_up_is_not_lost_but_who_is_lost_has_hung_up() {
        let client = Client::default();
        assert!(!client.has_hung_up() && !client.is_lost());
        client.note(false);
        assert!(client.has_hung_up() && !client.is_lost());
        client.note(true);
        client.note(false);
        assert!(client.has_hung_up() && client.is_lost());
    }
}
