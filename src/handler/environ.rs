//! The string-valued entries of a request's WSGI environ.
//!
//! Later entries win over earlier ones of the same name: httpd's environment variables come first,
//! then the client's headers, then what httpd knows for certain.

use std::borrow::Cow;

use headers::trust::{self, Entries};

use super::target::Target;
use crate::config::DirConfig;
use crate::ffi::request::Request;
use crate::ffi::table::Table;
use crate::url::{path_info, script_name};

type Text<'r> = Cow<'r, [u8]>;

/// Names and values, and what they say about the connection.
pub struct Environ<'r> {
    entries: Entries<'r>,
    /// Whether `wsgi.url_scheme` is `https`.
    pub https: bool,
}

impl<'r> Environ<'r> {
    /// Collects the environ of a request.
    pub fn of(request: Request<'r>, target: &'r Target) -> Self {
        let mut environ = Self { entries: Vec::with_capacity(64), https: false };
        environ.add_variables(request.environment());
        environ.add_headers(request.headers_in(), target.pass_authorization);
        environ.https |= request.scheme() == b"https";
        environ.add_request(request);
        if let Some(file) = &target.file {
            environ.add("SCRIPT_FILENAME", file.as_slice());
        }
        if target.map_head_to_get && request.method() == b"HEAD" {
            environ.add("REQUEST_METHOD", &b"GET"[..]);
        }
        environ.add_server(request);
        environ.add_module(request, target);
        environ.believe_proxies(request);
        environ.add_start(request);
        environ
    }

    /// Collects the environ of a question to a hook: what is known of any request, before there is a
    /// user or a script. The Authorization header is in it only if `with_authorization`.
    pub fn of_hook(request: Request<'r>, with_authorization: bool) -> Self {
        let mut environ = Self { entries: Vec::with_capacity(48), https: false };
        environ.add_headers(request.headers_in(), with_authorization);
        environ.https = request.scheme() == b"https";
        environ.add("REQUEST_METHOD", request.method());
        environ.add("REQUEST_URI", target_as_sent(request.line()));
        environ.add("SCRIPT_NAME", script_name(request));
        environ.add("PATH_INFO", path_info(request));
        environ.add("QUERY_STRING", request.query().unwrap_or_default());
        environ.add("REMOTE_ADDR", request.client_ip());
        environ.add_number("REMOTE_PORT", request.client_port());
        environ.add_if("REMOTE_HOST", request.client_name());
        environ.add("SERVER_PROTOCOL", request.protocol());
        environ.add("SERVER_SIGNATURE", request.server_signature());
        environ.add("SERVER_SOFTWARE", request.server().banner());
        environ.add("SERVER_NAME", request.server_name());
        environ.add_number("SERVER_PORT", request.server_port());
        environ.add("SERVER_ADDR", request.local_ip());
        environ.add("SERVER_ADMIN", request.server().admin());
        environ.add("DOCUMENT_ROOT", request.document_root());
        environ
    }

    /// The entries, for a message to a worker.
    pub fn entries(&self) -> Vec<(&[u8], &[u8])> {
        self.entries.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect()
    }

