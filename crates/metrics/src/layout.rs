//! How the shared memory is laid out: atomics alone, for which zero is the beginning.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Application groups and process groups that are told apart.
pub const SLOTS: usize = 4096;

/// Children of httpd whose requests are counted while they run.
pub const CHILDREN: usize = 1024;

/// How much of a name is kept, in bytes.
pub const NAME: usize = 128;

/// Upper bounds of a histogram's buckets, in microseconds. Beyond the last one is one more.
pub const BOUNDS: [u64; 14] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 60_000_000,
];

/// All of it.
#[derive(Debug)]
#[repr(C)]
pub struct Layout {
    /// Number of the current configuration cycle, from 1.
    pub generation: AtomicU64,
    /// Number of the supervisor that was started last. It alone writes what is now.
    pub supervisor: AtomicU64,
    /// Number of the supervisor that has said what it is to keep running.
    pub answering: AtomicU64,
    /// How many slots are taken.
    pub taken: AtomicU32,
    pub padding: AtomicU32,
    /// Hashes of the names of each slot, apart from the slots, so that who looks through all touches a few
    /// pages. 0: the slot is free.
    pub keys: [AtomicU64; SLOTS],
    /// Process ids of children, likewise. 0: the place is free.
    pub pids: [AtomicU32; CHILDREN],
    pub slots: [Slot; SLOTS],
    pub children: [Child; CHILDREN],
}

/// What is counted of one application group, or of a process group apart from its application groups.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Slot {
    /// Whether the names below are there.
    pub(crate) named: AtomicU32,
    /// Whether this is an application group.
    pub(crate) is_application: AtomicU32,
    pub(crate) process_group: Name,
    pub(crate) application_group: Name,
    /// Of a process group: where it is defined, and in which configuration cycle it last was.
    pub(crate) server: Name,
    pub(crate) defined: AtomicU64,

    pub(crate) requests: [AtomicU64; Class::ALL.len()],
    pub(crate) refused: [AtomicU64; Reason::ALL.len()],
    pub(crate) restarts: [AtomicU64; Cause::ALL.len()],
    pub(crate) reloads: [AtomicU64; Reload::ALL.len()],
    /// Body bytes of requests that have been passed on.
    pub received_bytes: AtomicU64,
    /// Body bytes of responses.
    pub sent_bytes: AtomicU64,
    /// From the first byte of a request with a body until a worker is asked.
    pub receiving: Histogram,
    /// From then on until the application's thread has it.
    pub queued: Histogram,
    /// The application's thread.
    pub application: Histogram,
    /// From the application's end to the last byte of the response.
    pub sending: Histogram,
    /// From the decision to start a worker until it serves, or waits for an application group.
    pub starting: Histogram,

    // What is now, of the current supervisor's workers.
    /// Workers that take requests.
    pub workers_serving: AtomicU64,
    /// Workers that run, and do not take any yet, or any more.
    pub workers_other: AtomicU64,
    /// Workers that there may be, as the load needs them.
    pub workers_most: AtomicU64,
    /// Threads of the workers that serve.
    pub threads: AtomicU64,
    /// Resident memory of all of them, in bytes.
    pub resident: AtomicU64,
    /// Whether there is to be a worker before any request.
    pub is_expected: AtomicU64,
    /// Workers that are ready for their first request.
    pub workers_ready: AtomicU64,
    /// Whether no request can count on further workers than those that serve.
    pub is_full: AtomicU64,
}

/// Text, of which as much is kept as there is room for.
#[derive(Debug)]
#[repr(C)]
pub struct Name {
    length: AtomicU32,
    bytes: [AtomicU8; NAME],
}

/// How often what took how long.
#[derive(Debug)]
#[repr(C)]
pub struct Histogram {
    pub(crate) buckets: [AtomicU64; BOUNDS.len() + 1],
    /// In microseconds.
    pub(crate) sum: AtomicU64,
}

