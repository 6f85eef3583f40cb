//! The module's own diagnostics: `tracing` events, written to httpd's error log at the same level.
//!
//! While a thread handles a request ([`in_request`]), its events go to the log of the request's
//! virtual host, otherwise to the main server's. What applications write does not come this way:
//! it has levels of httpd's that `tracing` has not.

use std::fmt::{Debug, Write};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::SystemTime;

use metrics::Metrics;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use wire::exchange::Level;

use crate::ffi::log::{log_request, log_server};
use crate::ffi::request::{Request, with_current};
use crate::ffi::server::{Server, with_main_server};

/// Lets events of `tracing` reach the error log. Does it once: httpd calls at each configuration.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails only when somebody else in this library had set one.
        let _ = tracing::subscriber::set_global_default(ToErrorLog);
    });
}

/// Lets the events of `body` go to the log of the request's virtual host.
pub fn in_request<R>(request: Request<'_>, body: impl FnOnce() -> R) -> R {
    request.while_current(body)
}

/// Lets one line of a kind through per second, from this process: what happens to each of many
/// requests is told once for all of them.
pub struct Throttle {
    /// Seconds since the epoch of the last line, and lines withheld since.
    state: Mutex<(u64, u64)>,
}

impl Throttle {
    /// For lines of one kind.
    pub const fn new() -> Self {
        Self { state: Mutex::new((0, 0)) }
    }

    /// What to append to the line, which says how many were withheld before it; `None` to withhold
    /// it.
    pub fn pass(&self) -> Option<String> {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let (last, withheld) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(last, now) == now {
            *withheld += 1;
            return None;
        }
        Some(match std::mem::take(withheld) {
            0 => String::new(),
            withheld => format!(" ({withheld} more like this since the last such line)"),
        })
    }
}

struct ToErrorLog;

impl Subscriber for ToErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let limit = asked_for().unwrap_or_else(configured);
        number(metadata.level()) <= limit
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let mut text = [line.message, line.fields].concat();
        let mut level = number(event.metadata().level());
        if level > Level::Notice.number() && asked_for().is_some() && level > configured() {
            // httpd drops what LogLevel leaves out, but for notices.
            text = format!("{}: {text}", event.metadata().level().as_str().to_lowercase());
            level = Level::Notice.number();
        }
        with_current(|request| match request {
            Some(request) => log_request(request, level, text.as_bytes()),
            None => with_main_server(|server| log_server(server, level, text.as_bytes())),
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Where `wsgictl log` says what is to be logged.
static ASKED: OnceLock<&Metrics> = OnceLock::new();

/// Logs what is asked for there from now on.
pub fn obey(metrics: &'static Metrics) {
    ASKED.get_or_init(|| metrics);
}

/// The level that `wsgictl log` asks for in place of `LogLevel`.
fn asked_for() -> Option<u8> {
    ASKED.get()?.log_level()
}

/// `LogLevel` of what is being done.
fn configured() -> u8 {
    with_current(|request| match request {
        Some(request) => request.log_level(),
        None => {
            with_main_server(|server| server.map_or(Level::Warning.number(), Server::log_level))
        }
    })
}

/// httpd's number for a level of `tracing`; its trace levels begin at 8 (`APLOG_TRACE1`).
fn number(level: &tracing::Level) -> u8 {
    match *level {
        tracing::Level::ERROR => Level::Error.number(),
        tracing::Level::WARN => Level::Warning.number(),
        tracing::Level::INFO => Level::Info.number(),
        tracing::Level::DEBUG => Level::Debug.number(),
        tracing::Level::TRACE => 8,
    }
}

/// An event as text: its message, then its fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
