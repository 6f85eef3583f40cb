//! What httpd's scoreboard tells of all children.

use std::ffi::c_int;

use super::bindings as c;
use super::process;

/// How many threads of this generation's children (processes, with prefork) have a connection to
/// look after.
pub fn busy_threads() -> usize {
    let limit = |what: c_int| {
        let mut answer = 0;
        // SAFETY: fills in the integer that it is given.
        unsafe { c::ap_mpm_query(what, &raw mut answer) };
        answer
    };
    let children = limit(c::AP_MPMQ_HARD_LIMIT_DAEMONS);
    let threads = limit(c::AP_MPMQ_HARD_LIMIT_THREADS);
    let generation = process::generation();
    (0..children)
        .filter(|child| is_of(*child, generation))
        .map(|child| (0..threads).filter(|thread| is_busy(child, *thread)).count())
        .sum()
}

/// Whether there is a child in that place, and it is one of this generation.
fn is_of(child: c_int, generation: u32) -> bool {
    // SAFETY: takes any number.
    let score = unsafe { c::ap_get_scoreboard_process(child) };
    if score.is_null() {
        return false;
    }
    // SAFETY: a record in shared memory that stays while httpd runs.
    let pid = unsafe { &raw const (*score).pid };
    // SAFETY: as above.
    let of = unsafe { &raw const (*score).generation };
    // SAFETY: others may write it meanwhile: it is read as it is.
    let pid = unsafe { pid.read_volatile() };
    // SAFETY: as above.
    let of = unsafe { of.read_volatile() };
    pid != 0 && u32::try_from(of) == Ok(generation)
}

fn is_busy(child: c_int, thread: c_int) -> bool {
    // SAFETY: takes any numbers.
    let score = unsafe { c::ap_get_scoreboard_worker_from_indexes(child, thread) };
    if score.is_null() {
        return false;
    }
    // SAFETY: as for the process.
    let status = unsafe { &raw const (*score).status };
    // SAFETY: as above; one byte is read whole.
    let status = unsafe { status.read_volatile() };
    (c::SERVER_BUSY_READ..=c::SERVER_CLOSING).contains(&c_int::from(status))
}
