//! What the directives set, and how inner settings go over outer ones.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wire::telemetry::Telemetry;

use super::alias::Alias;
use super::daemon::DaemonProcess;
use super::expansion::Name;
use super::proxies::{Network, TrustedHeader};
use crate::ffi::command::Location;
use crate::ffi::module::Settings;

/// Settings of a main server or virtual host.
#[derive(Debug, Default)]
pub struct ServerConfig {
    /// `WSGIScriptAlias` and `WSGIScriptAliasMatch`, in the order in which they are tried.
    pub aliases: Vec<Arc<Alias>>,
    /// `WSGIDaemonProcess`, as defined in this server.
    pub groups: Vec<Arc<DaemonProcess>>,
    /// Scripts to load in advance, as named in this server.
    pub imports: Vec<Arc<Import>>,
    /// `ErrorLogFormat`, which is httpd's.
    pub error_log_format: Option<Vec<u8>>,
    /// What only the main server sets, for all.
    pub globals: Arc<Globals>,
}

impl Settings for ServerConfig {
    /// A virtual host's own aliases come before those of the main server.
    fn merged_with(&self, virtual_host: &Self) -> Self {
        Self {
            aliases: [virtual_host.aliases.as_slice(), &self.aliases].concat(),
            groups: virtual_host.groups.clone(),
            imports: virtual_host.imports.clone(),
            error_log_format: virtual_host
                .error_log_format
                .as_ref()
                .or(self.error_log_format.as_ref())
                .cloned(),
            globals: Arc::clone(&self.globals),
        }
    }
}

/// Settings that are the same for all of httpd. `None` is mod_wsgi's default everywhere.
#[derive(Debug, Default, Clone)]
pub struct Globals {
    /// `WSGISocketPrefix`, from the root.
    pub socket_prefix: Option<PathBuf>,
    /// `WSGIRestrictEmbedded`.
    pub restrict_embedded: Option<bool>,
    /// `WSGICaseSensitivity`.
    pub case_sensitivity: Option<bool>,
    /// `WSGIPythonHome`.
    pub python_home: Option<PathBuf>,
    /// `WSGIPythonEggs`.
    pub python_eggs: Option<Vec<u8>>,
    /// `WSGIPythonWarnings`, in order.
    pub python_warnings: Vec<Vec<u8>>,
    /// `WSGIPythonOptimize`.
    pub python_optimize: Option<u32>,
    /// `WSGIDontWriteBytecode`.
    pub dont_write_bytecode: Option<bool>,
    /// `WSGIPythonHashSeed`.
    pub python_hash_seed: Option<HashSeed>,
    /// `WSGIDestroyInterpreter`.
    pub destroy_interpreter: Option<bool>,
    /// `WSGIServerMetrics`.
    pub server_metrics: Option<bool>,
    /// `WSGITelemetryService`.
    pub telemetry_service: Option<TelemetryService>,
    /// `WSGISlowRequests`; none is 0.
    pub slow_requests: Option<Duration>,
    /// `WSGITelemetryOptions CaptureUserAgent`.
    pub capture_user_agent: bool,
    /// What may also stand in `<WSGIInterpreterOptions>`, for all.
    pub interpreter: Interpreter,
    /// `<WSGIInterpreterOptions>`, in order.
    pub blocks: Vec<(Selector, Interpreter)>,
}

/// `WSGITelemetryService`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryService {
    /// The socket.
    pub path: PathBuf,
    /// `interval=`.
    pub interval: Duration,
}

/// `WSGIPythonHashSeed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashSeed {
    /// Another one for each process, as without the directive.
    Random,
    /// Always the same.
    Fixed(u32),
}

impl HashSeed {
    /// The seed, if it is always the same.
    pub fn fixed(self) -> Option<u32> {
        match self {
            Self::Random => None,
            Self::Fixed(seed) => Some(seed),
        }
    }
}

/// For whom a `<WSGIInterpreterOptions>` is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Selector {
    /// This process group alone; empty for the default one.
    pub process_group: Option<Vec<u8>>,
    /// This application group alone; empty for `%{GLOBAL}`.
    pub application_group: Option<Vec<u8>>,
}

