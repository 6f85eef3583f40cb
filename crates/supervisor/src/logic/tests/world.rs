//! A world for the logic: processes that exist only as numbers, a clock that is moved by hand,
//! and everything that must always hold.

mod orders;

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;

/// Name of a group that does not exist, by its number.
const UNKNOWN: &str = "unknown";

/// How many may wait for one application group.
pub const BACKLOG: usize = 40;

/// Of each group: requests that a worker runs at a time, and seconds after which it is too much.
pub const THREADS: u32 = 5;
pub const IDLE_TIMEOUT: u32 = 10;

/// How many workers start at the same time, while no request waits for them.
pub const STARTS_AT_ONCE: usize = 10;

pub struct World {
    logic: Logic,
    plans: Vec<Plan>,
    now: Instant,
    processes: BTreeMap<WorkerId, Process>,
    sets: BTreeSet<SetId>,
    /// The sets whose connections are closed.
    forsaken: BTreeSet<SetId>,
    /// Whether each ticket has been answered or abandoned.
    tickets: BTreeMap<Ticket, bool>,
    lines: Vec<(Level, String)>,
    last_id: u64,
    /// How many processes there have been at a time, at most.
    pub most_alive: usize,
    pub spawns_fail: bool,
    pub sockets_fail: bool,
    /// Whether scripts cannot be loaded.
    pub code_is_broken: bool,
    /// Whether no worker goes that is asked.
    pub all_are_busy: bool,
    /// The sets whose load is to be told.
    pub weighed: BTreeSet<SetId>,
    pub granted: usize,
    pub refused: usize,
    pub reloads: Vec<Reloaded>,
    pub exit_reasons: Vec<Known>,
    /// Those who asked for an end and have no answer.
    pub inquiries: BTreeSet<Ticket>,
    pub drained: bool,
    pub finished: bool,
}

#[derive(Default)]
struct Process {
    ready: bool,
    set: Option<SetId>,
    serving: bool,
    asked_to_leave: bool,
    asked_to_retire: bool,
    /// It was asked whether it can go, and has not answered.
    asked_to_go: bool,
    killed: bool,
    /// The scripts that it has loaded, and those that it has been told to.
    loaded: BTreeSet<Vec<u8>>,
    to_load: BTreeSet<Vec<u8>>,
    /// The script that it could not load, as long as it waits to hear what becomes of it.
    unfit_for: Option<Vec<u8>>,
    /// The grace that it was given with the order to drain.
    grace: Option<u32>,
}

pub fn plan(name: &str, processes: u32, prestart: bool) -> Plan {
    let limits = Limits {
        shutdown_timeout: 7,
        graceful_timeout: 30,
        eviction_timeout: 20,
        ..Limits::default()
    };
    Plan {
        name: name.as_bytes().to_vec(),
        processes: Processes { least: processes, most: processes },
        threads: THREADS,
        idle_timeout: IDLE_TIMEOUT,
        patience: BACKLOG,
        prestart,
        imports: Vec::new(),
        is_service: false,
        keeps: false,
        stops_first: false,
        limits,
    }
}

/// A group whose number of workers follows the load.
pub fn range(name: &str, least: u32, most: u32) -> Plan {
    Plan { processes: Processes { least, most }, ..plan(name, least, false) }
}

impl World {
    /// The default group, one that is started beforehand, and a large one.
    pub fn new() -> Self {
        Self::with(vec![plan("", 1, false), plan("blog", 2, true), range("shop", 1, 4)])
    }

    pub fn with(plans: Vec<Plan>) -> Self {
        let mut world = Self::silent(plans);
        world.feed(Event::Start);
        world
    }

    /// Nothing has happened in it yet.
    pub fn silent(plans: Vec<Plan>) -> Self {
        Self {
            logic: Logic::new(plans.clone(), STARTS_AT_ONCE),
            plans,
            now: Instant::now(),
            processes: BTreeMap::new(),
            sets: BTreeSet::new(),
            forsaken: BTreeSet::new(),
            tickets: BTreeMap::new(),
            lines: Vec::new(),
            last_id: 0,
            most_alive: 0,
            spawns_fail: false,
            sockets_fail: false,
            code_is_broken: false,
            all_are_busy: false,
            weighed: BTreeSet::new(),
            granted: 0,
            refused: 0,
            reloads: Vec::new(),
            exit_reasons: Vec::new(),
            inquiries: BTreeSet::new(),
            drained: false,
            finished: false,
        }
    }

