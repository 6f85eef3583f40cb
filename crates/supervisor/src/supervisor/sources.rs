//! Everything that can happen, as the system tells it: one `poll`, and what each descriptor means.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::SocketFlags;
use wire::admin::{FromAdmin, State, Worker};
use wire::control::{FromWorker, ToWorker};
use wire::exchange::Level;
use wire::generation::{FromSupervisor, ToSupervisor};

use super::Supervisor;
use crate::admin::{Order, Wish};
use crate::broker::Outcome;
use crate::children;
use crate::link::Ended;
use crate::logic::{Event, SetId, Ticket, WorkerId};
use crate::output::{CAPACITY, Output, OutputId, PER_TURN};
use crate::watch::Watched;

/// Connections closed per turn of the loop.
const HANG_UPS_PER_TURN: usize = 64;

/// What a descriptor that became ready belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Lifeline,
    Names,
    Parent,
    Signals,
    Admin,
    Listener,
    Client(Ticket),
    Set(SetId),
    /// What a worker can take now.
    Outgoing(WorkerId),
    /// What workers have said or printed.
    Workers,
}

impl Supervisor {
    /// Waits until something can be read, or written to a worker, or is due.
    pub(super) fn wait(&self) -> Vec<Source> {
        let parent = rustix::stdio::stdin();
        let mut sources = vec![Source::Signals];
        let mut polled = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(lifeline) = &self.lifeline {
            sources.push(Source::Lifeline);
            // Its end is told in any case. What is written to it is not looked at.
            polled.push(PollFd::new(lifeline, PollFlags::empty()));
        }
        if let Some(names) = &self.names {
            sources.push(Source::Names);
            polled.push(PollFd::new(names, PollFlags::IN));
        }
        if self.parent.is_some() {
            sources.push(Source::Parent);
            polled.push(PollFd::from_borrowed_fd(parent, PollFlags::IN));
        }
        for admin in self.admin.sources() {
            sources.push(Source::Admin);
            polled.push(PollFd::from_borrowed_fd(admin, PollFlags::IN));
        }
        let now = Instant::now();
        if let Some(listener) = self.broker.listener(now) {
            sources.push(Source::Listener);
            polled.push(PollFd::from_borrowed_fd(listener, PollFlags::IN));
        }
        let hanging_up = self.hanging_up.iter().filter(|_| !self.closer.is_full());
        for (id, set) in hanging_up.filter_map(|id| Some((id, self.sets.get(id)?))) {
            sources.push(Source::Set(*id));
            polled.push(PollFd::new(&set.listener, PollFlags::IN));
        }
        for (ticket, client) in self.broker.clients() {
            sources.push(Source::Client(ticket));
            polled.push(PollFd::from_borrowed_fd(client, PollFlags::IN));
        }
        let slow = self.slow.iter().filter_map(|worker| Some((worker, self.links.get(worker)?)));
        for (worker, link) in slow {
            sources.push(Source::Outgoing(*worker));
            polled.push(PollFd::new(link, PollFlags::OUT));
        }
        sources.push(Source::Workers);
        polled.push(PollFd::new(&self.watch, PollFlags::IN));

        let deadlines = [
            self.logic.deadline(),
            self.broker.deadline(),
            self.restore_at,
            self.predecessor_look,
            self.gauge.deadline(),
            self.looks.deadline(),
            self.sample_at,
        ];
        let timeout = deadlines.into_iter().flatten().min().map(|deadline| {
            let left = deadline.saturating_duration_since(now);
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        if rustix::event::poll(&mut polled, timeout.as_ref()).is_err() {
            // A signal, which is read the next time, or no memory, which may pass.
            return Vec::new();
        }
        let ready = sources.into_iter().zip(&polled).filter(|(_, poll)| !poll.revents().is_empty());
        ready.map(|(source, _)| source).collect()
    }

    /// Reads from all that are ready, and turns what came into events. Deaths come last: what a
    /// worker said before it died is older.
    pub(super) fn read(&mut self, ready: &[Source]) {
        for source in ready {
            match *source {
                Source::Signals => {}
                Source::Lifeline => {
                    self.lifeline = None;
                    self.events.push_back(Event::Drain("httpd's processes are gone"));
                }
                Source::Names => self.restore(),
                Source::Parent => self.read_parent(),
                Source::Admin => self.obey(),
                Source::Listener => {
                    for outcome in self.broker.accept(Instant::now()) {
                        self.consider(outcome);
                    }
                }
                Source::Client(ticket) => {
                    if let Some(outcome) = self.broker.read(ticket) {
                        self.consider(outcome);
                    }
                }
                Source::Set(set) => self.hang_up(set),
                Source::Outgoing(worker) => {
                    if let Some(link) = self.links.get_mut(&worker) {
                        link.flush();
                        if !link.has_outgoing() {
                            self.slow.remove(&worker);
                        }
                    }
                }
                Source::Workers => {
                    for watched in self.watch.ready() {
                        match watched {
                            Watched::Link(worker) => self.read_link(worker),
                            Watched::Output(output) => self.read_output(output, PER_TURN),
                            Watched::Arrival(set) => {
                                self.gauge.note_arrival(set, Instant::now());
                            }
                        }
                    }
                }
            }
        }
        if ready.iter().any(|source| matches!(source, Source::Signals)) {
            self.read_signals();
        }
    }

    /// Closes connections that no worker will take: who finds his closed asks us, and hears why.
    fn hang_up(&mut self, set: SetId) {
        let Some(set) = self.sets.get(&set) else {
            return;
        };
        for _ in 0..HANG_UPS_PER_TURN {
            match rustix::net::accept_with(&set.listener, SocketFlags::CLOEXEC) {
                Ok(connection) => self.closer.close(connection),
                Err(_) => return,
            }
        }
    }

    pub(super) fn consider(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Acquire { ticket, process_group, application_group, script } => {
                for set in self.logic.rivals(&process_group, &application_group) {
                    let load = self.load_of(set).map(|load| Event::Load(set, load));
                    self.events.extend(load);
                }
                self.events.push_back(Event::Acquire {
                    ticket,
                    process_group,
                    application_group,
                    script,
                });
            }
            Outcome::Inquire(ticket, pid) => self.events.push_back(Event::Inquire(ticket, pid)),
            Outcome::Abandoned(ticket) => self.events.push_back(Event::Abandoned(ticket)),
            Outcome::TurnedAway(why) => {
                if let Some(suffix) = self.refusals.pass(Instant::now()) {
                    let line = format!("turned away at the supervisor's socket: {why}{suffix}");
                    self.logs.main(Level::Warning, &line);
                }
            }
        }
    }

    /// Does and answers what administrators ask.
    fn obey(&mut self) {
        for order in self.admin.read() {
            let process_group = match &order.wish {
                Wish::Status(name) | Wish::Stacks(name) | Wish::Reload(name, _) => name.as_deref(),
                Wish::Metrics => {
                    match &self.observer {
                        Some(observer) => {
                            observer.weigh();
                            order.hand_over(observer.metrics().file());
                        }
                        None => order.answer(&FromAdmin::NoMetrics),
                    }
                    continue;
                }
                Wish::Foreign => {
                    order.answer(&FromAdmin::WrongVersion { version: wire::VERSION });
                    continue;
                }
            };
            let mut names = self.groups.iter().map(|group| &group.settings.process_group);
            let group = process_group.map(|name| names.position(|known| known == name));
            let group = match group {
                None => None,
                Some(Some(group)) => Some(group),
                Some(None) => {
                    order.answer(&FromAdmin::UnknownGroup { process_groups: self.group_names() });
                    continue;
                }
            };
            match order.wish {
                Wish::Reload(_, wait) => {
                    self.events.push_back(Event::Reload(group));
                    if wait {
                        let ticket = self.admin.keep(order);
                        self.events.push_back(Event::AwaitReload(ticket, group));
                    } else {
                        order.answer(&FromAdmin::Reloading);
                    }
                }
                Wish::Stacks(_) => self.look(order, group),
                Wish::Status(_) | Wish::Metrics | Wish::Foreign => {
                    let mut workers = self.logic.roster(group, Instant::now());
                    workers.iter_mut().for_each(children::measure);
                    order.answer(&FromAdmin::Workers(workers));
                }
            }
        }
    }

    /// Asks the workers of a group, or of all, what their threads do. Only those that serve hear of it:
    /// others run Python on the thread that hears.
    fn look(&mut self, order: Order, group: Option<usize>) {
        let now = Instant::now();
        let workers = self.logic.roster(group, now);
        let serves = |worker: &Worker| worker.state == State::Serving;
        let pids: Vec<_> = workers.iter().filter(|it| serves(it)).map(|it| it.pid).collect();
        let asked = workers.into_iter().map(|worker| {
            let asked = serves(&worker);
            (worker, asked)
        });
        let ticket = self.looks.open(order, now, asked);
        let asked = self.links.iter().filter(|(_, link)| pids.contains(&link.pid));
        for worker in asked.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.order(worker, &ToWorker::Stacks { ticket });
        }
        self.looks.expire(now);
    }

