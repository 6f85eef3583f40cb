//! The thread that sends small blocks, so that a runner need not make a system call for each: what
//! it cannot keep up with goes out together.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::io::Errno;

use crate::conversation::send_queue::SendQueue;
use crate::process::threads;

/// How the sender is told what to send.
#[derive(Debug)]
pub struct Sender {
    wake: OwnedFd,
    told: Mutex<Told>,
}

/// Has something left for which its socket has no room.
type Stuck = (Arc<OwnedFd>, Arc<SendQueue>);

#[derive(Debug, Default)]
struct Told {
    send_queues: Vec<Arc<SendQueue>>,
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
        threads::start("wsgi-sender", None, move || own.run())?;
        Ok(sender)
    }

    /// Something has been gathered at `send_queue`.
    pub fn tell(&self, send_queue: Arc<SendQueue>) {
        let mut told = self.told();
        told.send_queues.push(send_queue);
        let asleep = std::mem::take(&mut told.asleep);
        drop(told);
        if asleep {
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    fn run(&self) {
        crate::ffi::let_others_go_first();
        let mut stuck = Vec::new();
        let (mut send_queues, mut spare) = (Vec::new(), Vec::new());
        loop {
            let mut told = self.told();
            std::mem::swap(&mut told.send_queues, &mut send_queues);
            told.asleep = send_queues.is_empty();
            drop(told);
            if send_queues.is_empty() {
                self.wait(&mut stuck, &mut send_queues);
            }
            for send_queue in send_queues.drain(..) {
                if let Some(socket) = send_queue.send_gathered(&mut spare) {
                    stuck.push((socket, send_queue));
                }
            }
        }
    }

    /// Sleeps until it is woken, or there is room for some of those that are stuck: they become
    /// `ready`.
    fn wait(&self, stuck: &mut Vec<Stuck>, ready: &mut Vec<Arc<SendQueue>>) {
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
        ready.extend(freed.map(|(_, send_queue)| send_queue));
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("nobody panics in here")
    }
}
