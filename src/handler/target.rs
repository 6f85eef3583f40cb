//! What a request is for: process group, application group, callable, from merged settings.

use wire::exchange::{Question, Verdict};

use super::environ::Environ;
use super::inquiry::ask;
use crate::config::{
    DirConfig, HandlerScript, Hook, MapHead, Mount, Name, Root, ServerConfig, lossy,
};
use crate::ffi::request::Request;
use crate::generation::{Capacity, ConnectionOptions, Generation, GroupFacts};
use crate::mapping;

/// Where a request goes, and what is called there.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// Path of the script, as the worker knows it: the file that the URL was mapped to, or a
    /// `WSGIHandlerScript`.
    pub script: Vec<u8>,
    /// Whether it is the latter.
    pub is_handler_script: bool,
    /// Path of the file that the URL was mapped to, where the worker knows it by another one.
    pub file: Option<Vec<u8>>,
    /// Whether the script is loaded again when it has changed.
    pub script_reloading: bool,
    /// `WSGIIgnoreActivity`.
    pub ignore_activity: bool,
    /// Name of the process group; empty for the default one.
    pub process_group: Vec<u8>,
    /// Name of the application group; empty for `%{GLOBAL}`.
    pub application_group: Vec<u8>,
    /// Whether a client may have made that name up: a part of it comes from the request.
    pub may_be_made_up: bool,
    /// Name of the global in the script.
    pub callable: Vec<u8>,
    /// Whether the application sees the Authorization header.
    pub pass_authorization: bool,
    /// Whether the application sees GET for HEAD.
    pub map_head_to_get: bool,
    /// Whether httpd's error pages replace those of the application.
    pub error_override: bool,
    /// Whether an application may redirect within httpd (`WSGILocationRedirect`).
    pub location_redirect: bool,
    /// How to speak with the group's workers.
    pub options: ConnectionOptions,
    /// How much they can do.
    pub capacity: Capacity,
}

/// Why a request can go nowhere.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nobody defines the group.
    #[error(
        "The process group '{0}' is defined nowhere: add a line 'WSGIDaemonProcess {0}', or \
         correct WSGIProcessGroup or process-group=."
    )]
    UnknownGroup(String),
    /// Another virtual host defines it, for itself.
    #[error(
        "The process group '{group}' belongs to the virtual host '{owner}' and cannot be used from \
         '{server}': define it outside of any virtual host to share it."
    )]
    ForeignGroup {
        /// The group.
        group: String,
        /// Who defines it.
        owner: String,
        /// Who wanted it.
        server: String,
    },
    /// The group takes no requests at all.
    #[error("The process group '{0}' takes no requests: {1}.")]
    NotServed(String, &'static str),
    /// `WSGIRestrictProcess` does not name it.
    #[error("WSGIRestrictProcess does not allow the process group '{0}' here.")]
    Restricted(String),
    /// `WSGIRestrictEmbedded On`, and no process group.
    #[error(
        "WSGIRestrictEmbedded does not allow the default process group: name another one with \
         WSGIProcessGroup or process-group=."
    )]
    NoDefaultGroup,
    /// A Python hook should choose the group, and does not.
    #[error("WSGIDispatchScript {0} does not say where the request goes.")]
    Dispatch(String),
    /// The group's workers could not see the file.
    #[error(
        "{file} is not in chroot={root} of the process group '{group}', so that its workers cannot \
         see it: move it there, or name another group."
    )]
    NotInRoot {
        /// What the URL was mapped to.
        file: String,
        /// The directory that they are confined to.
        root: String,
        /// The group.
        group: String,
    },
    /// `script-user=` or `script-group=` does not allow the script.
    #[error("The script is not run: {0}.")]
    Owner(String),
}

