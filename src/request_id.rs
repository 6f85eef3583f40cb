//! What a request is called, in logs and everywhere else: its id in httpd's logs (`%L`), which is that
//! of mod_unique_id where that is loaded, or what a trusted proxy calls the request.

use crate::config::DirConfig;
use crate::ffi::request::Request;

/// Longest name that a proxy may give, in bytes. UUIDs have 36, and some put two of them together.
const LONGEST: usize = 128;

/// What a request is to be called, if that is for us to say (`generate_log_id`): what the request is
/// called that it was made of, as they are one to the client, or else what a trusted proxy calls it.
pub fn find(request: Request<'_>) -> Option<&[u8]> {
    match request.redirected_from() {
        Some(earlier) => earlier.log_id(),
        None => by_proxy(request),
    }
}

/// Lets a request be called as the proxy calls it that is trusted where it is handled. Until it is known
/// where that is, the settings of its server decide.
pub fn settle(request: Request<'_>) {
    if request.redirected_from().is_none()
        && let Some(name) = by_proxy(request)
        && request.log_id() != Some(name)
    {
        request.set_log_id(name);
    }
}

/// The name in `X-Request-ID`, if the other end of the connection is a trusted proxy.
fn by_proxy(request: Request<'_>) -> Option<&[u8]> {
    let config = request.dir_config::<DirConfig>()?;
    config.trusted_proxies.as_ref()?;
    let name = request.headers_in().get(c"X-Request-ID")?;
    (is_name(name) && config.trusts(request.peer_ip())).then_some(name)
}

/// Whether a name is as long as one may be, and can stand in logs and pages as it is.
fn is_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=@:".contains(byte);
    (1..=LONGEST).contains(&name.len()) && name.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, is_name};

    #[test]
    fn names_are_short_and_harmless() {
        for name in
            ["7d1c9a0e-5b0f-4a44-9d3e-0c1e3a7b5f10", "Root=1-67891233-abcdef0123", "a", "Zm9v+/=="]
        {
            assert!(is_name(name.as_bytes()), "{name}");
        }
        for name in ["", "a b", "a\tb", "a\"b", "a\\b", "<b>", "a\u{e4}", "a,b", "a\nb", "%41"] {
            assert!(!is_name(name.as_bytes()), "{name}");
        }
        assert!(is_name(&[b'x'; LONGEST]) && !is_name(&[b'x'; LONGEST + 1]));
    }
}