/// One child of httpd.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Child {
    /// How many requests it has with the workers of each slot.
    pub running: [AtomicI64; SLOTS],
}

/// Defines a kind of label: its values, their places and their names.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them, in the order of their places.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name as the value of a label.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

labels! {
    /// First digit of a status code.
    Class {
        /// 1xx.
        Informational = "1xx",
        /// 2xx.
        Successful = "2xx",
        /// 3xx.
        Redirection = "3xx",
        /// 4xx.
        ClientError = "4xx",
        /// 5xx.
        ServerError = "5xx",
    }
}

labels! {
    /// Why a request was not begun.
    Reason {
        /// As many requests wait as may (`listen-backlog=`).
        Full = "full",
        /// Too few of httpd's threads are free for another request to wait.
        NoThread = "no_httpd_thread",
        /// It waited for longer than `queue-timeout=`.
        QueueTimeout = "queue_timeout",
        /// The group has no worker, as they fail.
        NoWorker = "no_worker",
        /// The supervisor does not answer.
        NoSupervisor = "no_supervisor",
        /// The client, or httpd's child, has gone.
        GivenUp = "given_up",
    }
}

labels! {
    /// Why a worker ended, or gave way to another one.
    Cause {
        /// A signal ended it.
        Signal = "signal",
        /// It exited by itself.
        Exit = "exit",
        /// `memory-max=`, or the kernel's out-of-memory killer.
        Memory = "memory",
        /// A request or a deadlock took longer than allowed, or it did not answer.
        Deadline = "deadline",
        /// A limit that is reached as planned: requests, age, idleness, processor time.
        Limit = "limit",
        /// An order or changed code.
        Reload = "reload",
        /// It ended before it was ready.
        Start = "start",
    }
}

labels! {
    /// How the replacement of a worker by an order or for changed code ended.
    Reload {
        /// The new one serves.
        Replaced = "replaced",
        /// The new one failed, and the old one stays (`reload=keep`).
        Kept = "kept",
    }
}

impl Class {
    /// That of a status code, if it is one.
    pub fn of(status: u16) -> Option<Self> {
        usize::from(status / 100).checked_sub(1).and_then(|place| Self::ALL.get(place)).copied()
    }
}

impl Slot {
    /// Counts a request that ended with this status.
    pub fn count_request(&self, status: u16) {
        if let Some(class) = Class::of(status) {
            add(&self.requests[class as usize]);
        }
    }

    /// Whether no request can count on further workers than those that serve.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Relaxed) != 0
    }

    /// Counts a request that no worker has begun.
    pub fn count_refusal(&self, reason: Reason) {
        add(&self.refused[reason as usize]);
    }

    /// Counts a worker that has ended, or is about to.
    pub fn count_restart(&self, cause: Cause) {
        add(&self.restarts[cause as usize]);
    }

    /// Counts a reload of a worker.
    pub fn count_reload(&self, result: Reload) {
        add(&self.reloads[result as usize]);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Histogram {
    /// Adds something that took so long.
    pub fn observe(&self, time: Duration) {
        self.observe_microseconds(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// As [`Self::observe`].
    pub fn observe_microseconds(&self, time: u64) {
        let bucket = BOUNDS.iter().position(|bound| time <= *bound).unwrap_or(BOUNDS.len());
        add(&self.buckets[bucket]);
        self.sum.fetch_add(time, Relaxed);
    }
}

impl Name {
    pub(crate) fn set(&self, text: &[u8]) {
        let text = &text[..text.len().min(NAME)];
        for (byte, value) in self.bytes.iter().zip(text) {
            byte.store(*value, Relaxed);
        }
        self.length.store(text.len() as u32, Relaxed);
    }

    pub(crate) fn get(&self) -> Vec<u8> {
        let length = self.length.load(Relaxed) as usize;
        self.bytes.iter().take(length).map(|byte| byte.load(Relaxed)).collect()
    }
}
