//! Random events against the rules that must hold whatever happens, and a few stories told
//! step by step.

mod keeping;
mod newcomers;
mod renewal;
mod scaling;
mod world;

use std::time::Duration;

use proptest::prelude::*;

use self::world::{BACKLOG, STARTS_AT_ONCE, World, plan};
use super::*;

/// What a random run does next. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Acquire(u8, u8),
    /// One of many names of the same script.
    AcquireFor(u8, u8),
    Abandon(u8),
    Inquire(u8),
    Ready(u8),
    Serving(u8),
    Proven(u8),
    Retire(u8, Cause),
    Reload(Option<u8>),
    Loaded(u8, u8),
    Unfit(u8, u8),
    Failed(u8),
    Drained(u8),
    Busy(u8),
    Crowd(u8, Option<u64>),
    Load(u64),
    Broken(u8),
    Silent(u8),
    Exit(u8, Exit),
    Cooperate,
    SpawnsFail(bool),
    SocketsFail(bool),
    Pass(Duration),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let exit = prop_oneof![
        Just(Exit::Status(0)),
        Just(Exit::Status(1)),
        Just(Exit::Signal(9)),
        Just(Exit::Signal(15)),
    ];
    prop_oneof![
        // Five names in four groups, one of which does not exist.
        8 => (0..4_u8, 0..5_u8).prop_map(|(group, name)| Step::Acquire(group, name)),
        4 => (0..4_u8, 0..5_u8).prop_map(|(group, name)| Step::AcquireFor(group, name)),
        2 => any::<u8>().prop_map(Step::Abandon),
        2 => any::<u8>().prop_map(Step::Inquire),
        6 => any::<u8>().prop_map(Step::Ready),
        6 => any::<u8>().prop_map(Step::Serving),
        2 => any::<u8>().prop_map(Step::Proven),
        3 => (any::<u8>(), prop::sample::select(Cause::ALL.as_slice()))
            .prop_map(|(worker, cause)| Step::Retire(worker, cause)),
        2 => prop::option::of(0..3_u8).prop_map(Step::Reload),
        2 => (any::<u8>(), 0..3_u8).prop_map(|(worker, script)| Step::Loaded(worker, script)),
        2 => (any::<u8>(), 0..3_u8).prop_map(|(worker, script)| Step::Unfit(worker, script)),
        1 => any::<u8>().prop_map(Step::Failed),
        2 => any::<u8>().prop_map(Step::Drained),
        1 => any::<u8>().prop_map(Step::Busy),
        3 => (any::<u8>(), prop::option::of(0..40_u64)).prop_map(|(set, load)| Step::Crowd(set, load)),
        2 => (0..20_u64).prop_map(Step::Load),
        1 => any::<u8>().prop_map(Step::Broken),
        1 => any::<u8>().prop_map(Step::Silent),
        5 => (any::<u8>(), exit).prop_map(|(worker, exit)| Step::Exit(worker, exit)),
        2 => Just(Step::Cooperate),
        1 => any::<bool>().prop_map(Step::SpawnsFail),
        1 => any::<bool>().prop_map(Step::SocketsFail),
        6 => (0..40_000_u64).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let steps = prop::collection::vec(step(), 0..120);
    // A drain somewhere in every other run; steps after it must not hurt.
    (steps, prop::option::of(any::<prop::sample::Index>())).prop_map(|(mut steps, drain)| {
        if let Some(place) = drain {
            steps.insert(place.index(steps.len() + 1), Step::Drain);
        }
        steps
    })
}

fn retire(id: WorkerId, cause: Cause) -> Event {
    Event::Retire(id, cause, "it has had enough".to_owned(), vec![b"/script".to_vec()])
}

