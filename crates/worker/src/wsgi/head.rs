//! What `start_response` accepts as status line and headers.

use wire::Message;
use wire::exchange::FromWorker;

use crate::conversation::reply::Head;

/// What is wrong with a status line or a header. The texts are those that applications know from
/// mod_wsgi.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// No code in front.
    #[error("status code must be a 3 digit integer: {}", quoted(.0))]
    Code(Vec<u8>),
    /// Something else than a space behind the code.
    #[error("no space following status code: {}", quoted(.0))]
    NoSpace(Vec<u8>),
    /// The reason phrase would break the header.
    #[error("control character in status reason phrase: {}", quoted(.0))]
    Reason(Vec<u8>),
    /// A header without a name.
    #[error("header name is empty")]
    EmptyName,
    /// A header's name contains a space.
    #[error("space character in header name: {}", quoted(.0))]
    SpaceInName(Vec<u8>),
    /// A header's name contains a control character.
    #[error("control character in header name: {}", quoted(.0))]
    ControlInName(Vec<u8>),
    /// A header's value would begin another header.
    #[error("carriage return/line feed character in header value: {}", quoted(.0))]
    LineEndInValue(Vec<u8>),
    /// Too much for one frame, and for any client.
    #[error("status and headers are {0} bytes long, more than the limit of {limit}", limit = FromWorker::MAX_PAYLOAD)]
    TooLong(usize),
}

/// Checks a status line, and returns its code.
///
/// # Errors
/// [`HeadError`].
pub fn check_status(status: &[u8]) -> Result<u16, HeadError> {
    let code = status
        .first_chunk::<3>()
        .filter(|digits| digits.iter().all(u8::is_ascii_digit))
        .ok_or_else(|| HeadError::Code(status.to_vec()))?;
    match status.get(3) {
        None | Some(b' ') => {}
        Some(b'0'..=b'9') => return Err(HeadError::Code(status.to_vec())),
        Some(_) => return Err(HeadError::NoSpace(status.to_vec())),
    }
    if status[3..].iter().any(u8::is_ascii_control) {
        return Err(HeadError::Reason(status.to_vec()));
    }
    Ok(code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')))
}

/// Checks one header.
///
/// # Errors
/// [`HeadError`].
pub fn check_header(name: &[u8], value: &[u8]) -> Result<(), HeadError> {
    if name.is_empty() {
        return Err(HeadError::EmptyName);
    }
    if name.contains(&b' ') {
        return Err(HeadError::SpaceInName(name.to_vec()));
    }
    if name.iter().any(u8::is_ascii_control) {
        return Err(HeadError::ControlInName(name.to_vec()));
    }
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err(HeadError::LineEndInValue(value.to_vec()));
    }
    Ok(())
}

/// Checks that headers, behind a status line or none, fit into a frame.
///
/// # Errors
/// [`HeadError::TooLong`].
pub fn check_length(status: &[u8], headers: &[(Vec<u8>, Vec<u8>)]) -> Result<(), HeadError> {
    // In front of the list and of each byte string stands its length.
    const LENGTH: usize = 4;
    // What may be added: a Content-Length.
    const ADDED: usize = 64;
    let headers = headers.iter().map(|(name, value)| 2 * LENGTH + name.len() + value.len());
    let len = 2 * LENGTH + status.len() + headers.sum::<usize>();
    if len + ADDED > FromWorker::MAX_PAYLOAD { Err(HeadError::TooLong(len)) } else { Ok(()) }
}

impl Head {
    /// Checks a status line and headers.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn checked(status: Vec<u8>, headers: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Self, HeadError> {
        let code = check_status(&status)?;
        for (name, value) in &headers {
            check_header(name, value)?;
        }
        check_length(&status, &headers)?;
        Ok(Self { code, status, headers })
    }
}

/// Bytes as Python writes them.
pub fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("b'");
    for byte in bytes {
        match byte {
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\'' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        for (status, code) in [
            ("200 OK", 200),
            ("200", 200),
            ("200 ", 200),
            ("099 Low", 99),
            ("999 High", 999),
            ("404 Nope Custom", 404),
            ("200 \u{e9}", 200),
        ] {
            let latin1: Vec<u8> = status.chars().map(|char| char as u8).collect();
            assert_eq!(check_status(&latin1), Ok(code), "{status}");
        }
        for (status, text) in [
            ("", "status code must be a 3 digit integer: b''"),
            ("20", "status code must be a 3 digit integer: b'20'"),
            ("2000 OK", "status code must be a 3 digit integer: b'2000 OK'"),
            (" 200 OK", "status code must be a 3 digit integer: b' 200 OK'"),
            ("OK", "status code must be a 3 digit integer: b'OK'"),
            ("200OK", "no space following status code: b'200OK'"),
            ("200\tOK", "no space following status code: b'200\\tOK'"),
            ("200 O\nK", "control character in status reason phrase: b'200 O\\nK'"),
            ("200 O\0K", "control character in status reason phrase: b'200 O\\x00K'"),
        ] {
            let error = check_status(status.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn all_of_a_head_fits_into_a_frame() {
        let check = |count: usize, len: usize| {
            let headers = vec![(b"X-Name".to_vec(), vec![b'x'; len]); count];
            let head = Head::checked(b"200 OK".to_vec(), headers)?;
            let given = head.headers.iter().map(|(name, value)| (&name[..], &value[..]));
            let added = (&b"Content-Length"[..], &b"18446744073709551615"[..]);
            let headers = given.chain([added]).collect();
            let mut frame = Vec::new();
            wire::encode(&FromWorker::Head { status: &head.status, headers }, &mut frame);
            assert!(frame.len() - wire::Header::SIZE <= FromWorker::MAX_PAYLOAD, "{count} {len}");
            Ok::<_, HeadError>(())
        };
        for (count, len) in [(1, 1_048_400), (10_000, 90), (74_000, 0)] {
            assert_eq!(check(count, len), Ok(()), "{count} {len}");
        }
        for (count, len) in [(1, 1_048_576), (10_000, 91), (75_000, 0)] {
            assert!(matches!(check(count, len), Err(HeadError::TooLong(_))), "{count} {len}");
        }
        let error = check(1, 1 << 20).unwrap_err();
        let text = "status and headers are 1048604 bytes long, more than the limit of 1048576";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn headers() {
        for (name, value) in [("X", ""), ("a:", "b"), ("a(", "\t\u{1}"), ("\u{e9}", "\u{e9}")] {
            assert_eq!(check_header(name.as_bytes(), value.as_bytes()), Ok(()));
        }
        for (name, value, text) in [
            ("", "x", "header name is empty"),
            ("a b", "x", "space character in header name: b'a b'"),
            ("a\r\nb", "x", "control character in header name: b'a\\r\\nb'"),
            ("a", "b\r\nc", "carriage return/line feed character in header value: b'b\\r\\nc'"),
            ("a", "b\n", "carriage return/line feed character in header value: b'b\\n'"),
        ] {
            let error = check_header(name.as_bytes(), value.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }
}