/// Settings of an interpreter.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// `WSGIPythonPath`.
    pub python_path: Vec<PathBuf>,
    /// `WSGISwitchInterval`, in microseconds.
    pub switch_interval: Option<u64>,
    /// `WSGIFreeThreading`.
    pub free_threading: Option<bool>,
    /// `WSGIRestrictStdin`.
    pub restrict_stdin: Option<bool>,
    /// `WSGIRestrictStdout`.
    pub restrict_stdout: Option<bool>,
    /// `WSGIRestrictSignal`.
    pub restrict_signal: Option<bool>,
}

impl Globals {
    /// What workers are told of the service.
    pub fn telemetry(&self) -> Option<Telemetry> {
        let service = self.telemetry_service.as_ref()?;
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Some(Telemetry {
            path: service.path.clone(),
            interval: micros(service.interval),
            slow: self.slow_requests.filter(|time| !time.is_zero()).map(micros),
            user_agent: self.capture_user_agent,
            httpd: std::process::id(),
        })
    }

    /// The settings of a process group's interpreters, or of that of one of its application groups:
    /// of the blocks that name it or none, the more specific one wins, then the later one. Their
    /// search paths add up, the most specific in front.
    pub fn interpreter_of(
        &self,
        process_group: &[u8],
        application_group: Option<&[u8]>,
    ) -> Interpreter {
        let fits = |named: &Option<Vec<u8>>, name: Option<&[u8]>| {
            named.is_none() || named.as_deref() == name
        };
        let mut blocks: Vec<_> = self
            .blocks
            .iter()
            .filter(|(selector, _)| {
                fits(&selector.process_group, Some(process_group))
                    && fits(&selector.application_group, application_group)
            })
            .collect();
        // Of equals the order is kept.
        blocks.sort_by_key(|(selector, _)| selector.specificity());
        let mut merged = self.interpreter.clone();
        if !process_group.is_empty() {
            // The directive is for the default group; others have `python-path=`.
            merged.python_path.clear();
        }
        for (_, block) in blocks {
            merged = Interpreter {
                python_path: in_front(&block.python_path, &merged.python_path),
                switch_interval: block.switch_interval.or(merged.switch_interval),
                free_threading: block.free_threading.or(merged.free_threading),
                restrict_stdin: block.restrict_stdin.or(merged.restrict_stdin),
                restrict_stdout: block.restrict_stdout.or(merged.restrict_stdout),
                restrict_signal: block.restrict_signal.or(merged.restrict_signal),
            };
        }
        merged
    }
}

/// A search path with these entries in front. One that it has already stays where it is, as with
/// mod_wsgi.
pub fn in_front(entries: &[PathBuf], path: &[PathBuf]) -> Vec<PathBuf> {
    let new = entries.iter().filter(|entry| !path.contains(entry));
    new.chain(path).cloned().collect()
}

impl Selector {
    fn specificity(&self) -> usize {
        usize::from(self.process_group.is_some()) + usize::from(self.application_group.is_some())
    }
}

/// Settings of a section or .htaccess file. What is not set there comes from the outer one.
#[derive(Debug, Default)]
pub struct DirConfig {
    /// `WSGIProcessGroup`.
    pub process_group: Option<Arc<Name>>,
    /// `WSGIApplicationGroup`.
    pub application_group: Option<Arc<Name>>,
    /// `WSGICallableObject`.
    pub callable_object: Option<Arc<Name>>,
    /// `WSGIRestrictProcess`; empty names stand for the default group.
    pub restrict_process: Option<Arc<[Vec<u8>]>>,
    /// `WSGIHandlerScript`, by name of the handler.
    pub handler_scripts: Vec<Arc<HandlerScript>>,
    /// `WSGIScriptReloading`.
    pub script_reloading: Option<bool>,
    /// `WSGIIgnoreActivity`.
    pub ignore_activity: Option<bool>,
    /// `WSGIPassAuthorization`.
    pub pass_authorization: Option<bool>,
    /// `WSGIChunkedRequest`.
    pub chunked_request: Option<bool>,
    /// `WSGIErrorOverride`.
    pub error_override: Option<bool>,
    /// `WSGILocationRedirect`.
    pub location_redirect: Option<bool>,
    /// `WSGIMapHEADToGET`.
    pub map_head_to_get: Option<MapHead>,
    /// `WSGIStatusLocal`.
    pub status_local: Option<bool>,
    /// `WSGITrustedProxyHeaders`.
    pub trusted_proxy_headers: Option<Arc<[TrustedHeader]>>,
    /// `WSGITrustedProxies`.
    pub trusted_proxies: Option<Arc<[Network]>>,
    /// `WSGIDispatchScript`.
    pub dispatch_script: Option<Arc<Hook>>,
    /// `WSGIAccessScript`.
    pub access_script: Option<Arc<Hook>>,
    /// `WSGIAuthUserScript`.
    pub auth_user_script: Option<Arc<Hook>>,
    /// `WSGIAuthGroupScript`.
    pub auth_group_script: Option<Arc<Hook>>,
}

