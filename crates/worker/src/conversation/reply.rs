//! Status, headers and length of a response, from `start_response` to its last byte.

use std::io;

use wire::exchange::FromWorker;

use crate::conversation::outgoing::Outgoing;

/// A status line and headers, checked and encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub code: u16,
    /// Code and reason phrase.
    pub status: Vec<u8>,
    /// Names and values.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// How far a response has come.
#[derive(Debug)]
pub struct Reply {
    is_head: bool,
    head: Option<Head>,
    committed: bool,
    /// The status code that `head` has or had.
    code: Option<u16>,
    /// What may still follow, when the application gave a Content-Length.
    remaining: Option<u64>,
    surplus: Surplus,
    /// Whether a Content-Length has to be kept to.
    has_body: bool,
}

/// Whether an application sends more than its Content-Length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surplus {
    /// Not so far.
    No,
    /// The piece just sent was the first that had to be cut.
    FirstCut,
    /// An earlier piece had been cut already.
    CutBefore,
}

/// Why a piece of the response was not sent.
#[derive(Debug)]
pub enum ReplyError {
    /// The request is over.
    Over,
    /// There are no status and headers to go first.
    NotStarted,
    /// The application's Content-Length is no number.
    BadLength(Vec<u8>),
    /// The connection is broken.
    Broken(io::Error),
    /// The request has been interrupted, and Python is about to raise an exception.
    Interrupted,
}

impl From<io::Error> for ReplyError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Interrupted => Self::Interrupted,
            _ => Self::Broken(error),
        }
    }
}

impl Reply {
    /// For a request that is (not) a HEAD request.
    pub fn new(is_head: bool) -> Self {
        Self {
            is_head,
            head: None,
            committed: false,
            code: None,
            remaining: None,
            surplus: Surplus::No,
            has_body: true,
        }
    }

    /// Whether status and headers are on their way.
    pub fn is_committed(&self) -> bool {
        self.committed
    }

    /// Notes status and headers, instead of any that were noted before.
    pub fn start(&mut self, head: Head) {
        self.code = Some(head.code);
        self.head = Some(head);
    }

    /// The status code, once there is one.
    pub fn code(&self) -> Option<u16> {
        self.code
    }

    /// Puts status and headers on their way, if they are not. `body`: length of the whole body.
    ///
    /// # Errors
    /// [`ReplyError::NotStarted`], [`ReplyError::BadLength`].
    pub fn commit(
        &mut self,
        body: Option<usize>,
        outgoing: &mut Outgoing,
    ) -> Result<(), ReplyError> {
        if self.committed {
            return Ok(());
        }
        let head = self.head.as_ref().ok_or(ReplyError::NotStarted)?;
        let bodiless = head.is_bodiless();
        let length = head.content_length()?;
        let body = body.filter(|len| {
            // PEP 3333, "Handling the Content-Length Header": a list of one block tells the length.
            // An empty answer to HEAD does not: the length is that of the answer to GET.
            let framed = length.is_some() || head.has(b"transfer-encoding");
            let about_another = self.is_head && *len == 0;
            !bodiless && !framed && !about_another
        });
        self.remaining = length;
        self.has_body = !bodiless && !self.is_head;
        self.committed = true;

        let computed = body.map(|len| len.to_string());
        let given = head.headers.iter().map(|(name, value)| (&name[..], &value[..]));
        let added = computed.as_ref().map(|len| (&b"Content-Length"[..], len.as_bytes()));
        let headers = given.chain(added).collect();
        outgoing.push(&FromWorker::Head { status: &head.status, headers });
        self.head = None;
        Ok(())
    }

    /// How much of a file that has `rest` bytes left the body would be. `None` when it cannot be
    /// one: something has been sent, there is no body, or the file is too short for it.
    pub fn file_length(&self, rest: u64) -> Option<u64> {
        let head = self.head.as_ref().filter(|head| !self.committed && !head.is_bodiless())?;
        let length = head.content_length().ok()?.unwrap_or(rest);
        (1..=rest).contains(&length).then_some(length)
    }

    /// Notes that the body goes out in another way, whole.
    pub fn fulfil(&mut self) {
        self.remaining = self.remaining.map(|_| 0);
    }

    /// What may be sent of a piece of the body.
    pub fn admit<'b>(&mut self, block: &'b [u8]) -> (&'b [u8], Surplus) {
        let Some(remaining) = &mut self.remaining else {
            return (block, Surplus::No);
        };
        let room = usize::try_from(*remaining).unwrap_or(usize::MAX);
        if block.len() <= room {
            *remaining -= block.len() as u64;
            return (block, Surplus::No);
        }
        *remaining = 0;
        let surplus = match self.surplus {
            Surplus::No => Surplus::FirstCut,
            Surplus::FirstCut | Surplus::CutBefore => Surplus::CutBefore,
        };
        self.surplus = surplus;
        (&block[..room], surplus)
    }

    /// Whether all has been sent that the Content-Length allows.
    pub fn is_fulfilled(&self) -> bool {
        self.remaining == Some(0)
    }

    /// How many bytes of the Content-Length a body of so many would lack. A response that has been
    /// begun already is not judged.
    ///
    /// # Errors
    /// [`ReplyError::BadLength`].
    pub fn lacks(&self, body: usize) -> Result<u64, ReplyError> {
        let head = self.head.as_ref().filter(|head| !self.is_head && !head.is_bodiless());
        let length = head.map_or(Ok(None), Head::content_length)?;
        Ok(length.map_or(0, |length| length.saturating_sub(body as u64)))
    }

    /// How many bytes are missing, measured by the Content-Length. A response to HEAD, and one
    /// whose status has no body, may leave all of it out.
    pub fn missing(&self) -> u64 {
        self.remaining.filter(|_| self.has_body).unwrap_or(0)
    }
}

impl Head {
    /// Whether a response with this status has no body (RFC 9110, section 6.4.1).
    fn is_bodiless(&self) -> bool {
        matches!(self.code, 100..=199 | 204 | 205 | 304)
    }

    fn has(&self, name: &[u8]) -> bool {
        self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name))
    }

    /// The Content-Length, when all of them are numbers. Of several that differ none counts: the other side
    /// refuses such a head.
    fn content_length(&self) -> Result<Option<u64>, ReplyError> {
        let mut length = None;
        for (name, value) in &self.headers {
            if name.eq_ignore_ascii_case(b"content-length") {
                let number = str::from_utf8(value)
                    .ok()
                    .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| ReplyError::BadLength(value.clone()))?;
                if length.is_some_and(|known| known != number) {
                    return Ok(None);
                }
                length = Some(number);
            }
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
