//! The error logs of httpd, as far as we write into them.

mod file;
mod line;

use std::os::fd::OwnedFd;

use wire::exchange::Level;

use self::file::LogFile;

/// All error logs of the generation. Number 0 is the main server's.
#[derive(Debug)]
pub struct Logs {
    files: Vec<LogFile>,
    main_level: Level,
    /// What counts in place of any LogLevel (`wsgictl log`).
    pub asked_for: Option<Level>,
}

impl Logs {
    /// Writes to `files`, and to the first one what is at least as severe as `main_level` when it
    /// concerns no group.
    pub fn new(files: Vec<OwnedFd>, main_level: Level) -> Self {
        let files = files.into_iter().map(LogFile::new).collect();
        Self { files, main_level, asked_for: None }
    }

    /// Logs something that concerns no group.
    pub fn main(&mut self, level: Level, text: &str) {
        self.write(0, self.main_level, level, std::process::id(), text.as_bytes());
    }

    /// Writes a line, or more when it is long, as process `pid`. `threshold` is the LogLevel;
    /// notices are written whatever it is, as httpd does.
    pub fn write(&mut self, file: usize, threshold: Level, level: Level, pid: u32, text: &[u8]) {
        if level > self.asked_for.unwrap_or(threshold) && level != Level::Notice {
            return;
        }
        let Some(file) = self.files.get_mut(file) else {
            return;
        };
        let prefix = line::prefix(level, pid);
        for line in line::split(&prefix, text, file.longest_line()) {
            file.write(&line);
        }
    }
}
