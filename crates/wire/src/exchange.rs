//! One HTTP request after the other, between an httpd child and a worker.
//!
//! The child opens with [`ToWorker::Hello`], once per connection, and then sends one
//! [`ToWorker::Request`] at a time. [`FromWorker::Welcome`] comes before the first answer. The worker answers each with either [`FromWorker::Refused`], or
//! any number of [`FromWorker::NeedBody`], [`FromWorker::Log`], [`FromWorker::EarlyHints`], then
//! [`FromWorker::Head`] and body frames or one [`FromWorker::File`], and at last exactly one of
//! [`FromWorker::End`] and [`FromWorker::Failed`].
//!
//! In place of a request the child may send a [`ToWorker::Ask`], which the worker answers with
//! [`FromWorker::Refused`], or log lines and [`FromWorker::NeedVariable`], and then one of
//! [`FromWorker::Verdict`] and [`FromWorker::Failed`].

mod inquiry;

pub use inquiry::{Inquiry, Password, Question, Verdict};

use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::Message;
use crate::{Secret, VERSION};

const MAGIC: &[u8; 4] = b"MWRS";

/// What an httpd child says to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToWorker<'a> {
    /// First message of a connection: proves that the peer is a child of this generation.
    Hello {
        /// [`VERSION`] of the child.
        version: u16,
        /// The secret of the application group's workers, told by the supervisor.
        secret: Secret,
    },
    /// A request. Unless it says where its body is, that follows only if the worker asks for it.
    Request(Request<'a>),
    /// A piece of the request body, never empty, no longer than asked for.
    Body(&'a [u8]),
    /// The request body ended; there is nothing more to ask for.
    BodyEnd,
    /// The request body cannot be read any further.
    BodyFailed {
        /// What httpd found, for the exception that `wsgi.input` raises.
        reason: &'a str,
    },
    /// The client has gone away while its request runs. May cross the end of the response.
    ClientGone {
        /// Whether nothing can reach it any more. Otherwise it has only closed its own direction,
        /// as one does that goes away, but also one that has nothing more to say.
        certain: bool,
    },
    /// A question about a request, for a Python hook.
    Ask(Inquiry<'a>),
    /// The value that a hook has asked for, if there is one.
    Variable(Option<&'a [u8]>),
    /// From now on there is memory for large pieces, whose descriptor travels along. Comes between
    /// two requests, once for each use.
    Window {
        /// What it is for.
        purpose: Purpose,
        /// How many bytes it has.
        size: u32,
    },
    /// As [`ToWorker::Body`], for a piece that stands at the start of the window.
    BodyAt {
        /// How long it is.
        len: u32,
    },
    /// The oldest bytes of the window that have not been given back are free again. May cross the
    /// end of the response.
    Taken {
        /// How many.
        len: u32,
    },
}

/// What a window is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Response bodies, which the worker writes.
    Response = 1,
    /// Request bodies, which the httpd child writes.
    Body = 2,
}

/// One request: what httpd decided about it, apart from what the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Path of the WSGI script file.
    pub script: &'a [u8],
    /// Name of the global in that script that is called (`WSGICallableObject`).
    pub callable: &'a [u8],
    /// The application group; a worker serves one only and refuses others.
    pub application_group: &'a [u8],
    /// Whether `wsgi.url_scheme` is `https`.
    pub https: bool,
    /// Whether the script is loaded again when it has changed (`WSGIScriptReloading`).
    pub script_reloading: bool,
    /// Whether the request is no activity, by `inactivity-timeout=` (`WSGIIgnoreActivity`).
    pub ignore_activity: bool,
    /// Whether the worker may answer [`Refusal::Busy`]: there are other workers to ask.
    pub may_refuse: bool,
    /// Whether the request may wait until a thread of the worker is free: httpd has enough of its own.
    pub may_wait: bool,
    /// How often a worker has been asked to run the request, this time included.
    pub connects: u32,
    /// How often one that was about to end has not begun it.
    pub restarts: u32,
    /// When httpd received the request, in microseconds since the epoch (`request_rec::request_time`).
    pub received: u64,
    /// Whether there is a body.
    pub has_body: bool,
    /// How long the body is, if all of it stands at the start of the window for request bodies.
    pub whole_body: Option<u32>,
    /// Names and values of the string-valued environ entries. Of equal names the last one counts.
    pub environ: Vec<(&'a [u8], &'a [u8])>,
}

/// What a worker says to an httpd child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromWorker<'a> {
    /// The request was not begun; it may be sent elsewhere.
    Refused(Refusal),
    /// The application reads its input: send at most this many bytes, at least one.
    NeedBody {
        /// Upper bound of the next [`ToWorker::Body`], in bytes.
        at_most: u32,
        /// Whether the application gets nothing before it gets so many, or all that there are.
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
    /// Answer to [`ToWorker::Hello`]: no request of this connection has been begun before it came.
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
    /// [`ToWorker::Taken`], or the response has ended.
    DataAt {
        /// Where it begins.
        offset: u32,
        /// How long it is.
        len: u32,
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

/// Severity of a log line; httpd's names and order (`APLOG_EMERG` to `APLOG_DEBUG`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// `APLOG_EMERG`.
    Emergency = 0,
    /// `APLOG_ALERT`.
    Alert = 1,
    /// `APLOG_CRIT`.
    Critical = 2,
    /// `APLOG_ERR`.
    Error = 3,
    /// `APLOG_WARNING`.
    Warning = 4,
    /// `APLOG_NOTICE`: written to an error log file whatever the LogLevel.
    Notice = 5,
    /// `APLOG_INFO`.
    Info = 6,
    /// `APLOG_DEBUG`.
    Debug = 7,
}

impl Level {
    const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Info,
        Self::Debug,
    ];

    /// httpd's number for the level.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The level with httpd's number `number`; the trace levels above 7 count as debug.
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Debug)
    }

    pub(crate) fn write(self, writer: &mut Writer<'_>) {
        writer.u8(self.number());
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = reader.u8("level")?;
        let unknown = DecodeError::Unknown { what: "level", value: number.into() };
        Self::ALL.get(usize::from(number)).copied().ok_or(unknown)
    }
}

