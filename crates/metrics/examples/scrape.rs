//! Measures how long it takes to tell the metrics of 1,000 groups, each with one application group.

use std::time::{Duration, Instant};

use metrics::{Format, Metrics, Summary, write};

fn main() -> std::io::Result<()> {
    let metrics = Metrics::create()?;
    metrics.begin_generation();
    for number in 0..1000 {
        let name = format!("group{number}");
        metrics.define(name.as_bytes(), b"www.example.com");
        let Some(place) = metrics.place(name.as_bytes(), Some(b"")) else { continue };
        let slot = metrics.slot(place);
        slot.count_request(200);
        for histogram in [&slot.queued, &slot.application, &slot.sending, &slot.starting] {
            histogram.observe(Duration::from_millis(number));
        }
    }
    for _ in 0..5 {
        let start = Instant::now();
        let text = write(&Summary::of(&metrics), Format::OpenMetrics);
        println!("{} bytes in {:.1?}", text.len(), start.elapsed());
    }
    Ok(())
}
