//! Lines of httpd's logs as JSON objects, one for each, for programs that collect the logs of containers.
//!
//! httpd escapes what it logs as C does (`\xc3`), which is no JSON. So it is told to part the fields of a
//! line by tabs, which it escapes wherever a client or an application says one, and this command takes the
//! escapes back.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;

/// httpd's `ErrorLogFormat`: see [`of_error`].
pub const ERROR_FORMAT: &str = r"%l\t%-m\t%P\t%-L\t%-a\t%-E\t%M";

/// httpd's `LogFormat`: see [`of_request`].
pub const ACCESS_FORMAT: &str =
    r"%{usec}t\t%P\t%L\t%a\t%u\t%>s\t%B\t%D\t%{Referer}i\t%{User-Agent}i\t%r";

/// httpd's names of levels, by number.
const LEVELS: [&str; 16] = [
    "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug", "trace1", "trace2",
    "trace3", "trace4", "trace5", "trace6", "trace7", "trace8",
];

/// One line. What is not known of it is left out.
#[derive(Debug, Serialize)]
struct Line<'l> {
    /// RFC 3339, in UTC, to the microsecond.
    time: String,
    /// As in [`logline`]: Python's name of the level.
    level: &'l str,
    /// The module of httpd; `access` for requests, `mod_wsgi-rs` for this command.
    logger: &'l str,
    message: Cow<'l, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// The client's address, with its port in the error log.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'l str>,
    /// What the system says of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'l, str>>,
    #[serde(flatten)]
    request: Option<Request<'l>>,
}

/// What only the access log says.
#[derive(Debug, Serialize)]
struct Request<'l> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'l, str>>,
    status: u16,
    /// Bytes of the response's body.
    bytes: u64,
    /// How long it took.
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'l, str>>,
}

impl<'l> Line<'l> {
    fn new(time: Timestamp, level: &'l str, logger: &'l str, message: Cow<'l, str>) -> Line<'l> {
        Line {
            time: time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            level,
            logger,
            message,
            request_id: None,
            pid: None,
            client: None,
            error: None,
            request: None,
        }
    }

    fn written(&self) -> Vec<u8> {
        // Text and finite numbers can always be written.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Something that this command has to say.
pub fn of_command(level: &str, message: &str) -> Vec<u8> {
    Line::new(Timestamp::now(), level, "mod_wsgi-rs", message.into()).written()
}

/// A line that has come from the error log now. What is a JSON object already stays as it is.
///
/// httpd can tell the time only as clocks here do, and what the application's environment says of the time
/// zone counts there: so the time is that at which the line comes.
pub fn of_error(line: &[u8]) -> Vec<u8> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let text = String::from_utf8_lossy(line);
    if serde_json::from_str::<serde_json::Map<_, _>>(&text).is_ok() {
        return [text.as_bytes(), b"\n"].concat();
    }
    let now = Timestamp::now();
    of_httpd(now, &text)
        .or_else(|| of_supervisor(now, &text))
        // httpd before it has its configuration, and other programs.
        .unwrap_or_else(|| Line::new(now, "error", "httpd", text.as_ref().into()))
        .written()
}

/// The name of one of httpd's levels as lines of the application have it.
fn level_name(level: &str) -> Option<&'static str> {
    let number = LEVELS.iter().position(|name| *name == level)?;
    Some(logline::level_name(u8::try_from(number).unwrap_or(u8::MAX)))
}

/// A line in [`ERROR_FORMAT`].
fn of_httpd(now: Timestamp, line: &str) -> Option<Line<'_>> {
    let mut fields = line.splitn(7, '\t');
    let mut next = || fields.next();
    let (level, logger, pid) = (next()?, next()?, next()?);
    let (request_id, client, error, message) = (next()?, next()?, next()?, next()?);
    let level = level_name(level)?;
    Some(Line {
        request_id: given(request_id),
        pid: pid.parse().ok(),
        client: given(client),
        error: given(error).map(unescaped),
        ..Line::new(now, level, given(logger).unwrap_or("httpd"), unescaped(message))
    })
}

/// A line as httpd's own format has it, which the supervisor writes: `[time] [module:level] [pid n:tid n] text`.
fn of_supervisor(now: Timestamp, line: &str) -> Option<Line<'_>> {
    let (_, rest) = line.strip_prefix('[')?.split_once("] [")?;
    let (kind, rest) = rest.split_once("] [pid ")?;
    let (process, message) = rest.split_once("] ")?;
    let (logger, level) = kind.split_once(':')?;
    let (pid, _) = process.split_once(':').unwrap_or((process, ""));
    let level = level_name(level)?;
    Some(Line { pid: pid.parse().ok(), ..Line::new(now, level, logger, unescaped(message)) })
}

/// A line in [`ACCESS_FORMAT`].
pub fn of_request(line: &[u8]) -> Vec<u8> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let text = String::from_utf8_lossy(line);
    request(&text)
        .unwrap_or_else(|| Line::new(Timestamp::now(), "info", "access", text.as_ref().into()))
        .written()
}

