//! One request: what is known of it when it begins, what it came to, and its report if it is slow.

use std::time::Instant;

use super::packet::{Kind, Packet};
use super::period::Sample;
use crate::clock::{Times, now, seconds};
use crate::conversation::exchange::Exchange;
use crate::conversation::meter::Meter;
use crate::conversation::particulars::Particulars;
use crate::ffi::Usage;

/// A request that is being measured.
#[derive(Debug)]
pub struct Measure {
    began: Instant,
    usage: Usage,
}

/// The report of a request that runs, or of one that has ended like this, while so many ran.
pub fn packet(
    particulars: &Particulars,
    meter: &Meter,
    log_id: &[u8],
    ended: Option<(&Sample, u64)>,
) -> Packet {
    let stages = stages(meter, particulars.times, now());
    let (sample, active) = match ended {
        Some((sample, active)) => (*sample, active),
        None => (Sample::default(), 0),
    };
    let ((reads, input, input_time), (writes, output, output_time)) =
        (meter.input.sums(), meter.output.sums());
    let mut packet = Packet::new(Kind::Slow);
    packet.count(200, ended.is_some().into());
    packet.float(201, seconds(particulars.times.taken));
    packet.float(202, particulars.age());
    packet.count(203, particulars.thread as u64);
    packet.count(205, particulars.child);
    for (field, count) in (230..).zip([input, reads, output, writes]) {
        packet.count(field, count);
    }
    packet.float(250, sample.cpu.0);
    packet.float(251, sample.cpu.1);
    for (field, stage) in (220..).zip([stages[0], stages[1], stages[2], stages[3], stages[5]]) {
        packet.float(field, stage);
    }
    packet.count(225, meter.lock.sums().0);
    packet.float(234, input_time);
    packet.float(235, output_time);
    packet.count(260, particulars.active);
    packet.count(261, active);
    packet.count(240, sample.status.into());
    packet.text_if_any(204, log_id);
    for (field, text) in (210..).zip(&particulars.texts) {
        packet.text_if_any(field, text);
    }
    packet
}

impl Measure {
    /// Begins, in the thread that runs the request.
    pub fn new() -> Self {
        Self { began: Instant::now(), usage: Usage::of_thread() }
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// What the request has come to, in the same thread.
    pub fn sample(&self, exchange: &Exchange, times: Times, status: u16) -> Sample {
        let usage = Usage::of_thread();
        let meter = &exchange.meter;
        let ((reads, input, _), (writes, output, _)) = (meter.input.sums(), meter.output.sums());
        Sample {
            stages: stages(meter, times, now()),
            status,
            input: (input, reads),
            output: (output, writes),
            cpu: (usage.user - self.usage.user, usage.system - self.usage.system),
        }
    }
}

/// How long each stage has taken by now, in seconds.
fn stages(meter: &Meter, times: Times, now: u64) -> [f64; super::period::STAGES] {
    let between = |from: u64, to: u64| seconds(to.saturating_sub(from));
    // Not called yet: no application could be had, or not so far.
    let called = Some(meter.called()).filter(|called| *called > 0).unwrap_or(now);
    [
        between(times.received, times.queued),
        between(times.queued, times.taken),
        between(times.taken, called),
        between(called, now),
        between(times.received, now),
        meter.lock.sums().2,
        meter.input.sums().2,
        meter.output.sums().2,
    ]
}
