//! "Where is this application group?": one question and one answer per connection, between an
//! httpd child and the supervisor.

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
}

impl<'a> Message<'a> for ToBroker<'a> {
    /// Two names, which come from configuration lines and host names.
    const MAX_PAYLOAD: usize = 64 << 10;

    fn kind(&self) -> u8 {
        1
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        let Self::Acquire { version, secret, process_group, application_group } = self;
        writer.u16(*version);
        secret.write(writer);
        writer.bytes(process_group);
        writer.bytes(application_group);
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match kind {
            1 => Ok(Self::Acquire {
                version: reader.u16("version")?,
                secret: Secret::read(reader)?,
                process_group: reader.bytes("process group")?,
                application_group: reader.bytes("application group")?,
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
            kind => {
                return Err(DecodeError::Unknown {
                    what: "kind of message from the broker",
                    value: kind.into(),
                });
            }
        })
    }
}
