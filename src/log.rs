//! The module's own diagnostics: `tracing` events, written to httpd's error log at the same level.
//!
//! While a thread handles a request ([`in_request`]), its events go to the log of the request's
//! virtual host, otherwise to the main server's. What applications write does not come this way:
//! it has levels of httpd's that `tracing` has not.
//!
//! With `WSGILogFormat json` lines are written as JSON, past httpd, which would escape each backslash once
//! more and put its own words in front.

use std::ffi::CStr;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::SystemTime;

use logline::Line as JsonLine;
use metrics::Metrics;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use wire::exchange::Level;

use crate::ffi::log::{is_pipe, log_request, log_request_from, log_server, write_lines};
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

/// Whether lines are written as JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// Notes on a request, where lines are written as JSON: the names of its groups.
const PROCESS_GROUP: &CStr = c"mod_wsgi_rs: process group";
const APPLICATION_GROUP: &CStr = c"mod_wsgi_rs: application group";

/// Longest JSON line in bytes, in a file and in a pipe: up to here a pipe takes a write whole (pipe(7)).
const LONGEST: usize = 64 << 10;
const LONGEST_IN_PIPE: usize = 4096;

/// Lets lines be written as JSON from now on, or not any more.
pub fn write_json(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Lets the lines about a request tell its groups.
pub fn note_groups(request: Request<'_>, process_group: &[u8], application_group: &[u8]) {
    if is_json() {
        request.notes().set(PROCESS_GROUP, process_group);
        request.notes().set(APPLICATION_GROUP, application_group);
    }
}

/// What an application says with its request.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// The level at which it is logged.
    pub level: Level,
    /// The name of its own level; empty if it has none.
    pub name: &'a [u8],
    /// The name of its logger; empty if it has none.
    pub logger: &'a [u8],
    /// The source file and line that it comes from, where they are known.
    pub place: Option<(&'a [u8], u32)>,
    /// What it says, without an end of line.
    pub text: &'a [u8],
}

/// Logs what an application says, in this worker.
pub fn of_application(request: Request<'_>, worker: Option<u32>, said: Said<'_>) {
    let Said { level, name, logger, place, text } = said;
    let number = level.number();
    if is_json() {
        // httpd writes notices to a file whatever the LogLevel is, and prints are notices.
        if number > request.log_level() && level != Level::Notice {
            return;
        }
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
        let line = JsonLine {
            level: name.unwrap_or(logline::level_name(number)),
            logger,
            message: text,
            pid: worker.unwrap_or_else(std::process::id),
            ..JsonLine::default()
        };
        if write_about(request, number, line) {
            return;
        }
    }
    match place {
        Some(place) => log_request_from(request, number, place, text),
        None => log_request(request, number, text),
    }
}

/// Logs something of our own about a request.
fn of_module(request: Request<'_>, level: u8, mut text: String) {
    let line = JsonLine {
        level: logline::level_name(level),
        message: text.as_bytes(),
        pid: std::process::id(),
        ..JsonLine::default()
    };
    if is_json() && write_about(request, level, line) {
        return;
    }
    // httpd's own format of a line does not say which request it is about.
    if let Some(id) = request.log_id() {
        text += &format!(" [request {}]", String::from_utf8_lossy(id));
    }
    log_request(request, level, text.as_bytes());
}

/// Logs something of our own that concerns no request.
pub fn of_server(server: Option<Server<'_>>, level: u8, text: &[u8]) {
    if let Some(server) = server.filter(|_| is_json()) {
        let (level_name, pid) = (logline::level_name(level), std::process::id());
        let line = JsonLine { level: level_name, message: text, pid, ..JsonLine::default() };
        if level > server.log_level() || write(server, level, line) {
            return;
        }
    }
    log_server(server, level, text);
}

/// Completes a line about a request, and writes it. Returns whether that could be.
fn write_about(request: Request<'_>, level: u8, line: JsonLine<'_>) -> bool {
    let traceparent = request.headers_in().get(c"traceparent");
    let line = JsonLine {
        request_id: request.log_id().unwrap_or_default(),
        process_group: request.notes().get(PROCESS_GROUP),
        application_group: request.notes().get(APPLICATION_GROUP),
        trace_id: traceparent.and_then(logline::trace_id).unwrap_or_default(),
        ..line
    };
    write(request.server(), level, line)
}

fn write(server: Server<'_>, level: u8, line: JsonLine<'_>) -> bool {
    let longest = if is_pipe(server) { LONGEST_IN_PIPE } else { LONGEST };
    write_lines(server, level, &line.encode(SystemTime::now(), longest))
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
            Some(request) => of_module(request, level, text),
            None => with_main_server(|server| of_server(server, level, text.as_bytes())),
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
