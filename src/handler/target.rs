//! What a request is for: process group, application group, callable, from merged settings.

use crate::config::Name;
use crate::ffi::request::Request;
use crate::generation::Generation;

/// Where a request goes, and what is called there.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// Name of the process group; empty for the default one.
    pub process_group: Vec<u8>,
    /// Name of the application group; empty for `%{GLOBAL}`.
    pub application_group: Vec<u8>,
    /// Name of the global in the script.
    pub callable: Vec<u8>,
    /// Whether the application sees the Authorization header.
    pub pass_authorization: bool,
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
}

impl Target {
    /// Resolves the request's target: options of the alias win over directives.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn of(request: Request<'_>, generation: &Generation) -> Result<Self, TargetError> {
        let alias = request.alias();
        let config = request.dir_config();
        let of_alias = |option: fn(&crate::mapping::Alias) -> Option<&Name>| alias.and_then(option);
        let process_group = of_alias(|alias| alias.process_group.as_ref())
            .or_else(|| config?.process_group.as_deref())
            .map_or_else(Vec::new, |name| name.expand(&request));
        let application_group = of_alias(|alias| alias.application_group.as_ref())
            .or_else(|| config?.application_group.as_deref())
            .unwrap_or(&Name::Resource)
            .expand(&request);
        let callable = match alias.and_then(|alias| alias.callable_object.as_ref()) {
            Some(name) => name.clone(),
            None => config
                .and_then(|config| config.callable_object.as_deref())
                .map_or_else(|| b"application".to_vec(), |name| name.expand(&request)),
        };
        // Without an order to do otherwise, the application checks passwords itself where httpd
        // does not.
        let pass_authorization = alias
            .and_then(|alias| alias.pass_authorization)
            .unwrap_or_else(|| !request.has_authentication());
        may_use(generation, &process_group, request.server().name())?;
        Ok(Self { process_group, application_group, callable, pass_authorization })
    }
}

fn may_use(generation: &Generation, group: &[u8], server: &[u8]) -> Result<(), TargetError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let Some(facts) = generation.groups.get(group) else {
        return Err(TargetError::UnknownGroup(text(group)));
    };
    match &facts.only_for {
        Some(owner) if owner != server => Err(TargetError::ForeignGroup {
            group: text(group),
            owner: text(owner),
            server: text(server),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::GroupFacts;

    fn generation() -> Generation {
        let group = |name: &str, only_for: Option<&str>| {
            (name.into(), GroupFacts { only_for: only_for.map(Into::into) })
        };
        Generation {
            control: "/nowhere".into(),
            secret: wire::Secret::new([0; wire::Secret::SIZE]),
            groups: [group("", None), group("all", None), group("own", Some("a.example"))].into(),
        }
    }

    #[test]
    fn a_virtual_hosts_group_is_its_own() {
        let generation = generation();
        assert_eq!(may_use(&generation, b"", b"b.example"), Ok(()));
        assert_eq!(may_use(&generation, b"all", b"b.example"), Ok(()));
        assert_eq!(may_use(&generation, b"own", b"a.example"), Ok(()));
        let error = may_use(&generation, b"own", b"b.example").unwrap_err();
        assert!(matches!(error, TargetError::ForeignGroup { .. }), "{error}");
        let error = may_use(&generation, b"typo", b"a.example").unwrap_err();
        assert_eq!(error, TargetError::UnknownGroup("typo".into()));
    }
}
