//! What the system says of this process's threads (proc_pid_stat(5), proc_pid_wchan(5)).

use std::fs;

/// Whether a thread runs, or what it waits for in the kernel. Empty if that cannot be known, as below a
/// root directory without `/proc`.
pub fn describe(thread: i32) -> String {
    let read = |file| fs::read_to_string(format!("/proc/self/task/{thread}/{file}"));
    let stat = read("stat").unwrap_or_default();
    // The name, in parentheses, may have spaces.
    let state = stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next());
    let place = read("wchan").unwrap_or_default();
    sentence(state, place.trim())
}

/// Of the letter for a thread's state, and the function of the kernel in which it waits.
fn sentence(state: Option<char>, place: &str) -> String {
    let does = match state {
        Some('R') => return "runs".to_owned(),
        Some('S') => "waits",
        Some('D') => "waits for a device",
        Some('T' | 't') => return "is stopped".to_owned(),
        _ => return String::new(),
    };
    match place {
        // Not told, or between two waits.
        "" | "0" => does.to_owned(),
        place => format!("{does} in {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_looks_at_itself_runs() {
        assert_eq!(describe(rustix::thread::gettid().as_raw_nonzero().get()), "runs");
        assert_eq!(describe(i32::MAX), "");
    }

    #[test]
    fn the_kernels_function_is_told_where_it_is_known() {
        assert_eq!(sentence(Some('S'), "futex_wait_queue"), "waits in futex_wait_queue");
        assert_eq!(sentence(Some('D'), "0"), "waits for a device");
    }
}
