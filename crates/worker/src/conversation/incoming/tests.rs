//! Pulling a body over a socket pair, without Python.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use channel::Inbox;

use super::*;
use crate::conversation::outgoing::Outgoing;

fn slot() -> Arc<Slot> {
    Arc::new(Slot::new(1, std::time::Instant::now(), false).unwrap())
}
use crate::conversation::connection::Connection;

const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

impl Incoming {
    fn read_ready(&mut self, amount: Amount) -> Option<Vec<u8>> {
        let len = self.ready(amount)?;
        Some(self.take(len, |parts| {
            let mut data = Vec::new();
            parts.iter().for_each(|part| part.append_to(&mut data));
            data
        }))
    }

    fn read(&mut self, amount: Amount, send_queue: &SendQueue) -> Result<Vec<u8>, InputError> {
        self.wait(amount, send_queue)?;
        Ok(self.read_ready(amount).expect("it has been awaited"))
    }
}

/// A body that comes in these pieces, then ends, and how much was asked for each time.
fn body(
    pieces: &'static [&'static str],
    has_body: bool,
) -> (Incoming, SendQueue, JoinHandle<Vec<u32>>) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let peer = rustix::net::sockopt::socket_peercred(&near).unwrap();
    let connection = Connection::new(near.into(), peer, 2, Arc::default());
    let send_queue = SendQueue::new(Outgoing::new(Arc::clone(&connection.socket), Vec::new()));
    let httpd = std::thread::spawn(move || {
        let (mut inbox, mut asked) = (Inbox::new(), Vec::new());
        let mut pieces = pieces.iter();
        while let Ok(message) = inbox.wait::<FromWorker<'_>>(&far, MESSAGE_TIMEOUT) {
            let FromWorker::NeedBody { at_most, .. } = message else { panic!("{message:?}") };
            asked.push(at_most);
            let answer = match pieces.next() {
                Some(&"fail") => ToWorker::BodyFailed { reason: "because" },
                Some(piece) => ToWorker::Body(piece.as_bytes()),
                None => ToWorker::BodyEnd,
            };
            channel::send_message(&far, &answer).unwrap();
        }
        asked
    });
    let body = if has_body { BodyIs::Elsewhere } else { BodyIs::None };
    (Incoming::new(connection, body, Arc::default(), slot()), send_queue, httpd)
}

#[test]
fn all_of_it() {
    let (mut incoming, send_queue, httpd) = body(&["one", "two"], true);
    assert_eq!(incoming.read(Amount::All, &send_queue).unwrap(), b"onetwo");
    assert_eq!(incoming.read(Amount::All, &send_queue).unwrap(), b"");
    drop((incoming, send_queue));
    assert_eq!(httpd.join().unwrap(), [1 << 20; 3]);
}

#[test]
fn only_as_much_as_needed_is_asked_for_and_the_rest_is_kept() {
    let (mut incoming, send_queue, httpd) = body(&["one\ntwo\nth", "ree"], true);
    assert_eq!(incoming.read_ready(Amount::Bytes(0)), None, "the first read starts the transfer");
    assert_eq!(incoming.read(Amount::Bytes(2), &send_queue).unwrap(), b"on");
    assert_eq!(incoming.read_ready(Amount::Line).unwrap(), b"e\n");
    assert_eq!(incoming.read_ready(Amount::LineWithin(2)).unwrap(), b"tw");
    assert_eq!(incoming.read_ready(Amount::LineWithin(9)).unwrap(), b"o\n");
    assert_eq!(incoming.read_ready(Amount::Line), None);
    assert_eq!(incoming.read(Amount::Bytes(4), &send_queue).unwrap(), b"thre");
    assert!(incoming.finish().is_some());
    drop((incoming, send_queue));
    assert_eq!(httpd.join().unwrap(), [64 << 10; 2]);
}

#[test]
fn without_a_body_nothing_is_asked_for() {
    let (mut incoming, send_queue, httpd) = body(&[], false);
    assert_eq!(incoming.read(Amount::All, &send_queue).unwrap(), b"");
    drop((incoming, send_queue));
    assert!(httpd.join().unwrap().is_empty());
}

#[test]
fn a_failure_is_told_once_and_remembered() {
    let (mut incoming, send_queue, _httpd) = body(&["some", "fail"], true);
    let first = incoming.read(Amount::All, &send_queue);
    assert_eq!(first, Err(InputError::Failed("because".to_owned())));
    assert_eq!(incoming.read(Amount::Bytes(1), &send_queue), Err(InputError::FailedBefore));
    assert!(incoming.finish().is_some(), "the connection is in order");
}

#[test]
fn a_lost_connection_is_a_failure_for_both_directions() {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let peer = rustix::net::sockopt::socket_peercred(&near).unwrap();
    let connection = Connection::new(near.into(), peer, 2, Arc::default());
    let send_queue = SendQueue::new(Outgoing::new(Arc::clone(&connection.socket), Vec::new()));
    let mut incoming = Incoming::new(connection, BodyIs::Elsewhere, Arc::default(), slot());
    drop(far);
    let lost = Err(InputError::Failed("Connection was terminated".to_owned()));
    assert_eq!(incoming.read(Amount::All, &send_queue), lost);
    assert!(send_queue.outgoing().lock().unwrap().is_broken());
    assert!(incoming.finish().is_none());
}

/// A request whose whole body stands in the window, or is said to. httpd is not asked for anything.
fn body_in_window(body: &[u8], len: u32) -> (Incoming, SendQueue) {
    let (near, _far) = UnixStream::pair().unwrap();
    let peer = rustix::net::sockopt::socket_peercred(&near).unwrap();
    let mut connection = Connection::new(near.into(), peer, 2, Arc::default());
    let (mut window, _memory) = channel::Window::create(4096).unwrap();
    window.write(0, body);
    connection.windows.body = Some(window);
    let send_queue = SendQueue::new(Outgoing::new(Arc::clone(&connection.socket), Vec::new()));
    (Incoming::new(connection, BodyIs::InWindow(len), Arc::default(), slot()), send_queue)
}

#[test]
fn a_body_in_the_window_is_read_from_there() {
    let (mut incoming, send_queue) = body_in_window(b"one\ntwo\nthree", 13);
    assert_eq!(incoming.read(Amount::Bytes(2), &send_queue).unwrap(), b"on");
    assert_eq!(incoming.read(Amount::Line, &send_queue).unwrap(), b"e\n");
    assert_eq!(incoming.read(Amount::Bytes(3), &send_queue).unwrap(), b"two");
    assert_eq!(incoming.read(Amount::Bytes(100), &send_queue).unwrap(), b"\nthree");
    assert_eq!(incoming.read(Amount::All, &send_queue).unwrap(), b"");
    assert!(incoming.finish().is_some());
}

#[test]
fn a_body_that_is_longer_than_the_window_is_none() {
    let (mut incoming, send_queue) = body_in_window(b"", 4097);
    assert_eq!(incoming.read(Amount::All, &send_queue), Err(InputError::FailedBefore));
}
