//! Workers that want to be replaced, or have to be, and those that take their places.

use super::*;

#[test]
fn changed_code_is_taken_over_without_a_gap() {
    let mut world = World::with(vec![plan("", 2, false)]);
    world.acquire(0, 0);
    world.cooperate();
    let stale = |id| retire(id, Cause::ScriptReload);
    world.tell(0, stale);
    world.tell(1, stale);
    assert_eq!(world.alive(), 3, "one at a time");
    world.cooperate();
    assert_eq!(world.alive(), 2);
    world.check_complete();
    assert_eq!(world.lines_at(Level::Error), [""; 0]);
}

#[test]
fn a_reload_concerns_the_workers_of_its_group_that_have_code() {
    let mut world = World::with(vec![plan("", 1, false), plan("blog", 2, false)]);
    world.acquire(0, 0);
    world.acquire(1, 0);
    world.cooperate();
    let before = world.serving();
    world.feed(Event::Reload(Some(1)));
    world.feed(Event::Reload(Some(1)));
    world.cooperate();
    let after = world.serving();
    assert_eq!((after.len(), after.intersection(&before).count()), (3, 1));
    assert_eq!(
        world.lines_at(Level::Info).iter().filter(|line| line.contains("takes over")).count(),
        2
    );
}

#[test]
fn a_worker_that_loads_when_a_reload_is_ordered_is_replaced_once_it_serves() {
    let mut world = World::with(vec![plan("", 1, false)]);
    world.acquire(0, 0);
    world.feed(Event::Reload(None));
    world.tell(0, |id| Event::Ready(id, "3.14".to_owned()));
    world.feed(Event::Reload(None));
    assert_eq!(world.alive(), 1);
    world.tell(0, Event::Serving);
    let before = world.serving();
    world.cooperate();
    assert!(world.serving().is_disjoint(&before));
    assert_eq!(world.alive(), 1);
}

#[test]
fn a_reload_that_failed_can_be_ordered_again() {
    let mut world = World::with(vec![plan("", 1, false)]);
    world.acquire(0, 0);
    world.cooperate();
    let before = world.serving();
    world.feed(Event::Reload(None));
    world.tell(0, |id| retire(id, Cause::ReloadOrder));
    world.exit(1, Exit::Signal(11));
    assert!(world.lines_at(Level::Error)[0].contains("keeps serving the code that it has loaded"));
    assert_eq!(world.serving(), before);
    world.feed(Event::Reload(None));
    world.cooperate();
    assert!(world.serving().is_disjoint(&before));
}

#[test]
fn code_that_brings_its_worker_down_leaves_the_old_one_serving() {
    let mut world = World::with(vec![plan("", 1, false)]);
    world.acquire(0, 0);
    world.cooperate();
    world.tell(0, |id| retire(id, Cause::ScriptReload));
    world.exit(1, Exit::Signal(11));
    assert_eq!(world.alive(), 1);
    world.check_complete();
    assert!(world.lines_at(Level::Error)[0].contains("keeps serving"));
    world.acquire(0, 0);
    assert_eq!(world.granted, 2, "the group is not held responsible");
}

#[test]
fn who_can_serve_on_goes_when_the_next_one_serves_and_others_at_once() {
    for cause in Cause::ALL {
        let mut world = World::with(vec![plan("", 1, false)]);
        world.acquire(0, 0);
        world.cooperate();
        world.tell(0, |id| retire(id, cause));
        assert_eq!(world.alive(), 2, "{cause:?}");
        let planned = match cause {
            Cause::EvictionSignal => Some(20),
            Cause::RequestTimeout
            | Cause::DeadlockTimeout
            | Cause::StartupTimeout
            | Cause::ShutdownSignal => None,
            _ => Some(30),
        };
        assert_eq!(world.graces().is_empty(), planned.is_some(), "{cause:?}");
        world.tell(1, |id| Event::Ready(id, "3.14".to_owned()));
        world.tell(1, Event::Serving);
        let grace = planned.unwrap_or(if cause == Cause::RequestTimeout { 30 } else { 0 });
        assert_eq!(world.graces(), [grace], "{cause:?}");
        // It has that long, and then what Python needs, and a moment more.
        world.pass(Duration::from_secs(u64::from(grace) + 7));
        world.check_all_killed_but(2);
        world.pass(Duration::from_secs(1));
        world.check_all_killed_but(1);
        world.acquire(0, 0);
        assert_eq!(world.granted, 2, "what is planned is no failure");
    }
}

