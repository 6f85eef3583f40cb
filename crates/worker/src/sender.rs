//! The thread that sends small blocks, so that a runner need not make a system call for each: what
//! it cannot keep up with goes out together.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::io::Errno;

use crate::outlet::Outlet;

/// How the sender is told what to send.
#[derive(Debug)]
pub struct Sender {
    wake: OwnedFd,
    told: Mutex<Told>,
}

/// Has something left for which its socket has no room.
type Stuck = (Arc<OwnedFd>, Arc<Outlet>);

#[derive(Debug, Default)]
struct Told {
    outlets: Vec<Arc<Outlet>>,
    /// Whether the thread looks no more before it is woken.
    asleep: bool,
}

impl Sender {
    /// Starts the thread, which runs as long as the process.
    ///
    /// # Errors
    /// The system's error.
    pub fn start() -> io::Result<Arc<Self>> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let sender = Arc::new(Self { wake, told: Mutex::default() });
        let own = Arc::clone(&sender);
        std::thread::Builder::new().name("wsgi-sender".to_owned()).spawn(move || own.run())?;
        Ok(sender)
    }

    /// Something has been gathered at `outlet`.
    pub fn tell(&self, outlet: Arc<Outlet>) {
        let mut told = self.told();
        told.outlets.push(outlet);
        let asleep = std::mem::take(&mut told.asleep);
        drop(told);
        if asleep {
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    fn run(&self) {
        crate::ffi::let_others_go_first();
        let mut stuck = Vec::new();
        let (mut outlets, mut spare) = (Vec::new(), Vec::new());
        loop {
            let mut told = self.told();
            std::mem::swap(&mut told.outlets, &mut outlets);
            told.asleep = outlets.is_empty();
            drop(told);
            if outlets.is_empty() {
                self.wait(&mut stuck, &mut outlets);
            }
            for outlet in outlets.drain(..) {
                if let Some(socket) = outlet.send_gathered(&mut spare) {
                    stuck.push((socket, outlet));
                }
            }
        }
    }

    /// Sleeps until it is woken, or there is room for some of those that are stuck: they become
    /// `ready`.
    fn wait(&self, stuck: &mut Vec<Stuck>, ready: &mut Vec<Arc<Outlet>>) {
        let mut sources = vec![PollFd::new(&self.wake, PollFlags::IN)];
        sources.extend(stuck.iter().map(|(socket, _)| PollFd::new(socket, PollFlags::OUT)));
        match rustix::event::poll(&mut sources, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("poll(2) fails only on wrong use: {error}"),
        }
        let found: Vec<bool> = sources.iter().map(|source| !source.revents().is_empty()).collect();
        if found[0] {
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        }
        let mut has_room = found[1..].iter();
        let freed = stuck.extract_if(.., |_| has_room.next().is_some_and(|room| *room));
        ready.extend(freed.map(|(_, outlet)| outlet));
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("nobody panics in here")
    }
}
