//! Settings and life cycle of a worker, between it and the supervisor that started it.
//!
//! The conversation runs over the worker's standard input. [`ToWorker::Configure`] is its first
//! message; [`FromWorker::Ready`] answers it. Both open with [`crate::VERSION`]. [`ToWorker::Assign`] gives the worker its application
//! group, once; [`FromWorker::Serving`] answers that. [`ToWorker::Drain`] can come at any time.

mod settings;

pub use settings::{Httpd, Interpreter, Python, Reload, Settings};

use crate::Secret;
use crate::codec::{DecodeError, Reader, Writer};
use crate::exchange::Level;
use crate::frame::Message;
use crate::limits::Cause;

/// What the supervisor says to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToWorker {
    /// How to set up the process and Python.
    Configure(Box<Settings>),
    /// Serve this application group. A listening socket travels with the message.
    Assign {
        /// Its name, empty for `%{GLOBAL}`.
        application_group: Vec<u8>,
        /// What each connection has to open with.
        secret: Secret,
        /// Paths of scripts to load before it serves, in order: those of `WSGIImportScript` and its
        /// like, and those that the worker has loaded whose place this one takes.
        preload: Vec<Vec<u8>>,
        /// What it has other than the rest of its process group.
        interpreter: Interpreter,
    },
    /// No other worker takes this one's place after all: serve what is being held back with the
    /// code that is loaded, and ask again another time.
    Keep,
    /// Ask to be replaced, even though nothing has changed: [`FromWorker::Retire`] answers, unless
    /// the worker has asked already.
    Retire,
    /// Load these scripts, as another worker of the set has: it must not depend on which of them a
    /// request comes to whether its code is that of before a deployment that broke it.
    Load {
        /// Their paths.
        scripts: Vec<Vec<u8>>,
    },
    /// No other worker can stand in for this one, which has said that it is
    /// [unfit](FromWorker::Unfit).
    Alone,
    /// The others of the set are enough: finish, unless requests run or wait here.
    /// [`FromWorker::Drained`] or [`FromWorker::Busy`] answers.
    Dismiss,
    /// Say what each thread of Python does: [`FromWorker::Stack`] for each of them, then
    /// [`FromWorker::Stacked`].
    Stacks {
        /// What the answers are to bear.
        ticket: u64,
    },
    /// Finish the requests that are running, begin no others, then exit with status 0.
    Drain {
        /// How many seconds the requests have before `shutdown-timeout=` begins.
        grace: u32,
    },
}

/// What a worker says to its supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromWorker {
    /// Python runs; the worker can be given an application group.
    Ready {
        /// `sys.version` without its line ends.
        python: String,
    },
    /// The worker accepts connections for its application group.
    Serving,
    /// A request has been run to its end, for the first time: the application works, and if the
    /// worker dies now, that is not because it always would. Told again when a request ends ten seconds
    /// or more after it was told last: the application group is in use.
    Proven,
    /// Another worker is to take this one's place. Where the cause is [urgent](Cause::is_urgent),
    /// this one takes no requests any more and is about to end; otherwise it serves until it is told
    /// to drain, or to keep going.
    Retire {
        /// Why.
        cause: Cause,
        /// The same for the error log, as the beginning of a sentence: limit, value, requests.
        reason: String,
        /// Paths of scripts that the next worker is to load before it serves.
        scripts: Vec<Vec<u8>>,
    },
    /// Where several workers serve an application group, or `reload=keep`: a script has been loaded for
    /// the first time.
    Loaded {
        /// Its path.
        script: Vec<u8>,
    },
    /// A script cannot be loaded before the worker serves.
    Unloaded {
        /// What is wrong, in lines for the error log.
        text: String,
    },
    /// Where `reload=keep`: a script cannot be loaded. [`ToWorker::Drain`] answers if others can
    /// stand in for this worker, and [`ToWorker::Alone`] if not.
    Unfit {
        /// Path of the script.
        script: Vec<u8>,
        /// What is wrong, in one line for the error log.
        reason: String,
    },
    /// So many of the scripts that it is to load before it serves could not be loaded. Without
    /// `reload=keep` it serves nevertheless, and tries again when a request asks for one.
    Lacks {
        /// How many there are now.
        scripts: u32,
    },
    /// The worker cannot start and is about to exit.
    Failed {
        /// Why, in one sentence for the error log.
        reason: String,
    },
    /// A log line that belongs to no request.
    Log {
        /// Its level.
        level: Level,
        /// The line, without its end.
        text: String,
    },
    /// All requests have been finished; only the shutdown of Python is left.
    Drained,
    /// Requests run or wait here: it stays, although it was [dismissed](ToWorker::Dismiss).
    Busy,
    /// What one thread of Python does.
    Stack {
        /// That of the order.
        ticket: u64,
        /// The thread.
        stack: Stack,
    },
    /// There are no other threads of Python.
    Stacked {
        /// That of the order.
        ticket: u64,
        /// Who holds Python's lock, if others do not get it, or why there are no stacks, as sentences.
        notes: Vec<String>,
    },
}

