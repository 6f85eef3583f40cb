//! What each Python thread is doing, read without Python's lock: CPython's `faulthandler` writes the
//! stacks when it gets a signal, whoever holds the lock and whatever for.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use pyo3::prelude::*;
use rustix::fs::MemfdFlags;

/// Where they are written to, and the signal.
#[derive(Debug)]
pub struct Stacks {
    file: File,
    signal: i32,
}

/// One thread's stack.
#[derive(Debug, PartialEq, Eq)]
pub struct Stack {
    /// `threading.get_ident()` of the thread.
    pub ident: u64,
    /// Its frames, the innermost one first, as Python writes them.
    pub frames: Vec<String>,
}

impl Stacks {
    /// Prepares `faulthandler`.
    ///
    /// # Errors
    /// Python's, and the system's.
    pub fn prepare(py: Python<'_>) -> PyResult<Self> {
        let file = rustix::fs::memfd_create("wsgi-stacks", MemfdFlags::CLOEXEC);
        let file = File::from(file.map_err(io::Error::from)?);
        let setup = py.import("_mod_wsgi_setup")?;
        let signal = setup.call_method1("dump_stacks_to", (file.as_raw_fd(),))?.extract()?;
        Ok(Self { file, signal })
    }

    /// The stacks of all threads, now.
    ///
    /// # Errors
    /// The system's error.
    pub fn take(&self) -> io::Result<Vec<Stack>> {
        self.file.set_len(0)?;
        rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Start(0))?;
        // Sent to this thread: it has been dealt with when the call returns.
        signal_hook::low_level::raise(self.signal)?;
        let length = usize::try_from(self.file.metadata()?.len()).unwrap_or(0);
        let mut text = vec![0; length];
        self.file.read_exact_at(&mut text, 0)?;
        Ok(parse(&String::from_utf8_lossy(&text)))
    }
}

/// Threads without a Python frame are left out: they wait for work.
fn parse(text: &str) -> Vec<Stack> {
    let mut stacks: Vec<Stack> = Vec::new();
    for line in text.lines() {
        let number = line.strip_prefix("Thread 0x").or(line.strip_prefix("Current thread 0x"));
        if let Some(number) = number {
            let digits = number.split(' ').next().unwrap_or_default();
            let ident = u64::from_str_radix(digits, 16).unwrap_or(0);
            stacks.push(Stack { ident, frames: Vec::new() });
        } else if let Some(stack) = stacks.last_mut()
            && line.starts_with("  ")
            && !line.contains("<no Python frame>")
        {
            stack.frames.push(line.trim().to_owned());
        }
    }
    stacks.retain(|stack| !stack.frames.is_empty());
    stacks
}

impl fmt::Display for Stack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.frames.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_is_understood() {
        let text = "Thread 0x00007f01 (most recent call first):\n  \
            File \"/a.py\", line 3 in nap\n  File \"/a.py\", line 9 in application\n\n\
            Thread 0x00007f02 [wsgi-1] (most recent call first):\n  <no Python frame>\n\n\
            Current thread 0x00007f03 (most recent call first):\n  File \"/b.py\", line 1 in run\n";
        let stacks = parse(text);
        assert_eq!(stacks.len(), 2);
        assert_eq!((stacks[0].ident, stacks[1].ident), (0x7f01, 0x7f03));
        let expected = "File \"/a.py\", line 3 in nap; File \"/a.py\", line 9 in application";
        assert_eq!(stacks[0].to_string(), expected);
    }
}
