//! Names with a part that only the request knows: `%{GLOBAL}`, `%{SERVER}`, `%{HOST}`,
//! `%{RESOURCE}`, `%{ENV:VARIABLE}`.
//!
//! A value is a token only as a whole; `a%{HOST}` is the name it says, and so is an unknown token.

use std::ffi::CString;

use super::settings::ServerConfig;
use crate::ffi::request::Request;

/// The name of a process group, application group or callable, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// The name itself; empty for `%{GLOBAL}`.
    Literal(Vec<u8>),
    /// `%{SERVER}`: `ServerName`, and the port unless it is 80 or 443.
    Server,
    /// `%{HOST}`: the host that the client asked for, and the port by the same rule.
    Host,
    /// `%{RESOURCE}`: `%{SERVER}`, a bar, and SCRIPT_NAME.
    Resource,
    /// `%{ENV:VARIABLE}`: a note or environment variable of the request, or of httpd.
    Env {
        /// Its name.
        variable: CString,
        /// The name to use when it is not set.
        unset: Vec<u8>,
    },
}

/// What the request knows.
pub trait Facts {
    /// `ServerName` of the virtual host.
    fn server_name(&self) -> Vec<u8>;
    /// The host that the client asked for, or else the server's name.
    fn host(&self) -> Vec<u8>;
    /// The port that the client asked for, or believes to have asked for.
    fn asked_port(&self) -> u16;
    /// The port on which the connection was accepted.
    fn accepted_port(&self) -> u16;
    /// The port that `ServerName` has, or 0.
    fn named_port(&self) -> u16;
    /// SCRIPT_NAME.
    fn script_name(&self) -> Vec<u8>;
    /// The value of a variable: request notes, then request environment, then httpd's own.
    fn variable(&self, name: &CString) -> Option<Vec<u8>>;
}

impl Name {
    /// Reads the name of a process group or application group.
    pub fn parse_group(value: &[u8]) -> Self {
        match value {
            b"%{GLOBAL}" => Self::Literal(Vec::new()),
            b"%{SERVER}" => Self::Server,
            b"%{HOST}" => Self::Host,
            b"%{RESOURCE}" => Self::Resource,
            _ => Self::parse_env(value, value).unwrap_or_else(|| Self::Literal(value.to_vec())),
        }
    }

    /// Reads the name of a hook's application group. What only the handler could know is not
    /// expanded.
    pub fn parse_hook_group(value: &[u8]) -> Self {
        match Self::parse_group(value) {
            Self::Resource | Self::Env { .. } => Self::Literal(value.to_vec()),
            name => name,
        }
    }

    /// Reads the name of a callable, for which only `%{ENV:VARIABLE}` is expanded; any other value
    /// that begins with `%` stands for `application`.
    pub fn parse_callable(value: &[u8]) -> Self {
        match value {
            [b'%', ..] => Self::parse_env(value, b"application")
                .unwrap_or_else(|| Self::Literal(b"application".to_vec())),
            _ => Self::Literal(value.to_vec()),
        }
    }

    fn parse_env(value: &[u8], unset: &[u8]) -> Option<Self> {
        let variable = value.strip_prefix(b"%{ENV:")?.strip_suffix(b"}")?;
        Some(Self::Env { variable: CString::new(variable).ok()?, unset: unset.to_vec() })
    }

    /// What the value of a variable names: it may itself be a token, but no variable.
    pub fn of_variable(value: Vec<u8>) -> Self {
        match Self::parse_group(&value) {
            Self::Env { .. } => Self::Literal(value),
            name => name,
        }
    }

    /// The name, when it is the same for all requests.
    pub fn literal(&self) -> Option<&[u8]> {
        match self {
            Self::Literal(name) => Some(name),
            _ => None,
        }
    }

    /// The name for one request.
    pub fn expand(&self, facts: &impl Facts) -> Vec<u8> {
        match self {
            Self::Literal(name) => name.clone(),
            Self::Server => with_port(facts.server_name(), facts),
            Self::Host => with_port(facts.host(), facts),
            Self::Resource => {
                let mut name = with_port(facts.server_name(), facts);
                name.push(b'|');
                name.extend(facts.script_name());
                name
            }
            Self::Env { variable, unset } => match facts.variable(variable) {
                None => unset.clone(),
                Some(value) => Self::of_variable(value).expand(facts),
            },
        }
    }
}

/// The port is the one that the client asked for, as with mod_wsgi, but only if that is a usual one,
/// that of the configuration, or the true one: a client must not be able to ask for as many groups as
/// there are numbers.
fn with_port(mut name: Vec<u8>, facts: &impl Facts) -> Vec<u8> {
    match facts.asked_port() {
        80 | 443 => {}
        port if port == facts.named_port() => name.extend(format!(":{port}").bytes()),
        _ => name.extend(format!(":{}", facts.accepted_port()).bytes()),
    }
    name
}

