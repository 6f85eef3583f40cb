//! One log line, in the form that httpd gives its own by default.

use jiff::Zoned;
use wire::exchange::Level;

/// Everything before the text: time, module and level, process. We have one thread, as have
/// workers as far as we know.
pub fn prefix(level: Level, pid: u32) -> String {
    format(&Zoned::now(), level, pid)
}

fn format(now: &Zoned, level: Level, pid: u32) -> String {
    let time = now.strftime("%a %b %d %H:%M:%S%.6f %Y");
    format!("[{time}] [wsgi:{}] [pid {pid}:tid {pid}] ", name(level))
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

/// Makes whole lines of at most `longest` bytes, each with the prefix.
pub fn split(prefix: &str, text: &[u8], longest: usize) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut line = prefix.as_bytes().to_vec();
    for byte in text {
        let start = line.len();
        escape(*byte, &mut line);
        if line.len() >= longest {
            let escaped = line.split_off(start);
            line.push(b'\n');
            lines.push(line);
            line = [prefix.as_bytes(), &escaped].concat();
        }
    }
    line.push(b'\n');
    lines.push(line);
    lines
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

    #[test]
    fn the_prefix_is_the_one_of_httpd() {
        let time: Zoned = "2026-11-22T17:35:57.123456[UTC]".parse().unwrap();
        assert_eq!(
            format(&time, Level::Warning, 123),
            "[Sun Nov 22 17:35:57.123456 2026] [wsgi:warn] [pid 123:tid 123] ",
        );
        let time: Zoned = "2026-01-02T03:04:05[UTC]".parse().unwrap();
        assert_eq!(
            format(&time, Level::Error, 1),
            "[Fri Jan 02 03:04:05.000000 2026] [wsgi:error] [pid 1:tid 1] ",
        );
    }

    #[test]
    fn what_could_forge_a_line_or_steer_a_terminal_is_escaped() {
        let check = |text: &[u8], expected: &str| {
            let expected = format!("p {expected}\n").into_bytes();
            assert_eq!(split("p ", text, 8000), [expected]);
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
        let lines = split("prefix ", &text, 100);
        assert!(lines.iter().all(|line| line.len() <= 100 && line.starts_with(b"prefix \\n")));
        let written: usize = lines.iter().map(|line| line.len() - "prefix \n".len()).sum();
        assert_eq!(written, 2 * text.len());
        assert!(lines.iter().all(|line| line.len() % 2 == 0), "an escape was cut in two");
    }
}