    /// Tells the logic, does what it wants, and checks all that must hold.
    pub fn feed(&mut self, event: Event) {
        self.drained |= matches!(event, Event::Drain(_));
        let mut events = vec![event];
        while !events.is_empty() {
            let mut next = Vec::new();
            for event in events {
                for action in self.logic.handle(event, self.now) {
                    next.extend(self.act(action));
                }
            }
            events = next;
        }
        self.check();
    }

    /// Somebody asks for an application group, which has a script of its own.
    pub fn acquire(&mut self, group: u8, name: u8) {
        self.acquire_for(group, name, name);
    }

    /// Somebody asks for an application group that is to run this script.
    pub fn acquire_for(&mut self, group: u8, name: u8, script: u8) {
        let ticket = Ticket(self.tickets.len() as u64);
        self.tickets.insert(ticket, false);
        let plan = self.plans.get(usize::from(group));
        self.feed(Event::Acquire {
            ticket,
            process_group: plan.map_or(UNKNOWN.into(), |plan| plan.name.clone()),
            application_group: vec![name],
            script: Some(vec![script]),
        });
    }

    /// A connection has waited at the socket of one of the sets.
    pub fn crowd(&mut self, which: u8, requests: Option<u64>) {
        let sets: Vec<_> = self.sets.iter().copied().collect();
        if let Some(set) = choose(&sets, which) {
            self.feed(Event::Crowded(set, requests));
        }
    }

    /// All that serve say that a request has ended.
    pub fn prove_all(&mut self) {
        for id in self.serving() {
            self.feed(Event::Proven(id));
        }
    }

    /// All sets have so many requests, as is told when somebody asks for a further one.
    pub fn load_of_all(&mut self, requests: u64) {
        for set in self.sets.clone() {
            self.feed(Event::Load(set, requests));
        }
    }

    /// All sets whose load is wanted have so many requests, for so many seconds.
    pub fn load(&mut self, requests: u64, seconds: u32) {
        for _ in 0..seconds {
            self.pass(Duration::from_secs(1));
            for set in self.weighed.clone() {
                self.feed(Event::Load(set, requests));
            }
            self.cooperate();
        }
    }

    pub fn abandon(&mut self, which: u8) {
        let waiting: Vec<_> =
            self.tickets.iter().filter(|(_, done)| !**done).map(|(ticket, _)| *ticket).collect();
        if let Some(ticket) = choose(&waiting, which) {
            self.tickets.insert(ticket, true);
            self.feed(Event::Abandoned(ticket));
        }
    }

    /// The process id of one of the processes.
    pub fn pid(&self, which: u8) -> u32 {
        let alive: Vec<_> = self.processes.keys().copied().collect();
        choose(&alive, which).map_or(0, pid)
    }

    pub fn inquire(&mut self, pid: u32) {
        let ticket = Ticket(u64::MAX - (self.exit_reasons.len() + self.inquiries.len()) as u64);
        self.inquiries.insert(ticket);
        self.feed(Event::Inquire(ticket, pid));
    }

    /// One of the processes says something, whether it makes sense or not.
    pub fn tell(&mut self, which: u8, event: impl Fn(WorkerId) -> Event) {
        let alive: Vec<_> = self.processes.keys().copied().collect();
        let Some(id) = choose(&alive, which) else {
            return;
        };
        let event = event(id);
        if let Some(process) = self.processes.get_mut(&id) {
            process.ready |= matches!(event, Event::Ready(..));
            process.serving |= matches!(event, Event::Serving(_)) && process.set.is_some();
            process.asked_to_retire &= !matches!(event, Event::Retire(..));
            process.asked_to_go &= !matches!(event, Event::Busy(_) | Event::Drained(_));
        }
        self.feed(event);
    }

    pub fn exit(&mut self, which: u8, exit: Exit) {
        let alive: Vec<_> = self.processes.keys().copied().collect();
        if let Some(id) = choose(&alive, which) {
            self.processes.remove(&id);
            self.feed(Event::Exited(id, exit, "last words".to_owned()));
        }
    }

    pub fn exit_all(&mut self) {
        while !self.processes.is_empty() {
            self.exit(0, Exit::Status(0));
        }
    }

