//! httpd's scoreboard, as a worker gets it that may ask for it.
//!
//! The worker connects, and httpd's process for this sends one [`Scoreboard`] and closes.

use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::Message;

/// What each of httpd's processes and threads does. Times are microseconds since the epoch, and 0
/// for never.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scoreboard {
    /// The most processes that there can be (`ServerLimit`).
    pub server_limit: u32,
    /// The most threads in each (`ThreadLimit`).
    pub thread_limit: u32,
    /// Number of the configuration cycle.
    pub generation: u32,
    /// When httpd was started, or last restarted.
    pub restarted: u64,
    /// All places for processes, the empty ones, too.
    pub processes: Vec<Process>,
}

/// A place for a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Its process id, 0 where there is none.
    pub pid: u32,
    /// The configuration cycle that it belongs to.
    pub generation: u32,
    /// Whether it takes no requests any more.
    pub quiescing: bool,
    /// All places for its threads.
    pub threads: Vec<Thread>,
}

/// A place for a thread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Thread {
    /// Its number in its process.
    pub number: u32,
    /// The configuration cycle that it belongs to.
    pub generation: u32,
    /// One of httpd's `SERVER_…` numbers (scoreboard.h).
    pub status: u8,
    /// Requests so far.
    pub accesses: u64,
    /// Bytes sent so far.
    pub bytes: u64,
    /// When its request began.
    pub started: u64,
    /// When the one before ended.
    pub stopped: u64,
    /// When it did something last.
    pub used: u64,
    /// The client's address.
    pub client: Vec<u8>,
    /// The beginning of the request line.
    pub request: Vec<u8>,
    /// The virtual host.
    pub host: Vec<u8>,
}

impl Message<'_> for Scoreboard {
    /// A hundred thousand threads fit, each with as much text as httpd keeps.
    const MAX_PAYLOAD: usize = 32 << 20;

    fn kind(&self) -> u8 {
        1
    }

    fn encode_payload(&self, writer: &mut Writer<'_>) {
        writer.u32(self.server_limit);
        writer.u32(self.thread_limit);
        writer.u32(self.generation);
        writer.u64(self.restarted);
        writer.list(&self.processes, |writer, process| process.write(writer));
    }

    fn decode_payload(kind: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if kind != 1 {
            return Err(DecodeError::Unknown { what: "kind of scoreboard", value: kind.into() });
        }
        Ok(Self {
            server_limit: reader.u32("server limit")?,
            thread_limit: reader.u32("thread limit")?,
            generation: reader.u32("generation")?,
            restarted: reader.u64("restart time")?,
            processes: reader.list("processes", Process::LEAST, Process::read)?,
        })
    }
}

impl Process {
    /// Bytes that one without threads takes.
    const LEAST: usize = 13;

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.pid);
        writer.u32(self.generation);
        writer.bool(self.quiescing);
        writer.list(&self.threads, |writer, thread| thread.write(writer));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            pid: reader.u32("pid")?,
            generation: reader.u32("generation")?,
            quiescing: reader.bool("quiescing")?,
            threads: reader.list("threads", Thread::LEAST, Thread::read)?,
        })
    }
}

impl Thread {
    /// Bytes that one without texts takes.
    const LEAST: usize = 61;

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.number);
        writer.u32(self.generation);
        writer.u8(self.status);
        for number in [self.accesses, self.bytes, self.started, self.stopped, self.used] {
            writer.u64(number);
        }
        for text in [&self.client, &self.request, &self.host] {
            writer.bytes(text);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            number: reader.u32("thread number")?,
            generation: reader.u32("generation")?,
            status: reader.u8("status")?,
            accesses: reader.u64("accesses")?,
            bytes: reader.u64("bytes")?,
            started: reader.u64("start time")?,
            stopped: reader.u64("stop time")?,
            used: reader.u64("time of use")?,
            client: reader.bytes("client")?.to_owned(),
            request: reader.bytes("request")?.to_owned(),
            host: reader.bytes("host")?.to_owned(),
        })
    }
}
