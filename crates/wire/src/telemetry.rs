//! What `WSGITelemetryService` and its like say.

use std::path::PathBuf;

use crate::codec::{DecodeError, Reader, Writer};

/// Where metrics are sent, and what they tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Telemetry {
    /// The datagram socket.
    pub path: PathBuf,
    /// Microseconds from one report to the next.
    pub interval: u64,
    /// `WSGISlowRequests`: microseconds after which a request is slow.
    pub slow: Option<u64>,
    /// `WSGITelemetryOptions CaptureUserAgent`.
    pub user_agent: bool,
    /// Process id of httpd's parent.
    pub httpd: u32,
}

impl Telemetry {
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.path(&self.path);
        writer.u64(self.interval);
        writer.option(self.slow, Writer::u64);
        writer.bool(self.user_agent);
        writer.u32(self.httpd);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            path: reader.path("telemetry socket")?,
            interval: reader.u64("telemetry interval")?,
            slow: reader.option("slow requests", |reader| reader.u64("slow requests"))?,
            user_agent: reader.bool("user agent")?,
            httpd: reader.u32("pid of httpd")?,
        })
    }
}
