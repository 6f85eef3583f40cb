//! What an httpd child says to a worker, and its encoding.

use super::{Inquiry, read_pairs, write_pairs};
use crate::Secret;
use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::Message;

const MAGIC: &[u8; 4] = b"MWRS";

/// What an httpd child says to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToWorker<'a> {
    /// First message of a connection: proves that the peer is a child of this generation.
    Hello {
        /// [`crate::VERSION`] of the child.
        version: u16,
        /// The secret of the application group's workers, told by the supervisor.
        secret: Secret,
    },
    /// A request. Its body follows only if the worker asks for it, unless all of it is in the window
    /// already ([`Request::whole_body`]).
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
        /// Whether nothing can reach it any more. Otherwise it has only closed its own direction of
        /// the connection. Clients that go away do that, but so do some that have sent all they
        /// have, and wait for the answer.
        certain: bool,
    },
    /// A question about a request, for a Python hook.
    Ask(Inquiry<'a>),
    /// The value that a hook has asked for, if there is one.
    Variable(Option<&'a [u8]>),
    /// From now on there is memory for large pieces; its descriptor travels along. Comes between two
    /// requests, at most once for each [`Purpose`].
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
    /// Whether the worker may answer [`super::Refusal::Busy`]: there are other workers to ask.
    pub may_refuse: bool,
    /// Whether the request may wait until a thread of the worker is free: httpd has enough of its
    /// own.
    pub may_wait: bool,
    /// How often a worker has been asked to run the request, this time included.
    pub connects: u32,
    /// How often one that was about to end has not begun it.
    pub restarts: u32,
    /// When httpd received the request, in microseconds since the epoch
    /// (`request_rec::request_time`).
    pub received: u64,
    /// Whether there is a body.
    pub has_body: bool,
    /// How long the body is, if all of it stands at the start of the window for request bodies.
    pub whole_body: Option<u32>,
    /// Names and values of the string-valued environ entries. Of equal names the last one counts.
    pub environ: Vec<(&'a [u8], &'a [u8])>,
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

impl Purpose {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8("purpose")? {
            1 => Self::Response,
            2 => Self::Body,
            value => return Err(DecodeError::Unknown { what: "purpose", value: value.into() }),
        })
    }
}
