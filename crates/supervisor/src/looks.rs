//! Questions of administrators to workers, until all workers have answered, or have had their time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wire::admin::{self, FromAdmin, State, WorkerStacks};
use wire::control::Stack;

use crate::admin::Order;

/// How long a worker has for its answer, of which it needs milliseconds.
const STACKS_TIMEOUT: Duration = Duration::from_secs(2);

/// Questions at a time.
const MOST: usize = 4;

/// How much of all answers together is passed on, in bytes: as much as a socket takes at once.
const ROOM: usize = 160 << 10;

/// The questions that are open.
#[derive(Debug, Default)]
pub struct Looks {
    last: u64,
    open: BTreeMap<u64, Look>,
}

/// One question.
#[derive(Debug)]
struct Look {
    order: Order,
    deadline: Instant,
    workers: Vec<Asked>,
    room: usize,
}

/// A worker that has been asked, or could not be.
#[derive(Debug)]
struct Asked {
    told: WorkerStacks,
    waits: bool,
    /// Threads that there was no room for.
    left_out: usize,
}

impl Looks {
    /// Opens a question about these workers, each with whether it is asked. Returns what the answers bear.
    pub fn open(
        &mut self,
        order: Order,
        now: Instant,
        workers: impl Iterator<Item = (admin::Worker, bool)>,
    ) -> u64 {
        if self.open.len() >= MOST
            && let Some((_, oldest)) = self.open.pop_first()
        {
            oldest.answer();
        }
        self.last += 1;
        let asked = |(worker, waits): (admin::Worker, bool)| Asked {
            told: WorkerStacks {
                process_group: worker.process_group,
                application_group: worker.application_group,
                pid: worker.pid,
                state: worker.state,
                stacks: Vec::new(),
                notes: if waits { Vec::new() } else { vec![why_unasked(worker.state)] },
            },
            waits,
            left_out: 0,
        };
        let workers = workers.map(asked).collect();
        self.open
            .insert(self.last, Look { order, deadline: now + STACKS_TIMEOUT, workers, room: ROOM });
        self.last
    }

    /// A worker tells of one of its threads.
    pub fn hear(&mut self, ticket: u64, pid: u32, stack: Stack) {
        let Some(look) = self.open.get_mut(&ticket) else { return };
        let Some(asked) = look.workers.iter_mut().find(|it| it.told.pid == pid && it.waits) else {
            return;
        };
        match look.room.checked_sub(size(&stack)) {
            Some(room) => {
                look.room = room;
                asked.told.stacks.push(stack);
            }
            None => asked.left_out += 1,
        }
    }

    /// A worker has told of all of its threads.
    pub fn complete(&mut self, ticket: u64, pid: u32, notes: Vec<String>) {
        let Some(look) = self.open.get_mut(&ticket) else { return };
        for asked in look.workers.iter_mut().filter(|it| it.told.pid == pid && it.waits) {
            asked.waits = false;
            // A worker has only so much to say beside its stacks.
            asked.told.notes.extend(notes.iter().take(4).map(|it| it.chars().take(1000).collect()));
        }
        self.close(|look| look.workers.iter().all(|asked| !asked.waits));
    }

    /// Answers those for which the time is over.
    pub fn expire(&mut self, now: Instant) {
        self.close(|look| look.deadline <= now || look.workers.iter().all(|asked| !asked.waits));
    }

    /// When the time of the next one is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.open.values().map(|look| look.deadline).min()
    }

    fn close(&mut self, is_over: impl Fn(&Look) -> bool) {
        let (over, open) =
            std::mem::take(&mut self.open).into_iter().partition(|(_, look)| is_over(look));
        self.open = open;
        BTreeMap::into_values(over).for_each(Look::answer);
    }
}

/// Why a worker in this state is not asked: on the thread that would hear of it, it runs Python.
fn why_unasked(state: State) -> String {
    match state {
        State::Idle => "It waits for an application group.".to_owned(),
        _ => format!("It is {}: it tells of its threads only while it serves.", state.name()),
    }
}

impl Look {
    fn answer(self) {
        let workers = self.workers.into_iter().map(|Asked { mut told, waits, left_out }| {
            if waits {
                told.notes
                    .push("It does not answer: its process is stopped, or about to end.".into());
            }
            if left_out > 0 {
                told.notes.push(format!("{left_out} more threads: there was no room for them."));
            }
            told
        });
        self.order.answer(&FromAdmin::Stacks(workers.collect()));
    }
}

/// What a stack takes in a message, about.
fn size(stack: &Stack) -> usize {
    let frames = stack.frames.iter().map(|frame| frame.len() + size_of::<u32>()).sum::<usize>();
    let request = stack.request.as_ref().map_or(0, String::len);
    stack.thread.len() + stack.system.len() + request + frames + 64
}
