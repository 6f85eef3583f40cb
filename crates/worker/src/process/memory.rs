//! How much memory this process has.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

/// Resident memory of this process, in bytes (`/proc/PID/statm`, which is kept open).
pub fn resident_memory() -> Option<u64> {
    static STATM: OnceLock<Option<File>> = OnceLock::new();
    let file = STATM.get_or_init(|| File::open("/proc/self/statm").ok()).as_ref()?;
    let mut buffer = [0; 128];
    let length = file.read_at(&mut buffer, 0).ok()?;
    let text = std::str::from_utf8(&buffer[..length]).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_in_bytes() {
        let bytes = resident_memory().unwrap();
        assert!((100_000..100_000_000_000).contains(&bytes), "{bytes}");
    }
}
