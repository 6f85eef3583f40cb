//! What a worker says to an httpd child, and its encoding.

use super::{Level, Verdict, read_pairs, write_pairs};
use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::Message;

/// What a worker says to an httpd child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromWorker<'a> {
    /// The request was not begun; it may be sent elsewhere.
    Refused(Refusal),
    /// The application reads its input: send at most this many bytes, at least one.
    NeedBody {
        /// Upper bound of the next [`super::ToWorker::Body`], in bytes.
        at_most: u32,
        /// Whether the application waits until it has so many, or all that there are. Otherwise it
        /// takes whatever comes first.
        all: bool,
    },
    /// The response's status line and headers, as the application gave them.
    Head {
        /// Code, space, reason phrase (PEP 3333, "The start_response() Callable").
        status: &'a [u8],
        /// Header names and values in order, duplicates kept.
        headers: Vec<(&'a [u8], &'a [u8])>,
    },
    /// A piece of the response body.
    Data(&'a [u8]),
    /// A line that the application wrote, to be logged with the request.
    Log {
        /// Its level.
        level: Level,
        /// The line, without its end.
        text: &'a [u8],
    },
    /// The response is complete.
    End,
    /// There will be no (further) response: the application failed, and its log lines tell why.
    Failed {
        /// The HTTP status to answer with, if no head has been sent yet.
        status: u16,
    },
    /// The worker closes this connection and will not begin any request that comes after this.
    Goodbye,
    /// Answer to [`super::ToWorker::Hello`]: no request of this connection has been begun before it
    /// came.
    Welcome {
        /// The worker's process id, under which the supervisor knows it.
        worker: u32,
    },
    /// The response body, all of it, is a part of the file whose descriptor travels along. Comes
    /// right after [`FromWorker::Head`].
    File {
        /// Where the part begins, in bytes.
        offset: u64,
        /// How long it is.
        length: u64,
    },
    /// As [`FromWorker::Log`], with the place in the source that it comes from.
    LogFrom {
        /// Its level.
        level: Level,
        /// The source file.
        path: &'a [u8],
        /// The line in it.
        line: u32,
        /// The log line, without its end.
        text: &'a [u8],
    },
    /// As [`FromWorker::LogFrom`], where logs are for machines (`WSGILogFormat json`): the text may have
    /// several lines.
    Record {
        /// The level at which it is logged.
        level: Level,
        /// The name of its own level.
        name: &'a [u8],
        /// The name of its logger.
        logger: &'a [u8],
        /// What there is to log, without an end of line.
        text: &'a [u8],
    },
    /// Headers of an interim response (RFC 8297), before [`FromWorker::Head`].
    EarlyHints {
        /// Names and values.
        headers: Vec<(&'a [u8], &'a [u8])>,
    },
    /// A hook wants to know the variable of mod_ssl with this name.
    NeedVariable(&'a [u8]),
    /// What the hook has answered. Nothing comes after it.
    Verdict(Verdict<'a>),
    /// As [`FromWorker::Data`], for a piece that stands in the window until it is
    /// [`super::ToWorker::Taken`], or the response has ended.
    DataAt {
        /// Where it begins.
        offset: u32,
        /// How long it is.
        len: u32,
    },
    /// When a thread ran the request, in microseconds since the epoch. Comes before
    /// [`FromWorker::End`] or [`FromWorker::Failed`], after the response, or not at all.
    Ran {
        /// The thread took it.
        begun: u64,
        /// The application was through with it.
        ended: u64,
    },
}

/// Why a worker did not begin a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// All its threads are running requests.
    Busy = 1,
    /// It is about to exit.
    Draining = 2,
    /// It serves another application group.
    WrongGroup = 3,
    /// The peer proved no right to speak to it.
    NotAuthentic = 4,
    /// The peer speaks another version of the protocol.
    WrongVersion = 5,
    /// As many requests wait as may.
    Full = 6,
    /// It has waited longer than `queue-timeout=`.
    Late = 7,
}

impl<'a> Message<'a> for FromWorker<'a> {
    /// A worker splits larger bodies; a larger head is no response that a client could take.
    const MAX_PAYLOAD: usize = 1 << 20;

    fn kind(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::NeedBody { .. } => 2,
            Self::Head { .. } => 3,
            Self::Data(_) => 4,
            Self::Log { .. } => 5,
            Self::End => 6,
            Self::Failed { .. } => 7,
            Self::Goodbye => 8,
            Self::File { .. } => 9,
            Self::EarlyHints { .. } => 10,
            Self::LogFrom { .. } => 11,
            Self::Verdict(_) => 12,
            Self::Welcome { .. } => 13,
            Self::NeedVariable(_) => 14,
            Self::DataAt { .. } => 15,
            Self::Ran { .. } => 16,
            Self::Record { .. } => 17,
        }
    }

    fn descriptors(&self) -> u8 {
        u8::from(matches!(self, Self::File { .. }))
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Refused(refusal) => writer.u8(*refusal as u8),
            Self::NeedBody { at_most, all } => {
                writer.u32(*at_most);
                writer.bool(*all);
            }
            Self::Head { status, headers } => {
                writer.bytes(status);
                write_pairs(writer, headers);
            }
            Self::Data(data) => writer.raw(data),
            Self::Log { level, text } => {
                level.write(writer);
                writer.raw(text);
            }
            Self::End | Self::Goodbye => {}
            Self::Welcome { worker } => writer.u32(*worker),
            Self::Failed { status } => writer.u16(*status),
            Self::File { offset, length } => {
                writer.u64(*offset);
                writer.u64(*length);
            }
            Self::EarlyHints { headers } => write_pairs(writer, headers),
            Self::LogFrom { level, path, line, text } => {
                level.write(writer);
                writer.bytes(path);
                writer.u32(*line);
                writer.raw(text);
            }
            Self::Record { level, name, logger, text } => {
                level.write(writer);
                writer.bytes(name);
                writer.bytes(logger);
                writer.raw(text);
            }
            Self::Verdict(verdict) => verdict.write(writer),
            Self::NeedVariable(name) => writer.bytes(name),
            Self::DataAt { offset, len } => {
                writer.u32(*offset);
                writer.u32(*len);
            }
            Self::Ran { begun, ended } => {
                writer.u64(*begun);
                writer.u64(*ended);
            }
        }
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => Self::Refused(Refusal::read(reader)?),
            2 => Self::NeedBody { at_most: reader.u32("at most")?, all: reader.bool("all")? },
            3 => Self::Head {
                status: reader.bytes("status")?,
                headers: read_pairs(reader, "headers")?,
            },
            4 => Self::Data(reader.rest()),
            5 => Self::Log { level: Level::read(reader)?, text: reader.rest() },
            6 => Self::End,
            7 => Self::Failed { status: reader.u16("status")? },
            8 => Self::Goodbye,
            9 => Self::File { offset: reader.u64("offset")?, length: reader.u64("length")? },
            10 => Self::EarlyHints { headers: read_pairs(reader, "hints")? },
            11 => Self::LogFrom {
                level: Level::read(reader)?,
                path: reader.bytes("path")?,
                line: reader.u32("line")?,
                text: reader.rest(),
            },
            12 => Self::Verdict(Verdict::read(reader)?),
            13 => Self::Welcome { worker: reader.u32("worker")? },
            14 => Self::NeedVariable(reader.bytes("name")?),
            15 => Self::DataAt { offset: reader.u32("offset")?, len: reader.u32("length")? },
            16 => Self::Ran { begun: reader.u64("begun")?, ended: reader.u64("ended")? },
            17 => Self::Record {
                level: Level::read(reader)?,
                name: reader.bytes("name of a level")?,
                logger: reader.bytes("logger")?,
                text: reader.rest(),
            },
            kind => {
                return Err(DecodeError::Unknown {
                    what: "kind of message from a worker",
                    value: kind.into(),
                });
            }
        })
    }
}

impl Refusal {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8("refusal")? {
            1 => Self::Busy,
            2 => Self::Draining,
            3 => Self::WrongGroup,
            4 => Self::NotAuthentic,
            5 => Self::WrongVersion,
            6 => Self::Full,
            7 => Self::Late,
            value => {
                return Err(DecodeError::Unknown { what: "refusal", value: value.into() });
            }
        })
    }
}