impl Target {
    /// Resolves the request's target: options of the alias, or of the handler script, win over
    /// directives.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn of(
        request: Request<'_>,
        handler: Option<&HandlerScript>,
        generation: &Generation,
    ) -> Result<Self, TargetError> {
        let alias = mapping::alias(request).filter(|_| handler.is_none());
        let config = request.dir_config::<DirConfig>();
        let process_group = handler
            .map_or_else(
                || alias.and_then(|alias| alias.process_group.as_ref()),
                |handler| handler.process_group.as_ref(),
            )
            .or_else(|| config?.process_group.as_deref())
            .map_or_else(Vec::new, |name| name.expand(&request));
        let application_group = handler
            .map_or_else(
                || alias.and_then(|alias| alias.application_group.as_ref()),
                |handler| handler.application_group.as_ref(),
            )
            .or_else(|| config?.application_group.as_deref())
            .unwrap_or(&Name::Resource);
        let may_be_made_up = match application_group {
            Name::Literal(_) | Name::Server => false,
            // SCRIPT_NAME is what the configuration says, or leads to a file.
            Name::Resource => !alias.is_some_and(|alias| alias.kind == Mount::Prefix),
            Name::Host | Name::Env { .. } => true,
        };
        let application_group = application_group.expand(&request);
        let callable = match alias.and_then(|alias| alias.callable_object.as_ref()) {
            _ if handler.is_some() => b"handle_request".to_vec(),
            Some(name) => name.clone(),
            None => config
                .and_then(|config| config.callable_object.as_deref())
                .map_or_else(|| b"application".to_vec(), |name| name.expand(&request)),
        };
        // Without an order to do otherwise, the application checks passwords itself where httpd
        // does not.
        let pass_authorization = handler
            .map_or_else(
                || alias.and_then(|alias| alias.pass_authorization),
                |handler| handler.pass_authorization,
            )
            .or_else(|| config?.pass_authorization)
            .unwrap_or_else(|| !request.has_authentication())
            || request.passes_authorization();
        let map_head = config.and_then(|config| config.map_head_to_get).unwrap_or(MapHead::Auto);
        let mut target = Self {
            file: None,
            script: handler.map_or(request.filename(), |handler| &handler.script).to_vec(),
            is_handler_script: handler.is_some(),
            script_reloading: config.and_then(|config| config.script_reloading).unwrap_or(true),
            ignore_activity: config.and_then(|config| config.ignore_activity).unwrap_or(false),
            process_group,
            application_group,
            may_be_made_up,
            callable,
            pass_authorization,
            map_head_to_get: match map_head {
                MapHead::Off => false,
                MapHead::On => true,
                MapHead::Auto => request.has_content_filter(),
            },
            error_override: config.and_then(|config| config.error_override).unwrap_or(false),
            location_redirect: config.and_then(|it| it.location_redirect).unwrap_or(false),
            options: ConnectionOptions::default(),
            capacity: Capacity::default(),
        };
        if let Some(hook) = config.and_then(|config| config.dispatch_script.as_deref()) {
            target.dispatch(request, hook)?;
        }
        let facts = may_use(generation, &target.process_group, request.server().name())?;
        check_restrictions(
            &target.process_group,
            config,
            request.server().settings::<ServerConfig>(),
        )?;
        if let Some(owner) = facts.script_owner {
            super::owner::check(request.filename(), owner).map_err(TargetError::Owner)?;
        }
        (target.options, target.capacity) = (facts.options, facts.capacity);
        if let Some(root) = &facts.root {
            target.confine(request.filename(), root)?;
        }
        Ok(target)
    }

    /// Names script and file as workers do that are confined to `root`.
    fn confine(&mut self, file: &[u8], root: &Root) -> Result<(), TargetError> {
        let inside = root.inside(file).ok_or_else(|| TargetError::NotInRoot {
            file: lossy(file),
            root: root.path().display().to_string(),
            group: lossy(&self.process_group),
        })?;
        self.script =
            if self.is_handler_script { root.named(&self.script) } else { inside.clone() };
        self.file = Some(inside);
        Ok(())
    }

    /// Lets a `WSGIDispatchScript` change where the request goes.
    fn dispatch(&mut self, request: Request<'_>, hook: &Hook) -> Result<(), TargetError> {
        let environ = Environ::of(request, self);
        let Some(Verdict::Target { process_group, application_group, callable }) =
            ask(request, hook, &Question::Dispatch, &environ)
        else {
            return Err(TargetError::Dispatch(lossy(&hook.script)));
        };
        // By now the variables of CGI are known as well.
        let expand = |name: Name| {
            let known = match &name {
                Name::Env { variable, .. } if request.notes().get(variable).is_none() => {
                    environ.get(variable.to_bytes())
                }
                _ => None,
            };
            known.map(<[u8]>::to_vec).map_or(name, Name::of_variable).expand(&request)
        };
        let process_group = process_group.map(|name| expand(Name::parse_group(&name)));
        let application_group = application_group.map(|name| expand(Name::parse_group(&name)));
        let callable = callable.map(|name| expand(Name::parse_callable(&name)));
        if let Some(name) = process_group {
            self.process_group = name;
        }
        if let Some(name) = application_group {
            self.may_be_made_up = true;
            self.application_group = name;
        }
        if let Some(name) = callable {
            self.callable = name;
        }
        Ok(())
    }
}

