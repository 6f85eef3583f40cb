//! httpd's scoreboard: what all of its children and their threads do. It is shared memory that others
//! write to meanwhile, so that what is read are estimates, as with mod_status.

use std::ffi::c_int;

use wire::scoreboard::{Process, Scoreboard, Thread};

use super::bindings as c;
use super::{process, string};

/// Whether there is one yet: httpd makes it after `post_config`, and keeps it over restarts.
pub fn exists() -> bool {
    // SAFETY: takes nothing.
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

fn global() -> Option<&'static c::global_score> {
    if !exists() {
        return None;
    }
    // SAFETY: takes nothing; the scoreboard exists.
    let global = unsafe { c::ap_get_scoreboard_global() };
    // SAFETY: of the scoreboard, which is never unmapped (scoreboard.c).
    unsafe { global.cast_const().as_ref() }
}

fn process(place: c_int, threads: c_int) -> Option<Process> {
    // SAFETY: a place below the limit; null for others.
    let score = unsafe { c::ap_get_scoreboard_process(place) };
    // SAFETY: of the scoreboard, which is never unmapped; numbers, any of which is valid.
    let score = unsafe { score.cast_const().as_ref() }?;
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
    // SAFETY: places below the limits; the struct is filled in.
    unsafe { c::ap_copy_scoreboard_worker(&raw mut score, process, thread) };
    // SAFETY: the struct is this function's own.
    let client = unsafe { c::mwrs_score_client(&raw const score) };
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
