//! How a log line looks that belongs to no request: an `ErrorLogFormat`, read and applied as httpd does
//! (`parse_errorlog_item` in core.c, `do_errorlog_format` in log.c).

use jiff::Zoned;
use wire::exchange::Level;

/// httpd's default (`do_errorlog_default` in log.c), as far as no request is concerned.
const DEFAULT: &[u8] = b"[%{u}t] [%m:%l] [pid %P:tid %T] %M";
/// The same for syslog, which knows the time.
const DEFAULT_FOR_SYSLOG: &[u8] = b"[%m:%l] [pid %P:tid %T] %M";

/// A format.
#[derive(Debug)]
pub struct Format(Vec<Item>);

/// What is to be told.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'f> {
    /// When.
    pub now: &'f Zoned,
    /// How severe it is.
    pub level: Level,
    /// The process. It has one thread, as far as we know.
    pub pid: u32,
    /// `ServerName`.
    pub host: &'f [u8],
}

#[derive(Debug, Default)]
struct Item {
    what: What,
    /// Whether a field begins here: fields without a value are left out.
    begins_field: bool,
    /// `+`: the line is left out where there is no value.
    required: bool,
    /// `-`: a hyphen stands where there is no value.
    hyphen: bool,
    /// Only for lines of this level's number, or less severe ones.
    from_level: u32,
}

#[derive(Debug, Default)]
enum What {
    Text(Vec<u8>),
    Message,
    Time(Time),
    Level,
    Module,
    Process,
    Host,
    /// What only requests and connections have, or other modules know.
    #[default]
    Nothing,
}

/// `%t`.
#[derive(Debug, Default, Clone, Copy)]
struct Time {
    micros: bool,
    millis: bool,
    compact: bool,
    offset: bool,
}

impl Format {
    /// The one that is configured, or the default.
    pub fn new(configured: Option<&[u8]>, syslog: bool) -> Self {
        let default = if syslog { DEFAULT_FOR_SYSLOG } else { DEFAULT };
        let mut rest = configured.unwrap_or(default);
        let mut items = Vec::new();
        while !rest.is_empty() {
            let mut item = Item::default();
            rest = item.read(rest);
            items.push(item);
        }
        Self(items)
    }

    /// A text as lines of at most `longest` bytes, without their ends.
    pub fn lines(&self, facts: &Facts<'_>, text: &[u8], longest: usize) -> Vec<Vec<u8>> {
        let Some((frame, places)) = self.frame(facts) else { return Vec::new() };
        if places.is_empty() {
            return vec![frame];
        }
        let room = longest.saturating_sub(frame.len()) / places.len();
        let fill = |message: &[u8]| {
            let mut line = Vec::with_capacity(frame.len() + places.len() * message.len());
            let mut at = 0;
            for place in &places {
                line.extend_from_slice(&frame[at..*place]);
                line.extend_from_slice(message);
                at = *place;
            }
            line.extend_from_slice(&frame[at..]);
            line
        };
        split(text, room).iter().map(|message| fill(message)).collect()
    }

    /// Everything but the message, and where that comes in. `None`: the line is left out.
    fn frame(&self, facts: &Facts<'_>) -> Option<(Vec<u8>, Vec<usize>)> {
        let (mut line, mut places) = (Vec::new(), Vec::new());
        let mut field = (0, 0);
        let mut skips = false;
        for item in &self.0 {
            if item.begins_field && !std::mem::take(&mut skips) {
                field = (line.len(), places.len());
            }
            if matches!(item.what, What::Message) {
                places.push(line.len());
                continue;
            }
            if skips {
                continue;
            }
            let fits = item.from_level <= facts.level.number().into();
            let before = line.len();
            if fits {
                item.what.append(facts, &mut line);
            }
            if line.len() > before {
                continue;
            }
            if fits && item.required {
                return None;
            }
            if fits && item.hyphen {
                line.push(b'-');
                continue;
            }
            line.truncate(field.0);
            places.truncate(field.1);
            skips = true;
        }
        Some((line, places))
    }
}

