//! The response on its way to the client: its head, its body and its end, good or bad.

use std::sync::Once;

use channel::Bytes;
use tracing::{error, warn};

use super::{Exchange, Outcome, Page};
use crate::ffi::bucket::{ClientGone, Then};
use crate::ffi::request::Request;
use crate::ffi::{AP_FILTER_ERROR, OK};
use crate::handler::fault::Fault;
use crate::handler::head::Head;
use crate::handler::presence::Presence;

/// Most early hints of a request, and most bytes of their headers.
const MOST_HINTS: usize = 32;
const MOST_HINT_BYTES: usize = 64 << 10;

/// Longest response that is held until all of it has come, so that the client can get a part of it.
const MOST_HELD: u64 = 1 << 20;

/// "200 OK".
const HTTP_OK: u16 = 200;

/// "205 Reset Content".
const HTTP_RESET_CONTENT: u16 = 205;

/// Headers of an application's error that httpd's page for it needs, too.
pub(super) fn keep_in_error_page(request: Request<'_>, headers: &[(&[u8], &[u8])]) {
    const KEPT: [&[u8]; 4] = [b"www-authenticate", b"proxy-authenticate", b"allow", b"retry-after"];
    for (name, value) in headers {
        if KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept)) {
            request.err_headers_out().add(name, value);
        }
    }
}

/// The administrator may expect more of this response than a header. Said once by each child.
pub(super) fn tell_of_redirects(location: &[u8]) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let location = String::from_utf8_lossy(location);
        warn!(
            "The application answers with status 200 and 'Location: {location}', which is a header \
             like others. With WSGILocationRedirect On, httpd answers with what is there."
        );
    });
}

impl Outcome {
    /// The application failed: its connection is fine as long as no response had begun.
    fn of(answer: Result<i32, i32>) -> Self {
        answer.map_or_else(Self::Failed, |status| Self::Answered(Ok(status)))
    }
}

impl Exchange<'_, '_> {
    /// Sends an interim response. Each takes memory of the request's, so that they are bounded.
    pub(super) fn send_hints(&mut self, headers: &[(&[u8], &[u8])]) {
        let len: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.hints = (self.hints.0 + 1, self.hints.1.saturating_add(len));
        if self.hints.0 > MOST_HINTS || self.hints.1 > MOST_HINT_BYTES {
            if self.hints.0 <= MOST_HINTS + 1 {
                error!(
                    "The application's further early hints are left out: a request has \
                     {MOST_HINTS} of them at most, and {MOST_HINT_BYTES} bytes in all."
                );
            }
            // One line, whichever of the bounds it was.
            self.hints.0 = self.hints.0.max(MOST_HINTS + 1);
            return;
        }
        match Head::check_hints(headers) {
            Ok(_) if self.presence == Presence::Gone => {}
            Ok(hints) => self.request.send_interim(103, b"103 Early Hints", &hints),
            Err(problem) => error!("The application's early hints cannot be sent: {problem}."),
        }
    }

    /// What is at `location` takes the place of the response. Cookies go with it, as with mod_cgi.
    pub(super) fn redirect(&mut self, head: &Head<'_>, location: &[u8]) {
        for (name, value) in head.all(b"set-cookie") {
            self.request.err_headers_out().add(name, value);
        }
        self.page = Some(Page::Redirect(location.to_vec()));
    }

    pub(super) fn begin(&mut self, head: &Head<'_>) {
        // A client that waits for "100 Continue" has not sent its body, and need not any more:
        // httpd must not wait for it to reuse the connection.
        if self.request.expects_continue() {
            self.request.close_connection();
        }
        head.apply(self.request);
        self.turn.renew();
        self.turn.note_answer();
        self.response.begin();
        self.begun = true;
        self.bodiless = !head.allows_body() || self.request.is_header_only();
        // Of a response without a body, the length says what another one would have had.
        let announced = head.content_length;
        self.allowance = announced.filter(|_| !self.bodiless);
        self.choose_ranges(head);
        // httpd itself leaves out the body of 204 and 304, but not this one's (RFC 9110, section
        // 15.3.6), of which nobody need hear.
        if head.code == HTTP_RESET_CONTENT {
            self.request.set_content_length(0);
            (self.allowance, self.exceeded) = (Some(0), true);
        }
    }

    /// Decides whether the client may get parts of the response. Ranges are of resources, and for GET
    /// (RFC 9110, section 14.2): of files, and of what says `Accept-Ranges: bytes`. httpd itself would
    /// cut whatever it happens to get in one go, and answer 416 for what has been done.
    fn choose_ranges(&mut self, head: &Head<'_>) {
        let headers = self.request.headers_in();
        if [c"Range", c"Request-Range"].iter().all(|name| headers.get(name).is_none()) {
            return;
        }
        let accepts = head.accepts_ranges();
        let is_get = self.request.method() == b"GET" && !self.request.is_header_only();
        if !is_get || head.code != HTTP_OK || accepts == Some(false) {
            return self.request.forbid_ranges();
        }
        // httpd cuts what it gets whole.
        if accepts == Some(true) && head.content_length.is_some_and(|length| length <= MOST_HELD) {
            return self.response.hold();
        }
        self.only_file_ranges = true;
    }

