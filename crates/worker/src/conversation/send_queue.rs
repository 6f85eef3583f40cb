//! The sending half of a request as threads share it: whoever runs the application gathers, and
//! either sends itself, or leaves what is gathered to the sender.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::conversation::outgoing::{Outgoing, Progress};
use crate::conversation::sender::Sender;

/// What goes out for a request.
#[derive(Debug)]
pub struct SendQueue {
    outgoing: Mutex<Outgoing>,
    /// The sender has given back what it took.
    returned: Condvar,
    /// The sender has been told that something is gathered, and has not looked yet. Changed only
    /// while `outgoing` is not locked by the same thread: see [`Self::leave_to`].
    told: AtomicBool,
}

impl SendQueue {
    /// For a request that begins.
    pub fn new(outgoing: Outgoing) -> Self {
        Self {
            outgoing: Mutex::new(outgoing),
            returned: Condvar::new(),
            told: AtomicBool::new(false),
        }
    }

    /// The lock itself. Who holds it may gather, but send only if nothing is
    /// [lent](Outgoing::is_lent).
    pub fn outgoing(&self) -> &Mutex<Outgoing> {
        &self.outgoing
    }

    /// Locks it for somebody who is going to send. Not to be called while attached to Python.
    pub fn to_send(&self) -> MutexGuard<'_, Outgoing> {
        let mut outgoing = self.lock();
        // Not for long: the sender waits for nobody while it holds something.
        while outgoing.is_lent() {
            outgoing.awaited += 1;
            outgoing = self.returned.wait(outgoing).expect("nobody panics while sending");
            outgoing.awaited -= 1;
        }
        outgoing
    }

    /// Locks it for somebody who is going to send, unless another thread keeps it locked.
    pub fn try_to_send(&self) -> Option<MutexGuard<'_, Outgoing>> {
        loop {
            let outgoing = self.outgoing.try_lock().ok()?;
            if !outgoing.is_lent() {
                return Some(outgoing);
            }
            drop(outgoing);
            std::thread::yield_now();
        }
    }

    /// Gives up on the connection. Not to be called while attached to Python.
    pub fn break_off(&self) {
        self.lock().break_off();
    }

    /// Leaves what is gathered to `sender`. Not to be called while holding the lock: where the
    /// sender finds it held, it relies on the holder to come here, or to send, afterwards.
    pub fn leave_to(self: &Arc<Self>, sender: &Sender) {
        if !self.told.swap(true, Ordering::SeqCst) {
            sender.tell(Arc::clone(self));
        }
    }

    /// Sends what is gathered, as far as that goes without waiting for anybody: the sender's part.
    /// `spare` is an empty buffer. Returns the socket, if it has no room for what is left.
    pub fn send_gathered(&self, spare: &mut Vec<u8>) -> Option<Arc<OwnedFd>> {
        loop {
            self.told.store(false, Ordering::SeqCst);
            // Whoever holds the lock sends everything, or has gathered and will tell again.
            let mut outgoing = self.outgoing.try_lock().ok()?;
            let mut load = outgoing.lend(spare)?;
            self.told.store(true, Ordering::SeqCst);
            drop(outgoing);
            let outcome = load.send();
            let socket = Arc::clone(&load.socket);
            let mut outgoing = self.lock();
            let progress = outgoing.take_back(load, outcome, spare);
            let awaited = outgoing.awaited > 0;
            if progress == Progress::Done {
                self.told.store(false, Ordering::SeqCst);
            }
            drop(outgoing);
            if awaited {
                self.returned.notify_all();
            }
            match progress {
                Progress::Done => return None,
                Progress::Stuck => return Some(socket),
                Progress::More => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().expect("nobody panics while sending")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use channel::Inbox;
    use rustix::event::{PollFd, PollFlags};
    use wire::exchange::FromWorker;

    use super::*;

    const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

    fn pair() -> (Arc<SendQueue>, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        (Arc::new(SendQueue::new(Outgoing::new(Arc::new(near.into()), Vec::new()))), far)
    }

    fn wait(socket: &OwnedFd) -> std::io::Result<()> {
        let mut sources = [PollFd::new(socket, PollFlags::OUT)];
        Ok(rustix::event::poll(&mut sources, None).map(drop)?)
    }

    fn gather(send_queue: &SendQueue, block: &[u8]) -> bool {
        send_queue.outgoing().lock().unwrap().gather_block(block)
    }

    /// What comes before the end.
    fn read_all(far: &UnixStream) -> Vec<u8> {
        let (mut inbox, mut received) = (Inbox::new(), Vec::new());
        loop {
            match inbox.wait(far, WRITE_TIMEOUT).unwrap() {
                FromWorker::Data(data) => received.extend_from_slice(data),
                FromWorker::End => return received,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn blocks_left_to_the_sender_arrive_while_the_application_pauses() {
        let (send_queue, far) = pair();
        let sender = Sender::start().unwrap();
        let mut inbox = Inbox::new();
        for number in 0..100_u8 {
            assert!(gather(&send_queue, &[number]));
            send_queue.leave_to(&sender);
            // The next one is not gathered before this one has come.
            assert_eq!(
                inbox.wait::<FromWorker<'_>>(&far, WRITE_TIMEOUT).unwrap(),
                FromWorker::Data(&[number])
            );
        }
    }

    #[test]
    fn blocks_arrive_in_order_whoever_sends_them() {
        let (send_queue, far) = pair();
        let sender = Sender::start().unwrap();
        let reader = std::thread::spawn(move || read_all(&far));
        let mut sent = Vec::new();
        for number in 0..20_000_u32 {
            let block = number.to_le_bytes().repeat(1 + number as usize % 50);
            sent.extend_from_slice(&block);
            if number % 100 != 99 && gather(&send_queue, &block) {
                send_queue.leave_to(&sender);
            } else {
                let mut outgoing = send_queue.to_send();
                outgoing.push_data(&block, &mut wait).unwrap();
                outgoing.flush(&mut wait).unwrap();
            }
        }
        send_queue.to_send().finish(&FromWorker::End, &mut wait);
        assert!(reader.join().unwrap() == sent);
    }

    #[test]
    fn what_the_socket_has_no_room_for_follows_without_another_word() {
        let (send_queue, far) = pair();
        let sender = Sender::start().unwrap();
        let mut sent = Vec::new();
        // Nobody reads yet, until the sender is left with something that does not fit.
        loop {
            let block = [u8::try_from(sent.len() / 10_000 % 256).unwrap(); 10_000];
            if !gather(&send_queue, &block) {
                break;
            }
            sent.extend_from_slice(&block);
            send_queue.leave_to(&sender);
            assert!(sent.len() < 100 << 20, "the socket takes everything");
        }
        let mut inbox = Inbox::new();
        let mut received = Vec::new();
        while received.len() < sent.len() {
            match inbox.wait(&far, WRITE_TIMEOUT).unwrap() {
                FromWorker::Data(data) => received.extend_from_slice(data),
                other => panic!("{other:?}"),
            }
        }
        assert!(received == sent);
    }

    #[test]
    fn a_peer_that_is_gone_shows_at_a_later_block() {
        let (send_queue, far) = pair();
        drop(far);
        let sender = Sender::start().unwrap();
        assert!(gather(&send_queue, b"lost"));
        send_queue.leave_to(&sender);
        while !send_queue.outgoing().lock().unwrap().is_broken() {
            std::thread::yield_now();
        }
        let outcome = send_queue.to_send().flush(&mut wait);
        assert_eq!(outcome.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    }
}