impl Item {
    /// Reads one from the beginning of a format, and returns the rest.
    fn read<'f>(&mut self, mut rest: &'f [u8]) -> &'f [u8] {
        while let [b'%', b' ', after @ ..] = rest {
            self.begins_field = true;
            rest = after;
        }
        match rest {
            [b'%', b'%', after @ ..] => {
                self.what = What::Text(b"%".to_vec());
                after
            }
            [b'%', after @ ..] => self.read_value(after),
            text => {
                self.begins_field |= text.starts_with(b" ");
                self.read_text(text)
            }
        }
    }

    /// Up to the next value, or field.
    fn read_text<'f>(&mut self, mut rest: &'f [u8]) -> &'f [u8] {
        let mut text = Vec::new();
        let mut leading = true;
        loop {
            match rest {
                [] | [b'%', ..] => break,
                [b' ', ..] if !leading => break,
                [b'\\'] => {
                    text.push(b'\\');
                    rest = &[];
                }
                [b'\\', escaped, after @ ..] => {
                    text.push(match escaped {
                        b'r' => b'\r',
                        b'n' => b'\n',
                        b't' => b'\t',
                        other => *other,
                    });
                    rest = after;
                }
                [byte, after @ ..] => {
                    leading &= *byte == b' ';
                    text.push(*byte);
                    rest = after;
                }
            }
        }
        self.what = What::Text(text);
        rest
    }

    /// Behind a percent sign.
    fn read_value<'f>(&mut self, mut rest: &'f [u8]) -> &'f [u8] {
        let mut argument: &[u8] = b"";
        while let [byte, after @ ..] = rest {
            rest = after;
            match byte {
                b'{' => {
                    let end = rest.iter().position(|byte| *byte == b'}');
                    argument = &rest[..end.unwrap_or(rest.len())];
                    rest = end.map_or(&[], |end| &rest[end + 1..]);
                }
                b'+' => self.required = true,
                b'-' => self.hyphen = true,
                b'0'..=b'9' => {
                    let mut level = u32::from(byte - b'0');
                    while let [digit @ b'0'..=b'9', after @ ..] = rest {
                        level = level.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
                        rest = after;
                    }
                    self.from_level = level;
                }
                byte => {
                    self.what = What::of(*byte, argument);
                    break;
                }
            }
        }
        rest
    }
}

impl What {
    fn of(letter: u8, argument: &[u8]) -> Self {
        match letter {
            b'M' => Self::Message,
            b't' => Self::Time(Time {
                micros: argument.contains(&b'u'),
                millis: argument.contains(&b'm'),
                compact: argument.contains(&b'c'),
                offset: argument.contains(&b'z'),
            }),
            b'l' => Self::Level,
            b'm' => Self::Module,
            b'P' | b'T' => Self::Process,
            b'v' => Self::Host,
            _ => Self::Nothing,
        }
    }

    fn append(&self, facts: &Facts<'_>, line: &mut Vec<u8>) {
        match self {
            Self::Text(text) => line.extend_from_slice(text),
            Self::Time(time) => line.extend_from_slice(time.show(facts.now).as_bytes()),
            Self::Level => line.extend_from_slice(name(facts.level).as_bytes()),
            Self::Module => line.extend_from_slice(b"wsgi"),
            Self::Process => line.extend_from_slice(facts.pid.to_string().as_bytes()),
            Self::Host => line.extend_from_slice(facts.host),
            Self::Message | Self::Nothing => {}
        }
    }
}

impl Time {
    /// As `ap_recent_ctime_ex` in util_time.c does.
    fn show(self, now: &Zoned) -> String {
        let fraction = match self {
            Self { micros: true, .. } => "%.6f",
            Self { millis: true, .. } => "%.3f",
            _ => "",
        };
        let date = if self.compact { "%Y-%m-%d %H:%M:%S" } else { "%a %b %d %H:%M:%S" };
        let year = if self.compact { "" } else { " %Y" };
        let offset = if self.offset { " %z" } else { "" };
        now.strftime(&format!("{date}{fraction}{year}{offset}")).to_string()
    }
}

/// httpd's name of the level.
fn name(level: Level) -> &'static str {
    match level {
        Level::Emergency => "emerg",
        Level::Alert => "alert",
        Level::Critical => "crit",
        Level::Error => "error",
        Level::Warning => "warn",
        Level::Notice => "notice",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

/// A text as pieces of at most `room` bytes when they are escaped; at least one byte of it in each.
fn split(text: &[u8], room: usize) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    for byte in text {
        let start = piece.len();
        escape(*byte, &mut piece);
        if piece.len() > room && start > 0 {
            let escaped = piece.split_off(start);
            pieces.push(std::mem::replace(&mut piece, escaped));
        }
    }
    pieces.push(piece);
    pieces
}

