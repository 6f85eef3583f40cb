//! Waiting for the worker, and meanwhile for the client, as long as either of them has time.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use channel::Inbox;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Exchange;
use crate::ffi::bucket::ClientGone;
use crate::ffi::stopping;
use crate::handler::presence::Presence;
use crate::handler::turn::{Halt, Turn};

/// What a wait has brought.
struct Woken {
    /// Whether anything has happened: otherwise the time is over.
    in_time: bool,
    /// Whether the worker has sent something, or its connection has ended.
    by_worker: bool,
    /// Whether the worker's process has ended.
    has_ended: bool,
}

impl Exchange<'_, '_> {
    /// Receives more; while it has to wait, what has come so far goes to the client.
    pub(super) fn receive(&mut self, inbox: &mut Inbox) -> Result<(), Halt> {
        // Also where it never comes to a wait, as the worker chatters.
        self.turn.check()?;
        // A full spool of a client that nobody can ask has to be emptied before more comes.
        if !self.response.has_room() {
            self.send_what_has_come()?;
        }
        // Nothing has come yet when the request has only just been sent. The answer to most comes
        // within a moment, for which the socket itself waits (`workers::MOMENT`); only who waits
        // longer looks for his client as well. A client that lags gets its turn first, however much
        // the worker sends.
        let mut waits = !self.turn.is_heard();
        let mut look = !self.response.lags();
        let mut pause = self.response.pause();
        let mut has_ended = false;
        loop {
            let received = if std::mem::take(&mut waits) {
                Some(inbox.receive(self.turn.stream))
            } else {
                std::mem::replace(&mut look, true).then(|| inbox.try_receive(self.turn.stream))
            };
            match received {
                None => {}
                Some(Ok(0)) => return Err(self.turn.lost("closed the connection")),
                Some(Ok(_)) => return Ok(()),
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock && has_ended => {
                    return Err(self.turn.lost("ended"));
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Some(Err(error)) => {
                    return Err(self.turn.lost(&format!("broke the connection ({error})")));
                }
            }
            self.give_back()?;
            if pause.is_none() {
                self.send_what_has_come()?;
            }
            let now = Instant::now();
            // A worker that has to wait for the client has its time afterwards.
            if !self.response.has_room() {
                self.turn.renew();
            }
            let mut left = self.turn.time_left(now)?;
            if self.response.is_owed() {
                let client_left = self.response.time_left(now);
                if client_left.is_zero() {
                    self.request.abort_connection();
                    self.note_absence(Presence::Gone)?;
                    continue;
                }
                left = left.min(client_left);
            }
            let woken = self.wait(pause.map_or(left, |pause| left.min(pause)))?;
            // What it had sent before is received first.
            has_ended = woken.has_ended;
            look = woken.by_worker || has_ended;
            if !woken.in_time {
                pause = None;
            }
        }
    }

    /// Passes on what has come so far, if that takes no wait for the client, or nobody can tell.
    fn send_what_has_come(&mut self) -> Result<(), Halt> {
        if !self.response.has_way() {
            return Ok(());
        }
        let start = Instant::now();
        let settled = self.response.settle();
        self.turn.extend(start.elapsed());
        if let Err(ClientGone) = settled {
            self.note_absence(Presence::Gone)?;
        }
        Ok(())
    }

    /// Waits until the worker sends something, the client takes something or goes away, httpd stops
    /// this child, or the time is over; and gives the client what it takes.
    fn wait(&mut self, time: Duration) -> Result<Woken, Halt> {
        let timeout =
            Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
        let mut watched = self.presence.watched();
        watched.set(PollFlags::OUT, self.response.is_owed());
        let worker = self.turn.stream.as_fd();
        let process = self.turn.process();
        let has_process = process.is_some();
        let process = process.unwrap_or(worker);
        let client = self.client.filter(|_| !self.complete);
        let has_client = client.is_some();
        let client = client.unwrap_or(worker);
        let stopping = stopping::descriptor();
        if stopping::is_stopping() {
            return Err(Turn::stopping());
        }
        let stop = stopping.unwrap_or(worker);
        let mut sources = [
            PollFd::new(&worker, PollFlags::IN),
            PollFd::new(&process, PollFlags::IN),
            PollFd::new(&stop, PollFlags::IN),
            PollFd::new(&client, watched),
        ];
        // A worker whose response has no room is not heard while there is a client to make some.
        let first = if !self.response.has_room() && has_client { 2 } else { 0 };
        let last = 2 + usize::from(has_client);
        let in_time = match poll(&mut sources[first..=last], Some(&timeout)) {
            Ok(0) => false,
            Ok(_) | Err(Errno::INTR) => true,
            Err(error) => return Err(self.turn.lost(&format!("poll: {error}"))),
        };
        let by_worker = !sources[0].revents().is_empty();
        let has_ended = has_process && !sources[1].revents().is_empty();
        let found = sources[3].revents();
        if has_client {
            let presence = self.presence(found);
            self.note_absence(presence)?;
        }
        if found.contains(PollFlags::OUT)
            && let Err(ClientGone) = self.response.advance()
        {
            self.note_absence(Presence::Gone)?;
        }
        Ok(Woken { in_time, by_worker, has_ended })
    }
}
