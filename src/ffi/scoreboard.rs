//! httpd's scoreboard: what all of its children and their threads do. It is shared memory that others
//! write to meanwhile, so that what is read are estimates, as with mod_status.

use std::ffi::c_int;

use wire::scoreboard::{Process, Scoreboard, Thread};

use super::bindings as c;
use super::{process, string};

/// Whether there is one yet: httpd makes it after `post_config`, and keeps it over restarts.
pub fn exists() -> bool {
    // SAFETY: it has no preconditions, and only compares a pointer of httpd's with null.
    unsafe { c::ap_exists_scoreboard_image() != 0 }
}

/// All that it says now.
pub fn read() -> Option<Scoreboard> {
    let global = global()?;
    let processes =
        (0..global.server_limit).filter_map(|place| process(place, global.thread_limit));
    Some(Scoreboard {
        server_limit: number(global.server_limit),
        thread_limit: number(global.thread_limit),
        generation: number(global.running_generation),
        restarted: number(global.restart_time),
        processes: processes.collect(),
    })
}

fn global() -> Option<c::global_score> {
    if !exists() {
        return None;
    }
    // SAFETY: the scoreboard exists, which is all that this function asks for.
    let record = unsafe { c::ap_get_scoreboard_global() };
    // SAFETY: a record of the scoreboard, made of numbers.
    unsafe { copy(record) }
}

/// The record of the child in that place, below the limit of an existing scoreboard.
fn child(place: c_int) -> Option<c::process_score> {
    // SAFETY: the scoreboard exists, and for a place beyond its limit there is a null pointer.
    let record = unsafe { c::ap_get_scoreboard_process(place) };
    // SAFETY: null, or a record of the scoreboard, made of numbers.
    unsafe { copy(record) }
}

/// A copy of a record that others write to meanwhile, made without a reference to it. An older httpd's
/// is shorter: the fields that came later hold bytes of the records behind it, and are not for use.
///
/// # Safety
/// `record` is null, or points into the scoreboard, which is never unmapped (scoreboard.c). Any bytes
/// are a valid `T`.
unsafe fn copy<T: Copy>(record: *const T) -> Option<T> {
    if record.is_null() {
        return None;
    }
    // SAFETY: not null, and mapped, as the caller says; torn values are valid ones.
    Some(unsafe { record.read_volatile() })
}

fn process(place: c_int, threads: c_int) -> Option<Process> {
    let score = child(place)?;
    Some(Process {
        pid: number(score.pid),
        generation: number(score.generation),
        quiescing: score.quiescing != 0,
        threads: (0..threads).map(|thread| self::thread(place, thread)).collect(),
    })
}

fn thread(process: c_int, thread: c_int) -> Thread {
    // SAFETY: a struct of numbers and arrays of characters, for which zero is valid.
    let mut score: c::worker_score = unsafe { std::mem::zeroed() };
    // SAFETY: the scoreboard exists, and the struct is this function's own; it is filled in.
    let client = unsafe { c::mwrs_copy_score(&raw mut score, process, thread) };
    Thread {
        number: number(score.thread_num),
        generation: number(score.generation),
        status: score.status,
        accesses: number(score.access_count),
        bytes: number(score.bytes_served),
        started: number(score.start_time),
        stopped: number(score.stop_time),
        used: number(score.last_used),
        // SAFETY: a text of the struct; httpd ends each with a zero.
        client: unsafe { string::bytes(client) }.unwrap_or_default().to_vec(),
        request: text(&score.request),
        host: text(&score.vhost),
    }
}

/// Negative numbers stand for nothing.
fn number<N: TryInto<U>, U: Default>(number: N) -> U {
    number.try_into().unwrap_or_default()
}

fn text(characters: &[std::ffi::c_char]) -> Vec<u8> {
    let bytes = characters.iter().map(|character| character.cast_unsigned());
    bytes.take_while(|byte| *byte != 0).collect()
}

/// How many threads of this generation's children (processes, with prefork) have a connection to
/// look after.
pub fn busy_threads() -> usize {
    let Some(global) = global() else {
        return 0;
    };
    let generation = process::generation();
    (0..global.server_limit)
        .filter(|child| is_of(*child, generation))
        .map(|child| (0..global.thread_limit).filter(|thread| is_busy(child, *thread)).count())
        .sum()
}

/// Whether there is a child in that place, and it is one of this generation.
fn is_of(place: c_int, generation: u32) -> bool {
    child(place)
        .is_some_and(|score| score.pid != 0 && u32::try_from(score.generation) == Ok(generation))
}

fn is_busy(child: c_int, thread: c_int) -> bool {
    // SAFETY: the scoreboard exists, and for places beyond its limits there is a null pointer.
    let record = unsafe { c::ap_get_scoreboard_worker_from_indexes(child, thread) };
    if record.is_null() {
        return false;
    }
    // SAFETY: a record of the scoreboard; no reference to it is made.
    let status = unsafe { &raw const (*record).status };
    // SAFETY: one byte of that record.
    let status = unsafe { copy(status) }.unwrap_or_default();
    (c::SERVER_BUSY_READ..=c::SERVER_CLOSING).contains(&c_int::from(status))
}
