//! The error logs of httpd, as far as we write into them.

mod file;
mod format;
mod syslog;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

use jiff::Zoned;
use logline::Line;
use wire::exchange::Level;
use wire::generation::{Configuration, Log};
use wire::output::ToReader;

use self::file::LogFile;
use self::format::{Facts, Format};
use self::syslog::Syslog;

/// All error logs of the generation.
#[derive(Debug)]
pub struct Logs {
    /// `ErrorLog` as written, and what it leads to.
    files: Vec<(Vec<u8>, LogFile)>,
    syslog: Option<Syslog>,
    main: Place,
    /// Those of the groups, in their order.
    groups: Vec<Place>,
    /// What counts in place of any LogLevel (`wsgictl log`).
    pub asked_for: Option<Level>,
}

/// Where a server's lines go, and how they look.
#[derive(Debug)]
struct Place {
    log: Log,
    format: Format,
}

impl Place {
    fn new(log: Log) -> Self {
        let format = Format::new(log.format.as_deref(), log.file.is_none());
        Self { log, format }
    }
}

impl Logs {
    /// Those of a configuration, with the files that came before it.
    pub fn new(files: Vec<(Vec<u8>, OwnedFd)>, configuration: &Configuration) -> Self {
        let groups = configuration.groups.iter().map(|group| group.log.clone()).collect();
        Self::with(files, configuration.syslog.clone(), configuration.log.clone(), groups)
    }

    /// Those of [`ToReader::Logs`], with the files that came before it.
    pub fn with(
        files: Vec<(Vec<u8>, OwnedFd)>,
        syslog: Option<wire::generation::Syslog>,
        main: Log,
        groups: Vec<Log>,
    ) -> Self {
        Self {
            files: files
                .into_iter()
                .map(|(name, file)| (name, LogFile::new(file, main.json)))
                .collect(),
            syslog: syslog.map(Syslog::new),
            main: Place::new(main),
            groups: groups.into_iter().map(Place::new).collect(),
            asked_for: None,
        }
    }

    /// What another process needs to know to write to the same logs: the messages, in order, with the
    /// descriptors that go along.
    pub fn messages(&self) -> Vec<(ToReader, Option<BorrowedFd<'_>>)> {
        let files = self
            .files
            .iter()
            .map(|(name, file)| (ToReader::LogFile { name: name.clone() }, Some(file.as_fd())));
        let logs = ToReader::Logs {
            main: self.main.log.clone(),
            syslog: self.syslog.as_ref().map(|syslog| syslog.manner().clone()),
            groups: self.groups.iter().map(|group| group.log.clone()).collect(),
        };
        files.chain([(logs, None)]).collect()
    }

    /// Takes a log that httpd has opened anew, for the one that has the name.
    pub fn reopen(&mut self, name: &[u8], file: OwnedFd) {
        if let Some((_, log)) = self.files.iter_mut().find(|(known, _)| known == name) {
            log.reopen(file);
        }
    }

    /// Whether lines wait for a log to be opened anew.
    pub fn owes(&mut self) -> bool {
        self.files.iter_mut().any(|(_, file)| file.owes())
    }

    /// The level at which lines of a group's are logged that are to be there whatever the LogLevel: a
    /// notice is, in a file. syslog drops it as all others.
    pub fn level_of_prints(&self, group: usize) -> Level {
        match self.groups.get(group).map(|place| &place.log) {
            Some(Log { file: None, level, .. }) => (*level).min(Level::Notice),
            _ => Level::Notice,
        }
    }

    /// Logs something that concerns no group.
    pub fn main(&mut self, level: Level, text: &str) {
        let Self { files, syslog, main, asked_for, .. } = self;
        let line = Line { message: text.as_bytes(), pid: std::process::id(), ..Line::default() };
        write(files, syslog, main, *asked_for, level, line);
    }

    /// Whether lines are written as JSON, so that text with several lines can stay together.
    pub fn is_json(&self) -> bool {
        self.main.log.json
    }

    /// Writes a line to a group's log, or more when it is long, with what is known of it besides its
    /// text as far as the format tells that.
    pub fn group(&mut self, group: usize, level: Level, line: Line<'_>) {
        let Self { files, syslog, groups, asked_for, .. } = self;
        if let Some(place) = groups.get(group) {
            write(files, syslog, place, *asked_for, level, line);
        }
    }
}

/// Writes what the LogLevel lets through. Notices are written to files whatever it is, as httpd does.
fn write(
    files: &mut [(Vec<u8>, LogFile)],
    syslog: &mut Option<Syslog>,
    place: &Place,
    asked_for: Option<Level>,
    level: Level,
    line: Line<'_>,
) {
    let Log { file, level: threshold, host, json, .. } = &place.log;
    let exempt = level == Level::Notice && file.is_some();
    if level > asked_for.unwrap_or(*threshold) && !exempt {
        return;
    }
    let now = Zoned::now();
    let facts = Facts { now: &now, level, pid: line.pid, host };
    let own = logline::level_name(level.number());
    let named = Line { level: if line.level.is_empty() { own } else { line.level }, ..line };
    match file {
        Some(number) => {
            if let Some((_, file)) = files.get_mut(*number as usize) {
                if *json {
                    let lines = named.encode(SystemTime::now(), file.longest_line());
                    return lines.into_iter().for_each(|line| file.write(line));
                }
                for mut line in place.format.lines(&facts, line.message, file.longest_line() - 1) {
                    line.push(b'\n');
                    file.write(line);
                }
            }
        }
        None => {
            if let Some(syslog) = syslog {
                if *json {
                    for line in named.encode(SystemTime::now(), syslog::LONGEST) {
                        syslog.write(&facts, line.strip_suffix(b"\n").unwrap_or(&line));
                    }
                    return;
                }
                for line in place.format.lines(&facts, line.message, syslog::LONGEST) {
                    syslog.write(&facts, &line);
                }
            }
        }
    }
}