#[test]
fn once_its_requests_are_finished_a_worker_has_what_python_needs() {
    let mut world = World::with(vec![plan("", 1, false)]);
    world.acquire(0, 0);
    world.cooperate();
    world.tell(0, |id| retire(id, Cause::RequestTimeout));
    world.tell(0, Event::Drained);
    world.pass(Duration::from_secs(8));
    world.check_all_killed_but(1);
}

#[test]
fn who_retires_when_a_successor_is_on_its_way_is_replaced_by_that_one() {
    let mut world = World::with(vec![plan("", 1, false)]);
    world.acquire(0, 0);
    world.cooperate();
    world.tell(0, |id| retire(id, Cause::MaximumRequests));
    world.tell(0, |id| retire(id, Cause::DeadlockTimeout));
    assert_eq!(world.alive(), 2);
    world.cooperate();
    world.check_complete();
    assert_eq!(world.alive(), 1);
}

#[test]
fn many_reloads_are_paced_and_all_come_to_their_end() {
    let mut world = World::with(vec![plan("", 1, false)]);
    world.acquire(0, 0);
    world.cooperate();
    for round in 1..=20 {
        let before = world.serving();
        world.feed(Event::Reload(None));
        world.feed(Event::AwaitReload(Ticket(round), None));
        world.cooperate();
        world.pass(Duration::from_secs(1));
        world.cooperate();
        assert!(world.serving().is_disjoint(&before), "round {round}");
    }
    let replaced = Reloaded { replaced: 1, failures: Vec::new() };
    assert_eq!(world.reloads, vec![replaced; 20]);
}

#[test]
fn a_reload_whose_code_cannot_be_loaded_is_told_with_the_reason() {
    let mut world = World::with(vec![plan("", 1, false)]);
    world.acquire(0, 0);
    world.cooperate();
    world.feed(Event::Reload(None));
    world.feed(Event::AwaitReload(Ticket(1), None));
    world.cooperate_once();
    let ready = |id| Event::Ready(id, "3.14".to_owned());
    world.tell(1, ready);
    world.tell(1, |id| Event::Unloaded(id, "SyntaxError".to_owned()));
    assert_eq!(world.reloads, [], "it is not at its end");
    world.cooperate();
    let failures = vec!["SyntaxError".to_owned()];
    assert_eq!(world.reloads, [Reloaded { replaced: 0, failures }]);
}

#[test]
fn what_exists_once_is_never_there_twice() {
    for processes in [1, 2] {
        let plan = Plan { stops_first: true, ..plan("", processes, true) };
        let mut world = World::with(vec![plan]);
        world.acquire(0, 0);
        world.cooperate();
        assert_eq!(world.alive(), 0, "an earlier generation may have it");
        world.feed(Event::Alone);
        world.cooperate();
        let before = world.serving();
        assert_eq!(before.len(), processes as usize);
        for number in 0..u8::try_from(processes).unwrap() {
            world.tell(number, |id| retire(id, Cause::ScriptReload));
            assert!(world.alive() <= processes as usize, "none starts beside it");
        }
        world.acquire(0, 0);
        world.cooperate();
        assert!(world.most_alive <= processes as usize);
        let after = world.serving();
        assert_eq!((after.len(), after.is_disjoint(&before)), (processes as usize, true));
        assert_eq!(world.lines_at(Level::Error), [""; 0]);
    }
}
