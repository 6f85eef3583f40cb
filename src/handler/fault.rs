//! What can go wrong between httpd and an application, and the status that clients get for it.

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
