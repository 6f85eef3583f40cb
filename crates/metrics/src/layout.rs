//! How the shared memory is laid out: atomics alone, for which zero is the beginning.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Application groups and process groups that are told apart.
pub const SLOTS: usize = 4096;

/// Children of httpd whose requests are counted while they run.
pub const CHILDREN: usize = 1024;

/// How much of a name is kept, in bytes.
pub const NAME: usize = 128;

/// Requests of one child that are told one by one while they run. Of more, only the number is known.
pub const FLIGHTS: usize = 256;

/// How much of a request's method and path is kept, in words of eight bytes.
pub const LINE: usize = 16;

/// How much of a request's id is kept, in words.
pub const ID: usize = 5;

/// Ends of workers that are remembered.
pub const LOSSES: usize = 64;

/// How much is kept of what is said about such an end, in words.
pub const STORY: usize = 24;

/// How far apart the samples of a history are, in seconds.
pub const INTERVAL: u64 = 20;

/// Samples of a history: an hour.
pub const SAMPLES: usize = 180;

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
    /// One more than the number of a log level, below which nothing is to be dropped (`wsgictl log`). 0:
    /// none is asked for.
    pub log_level: AtomicU32,
    /// Hashes of the names of each slot, apart from the slots, so that who looks through all touches a few
    /// pages. 0: the slot is free.
    pub keys: [AtomicU64; SLOTS],
    /// Process ids of children, likewise. 0: the place is free.
    pub pids: [AtomicU32; CHILDREN],
    pub slots: [Slot; SLOTS],
    pub children: [Child; CHILDREN],
    /// How many ends of workers have been noted.
    pub lost: AtomicU64,
    pub losses: [Loss; LOSSES],
    /// What was counted of each slot before.
    pub histories: [History; SLOTS],
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
    /// How many of the places below have ever been taken.
    pub(crate) used: AtomicU32,
    /// These requests, one by one.
    pub(crate) flights: [Flight; FLIGHTS],
}

/// A request that is with a worker, or waits for one.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Flight {
    /// [`FREE`], [`CHANGING`] or [`SHOWN`].
    pub(crate) state: AtomicU32,
    /// Grows with each request that takes this place.
    pub(crate) version: AtomicU32,
    /// Its slot.
    pub(crate) place: AtomicU32,
    pub(crate) phase: AtomicU32,
    /// Process id of the worker that has it, 0 before.
    pub(crate) worker: AtomicU32,
    /// When it was received, in microseconds since the epoch.
    pub(crate) began: AtomicU64,
    /// Method and path, with a space between them.
    pub(crate) line: Words<LINE>,
    pub(crate) id: Words<ID>,
}

/// Nothing is in a place.
pub const FREE: u32 = 0;
/// Only who changes it may read it.
pub const CHANGING: u32 = 1;
/// It may be read.
pub const SHOWN: u32 = 2;

/// The end of a worker that was not planned.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Loss {
    /// As that of a [`Flight`].
    pub(crate) state: AtomicU32,
    /// Its slot.
    pub(crate) place: AtomicU32,
    /// Place of its [`Cause`].
    pub(crate) cause: AtomicU32,
    /// Its process id, 0 if it had none.
    pub(crate) worker: AtomicU32,
    /// The number of this end, from 1.
    pub(crate) number: AtomicU64,
    /// When, in seconds since the epoch.
    pub(crate) time: AtomicU64,
    /// What is known of it.
    pub(crate) story: Words<STORY>,
}

/// What was counted of a slot in the last hour.
#[derive(Debug)]
#[repr(C)]
pub struct History {
    pub(crate) samples: [Sample; SAMPLES],
}

/// What was counted in one [`INTERVAL`].
#[derive(Debug)]
#[repr(C)]
pub struct Sample {
    /// The number of the interval since the epoch; another one's sample is none.
    pub(crate) interval: AtomicU32,
    /// Requests that ended.
    pub(crate) requests: AtomicU32,
    /// Those of them that ended with an error of the server.
    pub(crate) errors: AtomicU32,
    /// Quantiles of the time in the application, in microseconds: a half, 95 and 99 of 100.
    pub(crate) application: [AtomicU32; 3],
    /// Requests for which there was no thread, at the end of the interval.
    pub(crate) waiting: AtomicU32,
    /// Resident memory, in KiB.
    pub(crate) resident: AtomicU32,
}

/// Text of which as much is kept as there is room for, eight bytes at a time.
#[derive(Debug)]
#[repr(C)]
pub struct Words<const N: usize> {
    length: AtomicU32,
    words: [AtomicU64; N],
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

labels! {
    /// How far a request has come.
    Phase {
        /// No worker has accepted it.
        Waiting = "waiting",
        /// A worker has it: it runs, or waits for one of that worker's threads.
        Accepted = "accepted",
        /// Its response has begun.
        Answering = "answering",
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

impl<const N: usize> Words<N> {
    /// Takes what there is room for of these parts, one behind the other.
    pub(crate) fn set<'p>(&self, parts: impl IntoIterator<Item = &'p [u8]>) {
        let mut words = [[0; 8]; N];
        let room = words.as_flattened_mut();
        let mut length = 0;
        for part in parts {
            let part = &part[..part.len().min(room.len() - length)];
            room[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        for (kept, word) in self.words.iter().zip(words).take(length.div_ceil(8)) {
            kept.store(u64::from_le_bytes(word), Relaxed);
        }
        self.length.store(length as u32, Relaxed);
    }

    pub(crate) fn get(&self) -> Vec<u8> {
        let length = (self.length.load(Relaxed) as usize).min(8 * N);
        let words = self.words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes());
        words.take(length).collect()
    }
}
