//! Application groups whose names clients may have made up.

use super::super::newcomers::{MAX_SETS, NEWCOMERS};
use super::*;

fn site() -> World {
    World::with(vec![plan("site", 1, false)])
}

/// A request for a name of the one script, which ends well.
fn visit(world: &mut World, name: u8) {
    world.acquire_for(0, name, 0);
    world.cooperate();
    world.prove_all();
}

#[test]
fn names_that_are_tried_once_push_out_each_other() {
    let mut world = site();
    for name in 0..200 {
        visit(&mut world, name);
        assert!(world.open_sets() <= NEWCOMERS);
    }
    assert_eq!((world.granted, world.refused), (200, 0));
    // One may be on its way out.
    assert!(world.most_alive <= NEWCOMERS + 1, "{}", world.most_alive);
    assert!(!world.lines_at(Level::Warning).is_empty());
}

#[test]
fn many_names_at_once_start_no_more_processes() {
    let mut world = site();
    for name in 0..30 {
        world.acquire_for(0, name, 0);
    }
    world.cooperate();
    assert_eq!((world.granted, world.unanswered()), (30, 0));
    assert!(world.most_alive <= NEWCOMERS + 1, "{}", world.most_alive);
}

#[test]
fn a_name_that_is_in_use_does_not_give_way_to_them() {
    let mut world = site();
    visit(&mut world, 0);
    world.pass(Duration::from_secs(11));
    // So its worker says.
    world.prove_all();
    let regular = world.serving();
    for name in 1..100 {
        visit(&mut world, name);
    }
    assert!(world.serving().is_superset(&regular));
    assert_eq!(world.open_sets(), NEWCOMERS + 1);
}

#[test]
fn a_name_that_comes_back_stays() {
    let mut world = site();
    for name in 0..10 {
        visit(&mut world, name);
    }
    assert_eq!(world.open_sets(), NEWCOMERS);
    world.pass(Duration::from_secs(11));
    for name in 0..10 {
        visit(&mut world, name);
    }
    let regular = world.serving();
    assert_eq!(regular.len(), 10);
    for name in 20..60 {
        visit(&mut world, name);
    }
    assert!(world.serving().is_superset(&regular), "they have not been started in vain");
}

#[test]
fn who_has_a_request_does_not_give_way() {
    let mut world = site();
    for name in 0..3 {
        visit(&mut world, name);
    }
    world.load_of_all(1);
    world.acquire_for(0, 3, 0);
    world.cooperate();
    assert_eq!((world.open_sets(), world.unanswered()), (3, 1), "it waits");
    world.load(0, 1);
    assert_eq!((world.open_sets(), world.unanswered()), (3, 0));
}

#[test]
fn newcomers_that_stay_busy_keep_nobody_out() {
    let mut world = site();
    for name in 0..3 {
        visit(&mut world, name);
    }
    world.load_of_all(1);
    world.acquire_for(0, 3, 0);
    world.load(1, 12);
    assert_eq!((world.open_sets(), world.unanswered()), (4, 0), "they are in use");
}

#[test]
fn where_nobody_counts_requests_those_who_wait_are_looked_after_too() {
    let mut world = site();
    for name in 0..6 {
        world.acquire_for(0, name, 0);
    }
    // No load is told.
    for _ in 0..5 {
        world.cooperate();
        world.pass(Duration::from_secs(1));
    }
    assert_eq!(world.unanswered(), 0);
}

#[test]
fn scripts_of_their_own_are_no_names_that_clients_make_up() {
    let mut world = site();
    for name in 0..20 {
        world.acquire(0, name);
    }
    world.cooperate();
    assert_eq!((world.open_sets(), world.granted), (20, 20));
}

#[test]
fn where_all_are_in_use_a_further_one_waits_and_nobody_gives_way() {
    let mut world = site();
    let names = u8::try_from(MAX_SETS).unwrap();
    (0..names).for_each(|name| world.acquire(0, name));
    world.cooperate();
    world.prove_all();
    world.pass(Duration::from_secs(11));
    world.prove_all();
    let before = world.serving();
    world.acquire(0, names);
    world.cooperate();
    assert_eq!((world.serving(), world.unanswered()), (before, 1));
    // A rest of half a minute is enough.
    for _ in 0..31 {
        world.pass(Duration::from_secs(1));
        world.cooperate();
    }
    assert_eq!((world.open_sets(), world.unanswered()), (MAX_SETS, 0));
}

#[test]
fn who_waits_for_room_is_answered_at_the_end() {
    let mut world = site();
    for name in 0..3 {
        visit(&mut world, name);
    }
    world.load_of_all(1);
    world.acquire_for(0, 3, 0);
    world.acquire_for(0, 4, 0);
    world.abandon(0);
    world.feed(Event::Drain("test"));
    assert_eq!((world.unanswered(), world.refused), (0, 1));
}
