//! What is served goes on being served where a group keeps code that works.

use super::*;

/// What happens to a site whose code is now broken and now mended, and of which no worker dies.
#[derive(Debug, Clone)]
enum Step {
    Request(u8, u8),
    Break,
    Mend,
    /// A request finds that the code has changed.
    Changed(u8),
    Reload,
    CooperateOnce,
    Cooperate,
    Pass(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u8>(), 0..3_u8).prop_map(|(worker, script)| Step::Request(worker, script)),
        2 => Just(Step::Break),
        1 => Just(Step::Mend),
        2 => any::<u8>().prop_map(Step::Changed),
        1 => Just(Step::Reload),
        12 => Just(Step::CooperateOnce),
        2 => Just(Step::Cooperate),
        2 => (0..20_000_u64).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
    ]
}

fn run(world: &mut World, step: &Step) {
    match *step {
        Step::Request(worker, script) => world.request(worker, script),
        Step::Break => world.code_is_broken = true,
        Step::Mend => world.code_is_broken = false,
        Step::Changed(which) => world.change(which),
        Step::Reload => world.feed(Event::Reload(None)),
        Step::CooperateOnce => drop(world.cooperate_once()),
        Step::Cooperate => world.cooperate(),
        Step::Pass(time) => world.pass(time),
    }
}

fn site(processes: u32) -> World {
    let mut world = World::with(vec![Plan { keeps: true, ..plan("blog", processes, false) }]);
    world.acquire(0, 0);
    world.cooperate();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// What one worker of a set has loaded is never lost, whatever is deployed; and once all have
    /// done what they were told, no worker that serves lacks it.
    #[test]
    fn what_is_served_goes_on_being_served(
        processes in 1..4_u32,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = site(processes);
        let mut kept = world.kept();
        for step in &steps {
            run(&mut world, step);
            prop_assert!(world.kept().is_superset(&kept), "lost by {step:?}");
            kept = world.kept();
        }
        world.code_is_broken = false;
        for _ in 0..80 {
            world.cooperate();
            world.pass(Duration::from_secs(1));
        }
        world.check_complete();
        // Who stayed alone with a script loads it when it is asked for.
        for worker in 0..4 {
            (0..3).for_each(|script| world.request(worker, script));
        }
        world.cooperate();
        prop_assert_eq!(world.lacking(), 0);
        prop_assert!(world.kept().is_superset(&kept));
    }
}

#[test]
fn what_one_worker_has_loaded_all_load() {
    let mut world = site(3);
    world.request(0, 7);
    assert_eq!(world.lacking(), 2);
    world.cooperate();
    assert_eq!((world.kept().len(), world.lacking()), (1, 0));
    world.exit(0, Exit::Signal(9));
    world.cooperate();
    world.check_complete();
    assert_eq!(world.lacking(), 0, "a worker that is started later has it when it serves");
}

#[test]
fn who_cannot_load_what_others_have_gives_way_until_it_can_be_loaded() {
    let mut world = site(3);
    world.request(0, 7);
    world.code_is_broken = true;
    world.request(1, 7);
    assert_eq!(world.serving().len(), 2);
    world.cooperate();
    world.pass(Duration::from_secs(20));
    world.cooperate();
    assert_eq!((world.serving().len(), world.lacking()), (1, 0));
    let errors = world.lines_at(Level::Error).len();
    assert!((2..=7).contains(&errors), "{:#?}", world.lines_at(Level::Error));
    world.acquire(0, 0);
    assert_eq!((world.granted, world.refused), (2, 0));
    world.code_is_broken = false;
    for _ in 0..31 {
        world.pass(Duration::from_secs(1));
        world.cooperate();
    }
    world.check_complete();
    assert_eq!(world.lacking(), 0);
}

#[test]
fn who_alone_has_a_script_stays_whatever_else_it_cannot_load() {
    let mut world = site(2);
    world.request(0, 1);
    world.request(1, 2);
    world.code_is_broken = true;
    world.cooperate();
    assert_eq!((world.serving().len(), world.kept().len()), (2, 2));
}

#[test]
fn who_takes_a_place_and_cannot_load_what_the_other_has_tries_again() {
    let mut world = site(1);
    world.change(0);
    world.cooperate_once();
    world.request(0, 1);
    world.cooperate_once();
    world.request(1, 2);
    world.code_is_broken = true;
    world.cooperate();
    world.pass(Duration::from_secs(100));
    world.cooperate();
    assert_eq!((world.serving().len(), world.kept().len()), (2, 2), "each has what only it has");
    world.code_is_broken = false;
    world.pass(Duration::from_secs(30));
    world.cooperate();
    world.check_complete();
    assert_eq!((world.kept().len(), world.lacking()), (2, 0));
}

#[test]
fn nobody_gives_way_for_code_that_nobody_has_loaded() {
    let mut world = site(3);
    world.code_is_broken = true;
    (0..3).for_each(|worker| world.request(worker, 7));
    world.cooperate();
    world.check_complete();
    assert!(world.lines_at(Level::Error).is_empty());
}

#[test]
fn a_worker_cannot_fill_our_memory_with_paths() {
    let mut world = site(1);
    for number in 0..1000_u32 {
        world.tell(0, |id| Event::Loaded(id, number.to_le_bytes().to_vec()));
    }
    world.tell(0, |id| Event::Loaded(id, vec![b'x'; 5000]));
    world.exit(0, Exit::Signal(9));
    assert_eq!(world.preloaded(), 64);
}
