//! What a worker may use before another one takes its place, and why it is replaced or ends.

use crate::codec::{DecodeError, Reader, Writer};

/// The limits that a worker watches itself. 0 is none; times are in seconds where nothing else is said. The default is that of
/// `WSGIDaemonProcess`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `maximum-requests=`.
    pub maximum_requests: u32,
    /// `restart-interval=`.
    pub restart_interval: u32,
    /// `inactivity-timeout=`.
    pub inactivity_timeout: u32,
    /// `request-timeout=`.
    pub request_timeout: u32,
    /// `slow-request=`: after how many milliseconds a request is reported.
    pub slow_request: u32,
    /// `interrupt-timeout=`.
    pub interrupt_timeout: u32,
    /// `deadlock-timeout=`.
    pub deadlock_timeout: u32,
    /// `startup-timeout=`.
    pub startup_timeout: u32,
    /// `graceful-timeout=`: what requests have to end when the worker is replaced.
    pub graceful_timeout: u32,
    /// `eviction-timeout=`: the same when SIGUSR1 asked for it; 0 is as `graceful_timeout`.
    pub eviction_timeout: u32,
    /// `shutdown-timeout=`: what Python has to end.
    pub shutdown_timeout: u32,
    /// `cpu-time-limit=`. The kernel watches it, and tells the worker.
    pub cpu_time_limit: u32,
    /// `memory-max=`: resident memory, in bytes.
    pub memory_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            maximum_requests: 0,
            restart_interval: 0,
            inactivity_timeout: 0,
            request_timeout: 0,
            slow_request: 0,
            interrupt_timeout: 0,
            deadlock_timeout: 300,
            startup_timeout: 0,
            graceful_timeout: 15,
            eviction_timeout: 0,
            shutdown_timeout: 5,
            cpu_time_limit: 0,
            memory_max: 0,
        }
    }
}

/// Why a worker is replaced, or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// A script that it has loaded has changed.
    ScriptReload = 1,
    /// `maximum-requests=`.
    MaximumRequests = 2,
    /// `restart-interval=`.
    RestartInterval = 3,
    /// `inactivity-timeout=`.
    InactivityTimeout = 4,
    /// `cpu-time-limit=`.
    CpuTimeLimit = 5,
    /// `memory-max=`.
    MemoryMax = 6,
    /// It got SIGUSR1.
    GracefulSignal = 7,
    /// It got SIGUSR1, and there is an `eviction-timeout=`.
    EvictionSignal = 8,
    /// `request-timeout=`: a request did not end.
    RequestTimeout = 9,
    /// `deadlock-timeout=`: nobody gets Python's lock.
    DeadlockTimeout = 10,
    /// `startup-timeout=`: its first script does not load.
    StartupTimeout = 11,
    /// It got SIGTERM or SIGINT.
    ShutdownSignal = 12,
    /// The supervisor was told to reload.
    ReloadOrder = 13,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::ScriptReload,
        Self::MaximumRequests,
        Self::RestartInterval,
        Self::InactivityTimeout,
        Self::CpuTimeLimit,
        Self::MemoryMax,
        Self::GracefulSignal,
        Self::EvictionSignal,
        Self::RequestTimeout,
        Self::DeadlockTimeout,
        Self::StartupTimeout,
        Self::ShutdownSignal,
        Self::ReloadOrder,
    ];

    /// Whether the worker takes no requests any more: it cannot serve until another one does.
    pub fn is_urgent(self) -> bool {
        match self {
            Self::ScriptReload
            | Self::MaximumRequests
            | Self::RestartInterval
            | Self::InactivityTimeout
            | Self::CpuTimeLimit
            | Self::MemoryMax
            | Self::GracefulSignal
            | Self::EvictionSignal
            | Self::ReloadOrder => false,
            Self::RequestTimeout
            | Self::DeadlockTimeout
            | Self::StartupTimeout
            | Self::ShutdownSignal => true,
        }
    }

    /// mod_wsgi's name for it, as `shutdown_reason` of the event `process_stopping`.
    pub fn shutdown_reason(self) -> &'static str {
        match self {
            Self::ScriptReload => "script_reload",
            Self::MaximumRequests => "maximum_requests",
            Self::RestartInterval => "restart_interval",
            Self::InactivityTimeout => "inactivity_timeout",
            Self::CpuTimeLimit => "cpu_time_limit",
            Self::MemoryMax => "memory_max",
            Self::GracefulSignal => "graceful_signal",
            Self::EvictionSignal => "eviction_signal",
            Self::RequestTimeout => "request_timeout",
            Self::DeadlockTimeout => "deadlock_timeout",
            Self::StartupTimeout => "startup_timeout",
            Self::ShutdownSignal => "shutdown_signal",
            Self::ReloadOrder => "reload_order",
        }
    }

    pub(crate) fn write(self, writer: &mut Writer<'_>) {
        writer.u8(self as u8);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = reader.u8("cause")?;
        let unknown = DecodeError::Unknown { what: "cause", value: number.into() };
        Self::ALL.into_iter().find(|cause| *cause as u8 == number).ok_or(unknown)
    }
}

impl Limits {
    /// How long running requests have to end when the worker gives way for this reason, before its
    /// `shutdown-timeout=` begins; in seconds.
    pub fn grace(&self, cause: Cause) -> u32 {
        match cause {
            Cause::EvictionSignal => self.eviction_timeout,
            Cause::DeadlockTimeout | Cause::StartupTimeout | Cause::ShutdownSignal => 0,
            Cause::ScriptReload
            | Cause::MaximumRequests
            | Cause::RestartInterval
            | Cause::InactivityTimeout
            | Cause::CpuTimeLimit
            | Cause::MemoryMax
            | Cause::GracefulSignal
            | Cause::RequestTimeout
            | Cause::ReloadOrder => self.graceful_timeout,
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.maximum_requests);
        writer.u32(self.restart_interval);
        writer.u32(self.inactivity_timeout);
        writer.u32(self.request_timeout);
        writer.u32(self.slow_request);
        writer.u32(self.interrupt_timeout);
        writer.u32(self.deadlock_timeout);
        writer.u32(self.startup_timeout);
        writer.u32(self.graceful_timeout);
        writer.u32(self.eviction_timeout);
        writer.u32(self.shutdown_timeout);
        writer.u32(self.cpu_time_limit);
        writer.u64(self.memory_max);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            maximum_requests: reader.u32("maximum requests")?,
            restart_interval: reader.u32("restart interval")?,
            inactivity_timeout: reader.u32("inactivity timeout")?,
            request_timeout: reader.u32("request timeout")?,
            slow_request: reader.u32("slow request")?,
            interrupt_timeout: reader.u32("interrupt timeout")?,
            deadlock_timeout: reader.u32("deadlock timeout")?,
            startup_timeout: reader.u32("startup timeout")?,
            graceful_timeout: reader.u32("graceful timeout")?,
            eviction_timeout: reader.u32("eviction timeout")?,
            shutdown_timeout: reader.u32("shutdown timeout")?,
            cpu_time_limit: reader.u32("cpu time limit")?,
            memory_max: reader.u64("memory max")?,
        })
    }
}
