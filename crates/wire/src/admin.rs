//! "Reload that group", "who works?": one question and one answer per connection, between an
//! administrator and the supervisor.

use crate::codec::{DecodeError, Reader, Writer};
use crate::control::Stack;
use crate::frame::Message;

/// What an administrator asks of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAdmin<'a> {
    /// Replace the workers of a process group, one of a set after the other.
    Reload {
        /// [`crate::VERSION`] of who asks.
        version: u16,
        /// Name of the process group, empty for the default one; without it, all groups.
        process_group: Option<&'a [u8]>,
        /// Whether to answer when they have been replaced, rather than at once.
        wait: bool,
    },
    /// List the workers.
    Status {
        /// [`crate::VERSION`] of who asks.
        version: u16,
        /// Name of the process group, empty for the default one; without it, all groups.
        process_group: Option<&'a [u8]>,
    },
    /// Hand over the memory in which requests and workers are counted.
    Metrics {
        /// [`crate::VERSION`] of who asks.
        version: u16,
    },
    /// Say what the threads of Python do.
    Stacks {
        /// [`crate::VERSION`] of who asks.
        version: u16,
        /// Name of the process group, empty for the default one; without it, all groups.
        process_group: Option<&'a [u8]>,
    },
}

/// What the supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromAdmin {
    /// The workers are being replaced.
    Reloading,
    /// The workers have been replaced, or go on.
    Reloaded {
        /// How many have been replaced.
        replaced: u32,
        /// Why new code could not be loaded, with its traceback.
        failures: Vec<String>,
    },
    /// There is no process group of that name.
    UnknownGroup {
        /// Those that there are.
        process_groups: Vec<Vec<u8>>,
    },
    /// The workers.
    Workers(Vec<Worker>),
    /// The other end speaks another version of the protocol.
    WrongVersion {
        /// [`crate::VERSION`] of the supervisor.
        version: u16,
    },
    /// The memory travels with the message.
    Metrics,
    /// There is no such memory.
    NoMetrics,
    /// What the threads of Python do.
    Stacks(Vec<WorkerStacks>),
}

/// The threads of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStacks {
    /// Name of its process group, empty for the default one.
    pub process_group: Vec<u8>,
    /// Name of its application group, empty for `%{GLOBAL}`; none while it waits for one.
    pub application_group: Option<Vec<u8>>,
    /// Its process id.
    pub pid: u32,
    /// What it does.
    pub state: State,
    /// Its threads, as far as it has told.
    pub stacks: Vec<Stack>,
    /// What else there is to say, as sentences: who holds Python's lock, or why nothing is known.
    pub notes: Vec<String>,
}

/// A worker, as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Name of its process group, empty for the default one.
    pub process_group: Vec<u8>,
    /// Name of its application group, empty for `%{GLOBAL}`; none while it waits for one.
    pub application_group: Option<Vec<u8>>,
    /// Its process id.
    pub pid: u32,
    /// What it does.
    pub state: State,
    /// Seconds since it was started.
    pub age: u64,
    /// Memory that it has resident, in bytes; 0 if that is unknown.
    pub memory: u64,
    /// Processor time that it has used, in milliseconds.
    pub cpu: u64,
    /// Its `sys.version`, empty until Python runs.
    pub python: String,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Python is being started.
    Starting = 1,
    /// It waits to be given an application group.
    Idle = 2,
    /// It loads what it is to load before it serves.
    Loading = 3,
    /// It takes requests.
    Serving = 4,
    /// It takes none any more, and exits when those that run are finished.
    Finishing = 5,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Starting, Self::Idle, Self::Loading, Self::Serving, Self::Finishing];

    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Loading => "loading",
            Self::Serving => "serving",
            Self::Finishing => "finishing",
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let value = reader.u8("state")?;
        let known = Self::ALL.into_iter().find(|state| *state as u8 == value);
        known.ok_or(DecodeError::Unknown { what: "state", value: value.into() })
    }
}

impl<'a> Message<'a> for ToAdmin<'a> {
    /// One name.
    const MAX_PAYLOAD: usize = 64 << 10;

    fn kind(&self) -> u8 {
        match self {
            Self::Reload { .. } => 1,
            Self::Status { .. } => 2,
            Self::Metrics { .. } => 3,
            Self::Stacks { .. } => 4,
        }
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Reload { version, process_group, wait } => {
                writer.u16(*version);
                writer.option(*process_group, Writer::bytes);
                writer.bool(*wait);
            }
            Self::Status { version, process_group } | Self::Stacks { version, process_group } => {
                writer.u16(*version);
                writer.option(*process_group, Writer::bytes);
            }
            Self::Metrics { version } => writer.u16(*version),
        }
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let unknown = DecodeError::Unknown { what: "kind of administration", value: kind.into() };
        match kind {
            1 => Ok(Self::Reload {
                version: reader.u16("version")?,
                process_group: reader.option("process group", |r| r.bytes("process group"))?,
                wait: reader.bool("wait")?,
            }),
            2 => Ok(Self::Status {
                version: reader.u16("version")?,
                process_group: reader.option("process group", |r| r.bytes("process group"))?,
            }),
            3 => Ok(Self::Metrics { version: reader.u16("version")? }),
            4 => Ok(Self::Stacks {
                version: reader.u16("version")?,
                process_group: reader.option("process group", |r| r.bytes("process group"))?,
            }),
            _ => Err(unknown),
        }
    }
}

