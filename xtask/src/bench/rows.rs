//! The rows of the table: what is asked for, how, and what we want to reach.

use Goal::{Flat, Latency, Memory, PerVariable, Processor, Rate, Requests, Scale, Start};

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
    /// How many sets of headers they send in turn; 0: all send the same ones.
    pub header_sets: u32,
    /// How many times as long as others it is measured: for rows with few requests.
    pub stretch: u32,
    /// What is measured.
    pub kind: Kind,
    /// Of what httpd's configuration has many.
    pub many: Many,
    /// What httpd serves by itself for comparison: the length of a file.
    pub file: Option<usize>,
    /// What we want to reach.
    pub goals: &'static [Goal],
}

/// What the configuration holds beside what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Many {
    /// Nothing.
    Nothing,
    /// So many other virtual hosts, in front of the one that is asked.
    Hosts(u32),
    /// So many other process groups, which are idle.
    Groups(u32),
    /// So many variables, which each request gets.
    Variables(u32),
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
    /// A request costs more processor time than in the named row by no more than so many times the
    /// factor by which another's does: what httpd itself takes for the difference is not ours.
    Flat(f64, &'static str, Contender),
    /// A variable that costs no more processor time than with another; the named row has none.
    PerVariable(u32, &'static str, Contender),
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
    header_sets: 0,
    stretch: 1,
    kind: Kind::Load,
    many: Many::Nothing,
    file: None,
    goals: &[],
};

/// All rows.
pub const ROWS: [Row; 15] = [
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
    // What `wrk` does for a request that a script chooses is no difference between these two rows.
    Row {
        name: "header",
        title: "hello, 1 set of headers",
        path: "/hello",
        header_sets: 1,
        ..PLAIN
    },
    Row {
        name: "headers",
        title: "hello, 20 sets of headers in turn",
        path: "/hello",
        header_sets: 20,
        goals: &[Flat(1.2, "header", Daemon)],
        ..PLAIN
    },
    Row {
        name: "hosts",
        title: "hello, behind 1,000 other virtual hosts",
        path: "/hello",
        many: Many::Hosts(1_000),
        file: Some(14),
        goals: &[Flat(1.1, "hello", Static)],
        ..PLAIN
    },
    Row {
        name: "groups",
        title: "hello, beside 99 other process groups",
        path: "/hello",
        many: Many::Groups(99),
        goals: &[Flat(1.1, "hello", Daemon)],
        ..PLAIN
    },
    Row {
        name: "variables",
        title: "hello, with 200 variables set by SetEnv",
        path: "/hello",
        many: Many::Variables(200),
        goals: &[PerVariable(200, "hello", Daemon)],
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
        // Else the 99th percentile were that of three responses.
        stretch: 4,
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
    Row {
        name: "compute-1",
        title: "computes for 20 ms, 1 process",
        path: "/compute",
        stretch: 4,
        ..PLAIN
    },
    Row {
        name: "compute-2",
        title: "computes for 20 ms, 2 processes",
        path: "/compute",
        stretch: 4,
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
            Contender::Ours | Contender::Daemon => true,
            // The comparison is with the same row of another.
            _ if self.many != Many::Nothing => false,
            // Its threads and processes are httpd's own, and so are its limits.
            Contender::Embedded => self.kind != Kind::TwoProcesses && self.name != "sleep",
            _ => true,
        }
    }
}