/// What a thread of Python does. Nothing of a request's headers, cookies or query string is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Its name.
    pub thread: String,
    /// Method and path of the request that it runs.
    pub request: Option<String>,
    /// How old that request is, in milliseconds; 0 without one.
    pub age: u64,
    /// What the system says of it: whether it runs, or what it waits for in the kernel. Empty if that is
    /// unknown.
    pub system: String,
    /// Its frames, the innermost one first.
    pub frames: Vec<String>,
}

impl Stack {
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(self.thread.as_bytes());
        writer.option(self.request.as_deref().map(str::as_bytes), Writer::bytes);
        writer.u64(self.age);
        writer.bytes(self.system.as_bytes());
        writer.list(&self.frames, |writer, frame| writer.bytes(frame.as_bytes()));
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            thread: reader.text("thread")?.to_owned(),
            request: reader.option("request", |r| Ok(r.text("request")?.to_owned()))?,
            age: reader.u64("age")?,
            system: reader.text("system")?.to_owned(),
            frames: reader.list("frames", 4, |r| Ok(r.text("frame")?.to_owned()))?,
        })
    }
}

impl Message<'_> for ToWorker {
    const MAX_PAYLOAD: usize = 1 << 20;

    fn kind(&self) -> u8 {
        match self {
            Self::Configure(_) => 1,
            Self::Assign { .. } => 2,
            Self::Drain { .. } => 3,
            Self::Keep => 4,
            Self::Retire => 5,
            Self::Load { .. } => 6,
            Self::Alone => 7,
            Self::Dismiss => 8,
            Self::Stacks { .. } => 9,
        }
    }

    fn descriptors(&self) -> u8 {
        match self {
            Self::Assign { .. } => 1,
            Self::Configure(_)
            | Self::Drain { .. }
            | Self::Keep
            | Self::Retire
            | Self::Load { .. }
            | Self::Alone
            | Self::Dismiss
            | Self::Stacks { .. } => 0,
        }
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Configure(settings) => {
                writer.u16(crate::VERSION);
                settings.write(writer);
            }
            Self::Assign { application_group, secret, preload, interpreter } => {
                writer.bytes(application_group);
                secret.write(writer);
                write_paths(writer, preload);
                interpreter.write(writer);
            }
            Self::Drain { grace } => writer.u32(*grace),
            Self::Load { scripts } => write_paths(writer, scripts),
            Self::Stacks { ticket } => writer.u64(*ticket),
            Self::Keep | Self::Retire | Self::Alone | Self::Dismiss => {}
        }
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => {
                reader.version()?;
                Self::Configure(Box::new(Settings::read(reader)?))
            }
            2 => Self::Assign {
                application_group: reader.bytes("application group")?.to_owned(),
                secret: Secret::read(reader)?,
                preload: read_paths(reader, "preload")?,
                interpreter: Interpreter::read(reader)?,
            },
            3 => Self::Drain { grace: reader.u32("grace")? },
            4 => Self::Keep,
            5 => Self::Retire,
            6 => Self::Load { scripts: read_paths(reader, "scripts")? },
            7 => Self::Alone,
            8 => Self::Dismiss,
            9 => Self::Stacks { ticket: reader.u64("ticket")? },
            kind => {
                return Err(DecodeError::Unknown { what: "kind of order", value: kind.into() });
            }
        })
    }
}

