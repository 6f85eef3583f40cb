//! What can go wrong between httpd and an application, and the status that clients get for it.

use crate::ffi::request::Request;
use crate::ffi::{
    HTTP_BAD_GATEWAY, HTTP_GATEWAY_TIME_OUT, HTTP_INTERNAL_SERVER_ERROR, HTTP_SERVICE_UNAVAILABLE,
};

/// Why a request has no response of its application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No worker begins it, now: the same request may be answered later.
    Unavailable,
    /// httpd ends this child, and does not wait for the worker.
    Stopping,
    /// It has waited too long for a worker, or its worker has taken too long.
    TimedOut,
    /// Its worker has ended, or says what no worker of ours says.
    WorkerFailed,
    /// The application has failed, or its response cannot be sent.
    ApplicationFailed,
}

impl Fault {
    /// The HTTP status (RFC 9110, section 15.6).
    pub fn status(self) -> i32 {
        match self {
            Self::Unavailable | Self::Stopping => HTTP_SERVICE_UNAVAILABLE,
            Self::TimedOut => HTTP_GATEWAY_TIME_OUT,
            Self::WorkerFailed => HTTP_BAD_GATEWAY,
            Self::ApplicationFailed => HTTP_INTERNAL_SERVER_ERROR,
        }
    }
}

/// Lets httpd's page for the status tell the request's id, by which the log can be searched: the page is
/// all that a client has. Pages of the administrator's (`ErrorDocument`) stay as they are.
pub fn name_in_page(request: Request<'_>, status: i32) {
    let what = match status {
        HTTP_BAD_GATEWAY => "The process that ran your request ended before it had answered.",
        HTTP_SERVICE_UNAVAILABLE => {
            "The server is temporarily unable to service your request due to maintenance downtime or \
             capacity problems. Please try again later."
        }
        HTTP_GATEWAY_TIME_OUT => "The application did not answer in time.",
        _ => return,
    };
    let Some(id) = request.log_id() else { return };
    let line = Request::status_line(status);
    let name = line.splitn(2, |byte| *byte == b' ').nth(1).unwrap_or(line);
    // As httpd's own pages look (`ap_send_error_response`).
    let page = [
        b"<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>",
        line,
        b"</title>\n</head><body>\n<h1>",
        name,
        b"</h1>\n<p>",
        what.as_bytes(),
        b"</p>\n<p>Request id: ",
        request.escaped_for_html(id),
        b"</p>\n",
        request.server_signature(),
        b"</body></html>\n",
    ];
    request.set_error_page(status, &page.concat());
}