    pub(super) fn send_data(&mut self, data: Bytes<'_>) -> Result<(), ClientGone> {
        let allowed = self.allowance.map_or(data.len(), |allowance| {
            data.len().min(usize::try_from(allowance).unwrap_or(usize::MAX))
        });
        if let Some(allowance) = &mut self.allowance {
            *allowance -= allowed as u64;
        }
        if allowed < data.len() && !std::mem::replace(&mut self.exceeded, true) {
            error!(
                "The application's response is longer than its Content-Length; it is cut there."
            );
        }
        if std::mem::take(&mut self.only_file_ranges) {
            self.request.forbid_ranges();
        }
        let is_first = !std::mem::replace(&mut self.has_data, true);
        let sent = self.response.send(data.split_at(allowed).0);
        // Also for the time that the client has taken.
        if allowed > 0 {
            self.turn.renew();
        }
        sent?;
        // A filter gets a short response of one piece at once, whenever the worker says that it was
        // all, and makes a length of it again.
        if is_first
            && self.allowance == Some(0)
            && self.response.has_gathered()
            && self.request.has_content_filter()
        {
            self.body.discard();
            self.response.end(Then::End)?;
            self.complete = true;
        }
        Ok(())
    }

    /// Whether nothing can be missing: all that the head announces has come, or httpd's own page takes
    /// the place of it.
    pub(super) fn is_whole(&self) -> bool {
        let is_whole = self.bodiless || self.allowance == Some(0) || self.complete;
        self.begun && is_whole || self.page.is_some()
    }

    /// The response ends well.
    pub(super) fn finish(&mut self) {
        if !self.begun || self.complete || self.presence == Presence::Gone {
            return;
        }
        if std::mem::take(&mut self.only_file_ranges) {
            self.request.forbid_ranges();
        }
        self.body.discard();
        // A filter that changes the body makes another length of it.
        let is_filtered = self.has_data && self.request.has_content_filter();
        let is_sized = self.bodiless || self.allowance.is_some() && !is_filtered;
        let begun = if is_sized { Ok(()) } else { self.response.begin_stream() };
        if let Err(ClientGone) = begun.and_then(|()| self.response.end(Then::End)) {
            self.desert();
        }
    }

    /// The worker has said all there is: nothing more comes, even if the client turns out to be gone.
    pub(super) fn end(&mut self) -> Outcome {
        if self.complete || self.presence == Presence::Gone {
            return Outcome::Complete;
        }
        match self.allowance {
            None | Some(0) => {
                self.finish();
                Outcome::Complete
            }
            Some(missing) => {
                error!(
                    "The application's response is {missing} bytes shorter than its Content-Length."
                );
                Outcome::of(self.break_off(Fault::ApplicationFailed.status()))
            }
        }
    }

    /// The application failed, and its log lines have told why.
    pub(super) fn failed(&mut self, status: u16) -> Outcome {
        if self.complete || self.presence == Presence::Gone {
            return Outcome::Complete;
        }
        // What went wrong with the request body is the better answer, if that was why.
        let status = self.body.error().map_or(i32::from(status), |error| error.status);
        let status =
            if (400..600).contains(&status) { status } else { Fault::ApplicationFailed.status() };
        Outcome::of(self.break_off(status))
    }

    /// There is no (further) response. As long as nothing of it has gone towards the client, it gets
    /// a page with `status`; afterwards it must see that the response is incomplete. An answer to
    /// HEAD is complete with its head, and a proxy may go on with the connection at once.
    pub(super) fn break_off(&mut self, status: i32) -> Result<i32, i32> {
        if self.complete {
            return Ok(OK);
        }
        if !self.response.has_passed() {
            return Err(if self.body.is_answered() { AP_FILTER_ERROR } else { status });
        }
        let is_whole = self.request.is_header_only();
        if is_whole {
            // What mod_cache knows of the page is not renewed by a failure.
            self.request.forbid_caching();
        }
        self.body.discard();
        // A client that has gone as well needs no telling.
        let _ = self.response.end(if is_whole { Then::End } else { Then::Broken });
        // After OK, httpd itself would end an HTTP/2 stream as if all were well
        // (`ap_finalize_request_protocol`).
        Ok(if self.request.is_stream() && !is_whole { AP_FILTER_ERROR } else { OK })
    }
}
