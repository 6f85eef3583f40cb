//! The window for response bodies, filled round and round.

use channel::Window;

/// A window, and which of its bytes are in use.
#[derive(Debug)]
pub struct Ring {
    window: Window,
    /// Where the next piece goes.
    at: usize,
    /// How many bytes have been put in for this request.
    put: u64,
    /// How many of them httpd has given back.
    taken: u64,
}

impl Ring {
    /// An empty one, for a new request.
    pub fn new(window: Window) -> Self {
        Self { window, at: 0, put: 0, taken: 0 }
    }

    /// Gives the window back, for the next request.
    pub fn into_window(self) -> Window {
        self.window
    }

    /// How much has room, as far as is known.
    pub fn free(&self) -> usize {
        let in_use = usize::try_from(self.put - self.taken).unwrap_or(usize::MAX);
        self.window.size().saturating_sub(in_use)
    }

    /// Notes how much httpd has given back of what this request has put in.
    pub fn note_taken(&mut self, taken: u64) {
        self.taken = taken.min(self.put);
    }

    /// Copies the start of `data` into the window, as far as there is room for it in one piece;
    /// nothing if that is less than `least`. Returns where it stands and how long it is.
    pub fn put(&mut self, data: &[u8], least: usize) -> Option<(usize, usize)> {
        let free = self.free();
        if free < least.min(data.len()) {
            return None;
        }
        let offset = self.at;
        let len = data.len().min(free).min(self.window.size() - offset);
        self.window.write(offset, &data[..len]);
        self.at = (offset + len) % self.window.size();
        self.put += len as u64;
        Some((offset, len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_filled_round_and_round_and_never_over_what_is_in_use() {
        let (window, _memory) = Window::create(4096).unwrap();
        let mut ring = Ring::new(window);
        assert_eq!(ring.free(), 4096);
        assert_eq!(ring.put(&[1; 3000], 100), Some((0, 3000)));
        assert_eq!(ring.free(), 1096);
        assert_eq!(ring.put(&[2; 1050], 100), Some((3000, 1050)));
        // 46 bytes are left, which are too few for a large piece.
        assert_eq!(ring.put(&[3; 1000], 100), None);
        assert_eq!(ring.put(&[3; 40], 100), Some((4050, 40)));
        ring.note_taken(3000);
        assert_eq!(ring.put(&[4; 3500], 100), Some((4090, 6)), "as far as it goes in one piece");
        assert_eq!(ring.put(&[4; 3500], 100), Some((0, 3000)));
        assert_eq!(ring.put(&[4; 1], 100), None);
        // More than was ever put in cannot be given back.
        ring.note_taken(u64::MAX);
        assert_eq!(ring.free(), 4096);
        assert_eq!(ring.put(&[5; 5000], 100), Some((3000, 1096)));
    }
}
