//! The short form, which runs with all other tests.

use std::time::Duration;

use testkit::environment;

use super::faults::Fault;
use super::load::CLIENTS;
use super::row::{self, Effort};
use super::site::Server;
use super::slow;

#[track_caller]
fn check(faults: &[Fault], times: usize) {
    let effort = Effort {
        times,
        pause: Duration::from_millis(300),
        recovers: true,
        undisturbed: Duration::from_millis(100),
    };
    let server = Server::Ours(environment::dist());
    for fault in faults {
        let outcome = row::run(&server, *fault, effort).expect("a server that survives");
        let tally = &outcome.disturbed;
        assert!(outcome.keeps_promise(), "{}: {tally:?}", fault.title());
        assert!(tally.statuses.get(&200).is_some_and(|good| *good > CLIENTS), "{tally:?}");
    }
}

#[test]
fn soak_restarts() {
    check(&[Fault::Graceful, Fault::Touch, Fault::BrokenCode, Fault::FullLog], 3);
}

#[test]
fn soak_ending_processes() {
    check(&[Fault::Terminate, Fault::KillSupervisor, Fault::Pause], 3);
}

#[test]
fn soak_dying_workers() {
    check(&[Fault::Kill, Fault::Crash, Fault::Leave], 2);
}

#[test]
fn soak_troubled_applications() {
    check(&[Fault::Descriptors, Fault::Leak, Fault::Fork, Fault::Threads], 2);
}

#[test]
fn soak_slow_clients() {
    let server = Server::Ours(environment::dist());
    slow::run(&server, 300, Duration::from_secs(1), false).expect("an answer to the other client");
}
