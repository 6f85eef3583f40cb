//! The head of a response: what a worker sent, checked to the last byte before httpd sees it.
//!
//! A worker may run anybody's code, so nothing that it sends may split a response, smuggle a
//! header, or contradict the framing that httpd does itself.

/// A response head that may go to the client.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Status code, from 200 to 999.
    pub code: u16,
    /// The whole status line, code included.
    pub line: &'a [u8],
    /// `Content-Length`, in bytes.
    pub content_length: Option<u64>,
    /// Value of `Content-Type`.
    pub content_type: Option<&'a [u8]>,
    /// All other headers that are sent, in order.
    pub headers: Vec<Header<'a>>,
}

/// A header's name and value.
pub type Header<'a> = (&'a [u8], &'a [u8]);

/// What is wrong with a response head. The application's fault: status 500 and a line in the log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The status line is not "NNN" or "NNN reason".
    #[error("the status line {0:?} is not three digits, a space and a reason")]
    Status(String),
    /// A final response cannot be an interim one.
    #[error("the status {0} is none for a final response")]
    Interim(u16),
    /// A header name with a byte that RFC 9110 (section 5.1, "token") does not allow.
    #[error("the header name {0:?} has a character that no header name may have")]
    Name(String),
    /// A header value with a control character.
    #[error("the value {value:?} of the header {name:?} has a control character")]
    Value {
        /// The header.
        name: String,
        /// Its value.
        value: String,
    },
    /// Lengths that are no number, or two different ones.
    #[error("the Content-Length {0:?} is no number, or not the only one")]
    Length(String),
}

/// Headers that are about one connection, not about the response (RFC 9110, section 7.6.1). httpd
/// frames its responses itself.
const HOP_BY_HOP: [&[u8]; 7] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

impl<'a> Head<'a> {
    /// Checks a head as a worker sent it.
    ///
    /// # Errors
    /// [`HeadError`], for the first thing that is wrong.
    pub fn check(line: &'a [u8], headers: &[(&'a [u8], &'a [u8])]) -> Result<Self, HeadError> {
        let code = check_status(line)?;
        let mut head =
            Self { code, line, content_length: None, content_type: None, headers: Vec::new() };
        for &(name, value) in headers {
            check_header(name, value)?;
            let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
            if is(b"content-length") {
                let length = parse_length(value)
                    .filter(|length| head.content_length.is_none_or(|before| before == *length));
                head.content_length = Some(length.ok_or_else(|| HeadError::Length(lossy(value)))?);
            } else if is(b"content-type") {
                head.content_type = Some(value);
            } else if !HOP_BY_HOP.iter().any(|hop| is(hop)) {
                head.headers.push((name, value));
            }
        }
        Ok(head)
    }

    /// Checks the headers of an interim response, and leaves out those that say nothing in it.
    ///
    /// # Errors
    /// [`HeadError`], for the first thing that is wrong.
    pub fn check_hints(headers: &[Header<'a>]) -> Result<Vec<Header<'a>>, HeadError> {
        let is_hint = |name: &[u8]| {
            !name.eq_ignore_ascii_case(b"content-length")
                && !HOP_BY_HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop))
        };
        headers.iter().try_for_each(|(name, value)| check_header(name, value))?;
        Ok(headers.iter().copied().filter(|(name, _)| is_hint(name)).collect())
    }

    /// Where httpd would find the response instead, if the application says so as CGI programs do:
    /// status 200, and a path of this server as the Location (RFC 3875, section 6.2.2).
    pub fn local_location(&self) -> Option<&'a [u8]> {
        let is = |header: &&Header<'_>| header.0.eq_ignore_ascii_case(b"location");
        let (_, location) = self.headers.iter().rfind(is).filter(|_| self.code == 200)?;
        location.starts_with(b"/").then_some(location)
    }

    /// Headers of this name, in order.
    pub fn all(&self, name: &[u8]) -> impl Iterator<Item = Header<'a>> {
        self.headers.iter().copied().filter(move |header| header.0.eq_ignore_ascii_case(name))
    }

    /// Whether the application takes parts of its response for what they are: `Accept-Ranges`. `None`
    /// if it does not say.
    pub fn accepts_ranges(&self) -> Option<bool> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.rfind(|(name, _)| name.eq_ignore_ascii_case(b"accept-ranges"))?;
        Some(value.eq_ignore_ascii_case(b"bytes"))
    }

    /// Whether a body may follow (RFC 9110, section 6.4.1).
    pub fn allows_body(&self) -> bool {
        !matches!(self.code, 204 | 205 | 304)
    }
}

