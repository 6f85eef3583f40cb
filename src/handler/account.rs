//! What becomes of a request, as the metrics count it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use metrics::{About, Flight, Place, Slot};

use crate::ffi::request::Request;
use crate::generation::{child, metrics};
use crate::mapping::{self, Memory};

/// The place of an application group, if there are metrics.
pub fn place(process_group: &[u8], application_group: &[u8]) -> Option<Place> {
    metrics()?.place(process_group, Some(application_group))
}

/// The slot of an application group.
pub fn slot(place: Place) -> Option<&'static Slot> {
    Some(metrics()?.slot(place))
}

/// Shows a request that is with the workers of an application group, or waits for them, as long as what
/// is returned lives.
pub fn take_off(request: Request<'_>, place: Place) -> Option<Flight> {
    let about = About {
        method: request.method(),
        path: request.uri(),
        id: request.log_id(),
        received: request.received(),
    };
    Some(Flight::begin(child()?, place, about))
}

/// What is known of one request. It is counted when httpd forgets the request.
#[derive(Debug)]
pub struct Account {
    slot: &'static Slot,
    has_body: bool,
    /// When a worker could have begun it, in microseconds since the epoch, as are the following.
    ready: Cell<u64>,
    /// How long its client took to send the body before that, and altogether.
    spent: Cell<(Duration, Duration)>,
    /// When a worker's thread had begun it and was through with it, as the worker says.
    ran: Cell<Option<(u64, u64)>>,
    received_bytes: Cell<u64>,
    status: Cell<u16>,
    /// When the last of the response was sent.
    sent: Cell<Option<u64>>,
    sent_bytes: Cell<u64>,
}

impl Account {
    /// Opens one.
    pub fn open(request: Request<'_>, place: Option<Place>, has_body: bool) -> Option<Rc<Self>> {
        let slot = slot(place?)?;
        let account = Rc::new(Self {
            slot,
            has_body,
            ready: Cell::default(),
            spent: Cell::default(),
            ran: Cell::default(),
            received_bytes: Cell::default(),
            status: Cell::default(),
            sent: Cell::default(),
            sent_bytes: Cell::default(),
        });
        // Another application may answer the same request later (`ErrorDocument`): that is another memory.
        mapping::memory(request).account.replace(Some(Rc::<Self>::clone(&account)));
        Some(account)
    }

    /// A worker can begin it now: its client took so long to send what has to be there before.
    pub fn is_ready(&self, spent: Duration) {
        self.ready.set(now());
        self.spent.set((spent, spent));
    }

    /// Its client took so long altogether.
    pub fn note_spent(&self, spent: Duration) {
        self.spent.set((self.spent.get().0, spent));
    }

    /// A worker says when it ran it.
    pub fn note_run(&self, begun: u64, ended: u64) {
        self.ran.set(Some((begun, ended)));
    }

    /// The handler has done with it.
    pub fn close(&self, status: u16, received_bytes: u64) {
        self.status.set(status);
        self.received_bytes.set(received_bytes);
    }

    /// The response of the request, and of what httpd has made out of it, has been sent.
    pub fn note_sent(request: Request<'_>) {
        let memories = request.and_next().filter_map(Request::remembered::<Memory>);
        for memory in memories {
            let account = memory.account.borrow();
            if let Some(account) = account.as_ref().and_then(|any| any.downcast_ref::<Self>()) {
                account.sent.set(Some(now()));
                account.sent_bytes.set(request.last().sent_bytes());
            }
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let slot = self.slot;
        slot.count_request(self.status.get());
        slot.received_bytes.fetch_add(self.received_bytes.get(), Relaxed);
        slot.sent_bytes.fetch_add(self.sent_bytes.get(), Relaxed);
        let (before, altogether) = self.spent.get();
        if self.has_body {
            slot.receiving.observe(altogether);
        }
        if let Some((begun, ended)) = self.ran.get() {
            // A worker's word is taken only as far as it is possible.
            let (ready, sent) = (self.ready.get(), self.sent.get());
            let last = sent.unwrap_or_else(now);
            let begun = begun.clamp(ready, last.max(ready));
            let ended = ended.clamp(begun, last.max(begun));
            let mut waited = begun - ready;
            if self.has_body {
                let meanwhile = (altogether - before).as_micros();
                waited = waited.saturating_sub(u64::try_from(meanwhile).unwrap_or(u64::MAX));
            }
            slot.queued.observe_microseconds(waited);
            slot.application.observe_microseconds(ended - begun);
            if let Some(sent) = sent {
                slot.sending.observe_microseconds(sent.saturating_sub(ended));
            }
        }
    }
}

/// The time in microseconds since the epoch.
fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    // Without the 128 bits of `as_micros`: each request asks three times.
    since.as_secs() * 1_000_000 + u64::from(since.subsec_micros())
}
