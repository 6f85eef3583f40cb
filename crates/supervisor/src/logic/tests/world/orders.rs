//! What becomes of the logic's orders, and the rules that every one of them has to keep.

use super::*;
use crate::logic::newcomers::MAX_SETS;

impl World {
    /// Carries out one order. Returns what the logic hears of it at once.
    pub(super) fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn(id, group) => {
                assert!(id.0 > self.last_id, "{id:?} was started twice");
                self.last_id = id.0;
                assert!(group < self.plans.len() && !self.drained);
                if self.spawns_fail {
                    return Some(Event::NotStarted(id, "no such file".to_owned()));
                }
                self.processes.insert(id, Process::default());
                self.most_alive = self.most_alive.max(self.processes.len());
                return Some(Event::Started(id, pid(id)));
            }
            Action::OpenSet(id, _) => {
                assert!(self.sets.insert(id));
                if self.sockets_fail {
                    return Some(Event::SetFailed(id, "no descriptors".to_owned()));
                }
            }
            Action::CloseSet(id) => {
                assert!(self.sets.remove(&id));
                self.forsaken.remove(&id);
                self.weighed.remove(&id);
            }
            Action::HangUp(id, true) => {
                assert!(self.sets.contains(&id) && self.forsaken.insert(id));
            }
            Action::HangUp(id, false) => assert!(self.forsaken.remove(&id)),
            Action::Retire(id) => {
                let process = self.process(id);
                assert!(process.serving && !process.asked_to_leave);
                assert!(!process.asked_to_retire, "{id:?} was told twice");
                process.asked_to_retire = true;
            }
            Action::Keep(id) => assert!(self.process(id).serving),
            Action::Assign(id, set, _, preload) => {
                assert!(self.sets.contains(&set));
                let keeps = self.keeps(id);
                let process = self.process(id);
                assert!(process.ready && process.set.is_none(), "{id:?} was assigned twice");
                process.set = Some(set);
                if keeps {
                    process.to_load = preload.into_iter().collect();
                }
            }
            Action::Load(id, scripts) => {
                assert!(self.keeps(id));
                let process = self.process(id);
                assert!(process.serving && !process.asked_to_leave);
                process.to_load.extend(scripts);
            }
            Action::Alone(id) => {
                assert!(!self.process(id).asked_to_leave, "one answer is enough");
                let script = self.process(id).unfit_for.take();
                let this = &self.processes[&id];
                let stands_in = |other: &Process| {
                    other.set == this.set
                        && other.serving
                        && !other.asked_to_leave
                        && other.loaded.is_superset(&this.loaded)
                        && script.as_ref().is_some_and(|script| other.loaded.contains(script))
                };
                assert!(!self.processes.values().any(stands_in), "{id:?} is not alone");
            }
            Action::Dismiss(id) => {
                let process = self.process(id);
                assert!(process.serving && !process.asked_to_leave);
                assert!(
                    !std::mem::replace(&mut process.asked_to_go, true),
                    "{id:?} was told twice"
                );
            }
            Action::Weigh(id, true) => assert!(self.sets.contains(&id) && self.weighed.insert(id)),
            Action::Weigh(id, false) => assert!(self.weighed.remove(&id)),
            Action::Grows(group, ..) => assert!(self.plans[group].processes.is_range()),
            // A worker can be sent away before its process exists: it is started just then.
            Action::Drain(id, grace) => {
                if let Some(process) = self.processes.get_mut(&id) {
                    process.asked_to_leave = true;
                    assert_eq!(process.grace.replace(grace), None, "{id:?} was told twice");
                }
            }
            Action::Terminate(id) => {
                if let Some(process) = self.processes.get_mut(&id) {
                    process.asked_to_leave = true;
                }
            }
            Action::Kill(id) => self.process(id).killed = true,
            Action::Grant(ticket, set, processes) => {
                assert!(self.sets.contains(&set) && !self.forsaken.contains(&set));
                assert!(self.processes.values().any(|p| p.set == Some(set) && p.serving));
                assert!(processes > 0);
                self.granted += 1;
                self.answer(ticket);
            }
            Action::Refuse(ticket, reason, seconds) => {
                assert!(!reason.is_empty() && (1..=60).contains(&seconds));
                self.refused += 1;
                self.answer(ticket);
            }
            Action::Tell(ticket, exit_reason) => {
                self.exit_reasons.push(exit_reason);
                assert!(self.inquiries.remove(&ticket), "{ticket:?} was answered twice");
            }
            Action::Reloaded(_, outcome) => self.reloads.push(outcome),
            Action::Log(_, level, line) => self.lines.push((level, line)),
            Action::Finish => {
                assert!(!self.finished && self.drained && self.sets.is_empty());
                self.finished = true;
            }
        }
        None
    }

    fn keeps(&self, id: WorkerId) -> bool {
        let group = self.logic.workers.get(&id).map(|worker| worker.group);
        group.is_some_and(|group| self.plans[group].keeps)
    }

    pub(super) fn process(&mut self, id: WorkerId) -> &mut Process {
        self.processes.get_mut(&id).expect("orders go to workers that are there")
    }

    fn answer(&mut self, ticket: Ticket) {
        let answered = self.tickets.insert(ticket, true);
        assert_eq!(answered, Some(false), "{ticket:?} was answered twice");
    }

    /// What must hold after every event.
    pub(super) fn check(&self) {
        if !self.finished {
            let known: Vec<_> = self.logic.workers.keys().collect();
            let there: Vec<_> = self.processes.keys().collect();
            assert_eq!(known, there, "workers were forgotten, or are believed in");
        }
        assert!(self.logic.sets.keys().eq(self.sets.iter()));
        for (group, plan) in self.plans.iter().enumerate() {
            let sets = self.logic.sets.iter().filter(|(_, set)| set.group == group);
            assert!(sets.count() <= MAX_SETS);
            let members = |set: Option<SetId>| {
                let workers = self.logic.workers.values();
                let workers = workers.filter(|w| w.group == group && w.set == set);
                let (new, there): (Vec<_>, Vec<_>) =
                    workers.filter(|w| !w.is_leaving()).partition(|w| w.replaces.is_some());
                assert!(new.len() <= 1, "more than one of a set is replaced at a time");
                there.len()
            };
            let most = plan.processes.most as usize;
            assert!(members(None) <= most);
            assert!(self.sets.iter().all(|set| members(Some(*set)) <= most), "two for one slot");
            let crowd = |set: &SetId| {
                let workers = self.logic.workers.values();
                workers.filter(|w| w.group == group && w.set == Some(*set)).count()
            };
            assert!(self.sets.iter().all(|set| crowd(set) <= 4 * most + 9), "a flood of processes");
        }
    }
}
