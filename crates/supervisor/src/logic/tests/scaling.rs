//! Sets whose number of workers follows the load.

use super::world::{IDLE_TIMEOUT, THREADS, range};
use super::*;

/// A set with one worker that serves, of a group that may have up to `most`.
fn site(most: u32) -> World {
    let mut world = World::with(vec![range("site", 1, most)]);
    world.acquire(0, 0);
    world.cooperate();
    assert_eq!((world.granted, world.serving().len()), (1, 1));
    world
}

/// So many requests that `workers` are needed for them.
fn requests(workers: u32) -> u64 {
    u64::from(workers * THREADS)
}

#[test]
fn requests_that_wait_start_as_many_workers_as_they_need() {
    let mut world = site(6);
    world.crowd(0, Some(requests(1)));
    assert_eq!(world.alive(), 1, "the worker has a thread free: it is only slow to accept");
    world.crowd(0, Some(requests(1) + 1));
    assert_eq!(world.alive(), 2);
    world.crowd(0, Some(requests(1) + 1));
    assert_eq!(world.alive(), 2, "the second one is on its way");
    world.crowd(0, Some(requests(4)));
    assert_eq!(world.alive(), 4);
    world.cooperate();
    world.crowd(0, Some(requests(100)));
    world.cooperate();
    assert_eq!(world.serving().len(), 6);
}

#[test]
fn not_more_workers_start_at_a_time_than_the_machine_can_start() {
    let most = STARTS_AT_ONCE as u32 * 3;
    let mut world = site(most);
    world.crowd(0, Some(requests(most)));
    assert_eq!(world.alive(), 1 + STARTS_AT_ONCE);
    world.crowd(0, Some(requests(most)));
    assert_eq!(world.alive(), 1 + STARTS_AT_ONCE, "they are not there yet");
    world.cooperate();
    world.crowd(0, Some(requests(most)));
    assert_eq!(world.alive(), 1 + 2 * STARTS_AT_ONCE);
}

#[test]
fn where_nobody_counts_requests_one_more_is_started_at_a_time() {
    let mut world = site(3);
    for expected in [2, 3, 3] {
        world.crowd(0, None);
        world.crowd(0, None);
        assert_eq!(world.alive(), expected);
        world.cooperate();
    }
}

#[test]
fn those_who_wait_for_the_first_worker_are_requests_too() {
    let mut world = World::with(vec![range("site", 1, 6)]);
    for _ in 0..requests(3) {
        world.acquire(0, 0);
    }
    assert_eq!(world.alive(), 3);
    world.cooperate();
    assert_eq!(world.unanswered(), 0);
}

#[test]
fn a_group_with_one_number_has_that_many() {
    let mut world = World::with(vec![plan("site", 2, false)]);
    world.acquire(0, 0);
    world.cooperate();
    world.crowd(0, Some(requests(9)));
    world.crowd(0, None);
    assert_eq!(world.alive(), 2);
    assert!(world.weighed.is_empty());
}

#[test]
fn workers_that_have_been_too_many_for_a_while_go_one_by_one() {
    let mut world = site(6);
    world.crowd(0, Some(requests(6)));
    world.cooperate();
    world.load(requests(6), 1);
    world.load(0, IDLE_TIMEOUT - 2);
    assert_eq!(world.serving().len(), 6, "they may be needed again");
    world.load(0, IDLE_TIMEOUT);
    world.load(0, 3);
    let left = world.serving().len();
    assert!((1..6).contains(&left), "{left}");
    world.load(0, 2 * IDLE_TIMEOUT);
    assert_eq!(world.serving().len(), 1, "the least stay");
    assert!(world.weighed.is_empty(), "a server that is idle has nothing to do");
    assert_eq!(world.lines_at(Level::Error), [""; 0]);
    // And back again.
    world.crowd(0, Some(requests(2)));
    world.cooperate();
    assert_eq!(world.serving().len(), 2);
}

