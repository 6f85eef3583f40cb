//! httpd's error log.

use std::borrow::Cow;
use std::ffi::{CString, c_char, c_int};

use super::bindings as c;
use super::module::module_index;
use super::request::Request;
use super::server::Server;

/// Writes one line to the error log of `server`, or of no server while there is none yet.
/// `level` is httpd's number, see `wire::exchange::Level`.
pub fn log_server(server: Option<Server<'_>>, level: u8, text: &[u8]) {
    let server = server.map_or(std::ptr::null(), Server::as_ptr);
    // SAFETY: the server is alive or null, which ap_log_error takes for "before there is one";
    // the text is as long as stated, and copied before the call returns.
    unsafe {
        c::mwrs_log_server(
            server,
            module_index(),
            level.into(),
            length(text),
            text.as_ptr().cast(),
        );
    }
}

/// Writes one line to the error log of the request's virtual host.
pub fn log_request(request: Request<'_>, level: u8, text: &[u8]) {
    write(request, std::ptr::null(), 0, level, text);
}

/// As [`log_request`], with the source file and line (`%F` in an ErrorLogFormat). Nothing of it is
/// left in the request's pool, however many lines there are.
pub fn log_request_from(request: Request<'_>, level: u8, (path, line): (&[u8], u32), text: &[u8]) {
    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
    let path = CString::new(&path[..end]).unwrap_or_default();
    write(request, path.as_ptr(), c_int::try_from(line).unwrap_or(0), level, text);
}

/// `APLOG_NOTICE` in `http_log.h`.
const NOTICE: u8 = 5;

fn write(request: Request<'_>, path: *const c_char, line: c_int, level: u8, text: &[u8]) {
    // httpd writes notices to a file whatever the LogLevel is, and prints are notices. From syslog it
    // withholds them, where they have the least severe level that there is.
    let least_severe = request.log_level();
    let goes_to_syslog = request.server().error_log().is_none();
    let level = if level == NOTICE && goes_to_syslog { level.min(least_severe) } else { level };
    if level > least_severe && level != NOTICE {
        return;
    }
    let text = without_nul(text);
    for piece in pieces(&text) {
        // SAFETY: as above; the request is alive, and `path` a C string, or null. It is read before
        // the call returns.
        unsafe {
            c::mwrs_log_request(
                path,
                line,
                request.as_ptr(),
                module_index(),
                level.into(),
                length(piece),
                piece.as_ptr().cast(),
            );
        }
    }
}

/// What of a text httpd writes to one line: it cuts at 8 KiB (`MAX_STRING_LEN`), with all that the
/// ErrorLogFormat adds, and after it has escaped the text.
const MAX_WIDTH: usize = 7800;

/// A text in which nothing ends it for C. httpd escapes the backslash once more.
fn without_nul(text: &[u8]) -> Cow<'_, [u8]> {
    if text.contains(&0) {
        let parts: Vec<_> = text.split(|byte| *byte == 0).collect();
        return Cow::Owned(parts.join(&br"\x00"[..]));
    }
    Cow::Borrowed(text)
}

/// A text as pieces that httpd does not cut. No UTF-8 character is parted.
fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut width = 0;
        let fits = text.iter().position(|byte| {
            width += escaped_width(*byte);
            width > MAX_WIDTH
        });
        let Some(end) = fits else {
            return rest.take();
        };
        let begins = |at: &usize| text[*at] & 0xC0 != 0x80;
        let end = (end - 3..=end).rev().find(begins).unwrap_or(end);
        rest = Some(&text[end..]);
        Some(&text[..end])
    })
}

/// How many bytes `ap_escape_errorlog_item` (httpd's `server/util.c`) makes of one.
fn escaped_width(byte: u8) -> usize {
    match byte {
        b'\\' | 0x08 | b'\n' | b'\r' | b'\t' | 0x0b => 2,
        b' '..=b'~' => 1,
        _ => 4,
    }
}

fn length(text: &[u8]) -> c_int {
    c_int::try_from(text.len()).unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lose_nothing_and_fit_when_they_are_escaped() {
        for text in ["", "short", &"x".repeat(8000), &"€".repeat(3000), &"a\\é".repeat(5000)] {
            let pieces: Vec<_> = pieces(text.as_bytes()).collect();
            assert_eq!(pieces.concat(), text.as_bytes());
            for piece in pieces {
                let width: usize = piece.iter().map(|byte| escaped_width(*byte)).sum();
                assert!(width <= MAX_WIDTH && str::from_utf8(piece).is_ok());
            }
        }
        assert_eq!(*without_nul(b"a\0b"), *br"a\x00b");
        assert_eq!(pieces(b"").count(), 1);
        // No text at all: every byte is in the middle of a character.
        assert_eq!(pieces(&[0x80; 4000]).map(<[u8]>::len).sum::<usize>(), 4000);
    }
}
