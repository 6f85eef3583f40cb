//! What is noted of a request for the case that it is slow (`WSGISlowRequests`).

use wire::exchange::Request;

use crate::clock::{Times, now, seconds};

/// What the report of a slow request says of the request itself.
#[derive(Debug, Default)]
pub struct Particulars {
    /// When it reached which place.
    pub times: Times,
    /// Number of its runner, from 1.
    pub thread: usize,
    /// Requests that ran when it began, and this one.
    pub active: u64,
    /// Process id of httpd's child.
    pub child: u64,
    /// Fields 210 to 217, which are texts.
    pub texts: [Vec<u8>; 8],
}

/// The variables that make the fields from 210 on.
const TEXTS: [&[u8]; 8] = [
    b"REQUEST_METHOD",
    b"",
    b"SERVER_NAME",
    b"SCRIPT_NAME",
    b"PATH_INFO",
    b"SERVER_PROTOCOL",
    b"REMOTE_ADDR",
    b"HTTP_USER_AGENT",
];
const SCHEME: usize = 1;
const USER_AGENT: usize = 7;

impl Particulars {
    /// Of a request that a runner begins.
    pub fn new(
        request: &Request<'_>,
        times: Times,
        thread: usize,
        active: u64,
        with_user_agent: bool,
    ) -> Self {
        let mut texts: [Vec<u8>; 8] = Default::default();
        texts[SCHEME] = if request.https { b"https".to_vec() } else { b"http".to_vec() };
        let mut child = 0;
        for (name, value) in &request.environ {
            if let Some(place) = TEXTS.iter().position(|text| !text.is_empty() && text == name) {
                texts[place] = value.to_vec();
            } else if *name == b"mod_wsgi.server_pid" {
                child =
                    std::str::from_utf8(value).ok().and_then(|pid| pid.parse().ok()).unwrap_or(0);
            }
        }
        if !with_user_agent {
            texts[USER_AGENT].clear();
        }
        Self { times, thread, active, child, texts }
    }

    /// For how many seconds it has run.
    pub fn age(&self) -> f64 {
        seconds(now().saturating_sub(self.times.taken))
    }

    /// When it began, in microseconds since the epoch.
    pub fn began(&self) -> u64 {
        self.times.taken
    }
}