fn run(world: &mut World, steps: &[Step]) {
    for step in steps {
        match *step {
            Step::Acquire(group, name) => world.acquire(group, name),
            Step::AcquireFor(group, name) => world.acquire_for(group, name + 5, 0),
            Step::Abandon(which) => world.abandon(which),
            Step::Inquire(which) => world.inquire(u32::from(which)),
            Step::Ready(which) => {
                world.tell(which, |id| Event::Ready(id, "3.14".to_owned()));
            }
            Step::Serving(which) => world.tell(which, Event::Serving),
            Step::Proven(which) => world.tell(which, Event::Proven),
            Step::Retire(which, cause) => world.tell(which, |id| retire(id, cause)),
            Step::Reload(group) => world.feed(Event::Reload(group.map(usize::from))),
            Step::Loaded(which, script) => {
                world.tell(which, |id| Event::Loaded(id, vec![script]));
            }
            Step::Unfit(which, script) => {
                world.tell(which, |id| Event::Unfit(id, vec![script], "unfit".to_owned()));
            }
            Step::Failed(which) => world.tell(which, |id| Event::Failed(id, "failed".to_owned())),
            Step::Drained(which) => world.tell(which, Event::Drained),
            Step::Busy(which) => world.tell(which, Event::Busy),
            Step::Crowd(which, requests) => world.crowd(which, requests),
            Step::Load(requests) => world.load(requests, 1),
            Step::Broken(which) => world.tell(which, |id| Event::Broken(id, "broken".to_owned())),
            Step::Silent(which) => world.tell(which, Event::Silent),
            Step::Exit(which, exit) => world.exit(which, exit),
            Step::Cooperate => world.cooperate(),
            Step::SpawnsFail(fail) => world.spawns_fail = fail,
            Step::SocketsFail(fail) => world.sockets_fail = fail,
            Step::Pass(time) => world.pass(time),
            Step::Drain => world.feed(Event::Drain("test")),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, ..ProptestConfig::default() })]

    /// Once workers behave, everybody who asked has an answer, and nobody is missing.
    #[test]
    fn trouble_passes(steps in steps()) {
        let mut world = World::new();
        run(&mut world, &steps);
        (world.spawns_fail, world.sockets_fail) = (false, false);
        for _ in 0..80 {
            world.cooperate();
            world.load(0, 1);
        }
        prop_assert_eq!((world.unanswered(), world.inquiries.len()), (0, 0));
        if !world.drained {
            world.check_complete();
        }
    }

    /// Whatever happened before, a reload leaves no worker that served, and no gap on the way.
    #[test]
    fn a_reload_replaces_all(steps in steps()) {
        let mut world = World::new();
        run(&mut world, &steps);
        (world.spawns_fail, world.sockets_fail) = (false, false);
        for _ in 0..80 {
            world.cooperate();
            world.load(0, 1);
        }
        let before = world.serving();
        world.feed(Event::Reload(None));
        while world.cooperate_once() {
            world.check_no_gap();
        }
        if !world.drained {
            world.check_complete();
            prop_assert!(world.serving().is_disjoint(&before));
        }
    }

    /// A drain ends as soon as the last worker has exited, without any time passing.
    #[test]
    fn a_drain_is_as_quick_as_the_workers(steps in steps()) {
        let mut world = World::new();
        run(&mut world, &steps);
        world.feed(Event::Drain("test"));
        prop_assert_eq!(world.unanswered(), 0);
        world.exit_all();
        prop_assert!(world.finished && world.inquiries.is_empty());
    }

    /// A drain ends even if no worker does anything any more, and none is spared.
    #[test]
    fn a_drain_ends_in_any_case(steps in steps()) {
        let mut world = World::new();
        run(&mut world, &steps);
        world.feed(Event::Drain("test"));
        world.pass(Duration::from_secs(15));
        prop_assert!(world.finished);
        world.check_all_killed();
    }
}

#[test]
fn a_worker_that_never_gets_ready_is_killed_and_the_next_one_tried() {
    let mut world = World::new();
    world.acquire(1, 0);
    assert_eq!(world.alive(), 2, "two workers started beforehand");
    world.pass(Duration::from_secs(61));
    world.check_all_killed_but(2);
    world.cooperate();
    assert_eq!(world.unanswered(), 0);
}

#[test]
fn workers_wait_beforehand_where_that_is_wanted() {
    let mut world = World::with(vec![plan("", 1, false), plan("blog", 2, true)]);
    assert_eq!(world.alive(), 2);
    world.cooperate();
    world.exit(0, Exit::Signal(9));
    assert_eq!(world.alive(), 2, "one that dies while it waits is replaced");
    world.acquire(1, 0);
    world.cooperate();
    assert_eq!((world.granted, world.alive()), (1, 2), "those who wait serve the first name");
    world.acquire(1, 1);
    assert_eq!(world.alive(), 4);
}

