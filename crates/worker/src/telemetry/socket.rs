//! The socket that datagrams go out by. What nobody takes is lost, and the log says why, once.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::process::geteuid;

use super::packet::Packet;

/// Who listens may be started at the same time as we are: so many reports in a row may find nobody
/// before that is worth a line.
const QUIET_FAILURES: u32 = 3;
/// How long a listener may take to make room: the kernel keeps few datagrams for it (10, see
/// `net.unix.max_dgram_qlen`), and a report can be more than that. Who has not is not waited for
/// again until he has.
const ROOM: Duration = Duration::from_millis(100);
/// How long nothing is said about trouble that comes and goes.
const QUIET: Duration = Duration::from_secs(60);

/// Sends, numbers and complains.
#[derive(Debug)]
pub struct Socket {
    socket: UnixDatagram,
    path: PathBuf,
    pid: u32,
    sequence: u32,
    /// Whether the listener had no room for the last one.
    full: bool,
    complaints: Complaints,
}

impl Socket {
    /// To this socket, which need not be there yet.
    ///
    /// # Errors
    /// The system's error.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(ROOM))?;
        let complaints = Complaints::default();
        let pid = std::process::id();
        Ok(Self { socket, path, pid, sequence: 0, full: false, complaints })
    }

    /// Sends a datagram, if it is taken soon. Returns a sentence for the log, if there is
    /// something new to say. Whoever listens is looked for each time, as he may be started anew.
    pub fn send(&mut self, mut packet: Packet) -> Option<String> {
        self.sequence = self.sequence.wrapping_add(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let bytes = packet.finish(self.pid, self.sequence, now.as_secs_f64());
        let outcome = self.socket.send_to(bytes, &self.path).map(drop);
        let is_full = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        let full = outcome.as_ref().is_err_and(is_full);
        if full != self.full {
            let _ = self.socket.set_nonblocking(full);
            self.full = full;
        }
        let worth = self.complaints.is_worth_a_line(outcome.as_ref().err(), Instant::now());
        outcome.err().filter(|_| worth).map(|error| complaint(&self.path, &error))
    }
}

fn complaint(path: &Path, error: &io::Error) -> String {
    let cure = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::CONNREFUSED) => {
            "nobody listens there: start the program that receives it, or correct the path"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            "this worker's user must be able to write to the socket, and to enter each directory \
             above it"
        }
        Some(Errno::AGAIN | Errno::NOBUFS) => {
            "the program there does not keep up, and what it does not take is lost"
        }
        Some(Errno::PROTOTYPE) => "the socket there is not one for datagrams",
        _ => "correct the path",
    };
    format!(
        "no telemetry can be sent to WSGITelemetryService unix:{} (user id {}): {error}; {cure}",
        path.display(),
        geteuid().as_raw()
    )
}

/// What has gone wrong lately.
#[derive(Debug, Default)]
struct Complaints {
    /// How many in a row found nobody.
    missed: u32,
    complained: Option<Instant>,
    /// Whether anything has been sent since.
    recovered: bool,
}

impl Complaints {
    fn is_worth_a_line(&mut self, error: Option<&io::Error>, now: Instant) -> bool {
        let Some(error) = error else {
            self.missed = 0;
            self.recovered = true;
            return false;
        };
        let starts =
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        self.missed += 1;
        if starts && self.missed < QUIET_FAILURES {
            return false;
        }
        let is_new = match self.complained {
            None => true,
            Some(at) => self.recovered && now.duration_since(at) >= QUIET,
        };
        if is_new {
            (self.complained, self.recovered) = (Some(now), false);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_trouble_and_none_for_a_listener_that_starts_late() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let mut tells = |error: Option<io::ErrorKind>, seconds| {
            let error = error.map(io::Error::from);
            complaints.is_worth_a_line(error.as_ref(), start + Duration::from_secs(seconds))
        };
        let nobody = Some(io::ErrorKind::NotFound);
        assert!(!tells(nobody, 0) && !tells(nobody, 1) && !tells(None, 2));
        assert!(!tells(nobody, 3) && !tells(nobody, 4) && tells(nobody, 5) && !tells(nobody, 6));
        // It comes and goes.
        assert!(!tells(None, 7) && !tells(Some(io::ErrorKind::WouldBlock), 8) && !tells(None, 9));
        assert!(tells(Some(io::ErrorKind::WouldBlock), 99));
    }

    #[test]
    fn a_full_or_missing_listener_is_told_of_and_not_waited_for() {
        let path = std::env::temp_dir().join(format!("wsgi-socket-{}", std::process::id()));
        let mut socket = Socket::new(path.clone()).unwrap();
        let mut send = || socket.send(Packet::new(super::super::packet::Kind::Started));
        assert_eq!((send(), send()), (None, None));
        let text = send().unwrap();
        assert!(text.contains("nobody listens"), "{text}");
        let listener = UnixDatagram::bind(&path).unwrap();
        // More than any queue holds.
        (0..10_000).for_each(|_| assert_eq!(send(), None));
        let mut buffer = [0; 64];
        assert_eq!(listener.recv(&mut buffer).unwrap(), 24);
        assert_eq!(buffer[12..16], 4_u32.to_le_bytes(), "the fourth");
        std::fs::remove_file(&path).unwrap();
    }
}
