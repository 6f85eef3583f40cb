//! One configuration cycle of httpd, told by its parent to the supervisor that serves the cycle.
//!
//! The conversation runs over the supervisor's standard input: [`ToSupervisor::Lifeline`],
//! [`ToSupervisor::LogFile`] for each error log, [`ToSupervisor::Metrics`] where there is such memory, then [`ToSupervisor::Configure`], answered by
//! [`FromSupervisor::Ready`] or [`FromSupervisor::Failed`]. After that the parent asks now and then
//! whether the supervisor still answers ([`ToSupervisor::Ping`]). When the next cycle has begun, it
//! sends the error logs of that one ([`ToSupervisor::LogFile`]): httpd has ended the programs that the
//! old ones led to.

use std::path::PathBuf;

use crate::Secret;
use crate::codec::{DecodeError, Reader, Writer};
use crate::control::{Interpreter, Settings};
use crate::exchange::Level;
use crate::frame::Message;

/// What the httpd parent says to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToSupervisor {
    /// An error log, open for writing, travels with the message. Before the configuration, logs are
    /// numbered from 0 as they come. After it, this one takes the place of the one with its name.
    LogFile {
        /// `ErrorLog`, as written.
        name: Vec<u8>,
    },
    /// The groups to serve.
    Configure(Configuration),
    /// The reading end of a pipe travels with the message. The parent and each child of the
    /// generation hold the other end, and nothing is ever written: the end of the pipe says that the
    /// last of them is gone. A pipe, as it carries no descriptors, whoever writes to it.
    Lifeline,
    /// [`FromSupervisor::Pong`] is to answer.
    Ping,
    /// The memory in which requests and workers are counted travels with the message.
    Metrics {
        /// Number of this supervisor among all that the httpd has started.
        number: u64,
    },
}

/// What the supervisor says to the httpd parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromSupervisor {
    /// It answers httpd children from now on.
    Ready,
    /// Of a supervisor that was only to check: what is wrong with which group's Python, in a sentence
    /// each for the error log.
    Checked {
        /// The sentences; none if all start.
        problems: Vec<String>,
    },
    /// It cannot, and is about to exit.
    Failed {
        /// Why, in one sentence for the error log.
        reason: String,
    },
    /// It answers [`ToSupervisor::Ping`].
    Pong,
}

/// One configuration cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// [`crate::VERSION`] of the module.
    pub version: u16,
    /// What httpd children must say to be answered.
    pub secret: Secret,
    /// Directory to make, which holds all sockets of the generation.
    pub directory: PathBuf,
    /// User id of the httpd children.
    pub httpd_uid: u32,
    /// Group id of the httpd children.
    pub httpd_gid: u32,
    /// The main server's log.
    pub log: Log,
    /// Where lines go that go to no file.
    pub syslog: Option<Syslog>,
    /// The process groups.
    pub groups: Vec<Group>,
}

/// A process group (`WSGIDaemonProcess`), or the default one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What its workers are told. The group's name and sizes are in there.
    pub settings: Settings,
    /// Whom to become before Python is executed; `None` when httpd is not run by root.
    pub identity: Option<Identity>,
    /// `WSGIFreeThreading`: whether a free-threaded Python does without its lock. Others have it.
    pub free_threading: Option<bool>,
    /// Environment variables to set: `HOME`, `LANG`, `LC_ALL`.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// How many workers each application group has at least; at most it has as many as the settings
    /// say. Between the two, the load decides.
    pub least_processes: u32,
    /// `idle-timeout=`: seconds for which workers beyond the least have to be too many before they
    /// go; 0: they stay.
    pub idle_timeout: u32,
    /// Whether to start workers before the first request.
    pub prestart: bool,
    /// What is known of its application groups beforehand.
    pub application_groups: Vec<ApplicationGroup>,
    /// Limits of the system, set before Python is executed.
    pub limits: Limits,
    /// The log of the server that defines it.
    pub log: Log,
}