#[test]
fn application_groups_with_scripts_to_load_are_there_from_the_start() {
    let imports = vec![vec![0], vec![1]];
    let mut world = World::with(vec![Plan { imports, ..plan("blog", 2, true) }]);
    assert_eq!((world.open_sets(), world.alive()), (2, 4));
    world.cooperate();
    world.check_complete();
    // They are the oldest, and stay.
    for name in 2..70 {
        world.acquire(0, name);
        world.cooperate();
    }
    let granted = world.granted;
    world.acquire(0, 0);
    world.acquire(0, 1);
    assert_eq!((world.granted, world.open_sets()), (granted + 2, 64));
}

#[test]
fn sockets_that_could_not_be_made_are_tried_again() {
    let mut world = World::silent(vec![Plan { imports: vec![vec![0]], ..plan("blog", 1, false) }]);
    world.sockets_fail = true;
    world.feed(Event::Start);
    assert_eq!(world.open_sets(), 0);
    world.sockets_fail = false;
    world.pass(Duration::from_secs(60));
    world.cooperate();
    world.check_complete();
    assert_eq!(world.open_sets(), 1);
}

#[test]
fn a_service_that_ends_is_run_again_and_not_in_a_loop() {
    let service = Plan { imports: vec![vec![0]], is_service: true, ..plan("jobs", 1, true) };
    let mut world = World::with(vec![service]);
    let run = |world: &mut World| {
        world.cooperate();
        world.tell(0, Event::Drained);
        world.exit(0, Exit::Status(0));
        world.alive()
    };
    assert_eq!(run(&mut world), 1, "the first time it is run again at once");
    assert_eq!(run(&mut world), 0);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.alive(), 1);
    world.cooperate();
    world.pass(Duration::from_secs(20));
    assert_eq!(run(&mut world), 1, "one that has run for a while is run again at once");
    world.pass(Duration::from_secs(2));
    world.cooperate();
    let before = world.serving();
    world.feed(Event::Reload(None));
    assert_eq!(world.graces(), [30], "a reload ends it, as it loses no requests");
    world.cooperate();
    assert!(world.serving().is_disjoint(&before) && world.alive() == 1);
    world.acquire(0, 0);
    assert_eq!((world.refused, world.lines_at(Level::Error).len()), (1, 0));
}

#[test]
fn a_worker_that_says_what_does_not_fit_is_killed() {
    let ready = |id| Event::Ready(id, "3.14".to_owned());
    let check = |told: &[fn(WorkerId) -> Event]| {
        let mut world = World::with(vec![plan("blog", 1, true)]);
        world.tell(0, ready);
        told.iter().for_each(|event| world.tell(0, event));
        world.check_all_killed_but(1);
        assert_eq!(world.alive(), 2, "another one takes its place");
        assert_eq!(world.lines_at(Level::Error).len(), 1);
    };
    check(&[ready]);
    check(&[Event::Serving]);
    check(&[Event::Drained]);
    check(&[|id| Event::Broken(id, "nonsense".to_owned())]);
}

#[test]
fn names_beyond_the_bound_replace_the_one_asked_for_longest_ago() {
    let mut world = World::with(vec![plan("", 1, false)]);
    for name in 0..64 {
        world.acquire(0, name);
        world.cooperate();
    }
    world.acquire(0, 0);
    assert_eq!((world.granted, world.alive()), (65, 64));
    // Number 1 is the oldest now. It finishes, and the next but one has to wait for that.
    world.acquire(0, 64);
    assert_eq!((world.alive(), world.open_sets()), (65, 64));
    world.acquire(0, 65);
    assert_eq!((world.unanswered(), world.open_sets(), world.alive()), (2, 64, 65));
    world.cooperate();
    assert_eq!((world.granted, world.refused, world.alive()), (67, 0, 64));
    world.acquire(0, 0);
    assert_eq!(world.granted, 68, "what was asked for lately is still there");
}

#[test]
fn a_long_lived_worker_is_replaced_at_once_and_a_short_lived_one_ever_later() {
    let mut world = World::with(vec![plan("", 1, false)]);
    world.acquire(0, 0);
    world.cooperate();
    for _ in 0..5 {
        world.pass(Duration::from_secs(11));
        world.exit(0, Exit::Signal(11));
        assert_eq!(world.alive(), 1);
        world.cooperate();
    }
    world.exit(0, Exit::Signal(11));
    assert_eq!(world.alive(), 1, "the first retry is immediate");
    world.cooperate();
    world.exit(0, Exit::Signal(11));
    assert_eq!(world.alive(), 0);
    world.acquire(0, 0);
    assert_eq!((world.granted, world.refused), (1, 1), "nobody waits for a back-off to end");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.alive(), 1);
}