/// What is known of a process group that the virtual host `server` may use.
///
/// # Errors
/// [`TargetError`].
pub fn may_use<'g>(
    generation: &'g Generation,
    group: &[u8],
    server: &[u8],
) -> Result<&'g GroupFacts, TargetError> {
    let Some(facts) = generation.groups.get(group) else {
        return Err(TargetError::UnknownGroup(lossy(group)));
    };
    match (&facts.only_for, facts.not_served) {
        (Some(owner), _) if owner != server => Err(TargetError::ForeignGroup {
            group: lossy(group),
            owner: lossy(owner),
            server: lossy(server),
        }),
        (_, Some(why)) => Err(TargetError::NotServed(lossy(group), why)),
        _ => Ok(facts),
    }
}

fn check_restrictions(
    group: &[u8],
    config: Option<&DirConfig>,
    server: Option<&ServerConfig>,
) -> Result<(), TargetError> {
    let allowed = config.and_then(|config| config.restrict_process.as_deref());
    if allowed.is_some_and(|names| !names.iter().any(|name| name.eq_ignore_ascii_case(group))) {
        let name = if group.is_empty() { "%{GLOBAL}".to_owned() } else { lossy(group) };
        return Err(TargetError::Restricted(name));
    }
    let restricted = server.and_then(|server| server.globals.restrict_embedded);
    if group.is_empty() && restricted == Some(true) {
        return Err(TargetError::NoDefaultGroup);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Globals;

    fn generation() -> Generation {
        let group = |name: &str, only_for: Option<&str>| {
            (
                name.into(),
                GroupFacts { only_for: only_for.map(Into::into), ..GroupFacts::default() },
            )
        };
        Generation {
            control: "/nowhere".into(),
            secret: wire::Secret::new([0; wire::Secret::SIZE]),
            groups: [group("", None), group("all", None), group("own", Some("a.example"))].into(),
            named_groups: 2,
            scoreboard: None,
        }
    }

    #[test]
    fn a_virtual_hosts_group_is_its_own() {
        let generation = generation();
        assert!(may_use(&generation, b"", b"b.example").is_ok());
        assert!(may_use(&generation, b"all", b"b.example").is_ok());
        assert!(may_use(&generation, b"own", b"a.example").is_ok());
        let error = may_use(&generation, b"own", b"b.example").unwrap_err();
        assert!(matches!(error, TargetError::ForeignGroup { .. }), "{error}");
        let error = may_use(&generation, b"typo", b"a.example").unwrap_err();
        assert_eq!(error, TargetError::UnknownGroup("typo".into()));
    }

    #[test]
    fn restrictions() {
        let config = |names: &[&str]| DirConfig {
            restrict_process: Some(names.iter().map(|name| name.as_bytes().to_vec()).collect()),
            ..DirConfig::default()
        };
        let check = |group: &str, names: &[&str]| {
            check_restrictions(group.as_bytes(), Some(&config(names)), None)
        };
        assert_eq!(check_restrictions(b"any", Some(&DirConfig::default()), None), Ok(()));
        assert_eq!(check("One", &["zero", "one"]), Ok(()));
        assert_eq!(check("", &[""]), Ok(()));
        assert_eq!(check("two", &["one"]), Err(TargetError::Restricted("two".into())));
        assert_eq!(check("", &["one"]), Err(TargetError::Restricted("%{GLOBAL}".into())));
        assert!(check("one", &[]).is_err());

        let globals = Globals { restrict_embedded: Some(true), ..Globals::default() };
        let server = ServerConfig { globals: globals.into(), ..ServerConfig::default() };
        assert_eq!(check_restrictions(b"", None, Some(&server)), Err(TargetError::NoDefaultGroup));
        assert_eq!(check_restrictions(b"one", None, Some(&server)), Ok(()));
    }
}
