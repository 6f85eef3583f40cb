//! "Where is this application group?" and "what became of that worker?": one question and one answer
//! per connection, between an httpd child and the supervisor.

use std::path::PathBuf;

use crate::Secret;
use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::Message;

/// What an httpd child asks the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToBroker<'a> {
    /// Find or start the workers of an application group.
    Acquire {
        /// [`crate::VERSION`] of the child.
        version: u16,
        /// The secret of the generation.
        secret: Secret,
        /// Name of the process group, empty for the default one.
        process_group: &'a [u8],
        /// Name of the application group, empty for `%{GLOBAL}`.
        application_group: &'a [u8],
        /// Path of the script that is to run there, where clients may have made up the name of the application
        /// group: this file exists. None where the configuration alone says the name.
        script: Option<&'a [u8]>,
    },
    /// Tell how a worker ended that was running a request.
    Inquire {
        /// [`crate::VERSION`] of the child.
        version: u16,
        /// The secret of the generation.
        secret: Secret,
        /// The worker's process id.
        worker: u32,
    },
}

/// What the supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromBroker {
    /// At least one worker of the application group is serving.
    Granted {
        /// The socket on which its workers listen.
        socket: PathBuf,
        /// The secret that those workers want to hear.
        secret: Secret,
        /// How many workers share the socket, when all of them are up.
        processes: u32,
    },
    /// No worker can serve the group now.
    Unavailable {
        /// Why, in one sentence for the error log.
        reason: String,
        /// Seconds after which to try again (`Retry-After`).
        retry_after: u32,
    },
    /// The worker has ended.
    Ended {
        /// How and why, as the rest of a sentence that begins with the worker.
        how: String,
        /// Whether it was made to end because requests took too long.
        too_slow: bool,
    },
    /// The worker has not ended, though the supervisor waited a while for it.
    Running,
    /// The supervisor has no such worker, and had none lately.
    Unknown,
}

impl<'a> Message<'a> for ToBroker<'a> {
    /// Two names, which come from configuration lines and host names, and a path.
    const MAX_PAYLOAD: usize = 64 << 10;

    fn kind(&self) -> u8 {
        match self {
            Self::Acquire { .. } => 1,
            Self::Inquire { .. } => 2,
        }
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Acquire { version, secret, process_group, application_group, script } => {
                writer.u16(*version);
                secret.write(writer);
                writer.bytes(process_group);
                writer.bytes(application_group);
                writer.option(*script, Writer::bytes);
            }
            Self::Inquire { version, secret, worker } => {
                writer.u16(*version);
                secret.write(writer);
                writer.u32(*worker);
            }
        }
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match kind {
            1 => Ok(Self::Acquire {
                version: reader.u16("version")?,
                secret: Secret::read(reader)?,
                process_group: reader.bytes("process group")?,
                application_group: reader.bytes("application group")?,
                script: reader.option("script", |reader| reader.bytes("script"))?,
            }),
            2 => Ok(Self::Inquire {
                version: reader.u16("version")?,
                secret: Secret::read(reader)?,
                worker: reader.u32("worker")?,
            }),
            kind => Err(DecodeError::Unknown {
                what: "kind of message to the broker",
                value: kind.into(),
            }),
        }
    }
}

impl Message<'_> for FromBroker {
    const MAX_PAYLOAD: usize = 64 << 10;

    fn kind(&self) -> u8 {
        match self {
            Self::Granted { .. } => 1,
            Self::Unavailable { .. } => 2,
            Self::Ended { .. } => 3,
            Self::Running => 4,
            Self::Unknown => 5,
        }
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Granted { socket, secret, processes } => {
                writer.path(socket);
                secret.write(writer);
                writer.u32(*processes);
            }
            Self::Unavailable { reason, retry_after } => {
                writer.bytes(reason.as_bytes());
                writer.u32(*retry_after);
            }
            Self::Ended { how, too_slow } => {
                writer.bytes(how.as_bytes());
                writer.bool(*too_slow);
            }
            Self::Running | Self::Unknown => {}
        }
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => Self::Granted {
                socket: reader.path("socket")?,
                secret: Secret::read(reader)?,
                processes: reader.u32("processes")?,
            },
            2 => Self::Unavailable {
                reason: reader.text("reason")?.to_owned(),
                retry_after: reader.u32("retry after")?,
            },
            3 => Self::Ended {
                how: reader.text("how")?.to_owned(),
                too_slow: reader.bool("too slow")?,
            },
            4 => Self::Running,
            5 => Self::Unknown,
            kind => {
                return Err(DecodeError::Unknown {
                    what: "kind of message from the broker",
                    value: kind.into(),
                });
            }
        })
    }
}
