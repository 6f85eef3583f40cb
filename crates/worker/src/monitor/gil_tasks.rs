//! What the watching thread needs Python's lock for, done by a thread that may wait for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use pyo3::prelude::*;

use super::Monitor;
use crate::ffi;
use crate::interruption;
use crate::process::threads;
use crate::slot::{Run, Slot};

/// Something to do with the lock.
#[derive(Debug)]
pub enum GilTask {
    /// Nothing: it is about having the lock.
    Probe,
    /// Raise `mod_wsgi.RequestTimeout` in the runner's thread, if the request still runs.
    Interrupt(Arc<Slot>, Run),
}

/// The way to the thread.
#[derive(Debug)]
pub struct GilTasks {
    sender: Sender<GilTask>,
    sent: u64,
    done: Arc<AtomicU64>,
    /// The system's number of the thread.
    thread: i32,
}

impl GilTasks {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's error.
    pub fn start(monitor: &Arc<Monitor>) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let done = Arc::new(AtomicU64::new(0));
        let (introduce, introduced) = channel();
        let (monitor, counted) = (Arc::clone(monitor), Arc::clone(&done));
        threads::start("wsgi-gil", None, move || {
            let _ = introduce.send(rustix::thread::gettid().as_raw_nonzero().get());
            run(&receiver, &monitor, &counted);
        })?;
        let thread = introduced.recv().map_err(io::Error::other)?;
        Ok(Self { sender, sent: 0, done, thread })
    }

    /// Sends somebody off.
    pub fn send(&mut self, task: GilTask) {
        self.sent += 1;
        // The thread ends when this end of the channel does.
        let _ = self.sender.send(task);
    }

    /// The system's number of the thread, if it is waiting for the lock.
    pub fn waiting(&self) -> Option<i32> {
        (!self.all_done()).then_some(self.thread)
    }

    /// Whether all tasks are done.
    pub fn all_done(&self) -> bool {
        self.done.load(Ordering::SeqCst) == self.sent
    }
}

fn run(gil_tasks: &Receiver<GilTask>, monitor: &Monitor, done: &AtomicU64) {
    for task in gil_tasks {
        Python::attach(|py| match task {
            GilTask::Probe => {}
            GilTask::Interrupt(slot, run) => {
                if let Ok(class) = interruption::class(py) {
                    slot.interrupt(run, || ffi::raise_in_thread(py, slot.ident(), Some(&class)));
                }
            }
        });
        done.fetch_add(1, Ordering::SeqCst);
        monitor.wake();
    }
}