fn check_status(line: &[u8]) -> Result<u16, HeadError> {
    let wrong = || HeadError::Status(lossy(line));
    let (digits, reason) = line.split_first_chunk::<3>().ok_or_else(wrong)?;
    let starts_well = matches!(reason.first(), None | Some(b' '));
    if !starts_well || reason.iter().any(u8::is_ascii_control) {
        return Err(wrong());
    }
    let mut code = 0;
    for digit in digits {
        match digit {
            b'0'..=b'9' => code = code * 10 + u16::from(digit - b'0'),
            _ => return Err(wrong()),
        }
    }
    if code < 200 { Err(HeadError::Interim(code)) } else { Ok(code) }
}

fn check_header(name: &[u8], value: &[u8]) -> Result<(), HeadError> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(is_token) {
        return Err(HeadError::Name(lossy(name)));
    }
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(HeadError::Value { name: lossy(name), value: lossy(value) });
    }
    Ok(())
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    // httpd's lengths are signed (apr_off_t).
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| all_digits)?
        .parse()
        .ok()
        .filter(|length| i64::try_from(*length).is_ok())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<'a>(line: &'a str, headers: &[(&'a str, &'a str)]) -> Result<Head<'a>, HeadError> {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        Head::check(line.as_bytes(), &headers)
    }

    #[test]
    fn a_good_head_passes() {
        let headers = [
            ("Content-Type", "text/plain"),
            ("Content-Length", "5"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Connection", "close"),
            ("Transfer-Encoding", "chunked"),
        ];
        let head = check("404 Nope Custom", &headers).unwrap();
        assert_eq!((head.code, head.content_length), (404, Some(5)));
        assert_eq!(head.content_type, Some(b"text/plain".as_slice()));
        let cookies: [(&[u8], &[u8]); 2] = [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")];
        assert_eq!(head.headers, cookies);
        assert_eq!(check("200", &[]).unwrap().code, 200);
    }

    #[test]
    fn wrong_status_lines_are_refused() {
        for line in ["", "20", "2000", "abc OK", "200OK", "200 O\rK", "200 O\nK", "200 O\0K"] {
            assert!(matches!(check(line, &[]), Err(HeadError::Status(_))), "{line:?}");
        }
        for line in ["100 Continue", "101 Switching Protocols", "099 Early"] {
            assert!(matches!(check(line, &[]), Err(HeadError::Interim(_))), "{line:?}");
        }
    }

    #[test]
    fn wrong_headers_are_refused() {
        for name in ["", "a b", "a:", "a\r\nb", "a\0", "\u{e4}"] {
            let outcome = check("200 OK", &[(name, "x")]);
            assert!(matches!(outcome, Err(HeadError::Name(_))), "{name:?}");
        }
        for value in ["a\r\nSet-Cookie: x", "a\nb", "a\rb", "a\0b", "a\x1bb"] {
            let outcome = check("200 OK", &[("X-A", value)]);
            assert!(matches!(outcome, Err(HeadError::Value { .. })), "{value:?}");
        }
    }

    #[test]
    fn hints_are_checked_as_headers_are() {
        let link: (&[u8], &[u8]) = (b"Link", b"</a.css>; rel=preload");
        let hints = Head::check_hints(&[link, (b"Connection", b"x"), (b"content-length", b"5")]);
        assert_eq!(hints, Ok(vec![link]));
        assert!(Head::check_hints(&[(b"Link", b"a\r\n\r\nHTTP/1.1 200 OK")]).is_err());
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for value in ["", "x", "-1", "+1", "1.0", "0x10", "1 2", "99999999999999999999"] {
            let outcome = check("200 OK", &[("Content-Length", value)]);
            assert!(matches!(outcome, Err(HeadError::Length(_))), "{value:?}");
        }
        let twice = |a, b| check("200 OK", &[("Content-Length", a), ("content-length", b)]);
        assert_eq!(twice("5", "5").unwrap().content_length, Some(5));
        assert!(twice("5", "6").is_err());
    }
}