/// `WSGIMapHEADToGET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapHead {
    /// The application sees HEAD.
    Off,
    /// It sees GET.
    On,
    /// It sees GET where a filter would see the body.
    Auto,
}

/// A `WSGIHandlerScript`.
#[derive(Debug, PartialEq, Eq)]
pub struct HandlerScript {
    /// Name of the handler, for `SetHandler` and `AddHandler`.
    pub handler: Vec<u8>,
    /// The script.
    pub script: Vec<u8>,
    /// `process-group=`.
    pub process_group: Option<Name>,
    /// `application-group=`.
    pub application_group: Option<Name>,
    /// `pass-authorization=`.
    pub pass_authorization: Option<bool>,
}

/// A script that is loaded when a worker starts: of a `WSGIImportScript`, or of a `WSGIScriptAlias`
/// that names both groups.
#[derive(Debug)]
pub struct Import {
    /// The script.
    pub script: Vec<u8>,
    /// Name of the process group, never expanded; empty for the default one.
    pub process_group: Vec<u8>,
    /// Name of the application group, never expanded; empty for `%{GLOBAL}`.
    pub application_group: Vec<u8>,
    /// Its place among all of them, in the order of the configuration.
    pub number: usize,
    /// Where it is named.
    pub location: Location,
}

/// A Python script that decides about requests.
#[derive(Debug, PartialEq, Eq)]
pub struct Hook {
    /// The script.
    pub script: Vec<u8>,
    /// `application-group=`.
    pub application_group: Name,
    /// Whether a .htaccess file names it, whose author need not be trusted with httpd's user.
    pub is_from_htaccess: bool,
}

