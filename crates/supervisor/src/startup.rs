//! What httpd's parent says at the start, checked before anything is done about it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use channel::{Inbox, ReceiveError};
use nix::unistd::Uid;
use wire::generation::{Configuration, Group, Log, ToSupervisor};
use wire::{DecodeError, FrameError};

use crate::directory::DirectoryError;

/// How long httpd's parent may take between two messages. It sends them all in one go.
const CONFIGURATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the generation cannot be served. The parent passes the text on to whoever started httpd.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No configuration came.
    #[error("cannot read the configuration from httpd: {0}")]
    Receive(#[from] ReceiveError),
    /// Something came that is no configuration.
    #[error(
        "cannot understand the configuration from httpd: {0}; install mod_wsgi_rs.so and \
         wsgi-supervisor from the same build"
    )]
    Configuration(FrameError),
    /// The module is from another build.
    #[error(
        "mod_wsgi_rs.so speaks version {module} of the protocol and wsgi-supervisor version {}; \
         install both from the same build",
        wire::VERSION
    )]
    Version {
        /// The version of the module.
        module: u16,
    },
    /// A log file did not travel with its message.
    #[error("a log file was announced without its descriptor")]
    NoDescriptor,
    /// Nothing would tell when the generation is over.
    #[error("httpd sent a configuration and no lifeline")]
    NoLifeline,
    /// A group, or the main server, wants a log that was not sent.
    #[error("{whose} is not among the {files} log files that httpd sent")]
    NoSuchLog {
        /// Whose log.
        whose: String,
        /// How many there are.
        files: usize,
    },
    /// Applications would run as root.
    #[error("the workers of {0} would run as root; give its WSGIDaemonProcess another user=")]
    Root(String),
    /// Only root can confine processes to a directory.
    #[error("the workers of {0} cannot be confined to its chroot= when httpd is not run by root")]
    Chroot(String),
    /// A group could never serve.
    #[error("{0} has no processes")]
    NoProcesses(String),
    /// The sockets cannot be made.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The system refused something at the start.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

impl From<FrameError> for StartError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Payload { source: DecodeError::Version { theirs: module }, .. } => {
                Self::Version { module }
            }
            error => Self::Configuration(error),
        }
    }
}

/// What httpd's parent hands over at the start.
#[derive(Debug)]
pub struct Handover {
    /// The groups to serve, and how.
    pub configuration: Configuration,
    /// Its log files, by the names that they have in httpd's configuration.
    pub logs: Vec<(Vec<u8>, OwnedFd)>,
    /// A pipe that ends when the last process of the generation is gone.
    pub lifeline: OwnedFd,
    /// The memory for metrics, and our number, if there is such memory.
    pub metrics: Option<(OwnedFd, u64)>,
}

/// Receives the log files and the configuration.
///
/// # Errors
/// [`StartError`].
pub fn receive(httpd: impl AsFd) -> Result<Handover, StartError> {
    let mut inbox = Inbox::with_descriptors();
    let (mut logs, mut lifeline, mut metrics) = (Vec::new(), None, None);
    let configuration = loop {
        match inbox.wait(&httpd, CONFIGURATION_TIMEOUT) {
            Ok(ToSupervisor::LogFile { name }) => {
                logs.push((name, inbox.take_descriptor().ok_or(StartError::NoDescriptor)?));
            }
            Ok(ToSupervisor::Lifeline) => lifeline = inbox.take_descriptor(),
            Ok(ToSupervisor::Metrics { number }) => {
                metrics = inbox.take_descriptor().map(|memory| (memory, number));
            }
            Ok(ToSupervisor::Configure(configuration)) => break configuration,
            Ok(ToSupervisor::Ping) => {}
            Err(ReceiveError::Frame(error)) => return Err(error.into()),
            Err(error) => return Err(error.into()),
        }
    };
    check(&configuration, logs.len(), Uid::effective().is_root())?;
    let lifeline = lifeline.ok_or(StartError::NoLifeline)?;
    Ok(Handover { configuration, logs, lifeline, metrics })
}

