//! Threads that a worker cannot do without.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How long to try where the user has as many threads as may be (`RLIMIT_NPROC`): other workers of that
/// user, that have just started, may be about to give some back, and so may this one.
const SPAWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts a thread with this name and, if need be, this size of its stack in bytes.
///
/// # Errors
/// The system's.
pub fn start(
    name: &str,
    stack: Option<usize>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let deadline = Instant::now() + SPAWN_TIMEOUT;
    let body = Arc::new(Mutex::new(Some(body)));
    loop {
        let own = Arc::clone(&body);
        let builder = Builder::new().name(name.to_owned());
        let builder = match stack {
            Some(bytes) => builder.stack_size(bytes),
            None => builder,
        };
        // An attempt that fails drops what it was given.
        let started = builder.spawn(move || {
            let body = own.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(body) = body {
                body();
            }
        });
        match started {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline =>
            {
                std::thread::sleep(PAUSE);
            }
            started => return started,
        }
    }
}
