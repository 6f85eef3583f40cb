//! What outlives its worker: programs that an application started, and that hold on to the worker's
//! standard output and error. They would be killed by SIGPIPE if nobody read what they write. A process
//! of its own reads it on, until the last of them has closed it, also when the supervisor has ended.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};

use channel::Inbox;
use rustix::event::{PollFd, PollFlags};
use rustix::process::Resource;
use wire::exchange::Level;
use wire::generation::ToSupervisor;
use wire::output::ToReader;

use crate::log::Logs;
use crate::logic::WorkerId;
use crate::output::{Output, OutputId, PER_TURN};
use crate::privileges;
use crate::watch::{Watch, Watched};

/// What this program is called with to read on what it is sent.
pub const READ: &str = "--read";

/// Its name in the table of processes.
const NAME: &std::ffi::CStr = c"wsgi-output";

/// Descriptors that the reader needs for itself, and for logs that are opened anew.
const OWN: u64 = 64;

/// The supervisor's end of the conversation with the process that reads on.
#[derive(Debug, Default)]
pub struct Outliving {
    reader: Option<(Child, UnixStream)>,
}

impl Outliving {
    /// Has an output read on whose worker has ended.
    ///
    /// # Errors
    /// The system's. The output is closed then.
    pub fn read_on(&mut self, output: &Output, logs: &Logs) -> std::io::Result<()> {
        let (_, reader) = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(start(logs)?),
        };
        let message = ToReader::Output {
            group: u32::try_from(output.group).unwrap_or(u32::MAX),
            pid: output.pid,
            level: output.level,
            begun: output.begun().to_vec(),
        };
        // One that does not read has ended, or is kept by a log: the next one may do better.
        tell(reader, &message, Some(output.as_fd())).inspect_err(|_| self.reader = None)
    }

    /// Hands on a log that httpd has opened anew.
    pub fn reopen(&mut self, name: &[u8], log: BorrowedFd<'_>) {
        if let Some((_, reader)) = &self.reader {
            // Lines for the old one are kept, for as long as there is room.
            let _ = tell(reader, &ToReader::LogFile { name: name.to_owned() }, Some(log));
        }
    }

    /// Leaves the reader alone, with the conversation with httpd's parent.
    pub fn leave(self, httpd: BorrowedFd<'_>) {
        if let Some((_, reader)) = &self.reader {
            let _ = tell(reader, &ToReader::Httpd, Some(httpd));
        }
    }

    /// The process that reads on.
    pub fn process(&self) -> Option<u32> {
        self.reader.as_ref().map(|(process, _)| process.id())
    }
}

/// Starts a reader that writes to the same logs.
fn start(logs: &Logs) -> std::io::Result<(Child, UnixStream)> {
    let (near, far) = UnixStream::pair()?;
    channel::widen(&near);
    let process = Command::new("/proc/self/exe")
        .arg(READ)
        .stdin(OwnedFd::from(far))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    for (message, descriptor) in logs.messages() {
        tell(&near, &message, descriptor)?;
    }
    Ok((process, near))
}

/// Sends a message without waiting, all of it or, with an error, none that is of any use.
fn tell(
    reader: &UnixStream,
    message: &ToReader,
    descriptor: Option<BorrowedFd<'_>>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes);
    let sent = match descriptor {
        Some(descriptor) => channel::try_send_with_descriptor(reader, &bytes, descriptor)?,
        None => channel::try_send(reader, &bytes)?,
    };
    if sent < bytes.len() {
        return Err(std::io::ErrorKind::WouldBlock.into());
    }
    Ok(())
}

/// The program that reads on, until the supervisor and all writers have gone.
pub fn read_on() -> ExitCode {
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(NAME);
    privileges::give_up_all();
    let Ok(watch) = Watch::new() else { return ExitCode::FAILURE };
    let mut reader = Reader {
        files: Vec::new(),
        logs: None,
        watch,
        outputs: BTreeMap::new(),
        last: 0,
        supervisor: Some(Inbox::with_descriptors()),
        httpd: None,
    };
    while reader.supervisor.is_some() || !reader.outputs.is_empty() {
        reader.turn();
    }
    ExitCode::SUCCESS
}

struct Reader {
    /// Log files that come before [`ToReader::Logs`].
    files: Vec<(Vec<u8>, OwnedFd)>,
    logs: Option<Logs>,
    watch: Watch,
    outputs: BTreeMap<OutputId, Output>,
    last: u64,
    /// The conversation with the supervisor, until it ends.
    supervisor: Option<Inbox>,
    /// The one with httpd's parent, once it is here, until it ends.
    httpd: Option<(OwnedFd, Inbox)>,
}

