//! Log lines as JSON (RFC 8259), one object in each line, as `WSGILogFormat json` asks for. The module
//! and the supervisor write the same.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// What a line says. A field that nothing is known of is left out. All bytes may come from an application
/// or a client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line<'a> {
    /// How severe it is: a name of Python's `logging` or, in lower case as well, of httpd's.
    pub level: &'a str,
    /// Name of the Python logger.
    pub logger: &'a [u8],
    /// What there is to say, without its line end.
    pub message: &'a [u8],
    /// httpd's id of the request.
    pub request_id: &'a [u8],
    /// Name of the process group; empty for the default one.
    pub process_group: Option<&'a [u8]>,
    /// Name of the application group; empty for `%{GLOBAL}`.
    pub application_group: Option<&'a [u8]>,
    /// Id of the process that said it.
    pub pid: u32,
    /// The trace that the request is a part of (W3C Trace Context), 32 digits.
    pub trace_id: &'a [u8],
}

/// The same, as it is written.
#[derive(Serialize)]
struct Object<'a> {
    time: &'a str,
    level: Cow<'a, str>,
    #[serde(skip_serializing_if = "Text::is_empty")]
    logger: Text<'a>,
    message: Text<'a>,
    /// Number of this part of a long message, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<u32>,
    #[serde(skip_serializing_if = "Text::is_empty")]
    request_id: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_group: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_group: Option<Text<'a>>,
    pid: u32,
    #[serde(skip_serializing_if = "Text::is_empty")]
    trace_id: Text<'a>,
}

/// Bytes that are text as a rule. What is not UTF-8 is written as Python's `backslashreplace` does.
#[derive(Clone, Copy)]
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(self.0) {
            return serializer.serialize_str(text);
        }
        let mut text = String::with_capacity(self.0.len() * 2);
        for chunk in self.0.utf8_chunks() {
            text.push_str(chunk.valid());
            chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        }
        serializer.serialize_str(&text)
    }
}

impl Line<'_> {
    /// The line as of `time`, with its end: several where a message is so long that one would have more
    /// than `longest` bytes, as far as that can be kept. Each is a whole object.
    pub fn encode(&self, time: SystemTime, longest: usize) -> Vec<Vec<u8>> {
        // RFC 3339 in UTC, with microseconds.
        let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
        let time = format!("{time:.6}");
        let whole = self.object(&time, self.message, None);
        if whole.len() <= longest {
            return vec![whole];
        }
        let around = self.object(&time, b"", Some(u32::MAX)).len();
        let mut rest = self.message;
        let mut lines = Vec::new();
        while lines.is_empty() || !rest.is_empty() {
            let piece;
            (piece, rest) = rest.split_at(fitting(rest, longest.saturating_sub(around)));
            let part = u32::try_from(lines.len() + 1).unwrap_or(u32::MAX);
            lines.push(self.object(&time, piece, Some(part)));
        }
        lines
    }

    fn object(&self, time: &str, message: &[u8], part: Option<u32>) -> Vec<u8> {
        let object = Object {
            time,
            level: match self.level.bytes().any(|byte| byte.is_ascii_uppercase()) {
                true => Cow::Owned(self.level.to_lowercase()),
                false => Cow::Borrowed(self.level),
            },
            logger: Text(self.logger),
            message: Text(message),
            part,
            request_id: Text(self.request_id),
            process_group: self.process_group.map(group),
            application_group: self.application_group.map(group),
            pid: self.pid,
            trace_id: Text(self.trace_id),
        };
        let mut line = serde_json::to_vec(&object).expect("text and numbers are all that is in it");
        line.push(b'\n');
        line
    }
}

/// The name of a group as a configuration has it.
fn group(name: &[u8]) -> Text<'_> {
    Text(if name.is_empty() { b"%{GLOBAL}" } else { name })
}

/// How much of a message has at most so many bytes when it is written; at least a character. No character
/// is parted.
fn fitting(message: &[u8], room: usize) -> usize {
    let mut width = 0;
    let end = message.iter().position(|byte| {
        width += match byte {
            b'"' | b'\\' | 0x08 | 0x0c | b'\n' | b'\r' | b'\t' => 2,
            0..0x20 => 6,
            b' '..=0x7f => 1,
            // As a byte of UTF-8, or as what is none: `\\xff`.
            _ => 5,
        };
        width > room
    });
    let Some(end) = end else { return message.len() };
    let begins = |at: &usize| message[*at] & 0xC0 != 0x80;
    let end = (end.saturating_sub(3)..=end).rev().find(begins).unwrap_or(end);
    if end > 0 {
        return end;
    }
    let next = (1..message.len().min(4)).find(begins);
    next.unwrap_or(message.len().min(4))
}

