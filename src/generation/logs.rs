//! httpd's error logs, as the supervisor needs to know them to write into them.

use std::os::fd::{AsRawFd, BorrowedFd};

use wire::exchange::Level;
use wire::generation::{Log, Syslog};

use crate::config::ServerConfig;
use crate::ffi::server::Server;

/// The facilities that `ErrorLog` can name, in httpd's order (log.c): the first one that begins with what
/// is written is taken. Numbers are those of RFC 5424, section 6.2.1.
const FACILITIES: [(&str, u8); 20] = [
    ("auth", 4),
    ("authpriv", 10),
    ("cron", 9),
    ("daemon", 3),
    ("ftp", 11),
    ("kern", 0),
    ("lpr", 6),
    ("mail", 2),
    ("news", 7),
    ("syslog", 5),
    ("user", 1),
    ("uucp", 8),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// `LOG_LOCAL7`, httpd's own choice.
const DEFAULT_FACILITY: u8 = 23;

/// An error log that is a file, or a pipe to a program.
pub struct LogFile<'s> {
    /// `ErrorLog`, as written.
    pub name: Vec<u8>,
    /// What httpd writes to.
    pub descriptor: BorrowedFd<'s>,
}

/// The logs of all servers, each file once.
pub struct Logs<'s> {
    main: Server<'s>,
    /// In the order of their numbers.
    pub files: Vec<LogFile<'s>>,
}

impl<'s> Logs<'s> {
    /// Of the servers from `main` on.
    pub fn new(main: Server<'s>) -> Self {
        Self { main, files: Vec::new() }
    }

    /// The log of one server.
    pub fn of(&mut self, server: Server<'s>) -> Log {
        let settings = server.settings::<ServerConfig>();
        Log {
            file: (!self.owner(server).logs_to_syslog()).then(|| self.number(server)),
            level: Level::from_number(server.log_level()),
            format: settings.and_then(|settings| settings.error_log_format.clone()),
            host: server.name().to_vec(),
        }
    }

    /// The server whose `ErrorLog` a server has.
    fn owner(&self, server: Server<'s>) -> Server<'s> {
        if server.error_log_name().is_empty() { self.main } else { server }
    }

    /// The number of the server's file. Where none is open yet, standard error has to do, which httpd
    /// keeps open.
    fn number(&mut self, server: Server<'s>) -> u32 {
        let stderr = rustix::stdio::stderr();
        let descriptor = server.error_log().or(self.main.error_log()).unwrap_or(stderr);
        let is_known = |file: &LogFile<'_>| file.descriptor.as_raw_fd() == descriptor.as_raw_fd();
        let number = self.files.iter().position(is_known).unwrap_or_else(|| {
            let name = self.owner(server).error_log_name().to_vec();
            self.files.push(LogFile { name, descriptor });
            self.files.len() - 1
        });
        u32::try_from(number).unwrap_or(0)
    }

    /// How httpd speaks with syslog, if a server logs there. A process has one way to do so: that of the
    /// last server that says one (`ap_open_logs` in log.c).
    pub fn syslog(&self) -> Option<Syslog> {
        let servers = self.main.and_following().filter(|server| server.logs_to_syslog());
        let mut names: Vec<_> = Vec::new();
        for name in servers.map(Server::error_log_name) {
            // One that has been said before is not said again.
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.last().map(|name| syslog(name, self.main.program_name()))
    }
}

/// What `syslog[:facility[:tag]]` asks for.
fn syslog(name: &[u8], program: &[u8]) -> Syslog {
    let mut parts = name.splitn(3, |byte| *byte == b':').skip(1);
    let named = parts.next().unwrap_or_default();
    let tag = parts.next().filter(|tag| !tag.is_empty()).unwrap_or(program);
    let begins = |(facility, _): &&(&str, u8)| {
        let beginning = facility.as_bytes().get(..named.len());
        !named.is_empty() && beginning.is_some_and(|it| it.eq_ignore_ascii_case(named))
    };
    let facility = FACILITIES.iter().find(begins).map_or(DEFAULT_FACILITY, |(_, number)| *number);
    Syslog { facility, tag: tag.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facility_and_tag_are_those_that_httpd_would_take() {
        for (name, facility, tag) in [
            ("syslog", 23, "apache2"),
            ("Syslog:local1", 17, "apache2"),
            ("syslog:USER:site", 1, "site"),
            ("syslog:auth", 4, "apache2"),
            ("syslog:authpriv:", 10, "apache2"),
            ("syslog::site", 23, "site"),
            ("syslog:loc:a:b", 16, "a:b"),
        ] {
            let expected = Syslog { facility, tag: tag.as_bytes().to_vec() };
            assert_eq!(syslog(name.as_bytes(), b"apache2"), expected, "{name}");
        }
    }
}
