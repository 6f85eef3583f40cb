//! Descriptors and memory stay flat, however many requests there are.

use testkit::{Process, Running};

use crate::{HELLO, serving};

/// What may be added by chance: an arena of the allocator, not something for each request.
const SLACK: u64 = 8 << 20;

/// All that serve: httpd's children, the supervisor, and the workers.
fn measured(httpd: &Running) -> Vec<(Process, usize, u64)> {
    let mut processes = httpd.descendants();
    processes.sort_by_key(|process| process.pid);
    processes
        .into_iter()
        .map(|process| {
            let (descriptors, memory) = (process.descriptors(), process.memory());
            (process, descriptors, memory)
        })
        .collect()
}

/// Requests on a connection that is kept.
fn requests(httpd: &Running, count: usize) {
    let mut connection = httpd.connect();
    for _ in 0..count {
        let response = connection.get("/").expect("a response");
        assert_eq!(response.assert(200).text(), "hello");
    }
}

#[test]
fn ten_thousand_requests() {
    let httpd = serving(HELLO).start();
    // Pools and caches fill first: in each child of httpd, and in all threads of a worker.
    for _ in 0..200 {
        requests(&httpd, 10);
    }
    let before = measured(&httpd);
    requests(&httpd, 9_000);
    for _ in 0..100 {
        requests(&httpd, 10);
    }
    let after = measured(&httpd);
    for (process, descriptors, memory) in before {
        let Some((_, now, memory_now)) = after.iter().find(|(other, ..)| *other == process) else {
            panic!("{process:?} is gone");
        };
        // The listener of a child may hold a client's connection in one look and not in the other.
        assert!(
            descriptors.abs_diff(*now) <= 2,
            "{process:?}: {descriptors} descriptors, {now} now"
        );
        assert!(*memory_now <= memory + SLACK, "{process:?}: {memory} bytes, {memory_now} now");
    }
}
