//! What goes into which report: the numbers of the fields, and what they are computed from.

use std::time::Duration;

use wire::control::Settings;
use wire::limits::Cause;
use wire::telemetry::Telemetry as Wishes;

use super::packet::{Kind, Packet};
use super::period::{Period, STAGES};
use crate::ffi::{host_name, running_version};
use crate::wsgi::COMPATIBLE;

/// Of more runners, only the sums are told.
const MOST_RUNNERS: usize = 128;

/// Each stage's place among the fields: its mean stands at 60 and so much, its least at 70, its most
/// at 80, its histogram at 90.
const PLACES: [u16; STAGES] = [0, 1, 2, 3, 4, 5, 6, 7];
/// Stages that httpd's children have not, and that mod_wsgi leaves out where nothing has run.
const OF_WORKERS: [u16; 2] = [1, 2];

/// Who reports.
#[derive(Debug)]
pub struct Identity {
    version: String,
    python: String,
    httpd: String,
    mpm: Vec<u8>,
    host: Vec<u8>,
    process_group: Vec<u8>,
    parent: u64,
    switch_interval: f64,
}

/// All that a report of requests is made of.
#[derive(Debug)]
pub struct Interval {
    /// Seconds since the report before.
    pub length: f64,
    /// What each runner has done.
    pub periods: Vec<Period>,
    /// For how many seconds each one's request has run; 0 without one.
    pub elapsed: Vec<f64>,
    /// How many have run anything so far.
    pub started: usize,
    /// Processor time of the process in the interval, in user and system mode.
    pub cpu: (f64, f64),
    /// Bytes of resident memory.
    pub memory: u64,
    /// The most that there have been.
    pub most_memory: u64,
}

impl Identity {
    /// As the settings have it.
    pub fn new(settings: &Settings, parent: u32, switch_interval: f64) -> Self {
        let dotted = |(major, minor, patch): (u32, u32, u32)| format!("{major}.{minor}.{patch}");
        Self {
            version: dotted(COMPATIBLE),
            python: running_version().split(' ').next().unwrap_or_default().to_owned(),
            httpd: format!("Apache/{}", dotted(settings.httpd.version)),
            mpm: settings.httpd.mpm_name.clone(),
            host: host_name(),
            process_group: settings.process_group.clone(),
            parent: parent.into(),
            switch_interval,
        }
    }

    /// That the worker serves from now on.
    pub fn started(&self) -> Packet {
        let mut packet = Packet::new(Kind::Started);
        self.describe(&mut packet);
        packet.float(13, self.switch_interval);
        packet
    }

    /// That it is about to end, while so many requests run.
    pub fn stopping(&self, cause: Cause, active: u64) -> Packet {
        let mut packet = self.farewell(Kind::Stopping, Some(cause));
        packet.count(133, active);
        packet
    }

    /// That it ends.
    pub fn stopped(
        &self,
        cause: Option<Cause>,
        uptime: Duration,
        served: u64,
        active: u64,
    ) -> Packet {
        let mut packet = self.farewell(Kind::Stopped, cause);
        packet.float(131, uptime.as_secs_f64());
        packet.count(132, served);
        packet.count(134, active);
        packet.count(135, (active == 0).into());
        packet
    }

    /// What the requests of an interval have come to.
    pub fn requests(&self, wishes: &Wishes, interval: &Interval) -> Packet {
        let Interval { length, periods, elapsed, .. } = interval;
        let mut packet = Packet::new(Kind::Requests);
        self.describe(&mut packet);
        let seconds = |micros: u64| Duration::from_micros(micros).as_secs_f64();
        packet.float(10, *length);
        packet.float(11, seconds(wishes.interval));
        packet.float(12, seconds(wishes.slow.unwrap_or(0)));
        packet.float(13, self.switch_interval);
        let Some(mut sum) = periods.first().cloned() else { return packet };
        periods.iter().skip(1).for_each(|period| sum.merge(period));
        // Of requests that run, the part of this interval counts.
        let busy = |place: usize| periods[place].busy + elapsed[place].min(*length);
        let runners = 0..periods.len();
        packet.count(20, sum.completed.into());
        packet.float(21, f64::from(sum.completed) / length);
        let all: f64 = runners.clone().map(busy).sum();
        packet.float(22, all / length / periods.len() as f64);
        let (user, system) = interval.cpu;
        for (field, time) in (30..).zip([user, system, user + system]) {
            packet.float(field, time / length);
        }
        packet.count(40, interval.memory);
        packet.count(41, interval.most_memory.max(interval.memory));
        let used = |place: &usize| periods[*place].completed > 0 || elapsed[*place] > 0.0;
        packet.count(50, periods.len() as u64);
        packet.count(51, interval.started as u64);
        packet.count(52, runners.clone().filter(used).count() as u64);
        add_stages(&mut packet, &sum);
        for (field, count) in (100..).zip([sum.input.0, sum.input.1, sum.output.0, sum.output.1]) {
            packet.count(field, count);
        }
        for (field, count) in (120..).zip(sum.statuses) {
            packet.count(field, count);
        }
        let told = 0..periods.len().min(MOST_RUNNERS);
        let period = |place: usize| &periods[place];
        packet.counts(110, told.clone().map(|n| period(n).completed.cast_signed()));
        packet.floats(111, told.clone().map(busy));
        packet.floats(112, told.clone().map(|n| period(n).cpu));
        packet.floats(113, told.clone().map(|n| elapsed[n]));
        packet.floats(114, told.map(|n| period(n).longest));
        packet
    }

    fn farewell(&self, kind: Kind, cause: Option<Cause>) -> Packet {
        let mut packet = Packet::new(kind);
        packet.text(5, &self.host);
        packet.text_if_any(6, &self.process_group);
        if let Some(cause) = cause {
            packet.text(130, cause.shutdown_reason().as_bytes());
        }
        packet
    }

    fn describe(&self, packet: &mut Packet) {
        packet.text(1, self.version.as_bytes());
        packet.text(2, self.python.as_bytes());
        packet.text(3, self.httpd.as_bytes());
        packet.text(4, &self.mpm);
        packet.text(5, &self.host);
        packet.text_if_any(6, &self.process_group);
        packet.count(7, self.parent);
    }
}

fn add_stages(packet: &mut Packet, sum: &Period) {
    let told = |place: &u16| sum.completed > 0 || !OF_WORKERS.contains(place);
    let stages = || PLACES.iter().zip(&sum.stages).filter(|(place, _)| told(place));
    for (place, stage) in stages() {
        packet.float(60 + place, stage.mean());
        if let Some((least, most)) = stage.range {
            packet.float(70 + place, least);
            packet.float(80 + place, most);
        }
    }
    for (place, stage) in stages() {
        packet.counts(90 + place, stage.buckets);
    }
}