#[test]
fn a_worker_that_has_worked_is_replaced_at_once_but_not_without_end() {
    let mut world = World::with(vec![plan("", 1, false)]);
    world.acquire(0, 0);
    world.cooperate();
    for _ in 0..100 {
        world.tell(0, Event::Proven);
        world.exit(0, Exit::Signal(9));
        world.acquire(0, 0);
        world.pass(Duration::from_millis(700));
        assert_eq!(world.alive(), 1, "a kill every now and then is not felt");
        world.cooperate();
    }
    assert_eq!(world.refused, 0, "whoever asks meanwhile waits for the moment that it takes");
    let (mut deaths, start) = (0, world.now());
    while world.now() < start + Duration::from_secs(60) {
        while world.alive() > 0 {
            world.cooperate();
            world.tell(0, Event::Proven);
            world.exit(0, Exit::Signal(11));
            deaths += 1;
        }
        world.pass(Duration::from_millis(10));
    }
    assert!((100..=132).contains(&deaths), "{deaths} in a minute");
    assert!(world.lines_at(Level::Error).len() < 8, "{:#?}", world.lines_at(Level::Error));
}

#[test]
fn nobody_is_kept_waiting_for_workers_that_die_at_their_first_request() {
    let mut world = World::with(vec![plan("", 1, false)]);
    for _ in 0..2 {
        world.acquire(0, 0);
        world.cooperate();
        world.exit(0, Exit::Signal(11));
    }
    assert_eq!((world.hung_up(), world.granted), (1, 2), "who is connected hears of it");
    world.acquire(0, 0);
    assert_eq!(world.refused, 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.alive(), 1, "it is tried again all the same");
    world.acquire(0, 0);
    assert_eq!(world.refused, 2, "but nobody has to wait for that");
    world.cooperate();
    assert_eq!(world.hung_up(), 0);
    world.acquire(0, 0);
    assert_eq!(world.granted, 3);
}

#[test]
fn only_so_many_wait_for_workers_to_start() {
    let mut world = World::with(vec![plan("", 1, false)]);
    (0..BACKLOG + 3).for_each(|_| world.acquire(0, 0));
    assert_eq!((world.refused, world.unanswered()), (3, BACKLOG));
    world.acquire(0, 1);
    assert_eq!(world.refused, 3, "others are not concerned");
    world.cooperate();
    assert_eq!(world.granted, BACKLOG + 1);
}

#[test]
fn a_worker_that_finishes_by_itself_is_replaced_before_it_exits() {
    let mut world = World::with(vec![plan("", 1, false)]);
    world.acquire(0, 0);
    world.cooperate();
    for _ in 0..9 {
        world.tell(0, Event::Drained);
        assert_eq!(world.alive(), 2);
        world.exit(0, Exit::Status(0));
        world.cooperate();
    }
    assert_eq!(world.refused, 0, "what is planned is no failure");
}

#[test]
fn workers_that_ask_for_others_and_stay_become_no_crowd() {
    let asks: [fn(WorkerId) -> Event; 3] = [
        |id| retire(id, Cause::RequestTimeout),
        |id| retire(id, Cause::MaximumRequests),
        Event::Drained,
    ];
    for ask in asks {
        let mut world = World::with(vec![plan("", 1, false)]);
        world.acquire(0, 0);
        for _ in 0..1000 {
            while let Some(step) = world.next_step_to_serving() {
                world.feed(step);
            }
            world.serving().into_iter().for_each(|worker| world.feed(ask(worker)));
            world.pass(Duration::from_millis(10));
        }
        assert!(world.alive() <= 13, "{} processes", world.alive());
        world.exit_all();
        world.pass(Duration::from_secs(30));
        world.cooperate();
        world.check_complete();
    }
}