    /// A request makes one of the processes that serve load a script, if it can.
    pub fn request(&mut self, which: u8, script: u8) {
        let serving: Vec<_> = self.serving().into_iter().collect();
        if let Some(id) = choose(&serving, which) {
            self.try_to_load(id, vec![script]);
        }
    }

    /// Each set's scripts that a worker which serves has loaded.
    pub fn kept(&self) -> BTreeSet<(SetId, Vec<u8>)> {
        let serving = self.processes.values().filter(|p| p.serving && !p.asked_to_leave);
        let of = |process: &Process| {
            let set = process.set.expect("who serves does it for a set");
            process.loaded.iter().map(move |script| (set, script.clone())).collect::<Vec<_>>()
        };
        serving.flat_map(of).collect()
    }

    /// The scripts that a worker which serves lacks, although another one of its set has them.
    pub fn lacking(&self) -> usize {
        let kept = self.kept();
        let serving = self.processes.values().filter(|p| p.serving && !p.asked_to_leave);
        let lacks = |p: &Process| {
            kept.iter()
                .filter(|(set, script)| p.set == Some(*set) && !p.loaded.contains(script))
                .count()
        };
        serving.map(lacks).sum()
    }

    /// A request makes one of the processes that serve ask for another one with the code as it is.
    pub fn change(&mut self, which: u8) {
        let serving: Vec<_> = self.serving().into_iter().collect();
        if let Some(id) = choose(&serving, which) {
            let process = self.process(id);
            process.asked_to_retire = false;
            let scripts = process.loaded.iter().cloned().collect();
            self.feed(Event::Retire(id, Cause::ScriptReload, "it has changed".to_owned(), scripts));
        }
    }

    /// How many scripts the newest process has to load before it serves.
    pub fn preloaded(&mut self) -> usize {
        self.tell(0, |id| Event::Ready(id, "3.14".to_owned()));
        self.processes.values().map(|process| process.to_load.len()).sum()
    }

    fn try_to_load(&mut self, id: WorkerId, script: Vec<u8>) {
        let broken = self.code_is_broken;
        let process = self.process(id);
        process.to_load.remove(&script);
        if process.loaded.contains(&script) || process.unfit_for.is_some() {
            return;
        }
        if broken {
            process.unfit_for = Some(script.clone());
            self.feed(Event::Unfit(id, script, "cannot load it".to_owned()));
        } else {
            process.loaded.insert(script.clone());
            self.feed(Event::Loaded(id, script));
        }
    }

    /// All processes do what is expected of them next, until nothing is.
    pub fn cooperate(&mut self) {
        while self.cooperate_once() {}
    }

    /// One process does what is expected of it next. Returns whether there was one.
    pub fn cooperate_once(&mut self) -> bool {
        let next = self.processes.iter().find_map(|(id, process)| {
            let script = process.to_load.first().filter(|_| process.unfit_for.is_none());
            let Process { ready, set, serving, asked_to_leave, asked_to_retire, .. } = *process;
            let Process { killed, asked_to_go, .. } = *process;
            match () {
                () if asked_to_leave || killed => Some((*id, "exit")),
                () if !ready => Some((*id, "ready")),
                () if set.is_some() && script.is_some() && self.code_is_broken && !serving => {
                    Some((*id, "fail"))
                }
                () if set.is_some() && script.is_some() => Some((*id, "load")),
                () if set.is_some() && !serving => Some((*id, "serving")),
                () if asked_to_go => Some((*id, if self.all_are_busy { "busy" } else { "go" })),
                () if asked_to_retire => Some((*id, "retire")),
                () => None,
            }
        });
        let Some((id, what)) = next else { return false };
        if what == "load" {
            let script = self.process(id).to_load.first().cloned().expect("there is one");
            self.try_to_load(id, script);
            return true;
        }
        if what == "fail" {
            self.process(id).asked_to_leave = true;
            self.feed(Event::Failed(id, "cannot load it".to_owned()));
            return true;
        }
        let event = match what {
            "exit" => Event::Exited(id, Exit::Status(0), String::new()),
            "ready" => Event::Ready(id, "3.14".to_owned()),
            "retire" => {
                let scripts = self.process(id).loaded.iter().cloned().collect();
                Event::Retire(id, Cause::ReloadOrder, "a reload was ordered".to_owned(), scripts)
            }
            "busy" => Event::Busy(id),
            "go" => Event::Drained(id),
            _ => Event::Serving(id),
        };
        if what == "exit" {
            self.processes.remove(&id);
        }
        if let Some(process) = self.processes.get_mut(&id) {
            (process.ready, process.serving) = (true, what != "ready");
            process.asked_to_retire &= what != "retire";
            process.asked_to_go &= what != "busy" && what != "go";
            // Then it exits.
            process.asked_to_leave |= what == "go";
        }
        self.feed(event);
        true
    }

