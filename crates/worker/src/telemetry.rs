//! Sends what the worker does to a socket that `WSGITelemetryService` names: every so often what its
//! requests came to, and each slow one. Runners write into sums of their own; one thread reads these,
//! and touches nothing of Python.

mod garbage;
mod packet;
mod period;
mod report;
mod request;
mod socket;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use wire::control::Settings;
use wire::exchange::{Level, Request};
use wire::limits::Cause;
use wire::telemetry::Telemetry as Wishes;

use self::garbage::Garbage;
use self::packet::Packet;
use self::period::Period;
use self::report::{Identity, Interval};
use self::request::{Measure, packet};
use self::socket::Socket;
use crate::clock::Times;
use crate::conversation::exchange::{Exchange, Outcome};
use crate::conversation::particulars::Particulars;
use crate::ffi::Usage;
use crate::process::control::Reporter;
use crate::process::memory::resident_memory;
use crate::slot::Slot;

/// Slow requests that have ended and wait for the next report; of more, the oldest are forgotten.
const MOST_ENDED: usize = 256;
/// Slow requests that still run, in one report.
const MOST_RUNNING: usize = 16;

/// All that is measured, and where it goes.
#[derive(Debug)]
pub struct Telemetry {
    wishes: Wishes,
    identity: Identity,
    interpreter: Vec<u8>,
    /// Whose worker this is, for the log.
    name: String,
    reporter: Reporter,
    /// What each runner does now, and what it has done.
    runners: Vec<(Arc<Slot>, Mutex<Period>)>,
    /// Requests that run.
    active: AtomicU64,
    /// Requests that have ended.
    served: AtomicU64,
    slow: Mutex<VecDeque<Packet>>,
    garbage: Arc<Garbage>,
    began: Instant,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    socket: Socket,
    /// When the last report was made, and what the process had used by then.
    since: (Instant, Usage),
    /// Which runners have run anything.
    started: Vec<bool>,
    cause: Option<Cause>,
    active_at_decision: u64,
    ended: bool,
}

impl Telemetry {
    /// Watches the worker's requests, if the settings say so.
    ///
    /// # Errors
    /// The system's or Python's.
    pub fn start(
        py: Python<'_>,
        settings: &Settings,
        application_group: &[u8],
        monitor: &crate::monitor::Monitor,
        reporter: &Reporter,
    ) -> Result<Option<Arc<Self>>, Box<dyn std::error::Error>> {
        let Some(wishes) = settings.telemetry.clone().filter(|_| settings.threads > 0) else {
            return Ok(None);
        };
        let now = Instant::now();
        let interval = py.import("sys")?.call_method0("getswitchinterval")?.extract()?;
        let garbage = Arc::<Garbage>::default();
        garbage.watch(py)?;
        let slots = monitor.slots.iter();
        let state = State {
            socket: Socket::new(wishes.path.clone())?,
            since: (now, Usage::of_process()),
            started: vec![false; monitor.slots.len()],
            cause: None,
            active_at_decision: 0,
            ended: false,
        };
        let telemetry = Arc::new(Self {
            identity: Identity::new(settings, wishes.httpd, interval),
            interpreter: application_group.to_vec(),
            name: monitor.name().to_owned(),
            reporter: reporter.clone(),
            runners: slots.map(|slot| (Arc::clone(slot), Mutex::new(Period::new(now)))).collect(),
            active: AtomicU64::new(0),
            served: AtomicU64::new(0),
            slow: Mutex::default(),
            garbage,
            began: now,
            state: Mutex::new(state),
            ended: Condvar::new(),
            wishes,
        });
        telemetry.spawn()?;
        Ok(Some(telemetry))
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let telemetry = Arc::clone(self);
        let thread = std::thread::Builder::new().name("wsgi-telemetry".to_owned());
        thread.spawn(move || telemetry.run()).map(drop)
    }

