//! Tests of the memory's contents, and of how they are told.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::layout::{FLIGHTS, LINE, LOSSES, SAMPLES, SLOTS};
use crate::{
    About, Cause, Flight, Format, Health, Metrics, Phase, Reason, Sampler, Summary, write,
};

fn metrics() -> Metrics {
    let metrics = Metrics::create().unwrap();
    metrics.begin_generation();
    metrics.define(b"blog", b"example.com");
    metrics
}

#[test]
fn what_one_process_counts_another_one_reads() {
    let near = metrics();
    let far = Metrics::adopt(near.file().try_clone_to_owned().unwrap()).unwrap();
    let place = near.place(b"blog", Some(b"")).unwrap();
    assert_eq!(far.place(b"blog", Some(b"")), Some(place));
    assert_ne!(far.place(b"blog", None), Some(place));
    near.slot(place).count_request(204);
    near.slot(place).count_restart(Cause::Memory);
    near.slot(place).queued.observe(Duration::from_millis(3));
    let text = write(&Summary::of(&far), Format::OpenMetrics);
    let labels = r#"server="example.com",process_group="blog",application_group="%{GLOBAL}""#;
    for line in [
        format!("wsgi_requests_total{{{labels},class=\"2xx\"}} 1\n"),
        format!("wsgi_requests_total{{{labels},class=\"5xx\"}} 0\n"),
        format!("wsgi_worker_restarts_total{{{labels},cause=\"memory\"}} 1\n"),
        format!("wsgi_request_queue_seconds_bucket{{{labels},le=\"0.0025\"}} 0\n"),
        format!("wsgi_request_queue_seconds_bucket{{{labels},le=\"0.005\"}} 1\n"),
        format!("wsgi_request_queue_seconds_bucket{{{labels},le=\"+Inf\"}} 1\n"),
        format!("wsgi_request_queue_seconds_sum{{{labels}}} 0.003\n"),
    ] {
        assert!(text.contains(&line), "{line}{text}");
    }
    assert!(text.contains("# TYPE wsgi_requests counter\n"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let text = write(&Summary::of(&far), Format::Text);
    assert!(text.contains("# TYPE wsgi_requests_total counter\n"), "{text}");
}

#[test]
fn memory_that_could_be_cut_short_is_refused() {
    let flags = rustix::fs::MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(c"unsealed", flags).unwrap();
    rustix::fs::ftruncate(&file, size_of::<crate::layout::Layout>() as u64).unwrap();
    assert!(Metrics::adopt(file).is_err());
}

#[test]
fn a_group_that_is_defined_no_more_is_not_shown_and_comes_back_with_its_counts() {
    let metrics = metrics();
    metrics.slot(metrics.place(b"blog", Some(b"a")).unwrap()).count_request(200);
    metrics.begin_generation();
    assert!(Summary::of(&metrics).groups.is_empty());
    metrics.define(b"blog", b"example.org");
    let summary = Summary::of(&metrics);
    let applications: Vec<_> = summary.groups.iter().map(|it| &it.application_group).collect();
    assert_eq!(applications, [&None, &Some("a".to_owned())]);
    assert_eq!((summary.groups[1].requests(), &*summary.groups[1].server), (1, "example.org"));
}

#[test]
fn made_up_names_take_no_room_from_groups() {
    let metrics = metrics();
    for number in 0..2 * SLOTS {
        let place = metrics.place(b"blog", Some(format!("host{number}").as_bytes())).unwrap();
        metrics.slot(place).count_refusal(Reason::Full);
    }
    let itself = metrics.place(b"blog", None).unwrap();
    assert!(metrics.slot(itself).refused[Reason::Full as usize].load(Relaxed) > SLOTS as u64);
    metrics.define(b"late", b"");
    assert!(Summary::of(&metrics).groups.iter().any(|group| group.process_group == "late"));
}

#[test]
fn requests_of_a_child_count_as_long_as_it_lives() {
    let metrics = metrics();
    let place = metrics.place(b"blog", None).unwrap();
    let child = metrics.enter_child().unwrap();
    child.running(place).fetch_add(3, Relaxed);
    metrics.slot(place).threads.store(2, Relaxed);
    let summary = Summary::of(&metrics);
    let group = &summary.groups[0];
    assert_eq!((group.in_flight, group.busy(), group.waiting()), (3, 2, 1));
    // No process has the highest number that a process id may have.
    let pid = &metrics.layout().pids[0];
    pid.store(i32::MAX as u32, Relaxed);
    assert_eq!(Summary::of(&metrics).groups[0].in_flight, 0);
    metrics.forget_dead_children();
    assert_eq!(pid.load(Relaxed), 0);
    metrics.enter_child().unwrap();
    assert_eq!(Summary::of(&metrics).groups[0].in_flight, 0);
}

/// What a test says of a request.
fn about(path: &'static str) -> About<'static> {
    About { method: b"GET", path: path.as_bytes(), id: Some(b"id"), received: 7 }
}

#[test]
fn a_request_is_shown_while_it_runs() {
    let metrics = metrics();
    let place = metrics.place(b"blog", Some(b"")).unwrap();
    let child = metrics.enter_child().unwrap();
    let first = Flight::begin(child, place, about("/a"));
    first.accepted(12);
    let second = Flight::begin(child, place, about("/b\u{1b}"));
    let running = metrics.running();
    let lines: Vec<_> = running.iter().map(|it| (&*it.line, it.worker, it.phase)).collect();
    let expected = [("GET /a", Some(12), Phase::Accepted), ("GET /b?", None, Phase::Waiting)];
    assert_eq!(lines, expected);
    assert_eq!((running[0].began, running[0].id.as_deref()), (7, Some("id")));
    drop(first);
    assert_eq!(metrics.running().len(), 1);
    assert_eq!(Summary::of(&metrics).group(place).unwrap().in_flight, 1);
    drop(second);
    assert_eq!(metrics.running(), []);
    assert_eq!(Summary::of(&metrics).group(place).unwrap().in_flight, 0);
}

#[test]
fn more_requests_than_there_is_room_for_are_counted_still() {
    let metrics = metrics();
    let place = metrics.place(b"blog", None).unwrap();
    let child = metrics.enter_child().unwrap();
    let begin = |_| Flight::begin(child, place, about("/"));
    let flights: Vec<_> = (0..FLIGHTS + 5).map(begin).collect();
    assert_eq!(metrics.running().len(), FLIGHTS);
    assert_eq!(Summary::of(&metrics).groups[0].in_flight, FLIGHTS as u64 + 5);
    drop(flights);
    assert_eq!(metrics.running(), []);
}

#[test]
fn a_long_line_is_cut_and_no_request_is_mixed_with_another_one() {
    let metrics = metrics();
    let place = metrics.place(b"blog", None).unwrap();
    let child = metrics.enter_child().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..20_000 {
                let path = if number % 2 == 0 { LONG_A } else { LONG_B };
                drop(Flight::begin(child, place, about(path)));
            }
            done.store(true, Relaxed);
        });
        while !done.load(Relaxed) {
            for running in metrics.running() {
                let path = running.line.strip_prefix("GET ").expect("it is whole");
                assert_eq!(running.line.len(), 8 * LINE);
                assert!(LONG_A.starts_with(path) || LONG_B.starts_with(path), "{path}");
            }
        }
    });
}