/// Appends a byte as `ap_escape_errorlog_item` in httpd's `server/util.c` writes it.
fn escape(byte: u8, line: &mut Vec<u8>) {
    match byte {
        b'\\' => line.extend_from_slice(br"\\"),
        0x08 => line.extend_from_slice(br"\b"),
        b'\n' => line.extend_from_slice(br"\n"),
        b'\r' => line.extend_from_slice(br"\r"),
        b'\t' => line.extend_from_slice(br"\t"),
        0x0b => line.extend_from_slice(br"\v"),
        b' '..=b'~' => line.push(byte),
        _ => line.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn lines(format: Option<&str>, level: Level, text: &[u8], longest: usize) -> Vec<String> {
        let now: Zoned = "2026-01-02T03:04:05.123456[UTC]".parse().unwrap();
        let facts = Facts { now: &now, level, pid: 123, host: b"www.example.org" };
        let format = Format::new(format.map(str::as_bytes), false);
        let lines = format.lines(&facts, text, longest);
        lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn the_default_is_that_of_httpd() {
        assert_eq!(
            lines(None, Level::Warning, b"text", 8000),
            ["[Fri Jan 02 03:04:05.123456 2026] [wsgi:warn] [pid 123:tid 123] text"],
        );
        let now: Zoned = "2026-11-22T17:35:57[UTC]".parse().unwrap();
        let facts = Facts { now: &now, level: Level::Error, pid: 1, host: b"" };
        assert_eq!(
            Format::new(None, true).lines(&facts, b"text", 8000),
            [b"[wsgi:error] [pid 1:tid 1] text"],
        );
    }

    #[test]
    fn each_value_is_that_of_httpd() {
        for (format, expected) in [
            ("%M", Some("text")),
            (
                "{\"level\": \"%l\", \"message\": \"%M\"}",
                Some(r#"{"level": "error", "message": "text"}"#),
            ),
            (
                "%t|%{u}t|%{c}t|%{cu}t|%{cm}t|%{cz}t",
                Some(
                    "Fri Jan 02 03:04:05 2026|Fri Jan 02 03:04:05.123456 2026|2026-01-02 03:04:05|\
                 2026-01-02 03:04:05.123456|2026-01-02 03:04:05.123|2026-01-02 03:04:05 +0000",
                ),
            ),
            ("%v %m %P %T %{g}T 100%% %M", Some("www.example.org wsgi 123 123 123 100% text")),
            // What there is not, is left out with its field.
            ("[a] [client\\ %a] %M% ,\\ referer\\ %{Referer}i", Some("[a] text")),
            ("%-L %-a%M", Some("- -text")),
            ("%+L %M", None),
            ("%7F: [%4m] %3M", Some(" text")),
            ("[%3m] %M", Some("[wsgi] text")),
            ("a\\n\\t\\\\%M\\", Some("a\n\t\\text\\")),
            ("%l", Some("error")),
            ("<%M|%M>", Some("<text|text>")),
        ] {
            let lines = lines(Some(format), Level::Error, b"text", 8000);
            assert_eq!(lines.first().map(String::as_str), expected, "{format}");
        }
    }

    #[test]
    fn what_could_forge_a_line_or_steer_a_terminal_is_escaped() {
        let check = |text: &[u8], expected: &str| {
            assert_eq!(lines(Some("p %M"), Level::Error, text, 8000), [format!("p {expected}")]);
        };
        check(b"plain \"text\" ~", "plain \"text\" ~");
        check(b"a\nb\r\tc\x08\x0b", r"a\nb\r\tc\b\v");
        check(b"\x1b[31m\x00\x7f", r"\x1b[31m\x00\x7f");
        check("é\\".as_bytes(), r"\xc3\xa9\\");
        check(b"", "");
    }

    #[test]
    fn long_text_becomes_several_lines_and_no_escape_is_cut() {
        let text = [b'\n'; 1000];
        let lines = lines(Some("<%M>"), Level::Error, &text, 99);
        assert!(lines.iter().all(|line| line.len() <= 99 && line.starts_with("<\\n")));
        assert!(lines.iter().all(|line| line.ends_with("\\n>") && line.len() % 2 == 0));
        let written: usize = lines.iter().map(|line| line.len() - "<>".len()).sum();
        assert_eq!(written, 2 * text.len());
    }
}
