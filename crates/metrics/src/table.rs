//! Who has which place in the shared memory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::layout::{Child, FLIGHTS, FREE, Layout, SLOTS, Slot};
use crate::memory::Memory;

/// Names may come from made-up hosts. Beyond so many, new application groups count with their process
/// group, for which there is room in any case.
const MANY: u32 = (SLOTS / 2) as u32;

/// How far from its place a slot may be. Beyond that, nothing is counted.
const PROBES: usize = 256;

/// The shared memory of a running httpd.
#[derive(Debug)]
pub struct Metrics {
    memory: Memory,
    file: OwnedFd,
}

/// Number of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(usize);

impl Metrics {
    /// Makes the memory, with nothing counted.
    ///
    /// # Errors
    /// The system's.
    pub fn create() -> io::Result<Self> {
        let (memory, file) = Memory::create()?;
        Ok(Self { memory, file })
    }

    /// Maps the memory that httpd's parent has made.
    ///
    /// # Errors
    /// The system's, or it is another build's.
    pub fn adopt(file: OwnedFd) -> io::Result<Self> {
        Ok(Self { memory: Memory::adopt(&file)?, file })
    }

    /// What to hand to [`Self::adopt`] in another process.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) fn layout(&self) -> &'static Layout {
        self.memory.layout()
    }

    /// A new configuration cycle begins: process groups have to be [defined](Self::define) anew.
    pub fn begin_generation(&self) {
        self.layout().generation.fetch_add(1, Relaxed);
    }

    /// The current configuration has this process group, which belongs to this server.
    pub fn define(&self, process_group: &[u8], server: &[u8]) {
        if let Some(place) = self.place(process_group, None) {
            let slot = self.slot(place);
            slot.server.set(server);
            slot.defined.store(self.layout().generation.load(Relaxed), Relaxed);
        }
    }

    /// A supervisor is started, with the number that is returned. What is said of workers is no
    /// longer what earlier ones have said.
    pub fn begin_supervisor(&self) -> u64 {
        self.layout().supervisor.fetch_add(1, Relaxed) + 1
    }

    /// Whether this supervisor is the one that was started last.
    pub fn is_current(&self, supervisor: u64) -> bool {
        self.layout().supervisor.load(Relaxed) == supervisor
    }

    /// A supervisor begins, with no workers.
    pub fn forget_workers(&self) {
        for (_, slot) in self.slots() {
            for now in [
                &slot.workers_serving,
                &slot.workers_other,
                &slot.workers_most,
                &slot.workers_ready,
                &slot.threads,
                &slot.resident,
                &slot.is_expected,
                &slot.is_full,
            ] {
                now.store(0, Relaxed);
            }
        }
    }

    /// This supervisor has said what it is to keep running.
    pub fn answer(&self, supervisor: u64) {
        self.layout().answering.store(supervisor, Release);
    }

    /// The slot with this number.
    pub fn slot(&self, place: Place) -> &'static Slot {
        &self.layout().slots[place.0]
    }

    /// The slot of an application group (empty: `%{GLOBAL}`), or of the process group itself. A new one
    /// is made if need be. `None`: there is no room.
    pub fn place(&self, process_group: &[u8], application_group: Option<&[u8]>) -> Option<Place> {
        let layout = self.layout();
        let key = hash(process_group, application_group);
        let start = key as usize % SLOTS;
        let places = (start..start + PROBES).map(|place| place % SLOTS);
        for place in places {
            let (slot, taken) = (&layout.slots[place], &layout.keys[place]);
            let mut found = taken.load(Acquire);
            if found == 0 {
                let may_grow = application_group.is_none() || layout.taken.load(Relaxed) < MANY;
                if !may_grow {
                    return self.place(process_group, None);
                }
                found = match taken.compare_exchange(0, key, AcqRel, Acquire) {
                    Ok(_) => {
                        layout.taken.fetch_add(1, Relaxed);
                        key
                    }
                    Err(other) => other,
                };
            }
            if found == key {
                // A process that was killed here leaves that to the next one.
                if slot.named.load(Acquire) == 0 {
                    slot.process_group.set(process_group);
                    slot.application_group.set(application_group.unwrap_or_default());
                    slot.is_application.store(application_group.is_some().into(), Relaxed);
                    slot.named.store(1, Release);
                }
                return Some(Place(place));
            }
        }
        None
    }

    /// All slots that have names.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (Place, &'static Slot)> {
        let layout = self.layout();
        let taken = layout.keys.iter().zip(&layout.slots).enumerate();
        taken
            .filter(|(_, (key, _))| key.load(Acquire) != 0)
            .map(|(place, (_, slot))| (Place(place), slot))
            .filter(|(_, slot)| slot.named.load(Acquire) != 0)
    }

    /// A place for a new child of httpd. Without one, its running requests are not counted.
    pub fn enter_child(&self) -> Option<&'static Child> {
        let pid = std::process::id();
        let layout = self.layout();
        let place = layout.pids.iter().position(|place| {
            let found = place.load(Relaxed);
            let is_free = found == 0 || found == pid || !is_alive(found);
            is_free && place.compare_exchange(found, pid, AcqRel, Relaxed).is_ok()
        })?;
        let child = &layout.children[place];
        child.running.iter().filter(|count| count.load(Relaxed) != 0).for_each(clear);
        for flight in &child.flights[..(child.used.load(Relaxed) as usize).min(FLIGHTS)] {
            flight.state.store(FREE, Relaxed);
        }
        child.used.store(0, Relaxed);
        Some(child)
    }

    /// Forgets what children had under way that were killed. To be called now and then.
    pub fn forget_dead_children(&self) {
        for place in &self.layout().pids {
            let pid = place.load(Relaxed);
            if pid != 0 && !is_alive(pid) {
                let _ = place.compare_exchange(pid, 0, AcqRel, Relaxed);
            }
        }
    }

    /// Requests that are with the workers of one slot, or wait for them.
    pub fn in_flight_of(&self, place: Place) -> u64 {
        let layout = self.layout();
        let places = layout.pids.iter().zip(&layout.children);
        let places = places.filter(|(pid, _)| pid.load(Relaxed) != 0);
        let running = places.map(|(pid, child)| (pid, child.running(place).load(Relaxed)));
        let running = running.filter(|(pid, count)| *count > 0 && is_alive(pid.load(Relaxed)));
        running.map(|(_, count)| count.cast_unsigned()).sum()
    }

    /// Process ids and rows of the children that run.
    pub(crate) fn living_children(&self) -> impl Iterator<Item = (u32, &'static Child)> {
        let layout = self.layout();
        let children = layout.pids.iter().map(|place| place.load(Relaxed)).zip(&layout.children);
        children.filter(|(pid, _)| *pid != 0 && is_alive(*pid))
    }

    /// The least severe level that is to be logged in place of what the configuration says
    /// (`wsgictl log`), as httpd numbers them.
    pub fn log_level(&self) -> Option<u8> {
        let level = self.layout().log_level.load(Relaxed).checked_sub(1)?;
        u8::try_from(level).ok()
    }

    /// Asks for such a level, or for what the configuration says.
    pub fn set_log_level(&self, level: Option<u8>) {
        let level = level.map_or(0, |level| u32::from(level) + 1);
        self.layout().log_level.store(level, Relaxed);
    }

    /// Requests that are with the workers of each slot, or wait for them.
    pub(crate) fn in_flight(&self) -> Vec<u64> {
        let mut sums = vec![0; SLOTS];
        for (_, child) in self.living_children() {
            for (sum, count) in sums.iter_mut().zip(&child.running) {
                *sum += u64::try_from(count.load(Relaxed)).unwrap_or(0);
            }
        }
        sums
    }
}

impl Child {
    /// Counts a request of this child's that is with the workers of a slot.
    pub fn running(&self, place: Place) -> &AtomicI64 {
        &self.running[place.0]
    }
}

impl Place {
    /// The slot with this number, if there can be one.
    pub(crate) fn of(number: u32) -> Option<Self> {
        Some(number as usize).filter(|number| *number < SLOTS).map(Self)
    }

    pub(crate) fn index(self) -> usize {
        self.0
    }
}

fn clear(count: &AtomicI64) {
    count.store(0, Relaxed);
}

fn is_alive(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}

/// FNV-1a (RFC 9923) of the names, with their lengths: it costs little, and each request takes one. Never
/// 0, which says that a slot is free.
fn hash(process_group: &[u8], application_group: Option<&[u8]>) -> u64 {
    let kind = [u8::from(application_group.is_some()), process_group.len() as u8];
    let bytes = kind.iter().chain(process_group).chain(application_group.unwrap_or_default());
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.fold(0xcbf2_9ce4_8422_2325, add).max(1)
}
