//! What is written outside of requests: its lines go to the supervisor, which reads this process's
//! standard output and error.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use crate::lines::Lines;
use crate::lines::Source;
use crate::process::control::Reporter;

/// Each thread's unfinished lines, so that they can be written when the process ends.
static THREADS: Mutex<Vec<Weak<Thread>>> = Mutex::new(Vec::new());

/// The way of records that belong to no request, where logs are for machines.
static RECORDS: OnceLock<Reporter> = OnceLock::new();

/// Lets records of Python's `logging` be logged as such (`WSGILogFormat json`).
pub fn keep_records(reporter: &Reporter) {
    let _ = RECORDS.set(reporter.clone());
}

/// The way of records that belong to no request, if records are logged as such.
pub fn records() -> Option<&'static Reporter> {
    RECORDS.get()
}

thread_local! {
    static THREAD: Arc<Thread> = {
        let thread = Arc::new(Thread::default());
        let mut threads = lock(&THREADS);
        threads.retain(|other| other.strong_count() > 0);
        threads.push(Arc::downgrade(&thread));
        thread
    };
}

#[derive(Default)]
struct Thread {
    partial: Mutex<[Lines; 3]>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.write_rest();
    }
}

impl Thread {
    fn write_rest(&self) {
        for source in Source::ALL {
            let mut rest = Vec::new();
            lock(&self.partial)[source as usize].flush(|line| rest.push(line.to_vec()));
            write(source, &rest);
        }
    }
}

/// Takes what this thread writes. Returns the lines that are complete now, to be [written](write())
/// by the caller, who may have to let go of something first.
pub fn feed(source: Source, bytes: &[u8]) -> Vec<Vec<u8>> {
    collect(source, |lines, emit| lines.feed(bytes, emit))
}

/// Takes what there is of an unfinished line of this thread, to be [written](write()) by the caller.
pub fn flush(source: Source) -> Vec<Vec<u8>> {
    collect(source, |lines, emit| lines.flush(emit))
}

/// Writes the unfinished lines of all threads. For the end of the process, which they may not see.
pub fn write_all_rests() {
    let threads: Vec<_> = lock(&THREADS).iter().filter_map(Weak::upgrade).collect();
    threads.iter().for_each(|thread| thread.write_rest());
}

/// Writes lines, each at once: short ones of several threads do not mix then. May have to wait for
/// the supervisor.
pub fn write(source: Source, lines: &[Vec<u8>]) {
    let descriptor: BorrowedFd<'_> = match source {
        Source::Errors | Source::Stderr => rustix::stdio::stderr(),
        Source::Stdout => rustix::stdio::stdout(),
    };
    for line in lines {
        let bytes = [line, &b"\n"[..]].concat();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match rustix::io::write(descriptor, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                // The supervisor is gone, and with it everyone who could read this.
                Err(_) => return,
            }
        }
    }
}

fn collect(source: Source, act: impl FnOnce(&mut Lines, &mut dyn FnMut(&[u8]))) -> Vec<Vec<u8>> {
    let mut ready = Vec::new();
    // A thread that is ending has no place to keep an unfinished line any more.
    let _ = THREAD.try_with(|thread| {
        let mut partial = lock(&thread.partial);
        act(&mut partial[source as usize], &mut |line| ready.push(line.to_vec()));
    });
    ready
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("panics abort")
}