/// Where a server's log lines go, and how they look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Which [`ToSupervisor::LogFile`]; `None` for syslog.
    pub file: Option<u32>,
    /// Least severe level that is logged.
    pub level: Level,
    /// `ErrorLogFormat`; `None` for httpd's default.
    pub format: Option<Vec<u8>>,
    /// `ServerName`, for the format.
    pub host: Vec<u8>,
}

/// How httpd speaks with syslog (`openlog(3)`). It is the same for all its servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// The facility's number, of those in RFC 5424, section 6.2.1.
    pub facility: u8,
    /// What lines begin with.
    pub tag: Vec<u8>,
}

/// What is configured for an application group of a process group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApplicationGroup {
    /// Its name, empty for `%{GLOBAL}`.
    pub name: Vec<u8>,
    /// Scripts that each of its workers loads before it serves, in order. If there are any, its
    /// workers are started before the first request.
    pub imports: Vec<Vec<u8>>,
    /// What it has other than the rest of the process group.
    pub interpreter: Interpreter,
}

/// A user to become, with everything that has to be set for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id, never 0.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Login name, for the supplementary groups.
    pub user: String,
    /// `supplementary-groups=`, in the place of those that the user has.
    pub groups: Option<Vec<u32>>,
}

/// Limits of a process; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// `cpu-priority=`: nice value, negative for more than others have.
    pub cpu_priority: i32,
    /// `memory-limit=`, in bytes (`RLIMIT_DATA`).
    pub memory: u64,
    /// `virtual-memory-limit=`, in bytes (`RLIMIT_AS`).
    pub virtual_memory: u64,
}

impl Message<'_> for ToSupervisor {
    /// Thousands of groups fit.
    const MAX_PAYLOAD: usize = 64 << 20;

    fn kind(&self) -> u8 {
        match self {
            Self::LogFile { .. } => 1,
            Self::Configure(_) => 2,
            Self::Lifeline => 3,
            Self::Ping => 4,
            Self::Metrics { .. } => 5,
        }
    }

    fn descriptors(&self) -> u8 {
        match self {
            Self::LogFile { .. } | Self::Lifeline | Self::Metrics { .. } => 1,
            Self::Configure(_) | Self::Ping => 0,
        }
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Lifeline | Self::Ping => {}
            Self::LogFile { name } => writer.bytes(name),
            Self::Metrics { number } => writer.u64(*number),
            Self::Configure(configuration) => configuration.write(writer),
        }
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => Self::LogFile { name: reader.bytes("name")?.to_owned() },
            2 => Self::Configure(Configuration::read(reader)?),
            3 => Self::Lifeline,
            4 => Self::Ping,
            5 => Self::Metrics { number: reader.u64("number")? },
            kind => {
                return Err(DecodeError::Unknown {
                    what: "kind of message to the supervisor",
                    value: kind.into(),
                });
            }
        })
    }
}

impl Message<'_> for FromSupervisor {
    /// A sentence about each of thousands of groups fits.
    const MAX_PAYLOAD: usize = 16 << 20;

    fn kind(&self) -> u8 {
        match self {
            Self::Ready => 1,
            Self::Failed { .. } => 2,
            Self::Pong => 3,
            Self::Checked { .. } => 4,
        }
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Ready | Self::Pong => {}
            Self::Failed { reason } => writer.bytes(reason.as_bytes()),
            Self::Checked { problems } => {
                writer.list(problems, |writer, problem| writer.bytes(problem.as_bytes()));
            }
        }
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => Self::Ready,
            2 => Self::Failed { reason: reader.text("reason")?.to_owned() },
            3 => Self::Pong,
            4 => Self::Checked {
                problems: reader
                    .list("problems", 4, |reader| Ok(reader.text("problem")?.to_owned()))?,
            },
            kind => {
                return Err(DecodeError::Unknown {
                    what: "kind of message from the supervisor",
                    value: kind.into(),
                });
            }
        })
    }
}