    fn group_names(&self) -> Vec<Vec<u8>> {
        self.groups.iter().map(|group| group.settings.process_group.clone()).collect()
    }

    /// Answers httpd's parent, and takes logs that it has opened anew. Its end changes nothing: its
    /// children go on.
    pub(super) fn read_parent(&mut self) {
        let (parent, Some(inbox)) = (rustix::stdio::stdin(), &mut self.parent) else {
            return;
        };
        match inbox.try_receive(parent) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Ok(0) | Err(_) => return self.parent = None,
        }
        while let Ok(Some(message)) = inbox.next() {
            if let ToSupervisor::LogFile { name } = message {
                if let Some(log) = inbox.take_descriptor() {
                    self.outliving.reopen(&name, log.as_fd());
                    self.logs.reopen(&name, log);
                }
                continue;
            }
            let mut pong = Vec::new();
            wire::encode(&FromSupervisor::Pong, &mut pong);
            // A parent that does not read needs no answer.
            let _ = channel::try_send(parent, &pong);
            if let Some(observer) = &self.observer {
                observer.weigh();
            }
        }
    }

    fn read_link(&mut self, worker: WorkerId) {
        let Some(link) = self.links.get_mut(&worker) else {
            return;
        };
        link.flush();
        let mut messages = Vec::new();
        let ended = link.receive(|message| messages.push(message));
        if ended.is_some() {
            self.watch.remove(&*link);
            self.slow.remove(&worker);
        }
        let (group, pid) = (link.group, link.pid);
        for message in messages {
            self.hear(worker, group, pid, message);
        }
        match ended {
            None => {}
            Some(Ended::Closed) => self.events.push_back(Event::Silent(worker)),
            Some(Ended::Broken(reason)) => self.events.push_back(Event::Broken(worker, reason)),
        }
    }

    fn hear(&mut self, worker: WorkerId, group: usize, pid: u32, message: FromWorker) {
        let event = match message {
            FromWorker::Ready { python } => {
                if let Some(link) = self.links.get_mut(&worker) {
                    link.forget_last_words();
                }
                Event::Ready(worker, python)
            }
            FromWorker::Serving => Event::Serving(worker),
            FromWorker::Proven => Event::Proven(worker),
            FromWorker::Retire { cause, reason, scripts } => {
                Event::Retire(worker, cause, reason, scripts)
            }
            FromWorker::Loaded { script } => Event::Loaded(worker, script),
            FromWorker::Unfit { script, reason } => Event::Unfit(worker, script, reason),
            FromWorker::Failed { reason } => Event::Failed(worker, reason),
            FromWorker::Unloaded { text } => {
                let is_known = self.logic.has_been_said(worker, &text);
                if !is_known && !self.logic.is_repetition(worker, Instant::now()) {
                    text.lines()
                        .for_each(|line| self.log(group, Level::Error, pid, line.as_bytes()));
                }
                Event::Unloaded(worker, text)
            }
            FromWorker::Drained => Event::Drained(worker),
            FromWorker::Busy => Event::Busy(worker),
            FromWorker::Lacks { scripts } => {
                if let Some(observer) = &mut self.observer {
                    observer.lacks(worker, scripts);
                }
                return;
            }
            FromWorker::Stack { ticket, stack } => return self.looks.hear(ticket, pid, stack),
            FromWorker::Stacked { ticket, notes } => {
                return self.looks.complete(ticket, pid, notes);
            }
            FromWorker::Log { level, text } => {
                if !self.logic.is_repetition(worker, Instant::now()) {
                    self.log(group, level, pid, text.as_bytes());
                }
                return;
            }
        };
        self.events.push_back(event);
    }

    /// Reads a worker's output and logs it, until it ends.
    fn read_output(&mut self, id: OutputId, most: usize) {
        let Some(output) = self.outputs.get_mut(&id) else {
            return;
        };
        let (worker, group, pid, level) = (output.worker, output.group, output.pid, output.level);
        let mut lines = Vec::new();
        let more = output.read(most, |line| lines.push(line.to_vec()));
        if !more {
            self.forget_output(id);
        }
        let repeats = self.logic.is_repetition(worker, Instant::now());
        for line in lines {
            if let Some(link) = self.links.get_mut(&worker).filter(|_| level == Level::Error) {
                link.hear(&line);
            }
            if !repeats {
                self.log(group, level, pid, &line);
            }
        }
    }

    fn forget_output(&mut self, id: OutputId) {
        if let Some(output) = self.outputs.remove(&id) {
            self.watch.remove(&output);
        }
    }

    fn read_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match i32::try_from(info.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGTERM)) => self.events.push_back(Event::Drain("got SIGTERM")),
                Ok(Ok(Signal::SIGHUP)) => self.events.push_back(Event::Reload(None)),
                Ok(Ok(Signal::SIGINT)) => self.events.push_back(Event::Drain("got SIGINT")),
                _ => {}
            }
        }
        while let Some((pid, exit)) = children::reap() {
            let exit = self.shortages.explain(exit);
            let found = self.links.iter().find(|(_, link)| link.pid == pid).map(|(id, _)| *id);
            // Others are orphans of applications, and nobody else waits for them.
            let Some(worker) = found else { continue };
            self.read_rest(worker);
            let mut last_words = String::new();
            self.slow.remove(&worker);
            if let Some(mut link) = self.links.remove(&worker) {
                last_words = link.last_words();
                if link.is_open() {
                    self.watch.remove(&link);
                }
                self.closer.close(link.into_socket());
            }
            self.events.push_back(Event::Exited(worker, exit, last_words));
            self.leave(worker, pid);
        }
    }

    /// Leaves to itself what an application has started, and what has outlived its worker.
    fn leave(&mut self, worker: WorkerId, pid: u32) {
        let of_worker = |(_, output): &(&OutputId, &Output)| output.worker == worker;
        let outputs = self.outputs.iter().filter(of_worker).map(|(id, _)| *id);
        for id in outputs.collect::<Vec<_>>() {
            let Some(output) = self.outputs.remove(&id) else { continue };
            self.watch.remove(&output);
            if let Err(error) = self.outliving.read_on(&output, &self.logs) {
                let text = format!(
                    "what programs write that have outlived the worker (pid {pid}) is not read any \
                     more: {error}"
                );
                self.log(output.group, Level::Error, std::process::id(), text.as_bytes());
            }
        }
        let ours = self.ours();
        let is_worker = |child: &u32| self.links.values().any(|link| link.pid == *child);
        let has_orphans =
            children::all().iter().any(|child| !ours.contains(child) && !is_worker(child));
        self.sessions.worker_ended(pid, has_orphans);
    }

    /// Reads what a worker left behind when it died.
    fn read_rest(&mut self, worker: WorkerId) {
        self.read_link(worker);
        let of_worker = |output: &Output| output.worker == worker;
        let outputs = self.outputs.iter().filter(|(_, output)| of_worker(output));
        for id in outputs.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.read_output(id, CAPACITY);
        }
    }
}