impl Facts for Request<'_> {
    fn server_name(&self) -> Vec<u8> {
        self.server().name().to_vec()
    }

    fn host(&self) -> Vec<u8> {
        Request::host(*self).unwrap_or(self.server().name()).to_vec()
    }

    fn asked_port(&self) -> u16 {
        self.server_port()
    }

    fn accepted_port(&self) -> u16 {
        self.local_port()
    }

    fn named_port(&self) -> u16 {
        self.server().named_port()
    }

    fn script_name(&self) -> Vec<u8> {
        let mut name = crate::url::script_name(*self);
        let sensitive =
            self.server().settings::<ServerConfig>().and_then(|it| it.globals.case_sensitivity);
        if sensitive == Some(false) {
            name.make_ascii_lowercase();
        }
        name
    }

    fn variable(&self, name: &CString) -> Option<Vec<u8>> {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let of_request = self.notes().get(name).or_else(|| self.environment().get(name));
        let of_httpd = || {
            std::env::var_os(std::ffi::OsStr::from_bytes(name.to_bytes()))
                .map(OsStringExt::into_vec)
        };
        of_request.map(<[u8]>::to_vec).or_else(of_httpd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed {
        port: u16,
        variable: Option<&'static str>,
    }

    impl Facts for Fixed {
        fn server_name(&self) -> Vec<u8> {
            b"www.example.com".to_vec()
        }
        fn host(&self) -> Vec<u8> {
            b"alias.example.com".to_vec()
        }
        fn asked_port(&self) -> u16 {
            self.port
        }
        fn accepted_port(&self) -> u16 {
            8080
        }
        fn named_port(&self) -> u16 {
            8443
        }
        fn script_name(&self) -> Vec<u8> {
            b"/app".to_vec()
        }
        fn variable(&self, _: &CString) -> Option<Vec<u8>> {
            self.variable.map(Into::into)
        }
    }

    #[track_caller]
    fn group(value: &str, facts: &Fixed, expected: &str) {
        let name = Name::parse_group(value.as_bytes()).expand(facts);
        assert_eq!(String::from_utf8(name).unwrap(), expected, "{value}");
    }

    #[test]
    fn tokens_expand_and_everything_else_stays() {
        let facts = Fixed { port: 80, variable: Some("blue") };
        group("name", &facts, "name");
        group("%{GLOBAL}", &facts, "");
        group("%{SERVER}", &facts, "www.example.com");
        group("%{HOST}", &facts, "alias.example.com");
        group("%{RESOURCE}", &facts, "www.example.com|/app");
        group("%{ENV:X}", &facts, "blue");
        group("a%{ENV:X}", &facts, "a%{ENV:X}");
        group("%{OTHER}", &facts, "%{OTHER}");
    }

    #[test]
    fn ports_other_than_the_usual_ones_are_named() {
        group("%{SERVER}", &Fixed { port: 443, variable: None }, "www.example.com");
        group("%{HOST}", &Fixed { port: 8080, variable: None }, "alias.example.com:8080");
        group("%{SERVER}", &Fixed { port: 8443, variable: None }, "www.example.com:8443");
        group("%{SERVER}", &Fixed { port: 9999, variable: None }, "www.example.com:8080");
    }

    #[test]
    fn a_variable_may_hold_a_token_but_not_another_variable() {
        group("%{ENV:X}", &Fixed { port: 80, variable: None }, "%{ENV:X}");
        group("%{ENV:X}", &Fixed { port: 80, variable: Some("%{GLOBAL}") }, "");
        group("%{ENV:X}", &Fixed { port: 80, variable: Some("%{ENV:X}") }, "%{ENV:X}");
    }

    #[test]
    fn groups_of_hooks_expand_what_needs_no_script() {
        let group = |value: &str| {
            let facts = Fixed { port: 80, variable: Some("blue") };
            Name::parse_hook_group(value.as_bytes()).expand(&facts)
        };
        assert_eq!(group("%{GLOBAL}"), b"");
        assert_eq!(group("%{SERVER}"), b"www.example.com");
        assert_eq!(group("%{HOST}"), b"alias.example.com");
        assert_eq!(group("%{RESOURCE}"), b"%{RESOURCE}");
        assert_eq!(group("%{ENV:X}"), b"%{ENV:X}");
    }

    #[test]
    fn callables_expand_variables_only() {
        let callable = |value: &str, variable| {
            Name::parse_callable(value.as_bytes()).expand(&Fixed { port: 80, variable })
        };
        assert_eq!(callable("app", None), b"app");
        assert_eq!(callable("%{GLOBAL}", None), b"application");
        assert_eq!(callable("%{ENV:X}", None), b"application");
        assert_eq!(callable("%{ENV:X}", Some("other")), b"other");
    }
}
