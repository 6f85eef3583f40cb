//! A receiver of telemetry: a datagram socket, and what its datagrams say.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver as Incoming, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// Kinds of datagrams.
pub const REQUESTS: u8 = 2;
pub const SLOW: u8 = 4;
pub const STARTED: u8 = 5;
pub const STOPPING: u8 = 6;
pub const STOPPED: u8 = 7;
pub const GARBAGE: u8 = 8;
pub const COLLECTION: u8 = 9;

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Count(u64),
    Float(f64),
    Text(String),
    Counts(Vec<i32>),
    Floats(Vec<f64>),
}

/// One datagram.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub kind: u8,
    pub pid: u32,
    pub sequence: u32,
    pub time: f64,
    pub fields: BTreeMap<u16, Value>,
}

/// A socket that everybody can write to, and what came so far. A thread reads all the time: the
/// kernel keeps few datagrams, and the rest is lost.
#[derive(Debug)]
pub struct Receiver {
    path: PathBuf,
    incoming: Incoming<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
    seen: Vec<Datagram>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // An empty one is the last.
        let told = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"", &self.path));
        if let Some(thread) = self.thread.take().filter(|_| told.is_ok()) {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

impl Receiver {
    pub fn new() -> Receiver {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mwrs-telemetry-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let socket = UnixDatagram::bind(&path).expect("the folder for files can be written to");
        fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("it is ours");
        let (sender, incoming) = channel();
        let read = move || {
            let mut buffer = [0; 65_536];
            while let Ok(length @ 1..) = socket.recv(&mut buffer) {
                let _ = sender.send(buffer[..length].to_vec());
            }
        };
        Receiver { path, incoming, thread: Some(thread::spawn(read)), seen: Vec::new() }
    }

    /// The line for the configuration.
    pub fn line(&self) -> String {
        format!("WSGITelemetryService unix:{} interval=0.5", self.path.display())
    }

    /// Receives until this finds something in all that came from the group `app`, and gives that.
    #[track_caller]
    pub fn until<T>(&mut self, mut find: impl FnMut(&[Datagram]) -> Option<T>) -> T {
        let deadline = Instant::now() + testkit::PATIENCE;
        loop {
            if let Some(found) = find(&self.seen) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.incoming.recv_timeout(left) {
                Ok(datagram) => {
                    let datagram = Datagram::read(&datagram);
                    // The original's processes of httpd report, too.
                    let ours = [SLOW, GARBAGE, COLLECTION].contains(&datagram.kind)
                        || datagram.fields.get(&6) == Some(&Value::Text("app".to_owned()));
                    if ours {
                        self.seen.push(datagram);
                    }
                }
                Err(error) => panic!("{error}; so far there were {:?}", self.seen),
            }
        }
    }

    /// Receives until there is one of this kind for which that holds, and gives it.
    #[track_caller]
    pub fn wait_for(&mut self, kind: u8, holds: impl Fn(&Datagram) -> bool) -> Datagram {
        self.until(|seen| seen.iter().find(|it| it.kind == kind && holds(it)).cloned())
    }

    /// What came so far.
    pub fn seen(&self) -> &[Datagram] {
        &self.seen
    }
}

impl Datagram {
    fn read(bytes: &[u8]) -> Datagram {
        assert_eq!(bytes[..5], *b"WSGI\x01", "the header of {bytes:?}");
        assert!(bytes.len() <= 8192, "{} bytes", bytes.len());
        let mut rest = &bytes[24..];
        let mut fields = BTreeMap::new();
        while !rest.is_empty() {
            let (id, kind) = (u16::from_le_bytes(take(&mut rest)), take::<1>(&mut rest)[0]);
            let value = match kind {
                1 => Value::Count(u64::from_le_bytes(take(&mut rest))),
                2 => Value::Float(f64::from_le_bytes(take(&mut rest))),
                4 => {
                    let length = u16::from_le_bytes(take(&mut rest));
                    let text = rest.split_off(..usize::from(length)).expect("the text is whole");
                    Value::Text(String::from_utf8_lossy(text).into_owned())
                }
                5 => {
                    let count = u16::from_le_bytes(take(&mut rest));
                    Value::Counts((0..count).map(|_| i32::from_le_bytes(take(&mut rest))).collect())
                }
                6 => {
                    let count = u16::from_le_bytes(take(&mut rest));
                    Value::Floats((0..count).map(|_| f64::from_le_bytes(take(&mut rest))).collect())
                }
                other => panic!("field {id} has the type {other}"),
            };
            assert_eq!(fields.insert(id, value), None, "field {id} is there twice");
        }
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
        Datagram {
            kind: bytes[5],
            pid: number(8),
            sequence: number(12),
            time: f64::from_le_bytes(bytes[16..24].try_into().expect("eight")),
            fields,
        }
    }

    #[track_caller]
    pub fn count(&self, field: u16) -> u64 {
        match self.fields.get(&field) {
            Some(Value::Count(count)) => *count,
            other => panic!("field {field} is {other:?} in {self:?}"),
        }
    }

    #[track_caller]
    pub fn float(&self, field: u16) -> f64 {
        match self.fields.get(&field) {
            Some(Value::Float(float)) => *float,
            other => panic!("field {field} is {other:?} in {self:?}"),
        }
    }

    #[track_caller]
    pub fn text(&self, field: u16) -> &str {
        match self.fields.get(&field) {
            Some(Value::Text(text)) => text,
            other => panic!("field {field} is {other:?} in {self:?}"),
        }
    }

    #[track_caller]
    pub fn counts(&self, field: u16) -> &[i32] {
        match self.fields.get(&field) {
            Some(Value::Counts(counts)) => counts,
            other => panic!("field {field} is {other:?} in {self:?}"),
        }
    }

    #[track_caller]
    pub fn floats(&self, field: u16) -> &[f64] {
        match self.fields.get(&field) {
            Some(Value::Floats(floats)) => floats,
            other => panic!("field {field} is {other:?} in {self:?}"),
        }
    }
}

#[track_caller]
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let taken = rest.split_off(..N).expect("the field is whole");
    taken.try_into().expect("so many")
}