    /// Lets time pass, with a tick whenever the logic wants one, and not one more.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.logic.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.feed(Event::Tick);
            let next = self.logic.deadline();
            assert!(next.is_none_or(|next| next > self.now), "a tick changed nothing: busy loop");
        }
        self.now = end;
    }

    pub fn unanswered(&self) -> usize {
        self.tickets.values().filter(|done| !**done).count()
    }

    pub fn alive(&self) -> usize {
        self.processes.len()
    }

    /// The grace of each process that was told to drain.
    pub fn graces(&self) -> Vec<u32> {
        self.processes.values().filter_map(|process| process.grace).collect()
    }

    pub fn now(&self) -> Instant {
        self.now
    }

    pub fn hung_up(&self) -> usize {
        self.forsaken.len()
    }

    pub fn open_sets(&self) -> usize {
        self.sets.len()
    }

    pub fn lines_at(&self, level: Level) -> Vec<&str> {
        let lines = self.lines.iter().filter(|(at, _)| *at == level);
        lines.map(|(_, line)| line.as_str()).collect()
    }

    /// Each set has all its workers, and they serve.
    #[track_caller]
    pub fn check_complete(&self) {
        for (id, set) in &self.logic.sets {
            let serving =
                self.processes.values().filter(|p| p.set == Some(*id) && p.serving).count();
            assert_eq!(serving, set.scale.wanted as usize, "{id:?}");
        }
    }

    /// Each set has the fewest workers that it may have, and they serve.
    #[track_caller]
    pub fn check_least(&self) {
        self.check_complete();
        for (id, set) in &self.logic.sets {
            assert_eq!(set.scale.wanted, self.plans[set.group].processes.least, "{id:?}");
        }
    }

    /// How many workers of an application group accept requests.
    pub fn serving_of(&self, group: usize, name: u8) -> usize {
        let is_it = |set: &&Set| set.group == group && set.application_group == [name];
        let id = self.logic.sets.iter().find(|(_, set)| is_it(set)).map(|(id, _)| *id);
        let serving = self.processes.values().filter(|p| p.serving && !p.asked_to_leave);
        serving.filter(|process| process.set.is_some() && process.set == id).count()
    }

    /// What the first of the workers says that are not serving yet.
    pub fn next_step_to_serving(&mut self) -> Option<Event> {
        let mut processes = self.processes.iter_mut().filter(|(_, p)| !p.asked_to_leave);
        processes.find_map(|(id, process)| match (process.ready, process.serving) {
            (false, _) => {
                process.ready = true;
                Some(Event::Ready(*id, "3.14".to_owned()))
            }
            (true, false) if process.set.is_some() => {
                process.serving = true;
                Some(Event::Serving(*id))
            }
            _ => None,
        })
    }

    /// The workers that accept requests.
    pub fn serving(&self) -> BTreeSet<WorkerId> {
        let serving = self.processes.iter().filter(|(_, p)| p.serving && !p.asked_to_leave);
        serving.map(|(id, _)| *id).collect()
    }

    /// Each set has at least as many workers that accept requests as it shall have.
    #[track_caller]
    pub fn check_no_gap(&self) {
        for (id, set) in &self.logic.sets {
            let members = self.serving().into_iter().filter(|w| self.processes[w].set == Some(*id));
            assert!(members.count() >= self.plans[set.group].processes.least as usize, "{id:?}");
        }
    }

    #[track_caller]
    pub fn check_all_killed(&self) {
        self.check_all_killed_but(0);
    }

    #[track_caller]
    pub fn check_all_killed_but(&self, spared: usize) {
        assert_eq!(self.processes.values().filter(|process| !process.killed).count(), spared);
    }
}

fn choose<T: Copy>(from: &[T], which: u8) -> Option<T> {
    from.get(usize::from(which) % from.len().max(1)).copied()
}

/// Small numbers, so that random questions hit.
fn pid(id: WorkerId) -> u32 {
    u32::try_from(id.0).expect("there are not that many")
}