fn request(line: &str) -> Option<Line<'_>> {
    let mut fields = line.splitn(11, '\t');
    let mut next = || fields.next();
    let time = Timestamp::from_microsecond(next()?.parse().ok()?).ok()?;
    let (pid, request_id, client, user) = (next()?, next()?, next()?, next()?);
    let (status, bytes, microseconds) = (next()?, next()?, next()?);
    let (referer, user_agent, message) = (next()?, next()?, next()?);
    Some(Line {
        request_id: given(request_id),
        pid: pid.parse().ok(),
        client: given(client),
        request: Some(Request {
            user: given(user).map(unescaped),
            status: status.parse().ok()?,
            bytes: bytes.parse().ok()?,
            seconds: microseconds.parse::<f64>().ok()? / 1e6,
            referer: given(referer).map(unescaped),
            user_agent: given(user_agent).map(unescaped),
        }),
        ..Line::new(time, "info", "access", unescaped(message))
    })
}

/// A field that httpd has something to say in.
fn given(field: &str) -> Option<&str> {
    (field != "-").then_some(field)
}

/// A text without the escapes of `ap_escape_logitem` and `ap_escape_errorlog_item` (httpd's `server/util.c`).
/// What is no UTF-8 then is replaced.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let (byte, length) = match (first, behind) {
            (b'\\', [b'x', high, low, ..]) => (hexadecimal(*high, *low), 4),
            (b'\\', [letter, ..]) => (letter_of_c(*letter), 2),
            _ => (None, 1),
        };
        bytes.push(byte.unwrap_or(*first));
        rest = &rest[if byte.is_some() { length } else { 1 }..];
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit =
        |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn letter_of_c(letter: u8) -> Option<u8> {
    Some(match letter {
        b'b' => 0x08,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'"' => letter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The object that a line becomes, without its time, which has to be one.
    #[track_caller]
    fn parsed(line: &[u8]) -> Value {
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let mut value: Value = serde_json::from_slice(line).expect("it is JSON");
        let time = value.as_object_mut().and_then(|object| object.remove("time"));
        let time = time.expect("there is a time");
        let time = time.as_str().expect("it is text");
        assert!(time.ends_with('Z') && time.parse::<Timestamp>().is_ok(), "{time}");
        value
    }

    #[test]
    fn lines_of_the_error_log() {
        let check = |line: &[u8], expected: Value| assert_eq!(parsed(&of_error(line)), expected);
        check(
            b"error\twsgi\t7\tAbC+/\t::1:5\t-\tsaid \"\\\\x41\" \\xc3\\xa9\\x1b\\t\n",
            json!({"level": "error", "logger": "wsgi", "message": "said \"\\x41\" é\u{1b}\t",
                   "request_id": "AbC+/", "pid": 7, "client": "::1:5"}),
        );
        check(
            b"crit\tcore\t7\t-\t-\t(2)No such file\tAH00001: x\n",
            json!({"level": "critical", "logger": "core", "message": "AH00001: x", "pid": 7,
                   "error": "(2)No such file"}),
        );
        check(
            b"[Fri Nov 27 22:10:57.123456 2026] [wsgi:warn] [pid 8:tid 8] [x] \\xff\\\\\n",
            json!({"level": "warning", "logger": "wsgi", "message": "[x] \u{fffd}\\", "pid": 8}),
        );
        for raw in
            [&b"AH00526: Syntax \"error\" \xff\x01\\"[..], b"", b"a\tb\tc\td\te\tf\tg", b"{\"a\":"]
        {
            let message = String::from_utf8_lossy(raw);
            check(raw, json!({"level": "error", "logger": "httpd", "message": message}));
        }
        // Of a program that writes JSON itself.
        check(b"{\"time\": \"2026-01-01T00:00:00Z\", \"x\": [1]}\n", json!({"x": [1]}));
    }

    #[test]
    fn lines_of_the_access_log() {
        let line =
            b"1700000000123456\t7\t-\t::1\t\\\"a\t404\t17\t1500\t-\tx\\xff\tGET /\\\" HTTP/1.1\n";
        let written = of_request(line);
        assert!(
            written.starts_with(b"{\"time\":\"2023-11-14T22:13:20.123456Z\",\"level\":\"info\"")
        );
        let expected = json!({"level": "info", "logger": "access", "message": "GET /\" HTTP/1.1",
            "pid": 7, "client": "::1", "user": "\"a", "status": 404, "bytes": 17, "seconds": 0.0015,
            "user_agent": "x\u{fffd}"});
        assert_eq!(parsed(&written), expected);
        assert_eq!(parsed(&of_request(b"?\n"))["message"], "?");
    }

    #[test]
    fn whatever_is_logged_becomes_one_line_of_json() {
        let bytes: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
        for start in 0..bytes.len() {
            let line = [&b"error\twsgi\t1\t-\t-\t-\t"[..], &bytes[start..], b"\\x\\"].concat();
            parsed(&of_error(&line));
            parsed(&of_error(&bytes[start..]));
            parsed(&of_request(&bytes[start..]));
        }
        parsed(&of_command("notice", "\"\n\0"));
    }

    #[test]
    fn escapes_that_httpd_does_not_write_stay() {
        for text in [r"\x4", r"\xzz", r"\q", "\\"] {
            assert_eq!(unescaped(text), text);
        }
    }
}