impl Settings for DirConfig {
    fn merged_with(&self, inner: &Self) -> Self {
        fn over<T: Clone>(inner: &Option<T>, outer: &Option<T>) -> Option<T> {
            inner.as_ref().or(outer.as_ref()).cloned()
        }
        let outer = self;
        let is_replaced = |script: &Arc<HandlerScript>| {
            inner.handler_scripts.iter().any(|other| other.handler == script.handler)
        };
        let kept = outer.handler_scripts.iter().filter(|script| !is_replaced(script));
        Self {
            process_group: over(&inner.process_group, &outer.process_group),
            application_group: over(&inner.application_group, &outer.application_group),
            callable_object: over(&inner.callable_object, &outer.callable_object),
            restrict_process: over(&inner.restrict_process, &outer.restrict_process),
            handler_scripts: kept.chain(&inner.handler_scripts).cloned().collect(),
            script_reloading: inner.script_reloading.or(outer.script_reloading),
            ignore_activity: inner.ignore_activity.or(outer.ignore_activity),
            pass_authorization: inner.pass_authorization.or(outer.pass_authorization),
            chunked_request: inner.chunked_request.or(outer.chunked_request),
            error_override: inner.error_override.or(outer.error_override),
            status_local: inner.status_local.or(outer.status_local),
            location_redirect: inner.location_redirect.or(outer.location_redirect),
            map_head_to_get: inner.map_head_to_get.or(outer.map_head_to_get),
            trusted_proxy_headers: over(&inner.trusted_proxy_headers, &outer.trusted_proxy_headers),
            trusted_proxies: over(&inner.trusted_proxies, &outer.trusted_proxies),
            dispatch_script: over(&inner.dispatch_script, &outer.dispatch_script),
            access_script: over(&inner.access_script, &outer.access_script),
            auth_user_script: over(&inner.auth_user_script, &outer.auth_user_script),
            auth_group_script: over(&inner.auth_group_script, &outer.auth_group_script),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(name: &str) -> Option<Arc<Name>> {
        Some(Arc::new(Name::parse_group(name.as_bytes())))
    }

    #[test]
    fn an_inner_section_keeps_what_it_does_not_set() {
        let outer = DirConfig {
            process_group: literal("outer"),
            application_group: literal("%{GLOBAL}"),
            script_reloading: Some(false),
            error_override: Some(true),
            ..DirConfig::default()
        };
        let inner = DirConfig {
            process_group: literal("inner"),
            error_override: Some(false),
            ..DirConfig::default()
        };
        let merged = outer.merged_with(&inner);
        assert_eq!(merged.process_group, literal("inner"));
        assert_eq!(merged.application_group, literal("%{GLOBAL}"));
        assert_eq!(merged.callable_object, None);
        assert_eq!(merged.script_reloading, Some(false));
        assert_eq!(merged.error_override, Some(false));
    }

    #[test]
    fn handler_scripts_add_up_by_name() {
        let script = |handler: &str, script: &str| {
            Arc::new(HandlerScript {
                handler: handler.into(),
                script: script.into(),
                process_group: None,
                application_group: None,
                pass_authorization: None,
            })
        };
        let config = |handler_scripts| DirConfig { handler_scripts, ..DirConfig::default() };
        let outer = config(vec![script("a", "outer"), script("b", "outer")]);
        let merged = outer.merged_with(&config(vec![script("b", "inner")]));
        assert_eq!(merged.handler_scripts, [script("a", "outer"), script("b", "inner")]);
    }

    #[test]
    fn a_virtual_hosts_aliases_come_before_the_main_servers() {
        let server = |mount: &str| ServerConfig {
            aliases: vec![Arc::new(Alias::parse(format!("{mount} /script").as_bytes()).unwrap())],
            ..ServerConfig::default()
        };
        let merged = server("/main").merged_with(&server("/virtual"));
        let mounts: Vec<_> = merged.aliases.iter().map(|alias| alias.mount.as_slice()).collect();
        assert_eq!(mounts, [b"/virtual".as_slice(), b"/main"]);
    }

    #[test]
    fn the_more_specific_block_wins_and_paths_add_up() {
        let layer = |path: &str, stdin| Interpreter {
            python_path: vec![path.into()],
            restrict_stdin: stdin,
            ..Interpreter::default()
        };
        let only =
            |name: &str| Selector { process_group: Some(name.into()), ..Selector::default() };
        let globals = Globals {
            interpreter: layer("/base", Some(false)),
            blocks: vec![
                (only("site"), layer("/site", Some(true))),
                (Selector::default(), layer("/all", Some(false))),
                (only("other"), layer("/other", None)),
            ],
            ..Globals::default()
        };
        let found = globals.interpreter_of(b"site", None);
        assert_eq!(found.restrict_stdin, Some(true));
        assert_eq!(found.python_path, ["/site", "/all"].map(PathBuf::from));
        let found = globals.interpreter_of(b"", None);
        assert_eq!(found.python_path, ["/all", "/base"].map(PathBuf::from));
        // The application group alone is as specific as the process group alone, and comes later.
        let named = Selector { application_group: Some(b"x".to_vec()), ..Selector::default() };
        let mut globals = globals;
        globals.blocks.push((named, layer("/x", Some(false))));
        let found = globals.interpreter_of(b"site", Some(b"x"));
        assert_eq!(found.restrict_stdin, Some(false));
        assert_eq!(found.python_path, ["/x", "/site", "/all"].map(PathBuf::from));
        assert_eq!(globals.interpreter_of(b"site", Some(b"y")).restrict_stdin, Some(true));
    }
}