    fn run(&self) {
        let mut state = self.lock();
        self.send(&mut state, self.identity.started());
        let interval = Duration::from_micros(self.wishes.interval);
        let mut due = Instant::now() + interval;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            state = self.ended.wait_timeout(state, left).expect("nobody panics in here").0;
            if state.ended {
                return;
            }
            if due <= Instant::now() {
                self.report(&mut state);
                due = Instant::now() + interval;
            }
        }
    }

    /// What a report of this request would say of it, if it may come to be slow.
    pub fn particulars(
        &self,
        request: &Request<'_>,
        times: Times,
        runner: usize,
    ) -> Option<Box<Particulars>> {
        let user_agent = self.wishes.user_agent;
        let active = || self.active.load(Ordering::Relaxed) + 1;
        let new = || Particulars::new(request, times, runner, active(), user_agent);
        self.wishes.slow.map(|_| Box::new(new()))
    }

    /// A runner begins to run a request.
    pub fn begin(&self, exchange: &Exchange) -> Measure {
        exchange.meter.switch_on();
        self.active.fetch_add(1, Ordering::Relaxed);
        Measure::new()
    }

    /// It has run it.
    pub fn end(
        &self,
        py: Python<'_>,
        exchange: &Exchange,
        measure: &Measure,
        times: Times,
        outcome: &Outcome,
    ) {
        let status = match (outcome, exchange.status(py)) {
            (Outcome::Failed(status), _) if !exchange.is_committed(py) => *status,
            (_, Some(status)) => status,
            (_, None) => 500,
        };
        let sample = measure.sample(exchange, times, status);
        let now = Instant::now();
        if let Some((_, period)) = self.runners.get(exchange.slot().number - 1) {
            let mut period = period.lock().expect("nobody panics in here");
            period.add(&sample, measure.began(), now);
        }
        let active = self.active.fetch_sub(1, Ordering::Relaxed);
        self.served.fetch_add(1, Ordering::Relaxed);
        if let Some(particulars) = exchange.particulars().filter(|it| self.is_slow(it)) {
            let log_id = exchange.request_id().unwrap_or_default();
            let packet = packet(particulars, &exchange.meter, log_id, Some((&sample, active)));
            let mut slow = self.slow.lock().expect("nobody panics in here");
            if slow.len() == MOST_ENDED {
                slow.pop_front();
            }
            slow.push_back(packet);
        }
        self.garbage.look_if_wanted(py);
    }

    /// The worker is about to end.
    pub fn stopping(&self, cause: Cause) {
        let mut state = self.lock();
        state.cause = Some(cause);
        state.active_at_decision = self.active.load(Ordering::Relaxed);
        let packet = self.identity.stopping(cause, state.active_at_decision);
        self.send(&mut state, packet);
    }

    /// The worker ends.
    pub fn stopped(&self) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        self.report(&mut state);
        let active = self.active.load(Ordering::Relaxed);
        let served = self.served.load(Ordering::Relaxed);
        let packet = self.identity.stopped(state.cause, self.began.elapsed(), served, active);
        self.send(&mut state, packet);
        self.ended.notify_all();
    }

    fn report(&self, state: &mut State) {
        let now = Instant::now();
        let usage = Usage::of_process();
        let (since, before) = std::mem::replace(&mut state.since, (now, usage));
        let periods: Vec<Period> = self
            .runners
            .iter()
            .map(|(_, period)| {
                let mut period = period.lock().expect("nobody panics in here");
                std::mem::replace(&mut *period, Period::new(now))
            })
            .collect();
        let elapsed = self.runners.iter().map(|(slot, _)| slot.age());
        let elapsed: Vec<_> = elapsed.map(|age| age.map_or(0.0, |age| age.as_secs_f64())).collect();
        for ((started, period), elapsed) in state.started.iter_mut().zip(&periods).zip(&elapsed) {
            *started |= period.completed > 0 || *elapsed > 0.0;
        }
        let interval = Interval {
            length: now.duration_since(since).as_secs_f64().max(1e-6),
            periods,
            elapsed,
            started: state.started.iter().filter(|started| **started).count(),
            cpu: (usage.user - before.user, usage.system - before.system),
            memory: resident_memory().unwrap_or(0),
            most_memory: usage.most_memory,
        };
        let packet = self.identity.requests(&self.wishes, &interval);
        self.send(state, packet);
        let ended = std::mem::take(&mut *self.slow.lock().expect("nobody panics in here"));
        for packet in ended.into_iter().chain(self.slow_ones()) {
            self.send(state, packet);
        }
        for packet in self.garbage.packets(&self.interpreter) {
            self.send(state, packet);
        }
    }

    /// Slow requests that still run, the oldest first.
    fn slow_ones(&self) -> Vec<Packet> {
        if self.wishes.slow.is_none() {
            return Vec::new();
        }
        let running = Exchange::all_active_detached();
        let mut slow: Vec<_> = running
            .iter()
            .filter_map(|exchange| Some((exchange, exchange.particulars()?)))
            .filter(|(_, particulars)| self.is_slow(particulars))
            .collect();
        slow.sort_by_key(|(_, particulars)| particulars.began());
        let packet = |(exchange, particulars): &(&Arc<Exchange>, &Particulars)| {
            let log_id = exchange.request_id().unwrap_or_default();
            packet(particulars, &exchange.meter, log_id, None)
        };
        slow.iter().take(MOST_RUNNING).map(packet).collect()
    }

    fn is_slow(&self, particulars: &Particulars) -> bool {
        let age = (particulars.age() * 1e6) as u64;
        self.wishes.slow.is_some_and(|threshold| age >= threshold)
    }

    fn send(&self, state: &mut State, packet: Packet) {
        if let Some(complaint) = state.socket.send(packet) {
            self.reporter.log(Level::Warning, format!("{}: {complaint}", self.name));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics in here")
    }
}