    /// The value of an entry.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        trust::get(&self.entries, name)
    }

    fn add(&mut self, name: &'static str, value: impl Into<Text<'r>>) {
        self.entries.push((Cow::Borrowed(name.as_bytes()), value.into()));
    }

    fn add_if(&mut self, name: &'static str, value: Option<&'r [u8]>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn add_number(&mut self, name: &'static str, value: impl Into<u64>) {
        self.add(name, value.into().to_string().into_bytes());
    }

    /// `SetEnv`, `SetEnvIf`, `PassEnv`, RewriteRule's `E=`, mod_ssl's variables. `HTTPS` becomes
    /// `wsgi.url_scheme` instead; a `PATH` would be mistaken for a process's.
    fn add_variables(&mut self, variables: Table<'r>) {
        for (name, value) in variables.iter() {
            match name {
                b"HTTPS" => self.https = value.eq_ignore_ascii_case(b"on") || value == b"1",
                b"PATH" => {}
                _ => self.entries.push((Cow::Borrowed(name), Cow::Borrowed(value))),
            }
        }
    }

    fn add_headers(&mut self, headers: Table<'r>, pass_authorization: bool) {
        for (name, value) in headers.iter() {
            match variable_name(name, pass_authorization) {
                Some(name) => self.entries.push((name, Cow::Borrowed(value))),
                None => continue,
            }
        }
    }

    fn add_request(&mut self, request: Request<'r>) {
        self.add("REQUEST_METHOD", request.method());
        self.add(
            "REQUEST_URI",
            match request.wants_current_uri() {
                true => request.uri(),
                false => target_as_sent(request.line()),
            },
        );
        self.add("REQUEST_SCHEME", request.scheme());
        self.add("SCRIPT_NAME", script_name(request));
        self.add("PATH_INFO", path_info(request));
        self.add("QUERY_STRING", request.query().unwrap_or_default());
        self.add("SERVER_PROTOCOL", request.protocol());
        self.add("SCRIPT_FILENAME", request.filename());
        self.add("REMOTE_ADDR", request.client_ip());
        self.add_number("REMOTE_PORT", request.client_port());
        self.add_if("AUTH_TYPE", request.auth_type());
        let mut earlier =
            std::iter::successors(request.redirected_from(), |request| request.redirected_from());
        match request.user() {
            Some(user) => self.add("REMOTE_USER", user),
            None => self.add_if("REDIRECT_REMOTE_USER", earlier.find_map(Request::user)),
        }
        if let Some(previous) = request.redirected_from() {
            self.add("REDIRECT_URL", previous.uri());
            self.add_if("REDIRECT_QUERY_STRING", previous.query());
        }
    }

    fn add_server(&mut self, request: Request<'r>) {
        self.add("SERVER_SOFTWARE", request.server().banner());
        self.add("SERVER_NAME", request.server_name());
        self.add_number("SERVER_PORT", request.server_port());
        self.add("SERVER_ADDR", request.local_ip());
        self.add("SERVER_ADMIN", request.server().admin());
        self.add("DOCUMENT_ROOT", request.document_root());
        self.add("CONTEXT_PREFIX", request.context_prefix());
        self.add("CONTEXT_DOCUMENT_ROOT", request.context_document_root());
        // What 4.x and 5.x had, and 6.x has not.
        self.add("SERVER_SIGNATURE", request.server_signature());
        let path_info = path_info(request);
        if !path_info.is_empty() {
            // RFC 3875, section 4.1.6, for a document root without aliases: httpd's own answer would
            // take a look-up of its own for each request.
            let root = request.document_root();
            let root = root.strip_suffix(b"/").unwrap_or(root);
            self.add("PATH_TRANSLATED", [root, &path_info].concat());
        }
    }

    fn add_module(&mut self, request: Request<'r>, target: &'r Target) {
        let script = if target.is_handler_script { target.script.as_slice() } else { b"" };
        self.add("mod_wsgi.request_handler", request.handler());
        self.add("mod_wsgi.handler_script", script);
        self.add("mod_wsgi.script_name", script_name(request));
        self.add("mod_wsgi.path_info", path_info(request));
        self.add("mod_wsgi.listener_host", request.local_ip());
        self.add_number("mod_wsgi.listener_port", request.local_port());
        self.add_number("mod_wsgi.server_pid", std::process::id());
        self.add_if("mod_wsgi.request_id", request.log_id());
        self.add_if("mod_wsgi.connection_id", request.connection_log_id());
    }

    fn believe_proxies(&mut self, request: Request<'r>) {
        let Some(config) = request.dir_config::<DirConfig>() else { return };
        if let Some(headers) = config.trusted_proxy_headers.as_deref() {
            let proxies = config.trusted_proxies.as_deref();
            trust::apply(&mut self.entries, &mut self.https, headers, proxies);
        }
    }

    /// With `WSGIRequestStart`, when the request reached httpd, in the form that New Relic, Datadog and
    /// Scout read, unless a trusted proxy says when it reached that.
    fn add_start(&mut self, request: Request<'r>) {
        const TIMES: [&[u8]; 2] = [b"HTTP_X_REQUEST_START", b"HTTP_X_QUEUE_START"];
        let config = request.dir_config::<DirConfig>();
        let Some(config) = config.filter(|config| config.request_start == Some(true)) else {
            return;
        };
        let mut said = TIMES.iter().filter_map(|name| self.get(name));
        if said.any(is_time) && config.trusts(request.peer_ip()) {
            return;
        }
        self.entries.retain(|(name, _)| !TIMES.contains(&&**name));
        self.add("HTTP_X_REQUEST_START", format!("t={}", request.received()).into_bytes());
    }
}

