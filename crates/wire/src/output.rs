//! What programs write that have outlived their worker, as the supervisor hands it to the process that
//! reads it on.
//!
//! The conversation runs over that process's standard input, in one direction:
//! [`ToReader::LogFile`] for each error log, [`ToReader::Logs`], then [`ToReader::Output`] for each pipe
//! that is to be read on. It ends when the supervisor does; the reader goes on until all pipes have
//! ended.

use crate::codec::{DecodeError, Reader, Writer};
use crate::exchange::Level;
use crate::frame::Message;
use crate::generation::{Log, Syslog};

/// What the supervisor says to the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToReader {
    /// As [`crate::generation::ToSupervisor::LogFile`].
    LogFile {
        /// `ErrorLog`, as written.
        name: Vec<u8>,
    },
    /// The logs of all groups.
    Logs {
        /// The main server's.
        main: Log,
        /// Where lines go that go to no file.
        syslog: Option<Syslog>,
        /// Those of the groups, in their order.
        groups: Vec<Log>,
    },
    /// The reading end of a pipe travels with the message.
    Output {
        /// The group of the worker that is gone, as an index.
        group: u32,
        /// The worker's process id.
        pid: u32,
        /// Level at which lines are logged.
        level: Level,
        /// The beginning of a line that has been read already.
        begun: Vec<u8>,
    },
    /// The supervisor's end of its conversation with httpd's parent travels with the message, which
    /// the reader goes on with: it hears of logs that have been opened anew.
    Httpd,
}

impl Message<'_> for ToReader {
    /// Thousands of groups fit.
    const MAX_PAYLOAD: usize = 64 << 20;

    fn kind(&self) -> u8 {
        match self {
            Self::LogFile { .. } => 1,
            Self::Logs { .. } => 2,
            Self::Output { .. } => 3,
            Self::Httpd => 4,
        }
    }

    fn descriptors(&self) -> u8 {
        match self {
            Self::LogFile { .. } | Self::Output { .. } | Self::Httpd => 1,
            Self::Logs { .. } => 0,
        }
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        match self {
            Self::LogFile { name } => writer.bytes(name),
            Self::Logs { main, syslog, groups } => {
                main.write(writer);
                writer.option(syslog.as_ref(), |writer, syslog| syslog.write(writer));
                writer.list(groups, |writer, group| group.write(writer));
            }
            Self::Output { group, pid, level, begun } => {
                writer.u32(*group);
                writer.u32(*pid);
                level.write(writer);
                writer.bytes(begun);
            }
            Self::Httpd => {}
        }
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => Self::LogFile { name: reader.bytes("name")?.to_owned() },
            2 => Self::Logs {
                main: Log::read(reader)?,
                syslog: reader.option("syslog", Syslog::read)?,
                // Flag, level, flag and length, at the least.
                groups: reader.list("groups", 7, Log::read)?,
            },
            3 => Self::Output {
                group: reader.u32("group")?,
                pid: reader.u32("pid")?,
                level: Level::read(reader)?,
                begun: reader.bytes("begun")?.to_owned(),
            },
            4 => Self::Httpd,
            kind => {
                return Err(DecodeError::Unknown {
                    what: "kind of message to the reader",
                    value: kind.into(),
                });
            }
        })
    }
}