impl Message<'_> for FromAdmin {
    /// Some thousand workers, or some thousand stacks.
    const MAX_PAYLOAD: usize = 4 << 20;

    fn kind(&self) -> u8 {
        match self {
            Self::Reloading => 1,
            Self::UnknownGroup { .. } => 2,
            Self::Workers(_) => 3,
            Self::WrongVersion { .. } => 4,
            Self::Reloaded { .. } => 5,
            Self::Metrics => 6,
            Self::NoMetrics => 7,
            Self::Stacks(_) => 8,
        }
    }

    fn descriptors(&self) -> u8 {
        u8::from(matches!(self, Self::Metrics))
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Reloading | Self::Metrics | Self::NoMetrics => {}
            Self::UnknownGroup { process_groups } => {
                writer.list(process_groups, |writer, name| writer.bytes(name));
            }
            Self::Workers(workers) => writer.list(workers, |writer, worker| {
                writer.bytes(&worker.process_group);
                writer.option(worker.application_group.as_deref(), Writer::bytes);
                writer.u32(worker.pid);
                writer.u8(worker.state as u8);
                writer.u64(worker.age);
                writer.u64(worker.memory);
                writer.u64(worker.cpu);
                writer.bytes(worker.python.as_bytes());
            }),
            Self::Reloaded { replaced, failures } => {
                writer.u32(*replaced);
                writer.list(failures, |writer, failure| writer.bytes(failure.as_bytes()));
            }
            Self::WrongVersion { version } => writer.u16(*version),
            Self::Stacks(workers) => writer.list(workers, |writer, worker| {
                writer.bytes(&worker.process_group);
                writer.option(worker.application_group.as_deref(), Writer::bytes);
                writer.u32(worker.pid);
                writer.u8(worker.state as u8);
                writer.list(&worker.stacks, |writer, stack| stack.write(writer));
                writer.list(&worker.notes, |writer, note| writer.bytes(note.as_bytes()));
            }),
        }
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let unknown = DecodeError::Unknown { what: "kind of answer", value: kind.into() };
        match kind {
            1 => Ok(Self::Reloading),
            2 => {
                let name = |reader: &mut Reader<'_>| Ok(reader.bytes("process group")?.to_owned());
                Ok(Self::UnknownGroup { process_groups: reader.list("process groups", 4, name)? })
            }
            // The shortest has 4 bytes for each of two texts, one for none, and 29 for the numbers.
            3 => Ok(Self::Workers(reader.list("workers", 38, Worker::read)?)),
            4 => Ok(Self::WrongVersion { version: reader.u16("version")? }),
            5 => Ok(Self::Reloaded {
                replaced: reader.u32("replaced")?,
                failures: reader
                    .list("failures", 4, |reader| Ok(reader.text("failure")?.to_owned()))?,
            }),
            6 => Ok(Self::Metrics),
            7 => Ok(Self::NoMetrics),
            // The shortest has 4 bytes for each of three lengths, one for none, and 5 for the numbers.
            8 => Ok(Self::Stacks(reader.list("workers", 18, WorkerStacks::read)?)),
            _ => Err(unknown),
        }
    }
}

impl WorkerStacks {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            process_group: reader.bytes("process group")?.to_owned(),
            application_group: reader
                .option("application group", |r| Ok(r.bytes("application group")?.to_owned()))?,
            pid: reader.u32("process id")?,
            state: State::read(reader)?,
            // The shortest has 4 bytes for each of three lengths, one for none, and 8 for the age.
            stacks: reader.list("stacks", 21, Stack::read)?,
            notes: reader.list("notes", 4, |r| Ok(r.text("note")?.to_owned()))?,
        })
    }
}

impl Worker {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            process_group: reader.bytes("process group")?.to_owned(),
            application_group: reader
                .option("application group", |r| Ok(r.bytes("application group")?.to_owned()))?,
            pid: reader.u32("process id")?,
            state: State::read(reader)?,
            age: reader.u64("age")?,
            memory: reader.u64("memory")?,
            cpu: reader.u64("cpu")?,
            python: reader.text("python")?.to_owned(),
        })
    }
}