/// The name of one of httpd's levels (`APLOG_EMERG` to `APLOG_TRACE8`): that of Python's `logging`, where
/// it has one.
pub fn level_name(level: u8) -> &'static str {
    match level {
        0 => "emergency",
        1 => "alert",
        2 => "critical",
        3 => "error",
        4 => "warning",
        5 => "notice",
        6 => "info",
        7 => "debug",
        _ => "trace",
    }
}

/// The trace of a `traceparent` (W3C Trace Context, section 3.2), if that is well-formed: 32 digits.
pub fn trace_id(traceparent: &[u8]) -> Option<&[u8]> {
    let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = traceparent.splitn(5, |byte| *byte == b'-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let (flags, more) = (parts.next()?, parts.next());
    let sizes = [version.len(), trace.len(), parent.len(), flags.len()];
    let is_one = sizes == [2, 32, 16, 2]
        && [version, trace, parent, flags].into_iter().all(is_hex)
        && version != b"ff"
        && (version != b"00" || more.is_none())
        && [trace, parent].iter().all(|id| id.iter().any(|digit| *digit != b'0'));
    is_one.then_some(trace)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn time() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_120)
    }

    #[test]
    fn a_line_has_all_fields_and_leaves_out_what_is_not_known() {
        let line = Line {
            level: "WARNING",
            logger: b"django.request",
            message: b"two\nlines \"quoted\" \\ \x1b",
            request_id: b"abc",
            process_group: Some(b"site"),
            application_group: Some(b""),
            pid: 7,
            trace_id: b"0af7651916cd43dd8448eb211c80319c",
        };
        let expected = "{\"time\":\"2023-11-14T22:13:20.000120Z\",\"level\":\"warning\",\
            \"logger\":\"django.request\",\
            \"message\":\"two\\nlines \\\"quoted\\\" \\\\ \\u001b\",\"request_id\":\"abc\",\
            \"process_group\":\"site\",\"application_group\":\"%{GLOBAL}\",\"pid\":7,\
            \"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}\n";
        assert_eq!(String::from_utf8(line.encode(time(), 8000).concat()).unwrap(), expected);
        let line = Line { level: "info", pid: 1, ..Line::default() };
        let expected = "{\"time\":\"2023-11-14T22:13:20.000120Z\",\"level\":\"info\",\
            \"message\":\"\",\"pid\":1}\n";
        assert_eq!(String::from_utf8(line.encode(time(), 8000).concat()).unwrap(), expected);
    }

    #[test]
    fn what_is_no_text_is_written_as_python_would() {
        let line = Line { level: "error", message: b"caf\xe9 \xc3\xa9", ..Line::default() };
        let encoded = line.encode(time(), 8000).concat();
        let value: Value = serde_json::from_slice(&encoded).unwrap();
        assert_eq!(value["message"], "caf\\xe9 \u{e9}");
    }

    #[test]
    fn traces_are_well_formed() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace_id(parent.as_bytes()), Some(&parent.as_bytes()[3..35]));
        let later = format!("cc{}-more", &parent[2..]);
        assert!(trace_id(later.as_bytes()).is_some(), "a later version may have more");
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert_eq!(trace_id(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_json_in_lines_that_are_not_too_long(
            message in prop::collection::vec(any::<u8>(), 0..3000),
            logger in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let line = Line { level: "error", logger: &logger, message: &message, ..Line::default() };
            let lines = line.encode(time(), 600);
            let mut whole = String::new();
            for line in &lines {
                prop_assert!(line.len() <= 600 && line.ends_with(b"\n"));
                prop_assert!(!line[..line.len() - 1].contains(&b'\n'));
                let value: Value = serde_json::from_slice(line).unwrap();
                whole += value["message"].as_str().unwrap();
            }
            let one = line.encode(time(), usize::MAX).concat();
            let one: Value = serde_json::from_slice(&one).unwrap();
            prop_assert_eq!(&whole, one["message"].as_str().unwrap());
        }

        #[test]
        fn text_is_kept(message in "\\PC*") {
            let line = Line { level: "error", message: message.as_bytes(), ..Line::default() };
            let one = line.encode(time(), usize::MAX).concat();
            let one: Value = serde_json::from_slice(&one).unwrap();
            prop_assert_eq!(&message, one["message"].as_str().unwrap());
        }
    }
}