impl Configuration {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u16(self.version);
        self.secret.write(writer);
        writer.path(&self.directory);
        writer.u32(self.httpd_uid);
        writer.u32(self.httpd_gid);
        self.log.write(writer);
        writer.option(self.syslog.as_ref(), |writer, syslog| syslog.write(writer));
        writer.list(&self.groups, |writer, group| group.write(writer));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: reader.u16("version")?,
            secret: Secret::read(reader)?,
            directory: reader.path("directory")?,
            httpd_uid: reader.u32("httpd uid")?,
            httpd_gid: reader.u32("httpd gid")?,
            log: Log::read(reader)?,
            syslog: reader.option("syslog", Syslog::read)?,
            // Far less than the smallest group takes, which is enough to bound the allocation.
            groups: reader.list("groups", 32, Group::read)?,
        })
    }
}

impl Group {
    fn write(&self, writer: &mut Writer<'_>) {
        self.settings.write(writer);
        writer.option(self.identity.as_ref(), |writer, identity| {
            writer.u32(identity.uid);
            writer.u32(identity.gid);
            writer.bytes(identity.user.as_bytes());
            writer.option(identity.groups.as_deref(), |writer, groups| {
                writer.list(groups, |writer, group| writer.u32(*group));
            });
        });
        writer.option(self.free_threading, Writer::bool);
        writer.list(&self.environment, |writer, (name, value)| {
            writer.bytes(name);
            writer.bytes(value);
        });
        writer.u32(self.least_processes);
        writer.u32(self.idle_timeout);
        writer.bool(self.prestart);
        writer.list(&self.application_groups, |writer, group| {
            writer.bytes(&group.name);
            writer.list(&group.imports, |writer, script| writer.bytes(script));
            group.interpreter.write(writer);
        });
        writer.u32(self.limits.cpu_priority.cast_unsigned());
        writer.u64(self.limits.memory);
        writer.u64(self.limits.virtual_memory);
        self.log.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            settings: Settings::read(reader)?,
            identity: reader.option("identity", |reader| {
                Ok(Identity {
                    uid: reader.u32("uid")?,
                    gid: reader.u32("gid")?,
                    user: reader.text("user")?.to_owned(),
                    groups: reader.option("groups", |reader| {
                        reader.list("groups", 4, |reader| reader.u32("groups"))
                    })?,
                })
            })?,
            free_threading: reader
                .option("free threading", |reader| reader.bool("free threading"))?,
            environment: reader.list("environment", 8, |reader| {
                Ok((reader.bytes("name")?.to_owned(), reader.bytes("value")?.to_owned()))
            })?,
            least_processes: reader.u32("least processes")?,
            idle_timeout: reader.u32("idle timeout")?,
            prestart: reader.bool("prestart")?,
            application_groups: reader.list("application groups", 8, |reader| {
                Ok(ApplicationGroup {
                    name: reader.bytes("application group")?.to_owned(),
                    imports: reader
                        .list("imports", 4, |reader| Ok(reader.bytes("import")?.to_owned()))?,
                    interpreter: Interpreter::read(reader)?,
                })
            })?,
            limits: Limits {
                cpu_priority: reader.u32("cpu priority")?.cast_signed(),
                memory: reader.u64("memory")?,
                virtual_memory: reader.u64("virtual memory")?,
            },
            log: Log::read(reader)?,
        })
    }
}

impl Log {
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.option(self.file, Writer::u32);
        self.level.write(writer);
        writer.option(self.format.as_deref(), Writer::bytes);
        writer.bytes(&self.host);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            file: reader.option("log file", |reader| reader.u32("log file"))?,
            level: Level::read(reader)?,
            format: reader
                .option("log format", |reader| Ok(reader.bytes("log format")?.to_owned()))?,
            host: reader.bytes("host")?.to_owned(),
        })
    }
}

impl Syslog {
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.u8(self.facility);
        writer.bytes(&self.tag);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { facility: reader.u8("facility")?, tag: reader.bytes("tag")?.to_owned() })
    }
}
