//! Does what the logic has decided.

use std::time::Instant;

use logline::Line;
use nix::unistd::Uid;
use wire::Secret;
use wire::admin::FromAdmin;
use wire::broker::FromBroker;
use wire::control::ToWorker;
use wire::exchange::Level;

use super::{OpenSet, Supervisor, plan};
use crate::children;
use crate::directory::Guests;
use crate::link::{Link, NotReading};
use crate::logic::{Action, Event, ExitReason, Known, Reloaded, SetId, WorkerId};
use crate::output::{Output, OutputId};
use crate::spawn::{Spawned, spawn};
use crate::watch::Watched;

impl Supervisor {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Spawn(worker, group) => self.spawn(worker, group),
            Action::OpenSet(set, group) => match self.open_set(set, group) {
                Err(reason) => self.events.push_back(Event::SetFailed(set, reason)),
                Ok(()) if plan(&self.groups[group]).processes.is_range() => {
                    self.await_arrival(set);
                }
                Ok(()) => {}
            },
            Action::CloseSet(set) => {
                self.hanging_up.remove(&set);
                self.gauge.forget(set, Instant::now());
                if let Some(open) = self.sets.remove(&set) {
                    self.watch.remove(&open.listener);
                    self.directory.unlink(&socket_name(set));
                    self.closer.close_listener(open.listener);
                }
            }
            Action::HangUp(set, hangs_up) => {
                if hangs_up {
                    self.hanging_up.insert(set);
                } else {
                    self.hanging_up.remove(&set);
                }
            }
            Action::Assign(worker, set, name, preload) => self.assign(worker, set, name, preload),
            Action::Keep(worker) => self.order(worker, &ToWorker::Keep),
            Action::Load(worker, scripts) => self.order(worker, &ToWorker::Load { scripts }),
            Action::Alone(worker) => self.order(worker, &ToWorker::Alone),
            Action::Retire(worker) => self.order(worker, &ToWorker::Retire),
            Action::Dismiss(worker) => self.order(worker, &ToWorker::Dismiss),
            Action::Weigh(set, wanted) => self.gauge.weigh(set, wanted, Instant::now()),
            // The observer follows it.
            Action::Grows(..) => {}
            Action::Drain(worker, grace) => self.order(worker, &ToWorker::Drain { grace }),
            Action::Terminate(worker) => self.signal(worker, rustix::process::Signal::TERM),
            Action::Kill(worker) => self.signal(worker, rustix::process::Signal::KILL),
            Action::Grant(ticket, set, processes) => {
                if let Some(OpenSet { secret, .. }) = self.sets.get(&set) {
                    let socket = self.directory.socket(&socket_name(set));
                    let answer = FromBroker::Granted { socket, secret: *secret, processes };
                    self.broker.answer(ticket, answer);
                }
            }
            Action::Refuse(ticket, reason, retry_after) => {
                self.broker.answer(ticket, FromBroker::Unavailable { reason, retry_after });
            }
            Action::Tell(ticket, known) => {
                let answer = match known {
                    Known::Ended(ExitReason { how, too_slow }) => {
                        FromBroker::Ended { how, too_slow }
                    }
                    Known::Running => FromBroker::Running,
                    Known::Nothing => FromBroker::Unknown,
                };
                self.broker.answer(ticket, answer);
            }
            Action::Reloaded(ticket, Reloaded { replaced, failures }) => {
                self.admin.answer(ticket, &FromAdmin::Reloaded { replaced, failures });
            }
            Action::Log(None, level, text) => self.logs.main(level, &text),
            Action::Log(Some(group), level, text) => {
                self.log(group, level, std::process::id(), text.as_bytes());
            }
            Action::Finish => self.finished = true,
        }
    }

    /// Writes to the log of a group.
    pub(super) fn log(&mut self, group: usize, level: Level, pid: u32, text: &[u8]) {
        self.say(group, level, Line { message: text, pid, ..Line::default() });
    }

    /// Writes to the log of a worker's group, with the application group that it serves.
    pub(super) fn log_of(&mut self, worker: WorkerId, group: usize, level: Level, line: Line<'_>) {
        let application_group =
            self.links.get(&worker).and_then(|link| link.application_group.clone());
        self.say(group, level, Line { application_group: application_group.as_deref(), ..line });
    }

    fn say(&mut self, number: usize, level: Level, line: Line<'_>) {
        let group = &self.groups[number];
        let line = Line { process_group: Some(&group.settings.process_group), ..line };
        self.logs.group(number, level, line);
    }

    pub(super) fn order(&mut self, worker: WorkerId, order: &ToWorker) {
        if let Some(link) = self.links.get_mut(&worker) {
            let sent = link.send(order, None);
            self.note(worker, sent);
        }
    }

    /// Deals with a worker that could not be told something, or not at once.
    fn note(&mut self, worker: WorkerId, sent: Result<(), NotReading>) {
        if self.links.get(&worker).is_some_and(Link::has_outgoing) {
            self.slow.insert(worker);
        }
        if let Err(error) = sent {
            self.events.push_back(Event::Broken(worker, error.to_string()));
        }
    }

    fn spawn(&mut self, worker: WorkerId, group: usize) {
        let event = match spawn(&self.groups[group], &self.installed, self.descriptors) {
            Ok(Spawned { pid, control, stdout, stderr }) => {
                let mut link = Link::new(group, pid, control);
                let settings = Box::new(self.groups[group].settings.clone());
                let sent = link.send(&ToWorker::Configure(settings), None);
                let watched = self.watch.add(&link, Watched::Link(worker));
                self.links.insert(worker, link);
                // What an application prints must be there.
                let prints = self.logs.level_of_prints(group);
                let outputs = [(prints, stdout), (Level::Error, stderr)];
                let watched = outputs.into_iter().fold(watched, |watched, (level, pipe)| {
                    watched.and(self.listen_to(Output::new(worker, group, pid, level, pipe)))
                });
                self.note(worker, sent);
                if let Err(error) = watched {
                    let reason = format!("it cannot be watched: {error}");
                    self.events.push_back(Event::Broken(worker, reason));
                }
                Event::Started(worker, pid)
            }
            Err(reason) => Event::NotStarted(worker, reason),
        };
        self.events.push_back(event);
    }

    fn listen_to(&mut self, output: Output) -> std::io::Result<()> {
        self.last_output += 1;
        let id = OutputId(self.last_output);
        self.watch.add(&output, Watched::Output(id))?;
        self.outputs.insert(id, output);
        Ok(())
    }

    fn open_set(&mut self, set: SetId, group: usize) -> Result<(), String> {
        let mut random = [0; Secret::SIZE];
        let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
        if filled.map_err(|error| format!("no random bytes: {error}"))? != random.len() {
            return Err("too few random bytes".to_owned());
        }
        let settings = &self.groups[group].settings;
        let owner = settings.socket_user.map(Uid::from_raw);
        let guests = owner.map_or(Guests::None, Guests::Owner);
        let listener = self.directory.listen(&socket_name(set), settings.backlog, guests);
        let listener = listener.map_err(|error| error.to_string())?;
        self.sets.insert(set, OpenSet { listener, secret: Secret::new(random) });
        Ok(())
    }

    fn assign(
        &mut self,
        worker: WorkerId,
        set: SetId,
        application_group: Vec<u8>,
        preload: Vec<Vec<u8>>,
    ) {
        let (Some(link), Some(OpenSet { listener, secret, .. })) =
            (self.links.get_mut(&worker), self.sets.get(&set))
        else {
            return;
        };
        let configured = &self.groups[link.group].application_groups;
        let configured = configured.iter().find(|group| group.name == application_group);
        let interpreter = configured.map(|group| group.interpreter.clone());
        let imports = configured.map_or(&[][..], |group| &group.imports);
        let others = preload.into_iter().filter(|script| !imports.contains(script));
        let preload = imports.iter().cloned().chain(others).collect();
        match listener.try_clone() {
            Ok(listener) => {
                link.application_group = Some(application_group.clone());
                let message = ToWorker::Assign {
                    application_group,
                    secret: *secret,
                    preload,
                    interpreter: interpreter.unwrap_or_default(),
                };
                let sent = link.send(&message, Some(listener));
                self.note(worker, sent);
            }
            Err(error) => {
                let reason = format!("its socket cannot be handed over: {error}");
                self.events.push_back(Event::Broken(worker, reason));
            }
        }
    }

    fn signal(&self, worker: WorkerId, signal: rustix::process::Signal) {
        // Workers without a link have been reaped: their process ids may belong to others.
        if let Some(link) = self.links.get(&worker) {
            children::signal(link.pid, signal);
        }
    }
}

pub(super) fn socket_name(set: SetId) -> String {
    format!("{}.sock", set.0)
}