#[test]
fn as_many_stay_as_were_needed_of_late() {
    let mut world = site(6);
    world.crowd(0, Some(requests(6)));
    world.cooperate();
    for _ in 0..6 {
        world.load(1, IDLE_TIMEOUT / 2);
        world.load(requests(2) + 1, 1);
    }
    assert_eq!(world.serving().len(), 3);
}

#[test]
fn a_worker_with_requests_is_not_sent_away() {
    let mut world = site(3);
    world.crowd(0, Some(requests(3)));
    world.cooperate();
    world.all_are_busy = true;
    world.load(3, 4 * IDLE_TIMEOUT);
    assert_eq!(world.serving().len(), 3);
    assert_eq!(world.graces(), [0; 0], "no request has a deadline");
    world.all_are_busy = false;
    world.load(3, 3);
    assert_eq!(world.serving().len(), 1);
}

#[test]
fn with_an_inactivity_timeout_those_beyond_the_least_go_for_good() {
    let mut world = site(2);
    world.crowd(0, Some(requests(2)));
    world.cooperate();
    for expected in [1, 1] {
        world.tell(0, |id| retire(id, Cause::InactivityTimeout));
        world.cooperate();
        assert_eq!(world.serving().len(), expected);
    }
}

#[test]
fn workers_that_cannot_be_started_are_no_longer_missed_when_the_load_is_gone() {
    let mut world = site(6);
    world.spawns_fail = true;
    world.crowd(0, Some(requests(6)));
    world.load(1, 3 * IDLE_TIMEOUT);
    world.spawns_fail = false;
    world.pass(Duration::from_secs(60));
    assert_eq!(world.alive(), 1);
    world.check_complete();
}

#[test]
fn who_says_unasked_that_it_is_busy_does_not_keep_to_the_protocol() {
    let mut world = site(2);
    world.tell(0, Event::Busy);
    world.check_all_killed_but(1);
}

#[test]
fn what_exists_once_exists_once_also_where_more_workers_may_be() {
    let stops_first = Plan { stops_first: true, ..range("site", 1, 3) };
    let mut world = World::with(vec![stops_first]);
    world.feed(Event::Alone);
    world.acquire(0, 0);
    world.cooperate();
    world.feed(Event::Reload(None));
    world.cooperate();
    assert_eq!((world.serving().len(), world.most_alive), (1, 1));
    world.crowd(0, Some(requests(3)));
    world.cooperate();
    let before = world.serving();
    world.feed(Event::Reload(None));
    world.cooperate();
    let after = world.serving();
    assert_eq!((after.len(), world.most_alive), (3, 3));
    assert!(after.is_disjoint(&before));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Whatever happened before, once nothing is to be done each set has the least that it may have,
    /// and on the way there never fewer.
    #[test]
    fn the_extra_ones_go_when_there_is_nothing_to_do(steps in steps()) {
        let mut world = World::new();
        run(&mut world, &steps);
        (world.spawns_fail, world.sockets_fail) = (false, false);
        for _ in 0..80 {
            world.cooperate();
            world.load(0, 1);
        }
        for _ in 0..3 * IDLE_TIMEOUT {
            world.load(0, 1);
            world.check_no_gap();
        }
        if !world.drained {
            world.check_least();
            prop_assert!(world.weighed.is_empty());
        }
    }

    /// A load that is there for long enough gets all workers that it needs, whatever happened before.
    #[test]
    fn a_load_gets_what_it_needs(steps in steps(), wanted in 1..5_u32) {
        let mut world = World::new();
        run(&mut world, &steps);
        (world.spawns_fail, world.sockets_fail) = (false, false);
        for _ in 0..80 {
            world.cooperate();
            world.load(0, 1);
        }
        world.acquire(2, 0);
        world.cooperate();
        for set in 0..20 {
            world.crowd(set, Some(requests(wanted)));
        }
        world.cooperate();
        if !world.drained {
            world.check_complete();
            prop_assert!(world.serving_of(2, 0) >= wanted as usize);
        }
    }
}