impl Reader {
    /// Waits until something can be read, and reads it.
    fn turn(&mut self) {
        let stdin = rustix::stdio::stdin();
        let mut polled = vec![PollFd::new(&self.watch, PollFlags::IN)];
        let talks = self.supervisor.is_some();
        polled.extend(talks.then(|| PollFd::from_borrowed_fd(stdin, PollFlags::IN)));
        polled.extend(self.httpd.iter().map(|(socket, _)| PollFd::new(socket, PollFlags::IN)));
        // Interrupted, or out of memory, which may pass.
        if rustix::event::poll(&mut polled, None).is_err() {
            return;
        }
        let ready: Vec<_> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        drop(polled);
        if talks && ready[1] {
            self.hear_supervisor();
        }
        if self.httpd.is_some() && ready.get(1 + usize::from(talks)) == Some(&true) {
            self.hear_httpd();
        }
        if ready[0] {
            for watched in self.watch.ready() {
                if let Watched::Output(id) = watched {
                    self.read(id);
                }
            }
        }
    }

    fn hear_supervisor(&mut self) {
        let Some(mut inbox) = self.supervisor.take() else { return };
        if !receive(&mut inbox, rustix::stdio::stdin()) {
            return;
        }
        while let Ok(Some(message)) = inbox.next() {
            match message {
                ToReader::Logs { main, syslog, groups } => {
                    let files = std::mem::take(&mut self.files);
                    self.logs = Some(Logs::with(files, syslog, main, groups));
                }
                ToReader::LogFile { name } => {
                    if let Some(file) = inbox.take_descriptor() {
                        match &mut self.logs {
                            Some(logs) => logs.reopen(&name, file),
                            None => self.files.push((name, file)),
                        }
                    }
                }
                ToReader::Output { group, pid, level, begun } => {
                    if let Some(pipe) = inbox.take_descriptor() {
                        let output = Output::new(WorkerId(0), group as usize, pid, level, pipe);
                        self.add(output.with_beginning(begun));
                    }
                }
                ToReader::Httpd => {
                    let socket = inbox.take_descriptor();
                    self.httpd = socket.map(|socket| (socket, Inbox::with_descriptors()));
                }
            }
        }
        self.supervisor = Some(inbox);
    }

    fn hear_httpd(&mut self) {
        let Some((socket, mut inbox)) = self.httpd.take() else { return };
        if !receive(&mut inbox, &socket) {
            return;
        }
        while let Ok(Some(message)) = inbox.next() {
            if let ToSupervisor::LogFile { name } = message
                && let Some(file) = inbox.take_descriptor()
                && let Some(logs) = &mut self.logs
            {
                logs.reopen(&name, file);
            }
        }
        self.httpd = Some((socket, inbox));
    }

    /// Reads an output on. Where there are too many, the group that has the most loses its oldest one.
    fn add(&mut self, output: Output) {
        let limit = rustix::process::getrlimit(Resource::Nofile).current;
        let most = limit.map_or(u64::MAX, |limit| limit.saturating_sub(OWN));
        if self.outputs.len() as u64 >= most {
            self.drop_one();
        }
        self.last += 1;
        let id = OutputId(self.last);
        if self.watch.add(&output, Watched::Output(id)).is_ok() {
            self.outputs.insert(id, output);
        }
    }

    fn drop_one(&mut self) {
        let mut counts = BTreeMap::new();
        self.outputs.values().for_each(|output| *counts.entry(output.group).or_insert(0) += 1);
        let Some((group, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return };
        let oldest = self.outputs.iter().find(|(_, output)| output.group == group);
        let Some((id, pid)) = oldest.map(|(id, output)| (*id, output.pid)) else { return };
        self.forget(id);
        if let Some(logs) = &mut self.logs {
            let text = format!(
                "more programs have outlived their workers than can be listened to: what those of \
                 worker pid {pid} write is not read any more"
            );
            logs.group(group, Level::Error, std::process::id(), text.as_bytes());
        }
    }

    fn read(&mut self, id: OutputId) {
        let (Some(output), Some(logs)) = (self.outputs.get_mut(&id), &mut self.logs) else {
            return;
        };
        let (group, pid, level) = (output.group, output.pid, output.level);
        if !output.read(PER_TURN, |line| logs.group(group, level, pid, line)) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: OutputId) {
        if let Some(output) = self.outputs.remove(&id) {
            self.watch.remove(&output);
        }
    }
}

/// Receives what is there; `false` once the peer has ended the conversation.
fn receive(inbox: &mut Inbox, socket: impl AsFd) -> bool {
    match inbox.try_receive(socket) {
        Ok(received) => received > 0,
        Err(error) => {
            use std::io::ErrorKind::{Interrupted, WouldBlock};
            matches!(error.kind(), Interrupted | WouldBlock)
        }
    }
}