impl Message<'_> for FromWorker {
    /// Small on purpose: a worker is not trusted with the supervisor's memory.
    const MAX_PAYLOAD: usize = 64 << 10;

    fn kind(&self) -> u8 {
        match self {
            Self::Ready { .. } => 1,
            Self::Serving => 2,
            Self::Failed { .. } => 3,
            Self::Log { .. } => 4,
            Self::Drained => 5,
            Self::Retire { .. } => 6,
            Self::Proven => 7,
            Self::Loaded { .. } => 8,
            Self::Unfit { .. } => 9,
            Self::Unloaded { .. } => 10,
            Self::Lacks { .. } => 11,
            Self::Busy => 12,
            Self::Stack { .. } => 13,
            Self::Stacked { .. } => 14,
        }
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Ready { python } => {
                writer.u16(crate::VERSION);
                writer.bytes(python.as_bytes());
            }
            Self::Serving | Self::Drained | Self::Proven | Self::Busy => {}
            Self::Retire { cause, reason, scripts } => {
                cause.write(writer);
                writer.bytes(reason.as_bytes());
                write_paths(writer, scripts);
            }
            Self::Loaded { script } => writer.bytes(script),
            Self::Lacks { scripts } => writer.u32(*scripts),
            Self::Stack { ticket, stack } => {
                writer.u64(*ticket);
                stack.write(writer);
            }
            Self::Stacked { ticket, notes } => {
                writer.u64(*ticket);
                writer.list(notes, |writer, note| writer.bytes(note.as_bytes()));
            }
            Self::Unfit { script, reason } => {
                writer.bytes(script);
                writer.bytes(reason.as_bytes());
            }
            Self::Failed { reason: text } | Self::Unloaded { text } => {
                writer.bytes(text.as_bytes());
            }
            Self::Log { level, text } => {
                level.write(writer);
                writer.bytes(text.as_bytes());
            }
        }
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => {
                reader.version()?;
                Self::Ready { python: reader.text("python")?.to_owned() }
            }
            2 => Self::Serving,
            3 => Self::Failed { reason: reader.text("reason")?.to_owned() },
            4 => Self::Log { level: Level::read(reader)?, text: reader.text("text")?.to_owned() },
            5 => Self::Drained,
            7 => Self::Proven,
            6 => Self::Retire {
                cause: Cause::read(reader)?,
                reason: reader.text("reason")?.to_owned(),
                scripts: read_paths(reader, "scripts")?,
            },
            12 => Self::Busy,
            11 => Self::Lacks { scripts: reader.u32("scripts")? },
            13 => Self::Stack { ticket: reader.u64("ticket")?, stack: Stack::read(reader)? },
            14 => Self::Stacked {
                ticket: reader.u64("ticket")?,
                notes: reader.list("notes", 4, |r| Ok(r.text("note")?.to_owned()))?,
            },
            8 => Self::Loaded { script: reader.bytes("script")?.to_owned() },
            9 => Self::Unfit {
                script: reader.bytes("script")?.to_owned(),
                reason: reader.text("reason")?.to_owned(),
            },
            10 => Self::Unloaded { text: reader.text("text")?.to_owned() },
            kind => {
                return Err(DecodeError::Unknown { what: "kind of report", value: kind.into() });
            }
        })
    }
}

fn write_paths(writer: &mut Writer<'_>, paths: &[Vec<u8>]) {
    writer.list(paths, |writer, path| writer.bytes(path));
}

fn read_paths(reader: &mut Reader<'_>, what: &'static str) -> Result<Vec<Vec<u8>>, DecodeError> {
    reader.list(what, 4, |reader| Ok(reader.bytes(what)?.to_owned()))
}
