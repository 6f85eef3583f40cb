//! httpd's scoreboard, and the copy of httpd's parent that may read it for others.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use wire::scoreboard::{Process, Scoreboard, Thread};

use super::bindings as c;
use super::string;

/// Signals that httpd's process group gets at restarts (mpm_event, mpm_worker, mpm_prefork), and
/// that concern its children alone.
const NOT_OURS: [c_int; 5] =
    [libc::SIGHUP, libc::SIGUSR1, libc::SIGINT, libc::SIGWINCH, libc::SIGPIPE];

/// Whether there is one yet: httpd makes it after `post_config`, and keeps it over restarts.
pub fn exists() -> bool {
    // SAFETY: takes nothing.
    unsafe { c::ap_exists_scoreboard_image() != 0 }
}

/// All that it says now. Others write to it meanwhile, as mod_status has to live with, too.
pub fn read() -> Option<Scoreboard> {
    if !exists() {
        return None;
    }
    // SAFETY: takes nothing; the scoreboard exists.
    let global = unsafe { c::ap_get_scoreboard_global() };
    // SAFETY: of the scoreboard, which is never unmapped (scoreboard.c).
    let global = unsafe { global.as_ref() }?;
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

/// Forks a process that runs `body`, with no descriptor open but these, and then ends without a look
/// back at httpd. Returns its process id. To be called in httpd's parent, which has one thread.
///
/// # Errors
/// `fork(2)`'s.
pub fn fork(keep: &[BorrowedFd<'_>], body: impl FnOnce()) -> io::Result<u32> {
    // SAFETY: httpd's parent has no other thread that could hold a lock which `body` needs.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let keep: Vec<_> = keep.iter().map(AsRawFd::as_raw_fd).collect();
            // A panic must not lead back into httpd's code, of which this is a second copy.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                leave_httpd(&keep);
                body();
            }));
            // SAFETY: `_exit(2)` has no preconditions, and runs none of httpd's exit handlers.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(number(pid)),
    }
}

/// Lets go of all that a copy of httpd's parent has of it: the ports first of all.
fn leave_httpd(keep: &[RawFd]) {
    for signal in NOT_OURS {
        // SAFETY: a signal's number, and one of the system's two handlers.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    for signal in [libc::SIGTERM, libc::SIGCHLD] {
        // SAFETY: as above.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: a C string of 15 characters, the most that the system keeps.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"wsgi-scoreboard".as_ptr()) };
    // SAFETY: a C string.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    for standard in 0..3 {
        // SAFETY: descriptors of this process, whose standard streams nobody uses.
        unsafe { libc::dup2(null, standard) };
    }
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<RawFd> =
        open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|open| *open > 2 && !keep.contains(open)) {
        // SAFETY: nothing in this process uses it from here on: `body` has those that it keeps.
        unsafe { libc::close(descriptor) };
    }
}
