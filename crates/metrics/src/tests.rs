//! Tests of the memory's contents, and of how they are told.

use std::mem::offset_of;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::layout::{BOUNDS, CHILDREN, Class, Histogram, Layout, NAME, Reload, SLOTS, Slot};
use crate::{Cause, Format, Health, Metrics, Reason, Summary, write};

/// The version of the protocol, and the digest of how the memory is laid out.
const RECORDED: (u16, u64) = (2, 0x53a3_301e_b0f3_0fd6);

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

/// Module, supervisor and `wsgictl` may be of two releases, which the version of the protocol tells apart.
#[test]
fn the_layout_does_not_change_without_the_version_of_the_protocol() {
    macro_rules! places {
        ($type:ty: $($field:ident)*) => {
            [$((stringify!($field), offset_of!($type, $field))),*]
        };
    }
    let layout =
        places!(Layout: generation supervisor answering taken padding keys pids slots children);
    let slot = places!(Slot: named is_application process_group application_group server defined requests refused
        restarts reloads received_bytes sent_bytes receiving queued application sending starting workers_serving
        workers_other threads resident is_expected workers_ready);
    let histogram = places!(Histogram: buckets sum);
    let sizes = (size_of::<Layout>(), size_of::<Slot>(), SLOTS, CHILDREN, NAME, BOUNDS);
    let labels = (Class::ALL, Reason::ALL, Cause::ALL, Reload::ALL);
    let text = format!("{layout:?} {slot:?} {histogram:?} {sizes:?} {labels:?}");
    // FNV-1a (RFC 9923).
    let digest = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let (version, recorded) = RECORDED;
    assert_eq!(
        (version, recorded),
        (wire::VERSION, digest),
        "the memory has changed since version {version}: raise wire::VERSION, unless it has been raised since \
         the last release, and record ({}, {digest:#x}) here",
        wire::VERSION
    );
}