/// Longer than what is kept.
const LONG_A: &str = concat!(
    "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
);
const LONG_B: &str = concat!(
    "/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
);

#[test]
fn the_last_losses_are_remembered() {
    let metrics = metrics();
    let place = metrics.place(b"blog", Some(b"")).unwrap();
    for number in 0..LOSSES as u32 + 3 {
        metrics.note_loss(place, Cause::Signal, Some(number), "killed by SIGSEGV");
    }
    let losses = metrics.losses();
    assert_eq!(losses.len(), LOSSES);
    assert_eq!((losses[0].number, losses[0].worker), (LOSSES as u64 + 3, Some(LOSSES as u32 + 2)));
    assert_eq!((losses[0].cause, &*losses[0].story), (Cause::Signal, "killed by SIGSEGV"));
}

#[test]
fn a_sample_is_of_what_has_been_counted_since_the_one_before() {
    let metrics = metrics();
    let place = metrics.place(b"blog", Some(b"")).unwrap();
    let slot = metrics.slot(place);
    let count = |times| (0..times).for_each(|_| slot.count_request(200));
    count(5);
    let mut sampler = Sampler::default();
    sampler.take_at(&metrics, 1000);
    count(3);
    slot.count_request(500);
    slot.application.observe(Duration::from_millis(2));
    slot.resident.store(4 << 20, Relaxed);
    sampler.take_at(&metrics, 1001);
    // Twice in one interval is once.
    count(10);
    sampler.take_at(&metrics, 1001);
    let history = metrics.history_at(place, 1002);
    assert_eq!(history.len(), SAMPLES);
    let [.., None, Some(second), None] = history[..] else { panic!("{history:?}") };
    assert_eq!((second.requests, second.errors, second.resident), (4, 1, 4096));
    assert!((1000..2500).contains(&second.application[0]), "{second:?}");
    // An hour later they are no more.
    let later = metrics.history_at(place, 1002 + SAMPLES as u64);
    assert!(later.iter().all(Option::is_none));
}

#[test]
fn health_tells_what_is_missing() {
    let metrics = metrics();
    let supervisor = metrics.begin_supervisor();
    assert!(Health::of(&metrics).problems[0].contains("supervisor"));
    let slot = metrics.slot(metrics.place(b"blog", Some(b"")).unwrap());
    slot.is_expected.store(1, Relaxed);
    metrics.answer(supervisor);
    let problems = Health::of(&metrics).problems;
    assert!(matches!(&problems[..], [it] if it.contains("'blog'")), "{problems:?}");
    slot.workers_ready.store(1, Relaxed);
    assert_eq!(Health::of(&metrics).problems, Vec::<String>::new());
}

#[test]
fn a_quantile_is_the_bound_of_its_bucket() {
    let metrics = metrics();
    let histogram = &metrics.slot(metrics.place(b"blog", None).unwrap()).application;
    assert_eq!(histogram.quantile(0.5), None);
    for _ in 0..9 {
        histogram.observe(Duration::from_millis(2));
    }
    histogram.observe(Duration::from_secs(3600));
    assert_eq!(histogram.quantile(0.5), Some(0.0025));
    assert_eq!(histogram.quantile(0.99), None);
}
