//! How severe a log line is.

use crate::codec::{DecodeError, Reader, Writer};

/// Severity of a log line; httpd's names and order (`APLOG_EMERG` to `APLOG_DEBUG`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// `APLOG_EMERG`.
    Emergency = 0,
    /// `APLOG_ALERT`.
    Alert = 1,
    /// `APLOG_CRIT`.
    Critical = 2,
    /// `APLOG_ERR`.
    Error = 3,
    /// `APLOG_WARNING`.
    Warning = 4,
    /// `APLOG_NOTICE`: written to an error log file whatever the LogLevel.
    Notice = 5,
    /// `APLOG_INFO`.
    Info = 6,
    /// `APLOG_DEBUG`.
    Debug = 7,
}

impl Level {
    const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Info,
        Self::Debug,
    ];

    /// httpd's number for the level.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The level with httpd's number `number`; the trace levels above 7 count as debug.
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Debug)
    }

    pub(crate) fn write(self, writer: &mut Writer<'_>) {
        writer.u8(self.number());
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = reader.u8("level")?;
        let unknown = DecodeError::Unknown { what: "level", value: number.into() };
        Self::ALL.get(usize::from(number)).copied().ok_or(unknown)
    }
}
