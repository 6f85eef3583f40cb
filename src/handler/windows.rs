//! Memory that this child shares with a worker, beside their connection: large bodies are copied
//! there once, instead of into the socket and out of it.
//!
//! A connection gets a window when a large body has gone over it, before its next request, and keeps
//! it: what is new is that the pages stay. Taking and clearing new ones costs more than copying.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use channel::Window;
use tracing::debug;
use wire::exchange::{Purpose, ToWorker};

/// Bytes of a window.
const SIZE: u32 = 1 << 20;

/// Most windows of a child: they are memory that stays. Connections beyond those do without.
const MOST: usize = 64;

/// Pieces of so many bytes are worth a window. A worker cuts what it sends into somewhat longer ones.
pub const LARGE: usize = 48 << 10;

/// How many windows there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// What a connection shares with its worker.
#[derive(Debug, Default)]
pub struct Windows {
    /// For response bodies, which the worker writes.
    pub response: Option<Counted>,
    /// For request bodies.
    pub body: Option<Counted>,
    /// What the last request could have used.
    pub wanted: Option<Purpose>,
}

/// A window, as long as it counts.
#[derive(Debug)]
pub struct Counted {
    /// The window.
    pub window: Window,
    _place: Place,
}

#[derive(Debug)]
struct Place;

impl Windows {
    /// The window for request bodies.
    pub fn body(&mut self) -> Option<&mut Window> {
        self.body.as_mut().map(|counted| &mut counted.window)
    }

    /// Makes the window that is wanted. Appends the frame that offers it to the worker, and returns
    /// the descriptor that goes with it.
    pub fn offer(&mut self, frames: &mut Vec<u8>) -> Option<OwnedFd> {
        let purpose = self.wanted.take()?;
        let place = match purpose {
            Purpose::Response => &mut self.response,
            Purpose::Body => &mut self.body,
        };
        if place.is_some() {
            return None;
        }
        let counted = Place::take()?;
        match Window::create(SIZE) {
            Ok((window, memory)) => {
                *place = Some(Counted { window, _place: counted });
                wire::encode(&ToWorker::Window { purpose, size: SIZE }, frames);
                Some(memory)
            }
            Err(problem) => {
                debug!("Large bodies go over a socket, as memory cannot be shared: {problem}.");
                None
            }
        }
    }
}

impl Place {
    fn take() -> Option<Self> {
        let taken = COUNT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < MOST).then_some(count + 1)
        });
        taken.is_ok().then_some(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}