/// Whether this is a number of seconds, milliseconds or microseconds since the epoch, as proxies write
/// it.
fn is_time(value: &[u8]) -> bool {
    let number = value.strip_prefix(b"t=").unwrap_or(value);
    let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    (1..=32).contains(&number.len()) && number.iter().all(is_part)
}

/// The environ name of a header, or `None` for one that the application does not get: names with
/// anything but letters, digits and `-` (two of them could become the same variable), `Proxy`
/// (which would become `HTTP_PROXY`), and passwords that httpd itself has checked.
fn variable_name(header: &[u8], pass_authorization: bool) -> Option<Cow<'static, [u8]>> {
    if header.eq_ignore_ascii_case(b"content-type") {
        return Some(Cow::Borrowed(b"CONTENT_TYPE"));
    }
    if header.eq_ignore_ascii_case(b"content-length") {
        return Some(Cow::Borrowed(b"CONTENT_LENGTH"));
    }
    let hidden = header.eq_ignore_ascii_case(b"proxy")
        || header.eq_ignore_ascii_case(b"proxy-authorization")
        || (header.eq_ignore_ascii_case(b"authorization") && !pass_authorization);
    if hidden || header.is_empty() {
        return None;
    }
    let mut name = Vec::with_capacity(b"HTTP_".len() + header.len());
    name.extend_from_slice(b"HTTP_");
    for byte in header {
        name.push(match byte {
            b'-' => b'_',
            byte if byte.is_ascii_alphanumeric() => byte.to_ascii_uppercase(),
            _ => return None,
        });
    }
    Some(Cow::Owned(name))
}

/// The request target in a request line: that of the client even after internal redirects, as
/// `original_uri` in httpd's `server/util_script.c` has it.
fn target_as_sent(line: &[u8]) -> &[u8] {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{is_time, target_as_sent, variable_name};

    #[test]
    fn times_are_numbers() {
        for time in ["t=1700000000123456", "t=1700000000.123", "1700000000"] {
            assert!(is_time(time.as_bytes()), "{time}");
        }
        for other in ["", "t=", "t=now", "t=-1", "1 2", &"9".repeat(40)] {
            assert!(!is_time(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_target_is_the_second_word_of_a_request_line() {
        for (line, target) in [
            (&b"GET /a?b HTTP/1.1"[..], &b"/a?b"[..]),
            (b"GET  http://h/ HTTP/1.1", b"http://h/"),
            (b"GET /", b"/"),
            (b"GET", b""),
            (b"", b""),
        ] {
            assert_eq!(target_as_sent(line), target);
        }
    }

    #[track_caller]
    fn named(header: &str, pass_authorization: bool, expected: Option<&str>) {
        let name = variable_name(header.as_bytes(), pass_authorization);
        let name = name.map(|name| String::from_utf8(name.into_owned()).unwrap());
        assert_eq!(name.as_deref(), expected, "{header}");
    }

    #[test]
    fn headers_become_variables() {
        named("Host", false, Some("HTTP_HOST"));
        named("X-Request-Id2", false, Some("HTTP_X_REQUEST_ID2"));
        named("content-type", false, Some("CONTENT_TYPE"));
        named("Content-Length", false, Some("CONTENT_LENGTH"));
    }

    #[test]
    fn ambiguous_and_dangerous_headers_are_dropped() {
        for header in ["X_Auth", "X.Auth", "X Auth", "X-\u{e4}", "", "Proxy", "proxy-authorization"]
        {
            named(header, true, None);
        }
    }

    #[test]
    fn authorization_is_passed_on_order_only() {
        named("Authorization", true, Some("HTTP_AUTHORIZATION"));
        named("authorization", false, None);
    }
}