#[test]
fn workers_that_fail_after_a_request_are_not_started_without_end() {
    let mut world = World::with(vec![plan("", 1, false)]);
    world.acquire(0, 0);
    let (mut failures, start) = (0, world.now());
    while world.now() < start + Duration::from_secs(60) {
        while world.alive() > 0 && failures < 10_000 {
            world.cooperate();
            world.tell(0, Event::Proven);
            world.tell(0, |id| Event::Broken(id, "nonsense".to_owned()));
            world.exit(0, Exit::Signal(9));
            failures += 1;
        }
        world.pass(Duration::from_millis(10));
    }
    assert!((100..=132).contains(&failures), "{failures} in a minute");
}

#[test]
fn many_groups_are_started_a_few_at_a_time_and_those_that_are_asked_for_first() {
    let names: Vec<_> = (0..100).map(|number| format!("group {number}")).collect();
    let mut world = World::with(names.iter().map(|name| plan(name, 1, true)).collect());
    assert_eq!(world.alive(), STARTS_AT_ONCE);
    world.acquire(99, 0);
    assert_eq!(world.alive(), STARTS_AT_ONCE + 1);
    world.tell(10, |id| Event::Ready(id, "3.14".to_owned()));
    world.tell(10, Event::Serving);
    assert_eq!(world.granted, 1);
    world.exit(0, Exit::Status(1));
    assert_eq!(world.alive(), STARTS_AT_ONCE + 1, "one that fails is no obstacle");
    world.cooperate();
    assert_eq!(world.alive(), 100);

    // Nor is one that is never ready.
    let mut world = World::with(names.iter().map(|name| plan(name, 1, true)).collect());
    world.pass(Duration::from_secs(30));
    assert_eq!(world.alive(), 100);
}

#[test]
fn repeated_failures_are_logged_once_a_minute() {
    let mut world = World::with(vec![plan("blog", 3, false)]);
    world.spawns_fail = true;
    world.acquire(0, 0);
    world.pass(Duration::from_secs(600));
    let errors = world.lines_at(Level::Error);
    assert!((11..=14).contains(&errors.len()), "{errors:#?}");
    assert!(errors[5].ends_with("more like this since the last such line)"), "{}", errors[5]);
}

#[test]
fn who_lost_a_request_hears_how_its_worker_ended() {
    let told = |exit, steps: fn(&mut World)| {
        let mut world = World::with(vec![plan("", 1, false)]);
        world.acquire(0, 0);
        world.cooperate();
        let pid = world.pid(0);
        steps(&mut world);
        world.inquire(pid);
        assert_eq!(world.inquiries.len(), 1, "the worker is still there");
        world.exit(0, exit);
        world.inquire(pid);
        assert_eq!(world.exit_reasons.len(), 2, "now and later");
        assert_eq!(world.exit_reasons[0], world.exit_reasons[1]);
        match world.exit_reasons.swap_remove(0) {
            Known::Ended(exit_reason) => exit_reason.how,
            other => panic!("{other:?}"),
        }
    };
    let none = |_: &mut World| {};
    assert_eq!(told(Exit::Signal(11), none), "was killed with signal 11 (SIGSEGV)");
    assert_eq!(told(Exit::CoreDump(11), none), "was killed with signal 11 (SIGSEGV), core dumped");
    assert!(told(Exit::Signal(9), none).ends_with("which the supervisor did not send"));
    let shortage = Exit::OutOfMemory(Shortage::ControlGroup);
    assert!(told(shortage, none).ends_with("out-of-memory killer struck in its control group"));
    assert!(told(Exit::Status(7), none).starts_with("ended itself with exit status 7"));
    let nonsense = |world: &mut World| {
        world.tell(0, |id| Event::Broken(id, "nonsense".to_owned()));
    };
    assert!(told(Exit::Signal(9), nonsense).contains("ended by the supervisor"));
    assert!(told(Exit::Signal(9), nonsense).ends_with("nonsense"));
    let asked = |world: &mut World| world.feed(Event::Drain("test"));
    assert!(told(Exit::Status(1), asked).ends_with("it was asked to finish"));

    let mut world = World::new();
    world.inquire(4711);
    assert_eq!(world.exit_reasons, [Known::Nothing], "a process that is none of ours");
    world.inquire(world.pid(0));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.exit_reasons[1], Known::Running, "nobody waits for long");
}

#[test]
fn exits_are_told_by_name() {
    assert_eq!(Exit::Status(3).to_string(), "exit status 3");
    assert_eq!(Exit::Signal(11).to_string(), "signal 11 (SIGSEGV)");
    assert_eq!(Exit::Signal(40).to_string(), "signal 40");
}
