//! The error logs of httpd, as far as we write into them.

mod file;
mod line;

use std::os::fd::OwnedFd;
use std::time::SystemTime;

use logline::Line;
use wire::exchange::Level;

use self::file::LogFile;

/// All error logs of the generation. Number 0 is the main server's.
#[derive(Debug)]
pub struct Logs {
    files: Vec<LogFile>,
    main_level: Level,
    /// Lines are written as JSON (`WSGILogFormat json`).
    json: bool,
}

impl Logs {
    /// Writes to `files`, and to the first one what is at least as severe as `main_level` when it
    /// concerns no group; as `json`, where that is asked for.
    pub fn new(files: Vec<OwnedFd>, main_level: Level, json: bool) -> Self {
        let files = files.into_iter().map(|file| LogFile::new(file, json)).collect();
        Self { files, main_level, json }
    }

    /// Whether lines are written as JSON, so that text with several lines can stay together.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Logs something that concerns no group.
    pub fn main(&mut self, level: Level, text: &str) {
        let (message, pid) = (text.as_bytes(), std::process::id());
        self.say(0, self.main_level, level, Line { message, pid, ..Line::default() });
    }

    /// Writes a line with what is known of it besides its text, as far as the format tells that.
    pub fn say(&mut self, file: usize, threshold: Level, level: Level, line: Line<'_>) {
        if !self.json {
            return self.write(file, threshold, level, line.pid, line.message);
        }
        if level > threshold && level != Level::Notice {
            return;
        }
        let Some(file) = self.files.get_mut(file) else {
            return;
        };
        let own = logline::level_name(level.number());
        let level = if line.level.is_empty() { own } else { line.level };
        for line in (Line { level, ..line }).encode(SystemTime::now(), file.longest_line()) {
            file.write(&line);
        }
    }

    /// Writes a line, or more when it is long, as process `pid`. `threshold` is the LogLevel;
    /// notices are written whatever it is, as httpd does.
    fn write(&mut self, file: usize, threshold: Level, level: Level, pid: u32, text: &[u8]) {
        if level > threshold && level != Level::Notice {
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