fn check(configuration: &Configuration, files: usize, root: bool) -> Result<(), StartError> {
    let has = |log: &Log| match log.file {
        Some(number) => (number as usize) < files,
        None => configuration.syslog.is_some(),
    };
    if !has(&configuration.log) {
        return Err(StartError::NoSuchLog { whose: "the main server's log".to_owned(), files });
    }
    for group in &configuration.groups {
        if !has(&group.log) {
            return Err(StartError::NoSuchLog {
                whose: format!("the log of {}", name(group)),
                files,
            });
        }
        let would_be_root = group.identity.as_ref().map_or(root, |identity| identity.uid == 0);
        if would_be_root {
            return Err(StartError::Root(name(group)));
        }
        if group.settings.root.is_some() && group.identity.is_none() {
            return Err(StartError::Chroot(name(group)));
        }
        if !(1..=group.settings.processes).contains(&group.least_processes) {
            return Err(StartError::NoProcesses(name(group)));
        }
    }
    Ok(())
}

/// The group as it stands in messages.
fn name(group: &Group) -> String {
    match group.settings.process_group.as_slice() {
        [] => "the default process group".to_owned(),
        name => format!("process group '{}'", String::from_utf8_lossy(name)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use wire::Secret;
    use wire::control::Settings;
    use wire::exchange::Level;
    use wire::generation::Identity;

    use super::*;

    fn log(file: u32) -> Log {
        Log { file: Some(file), level: Level::Warning, format: None, host: Vec::new(), json: false }
    }

    fn configuration(change: impl FnOnce(&mut Configuration)) -> Configuration {
        let group = Group {
            settings: Settings {
                process_group: b"blog".to_vec(),
                processes: 1,
                threads: 1,
                ..Settings::default()
            },
            identity: Some(Identity {
                uid: 33,
                gid: 33,
                user: "www-data".to_owned(),
                groups: None,
            }),
            free_threading: None,
            environment: Vec::new(),
            least_processes: 1,
            idle_timeout: 0,
            prestart: true,
            application_groups: Vec::new(),
            limits: wire::generation::Limits::default(),
            log: log(0),
        };
        let mut configuration = Configuration {
            secret: Secret::new([0; Secret::SIZE]),
            directory: PathBuf::from("/run/httpd/wsgi.1.0"),
            httpd_uid: 33,
            httpd_gid: 33,
            log: log(0),
            syslog: None,
            groups: vec![group],
        };
        change(&mut configuration);
        configuration
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut Configuration), expected: &str) {
        let error = check(&configuration(change), 1, true).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_module_of_another_version_is_told_both() {
        let (httpd, supervisor) = std::os::unix::net::UnixStream::pair().unwrap();
        let (lifeline, _) = std::io::pipe().unwrap();
        let mut bytes = Vec::new();
        wire::encode(&ToSupervisor::Lifeline, &mut bytes);
        // Behind the version anything may stand.
        let at = bytes.len() - 2;
        bytes[at..].copy_from_slice(&999_u16.to_le_bytes());
        bytes.extend([7; 5]);
        bytes[0] += 5;
        channel::send_with_descriptor(&httpd, &bytes, OwnedFd::from(lifeline)).unwrap();
        let error = receive(&supervisor).unwrap_err().to_string();
        let expected =
            format!("version 999 of the protocol and wsgi-supervisor version {}", wire::VERSION);
        assert!(error.contains(&expected), "{error}");
    }

    #[test]
    fn a_sound_configuration_is_taken() {
        check(&configuration(|_| {}), 1, true).unwrap();
        check(&configuration(|c| c.groups[0].identity = None), 1, false).unwrap();
    }

    #[test]
    fn what_could_not_or_must_not_be_served_is_refused() {
        check_refused(
            |c| c.groups[0].log = log(1),
            "the log of process group 'blog' is not among the 1 log files",
        );
        check_refused(|c| c.log.file = None, "the main server's log is not among");
        check_refused(|c| c.groups[0].identity = None, "would run as root");
        check_refused(|c| c.groups[0].settings.processes = 0, "has no processes");
        check_refused(|c| c.groups[0].least_processes = 0, "has no processes");
        let unprivileged = configuration(|c| {
            c.groups[0].identity = None;
            c.groups[0].settings.root = Some(PathBuf::from("/srv/jail"));
        });
        let error = check(&unprivileged, 1, false).unwrap_err();
        assert!(matches!(error, StartError::Chroot(_)), "{error}");
        check_refused(
            |c| c.groups[0].identity.as_mut().unwrap().uid = 0,
            "the workers of process group 'blog' would run as root",
        );
    }
}
