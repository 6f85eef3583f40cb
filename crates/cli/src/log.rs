//! `wsgictl log`: what the module and the supervisor log.

use anyhow::Result;
use clap::ValueEnum;
use wire::exchange;

use crate::supervisor::Place;

/// A level, as LogLevel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// What LogLevel says
    Configured,
    /// Errors
    Error,
    /// Warnings
    Warn,
    /// Notices
    Notice,
    /// What happens
    Info,
    /// What happens in detail
    Debug,
}

/// Has this level logged from now on.
///
/// # Errors
/// As [`Place::metrics`].
pub fn set(place: &Place, level: Level) -> Result<()> {
    let level = match level {
        Level::Configured => None,
        Level::Error => Some(exchange::Level::Error),
        Level::Warn => Some(exchange::Level::Warning),
        Level::Notice => Some(exchange::Level::Notice),
        Level::Info => Some(exchange::Level::Info),
        Level::Debug => Some(exchange::Level::Debug),
    };
    place.metrics()?.set_log_level(level.map(exchange::Level::number));
    Ok(())
}
