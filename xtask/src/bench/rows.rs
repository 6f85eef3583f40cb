//! The rows of the table: what is asked for, how, and what we want to reach.

use Goal::{Latency, Memory, Processor, Rate, Requests, Scale, Start};

use super::contenders::Contender::{self, Daemon, Embedded, Granian, Static, Uwsgi};

/// What kind of number a row brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests per second, latency and processor time.
    Load,
    /// The same, with two worker processes where `load` has one.
    TwoProcesses,
    /// Time from start to first answer.
    ColdStart,
}

/// One row.
#[derive(Debug)]
pub struct Row {
    /// What `--row` calls it.
    pub name: &'static str,
    /// What the table calls it.
    pub title: &'static str,
    /// What is asked for.
    pub path: &'static str,
    /// The file of the application, without `.py`.
    pub application: &'static str,
    /// Length of the body that is posted; 0: it is a GET.
    pub post: usize,
    /// How many clients ask at the same time.
    pub clients: u32,
    /// Threads of httpd's child.
    pub httpd_threads: u32,
    /// What is measured.
    pub kind: Kind,
    /// What httpd serves by itself for comparison: the length of a file.
    pub file: Option<usize>,
    /// What we want to reach.
    pub goals: &'static [Goal],
}

/// Something that we want to reach.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// So many times another's requests per second.
    Rate(f64, Contender),
    /// No more than so many times another's processor time per request.
    Processor(f64, Contender),
    /// So many requests per second.
    Requests(f64),
    /// So many times the requests per second of the row before.
    Scale(f64),
    /// The 99th percentile of the latency is no worse than the best of all others.
    Latency,
    /// No more memory than another.
    Memory(Contender),
    /// A start no later than another's.
    Start(Contender),
}

/// Length of the file that one row serves.
pub const FILE_LENGTH: usize = 10 << 20;

const APPLICATION: &str = "application";
const FLASK: &str = "flask_application";

/// A row that most others differ little from.
const PLAIN: Row = Row {
    name: "",
    title: "",
    path: "",
    application: APPLICATION,
    post: 0,
    clients: 32,
    httpd_threads: 64,
    kind: Kind::Load,
    file: None,
    goals: &[],
};

/// All rows.
pub const ROWS: [Row; 10] = [
    Row {
        name: "hello",
        title: "hello, 14 bytes",
        path: "/hello",
        file: Some(14),
        goals: &[
            Rate(3.3, Daemon),
            Rate(1.0, Uwsgi),
            Rate(1.0, Granian),
            Processor(0.32, Daemon),
            Latency,
        ],
        ..PLAIN
    },
    Row {
        name: "flask",
        title: "Flask, JSON",
        path: "/json?name=you",
        application: FLASK,
        goals: &[Rate(1.9, Daemon), Rate(1.0, Uwsgi), Rate(1.0, Granian), Latency, Memory(Daemon)],
        ..PLAIN
    },
    Row {
        name: "memory",
        title: "1 MiB body from memory",
        path: "/memory",
        file: Some(1 << 20),
        goals: &[Rate(2.0, Daemon), Rate(0.9, Embedded), Latency],
        ..PLAIN
    },
    Row {
        name: "file",
        title: "10 MiB file, wsgi.file_wrapper",
        path: "/file",
        file: Some(FILE_LENGTH),
        goals: &[Processor(1.2, Static), Latency],
        ..PLAIN
    },
    Row {
        name: "stream",
        title: "stream of 100 × 100 bytes",
        path: "/stream",
        goals: &[Rate(3.2, Daemon), Rate(1.0, Uwsgi), Latency],
        ..PLAIN
    },
    Row {
        name: "post",
        title: "POST 1 MiB, read by the application",
        path: "/post",
        post: 1 << 20,
        goals: &[Rate(3.0, Daemon), Rate(1.0, Embedded), Latency],
        ..PLAIN
    },
    Row {
        name: "sleep",
        title: "sleep of 10 ms, 15 threads, 200 clients, httpd with 256 threads",
        path: "/sleep",
        clients: 200,
        // With fewer threads than clients, httpd's own closing of connections is what is measured.
        httpd_threads: 256,
        goals: &[Requests(1425.0), Latency],
        ..PLAIN
    },
    Row { name: "compute-1", title: "computes, 1 process", path: "/compute", ..PLAIN },
    Row {
        name: "compute-2",
        title: "computes, 2 processes",
        path: "/compute",
        kind: Kind::TwoProcesses,
        goals: &[Scale(1.9)],
        ..PLAIN
    },
    Row {
        name: "cold-start",
        title: "cold start, Flask",
        path: "/json",
        application: FLASK,
        kind: Kind::ColdStart,
        goals: &[Start(Daemon)],
        ..PLAIN
    },
];

impl Row {
    /// How many worker processes the servers have.
    pub fn processes(&self) -> u32 {
        if self.kind == Kind::TwoProcesses { 2 } else { 1 }
    }

    /// Whether it says anything about this contender.
    pub fn suits(&self, contender: Contender) -> bool {
        match contender {
            Contender::Static => self.file.is_some(),
            // Its threads and processes are httpd's own, and so are its limits.
            Contender::Embedded => self.kind != Kind::TwoProcesses && self.name != "sleep",
            _ => true,
        }
    }
}