impl Purpose {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8("purpose")? {
            1 => Self::Response,
            2 => Self::Body,
            value => return Err(DecodeError::Unknown { what: "purpose", value: value.into() }),
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

/// Greets a worker in the version that this crate speaks.
pub fn hello(secret: Secret) -> ToWorker<'static> {
    ToWorker::Hello { version: VERSION, secret }
}

/// A name and its value.
type Pair<'a> = (&'a [u8], &'a [u8]);

fn write_pairs(writer: &mut Writer<'_>, pairs: &[Pair<'_>]) {
    writer.list(pairs, |writer, (name, value)| {
        writer.bytes(name);
        writer.bytes(value);
    });
}

fn read_pairs<'a>(
    reader: &mut Reader<'a>,
    what: &'static str,
) -> Result<Vec<Pair<'a>>, DecodeError> {
    // The smallest pair is two lengths of zero.
    reader.list(what, 8, |reader| Ok((reader.bytes(what)?, reader.bytes(what)?)))
}

impl<'a> Message<'a> for ToWorker<'a> {
    /// httpd bounds a request's head far below this (`LimitRequestLine`, `LimitRequestFields`);
    /// what else goes into a frame is configuration. The figure is mod_wsgi's own limit.
    const MAX_PAYLOAD: usize = 16 << 20;

    fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => 1,
            Self::Request(_) => 2,
            Self::Body(_) => 3,
            Self::BodyEnd => 4,
            Self::BodyFailed { .. } => 5,
            Self::ClientGone { .. } => 6,
            Self::Ask(_) => 7,
            Self::Variable(_) => 8,
            Self::Window { .. } => 9,
            Self::BodyAt { .. } => 10,
            Self::Taken { .. } => 11,
        }
    }

    fn descriptors(&self) -> u8 {
        u8::from(matches!(self, Self::Window { .. }))
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Hello { version, secret } => {
                writer.raw(MAGIC);
                writer.u16(*version);
                secret.write(writer);
            }
            Self::Request(request) => {
                writer.bytes(request.script);
                writer.bytes(request.callable);
                writer.bytes(request.application_group);
                writer.bool(request.https);
                writer.bool(request.script_reloading);
                writer.bool(request.ignore_activity);
                writer.bool(request.may_refuse);
                writer.bool(request.may_wait);
                writer.u32(request.connects);
                writer.u32(request.restarts);
                writer.u64(request.received);
                writer.bool(request.has_body);
                writer.option(request.whole_body, Writer::u32);
                write_pairs(writer, &request.environ);
            }
            Self::Body(data) => writer.raw(data),
            Self::BodyEnd => {}
            Self::BodyFailed { reason } => writer.bytes(reason.as_bytes()),
            Self::ClientGone { certain } => writer.bool(*certain),
            Self::Ask(inquiry) => inquiry.write(writer),
            Self::Variable(value) => writer.option(*value, Writer::bytes),
            Self::Window { purpose, size } => {
                writer.u8(*purpose as u8);
                writer.u32(*size);
            }
            Self::BodyAt { len } | Self::Taken { len } => writer.u32(*len),
        }
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => {
                if reader.take(MAGIC.len(), "magic")? != MAGIC {
                    return Err(DecodeError::Unknown { what: "magic", value: 0 });
                }
                Self::Hello { version: reader.u16("version")?, secret: Secret::read(reader)? }
            }
            2 => Self::Request(Request {
                script: reader.bytes("script")?,
                callable: reader.bytes("callable")?,
                application_group: reader.bytes("application group")?,
                https: reader.bool("https")?,
                script_reloading: reader.bool("script reloading")?,
                ignore_activity: reader.bool("ignore activity")?,
                may_refuse: reader.bool("may refuse")?,
                may_wait: reader.bool("may wait")?,
                connects: reader.u32("connects")?,
                restarts: reader.u32("restarts")?,
                received: reader.u64("received")?,
                has_body: reader.bool("has body")?,
                whole_body: reader.option("whole body", |reader| reader.u32("whole body"))?,
                environ: read_pairs(reader, "environ")?,
            }),
            3 => Self::Body(reader.rest()),
            4 => Self::BodyEnd,
            5 => Self::BodyFailed { reason: reader.text("reason")? },
            6 => Self::ClientGone { certain: reader.bool("certain")? },
            7 => Self::Ask(Inquiry::read(reader)?),
            8 => Self::Variable(reader.option("value", |reader| reader.bytes("value"))?),
            9 => Self::Window { purpose: Purpose::read(reader)?, size: reader.u32("size")? },
            10 => Self::BodyAt { len: reader.u32("length")? },
            11 => Self::Taken { len: reader.u32("length")? },
            kind => {
                return Err(DecodeError::Unknown {
                    what: "kind of message to a worker",
                    value: kind.into(),
                });
            }
        })
    }
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
            Self::Verdict(verdict) => verdict.write(writer),
            Self::NeedVariable(name) => writer.bytes(name),
            Self::DataAt { offset, len } => {
                writer.u32(*offset);
                writer.u32(*len);
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
            kind => {
                return Err(DecodeError::Unknown {
                    what: "kind of message from a worker",
                    value: kind.into(),
                });
            }
        })
    }
}
