//! Passes httpd's logs on: as they are, for a developer's terminal short and in colours, or as JSON.

use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};

use super::json;

/// How lines are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As they are.
    Plain,
    /// Short, and in colours.
    Coloured,
    /// As objects of JSON.
    Json,
}

impl Style {
    /// Says something of this command's own, in lines, on standard error.
    pub fn say(self, level: &str, text: &str) {
        // What cannot be written is lost: the server goes on.
        let _ = io::stderr().write_all(&self.said(level, text));
    }

    fn said(self, level: &str, text: &str) -> Vec<u8> {
        match self {
            Style::Json => text.lines().flat_map(|line| json::of_command(level, line)).collect(),
            Style::Plain | Style::Coloured => text.as_bytes().to_vec(),
        }
    }
}

/// How long a line may be, in bytes: what is longer becomes several. httpd's own end at 8 KiB.
const LONGEST: u64 = 64 << 10;

/// What httpd says when it is ready.
const READY: &str = "resuming normal operations";

/// Lines of httpd that say only that it has been started and stopped.
const ROUTINE: [&str; 8] =
    ["AH00094", "AH00163", "AH00169", "AH00292", "AH00295", "AH00489", "AH00491", "AH00492"];

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const CYAN: &str = "\x1b[36m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Passes the error log on to standard error, and prints the greeting when httpd is ready.
pub fn errors(log: PipeReader, style: Style, greeting: &str) {
    let mut greeting = Some(greeting);
    lines(
        log,
        |line, output| {
            let text = String::from_utf8_lossy(line);
            if text.contains(READY)
                && let Some(greeting) = greeting.take()
            {
                output.write_all(&style.said("notice", greeting))?;
            }
            match (style, Line::parse(&text)) {
                (Style::Json, _) => output.write_all(&json::of_error(line)),
                (Style::Coloured, Some(line)) if line.is_routine() => Ok(()),
                (Style::Coloured, Some(line)) => output.write_all(line.coloured().as_bytes()),
                _ => output.write_all(line),
            }
        },
        io::stderr(),
    );
}

/// Passes the access log on to standard output.
pub fn requests(log: PipeReader, style: Style) {
    lines(
        log,
        |line, output| match style {
            Style::Json => output.write_all(&json::of_request(line)),
            Style::Coloured => output.write_all(request(&String::from_utf8_lossy(line)).as_bytes()),
            Style::Plain => output.write_all(line),
        },
        io::stdout(),
    );
}

/// Handles each line, or what there is of one that is too long, to the end of the log. What cannot be
/// written is lost: the server goes on.
fn lines(
    log: PipeReader,
    mut handle: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<()>,
    mut output: impl Write,
) {
    let mut log = BufReader::new(log);
    let (mut line, mut written) = (Vec::new(), Vec::new());
    while (&mut log).take(LONGEST).read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let _ = handle(&line, &mut written);
        let _ = output.write_all(&written).and_then(|()| output.flush());
        line.clear();
        written.clear();
    }
}

/// A line of the error log in httpd's own format: `[time] [module:level] [pid n:tid n] text`.
struct Line<'l> {
    time: &'l str,
    module: &'l str,
    level: &'l str,
    text: &'l str,
}

impl<'l> Line<'l> {
    fn parse(line: &'l str) -> Option<Line<'l>> {
        let (time, rest) = line.trim_end().strip_prefix('[')?.split_once("] [")?;
        let (kind, rest) = rest.split_once("] [pid ")?;
        let (_, text) = rest.split_once("] ")?;
        let client = text.strip_prefix("[client ").and_then(|rest| rest.split_once(']'));
        let text = client.map_or(text, |(_, text)| text.strip_prefix(' ').unwrap_or(text));
        let (module, level) = kind.split_once(':')?;
        // `Fri Nov 27 22:10:57.123456 2026`
        let time = time.split_whitespace().nth(3)?;
        Some(Line { time: time.split('.').next()?, module, level, text })
    }

    fn is_routine(&self) -> bool {
        self.level == "notice" && ROUTINE.iter().any(|number| self.text.starts_with(number))
    }

    fn coloured(&self) -> String {
        let colour = match self.level {
            "emerg" | "alert" | "crit" | "error" => RED,
            "warn" => YELLOW,
            "notice" | "info" => CYAN,
            _ => DIM,
        };
        let Line { time, module, level, text } = self;
        // Whose line it is says something only where it is httpd's.
        let module = if *module == "wsgi" { String::new() } else { format!("{module}: ") };
        format!("{DIM}{time}{PLAIN} {colour}{level:<6}{PLAIN} {module}{text}\n")
    }
}

/// A line of the access log, with the colour of its status.
fn request(line: &str) -> String {
    let mut words = line.split_inclusive(' ');
    let status = words.find(|word| {
        let word = word.trim();
        word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit())
    });
    let Some(status) = status.map(str::trim) else { return line.to_owned() };
    let colour = match status.as_bytes()[0] {
        b'5' => RED,
        b'4' => YELLOW,
        b'3' => CYAN,
        _ => GREEN,
    };
    line.replacen(&format!(" {status} "), &format!(" {colour}{status}{PLAIN} "), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_error_log_become_short() {
        let line = "[Fri Nov 27 22:10:57.123456 2026] [wsgi:error] [pid 7:tid 8] [client ::1:5] KeyError: 'a'\n";
        let short = Line::parse(line).unwrap().coloured();
        assert_eq!(short, "\x1b[2m22:10:57\x1b[0m \x1b[31merror \x1b[0m KeyError: 'a'\n");
        let routine =
            "[Fri Nov 27 22:10:57.1 2026] [mpm_event:notice] [pid 7:tid 7] AH00489: Apache\n";
        assert!(Line::parse(routine).unwrap().is_routine());
        assert!(Line::parse("httpd: Syntax error").is_none());
    }

    #[test]
    fn requests_have_the_colour_of_their_status() {
        let line = "22:10:57 GET /a 404 17 bytes 1 ms\n";
        assert_eq!(request(line), "22:10:57 GET /a \x1b[33m404\x1b[0m 17 bytes 1 ms\n");
        assert_eq!(request("no status\n"), "no status\n");
    }
}
