//! Who httpd's children and workers run as, where root starts a server.

use nix::unistd::{Gid, Group, Uid, geteuid};

use super::SettingsError;
use crate::options::Server;

/// User and group that httpd's children and workers run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's name, or # and the id.
    pub name: String,
    /// The group's name, or # and the id.
    pub group: String,
    /// The same as numbers, for what belongs to them.
    pub ids: (u32, u32),
}

/// Who runs the server; only root can choose.
pub fn user(options: &Server) -> Result<Option<User>, SettingsError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let named = options.services.user.as_deref();
    let name = named.map(str::to_owned).or_else(|| {
        let usual = ["www-data", "apache", "http", "daemon", "nobody"];
        usual.into_iter().find(|name| user_ids(name).is_ok()).map(str::to_owned)
    });
    let Some(name) = name else { return Ok(None) };
    let (uid, primary) = user_ids(&name)?;
    let group = match &options.services.group {
        Some(group) => group.clone(),
        None => match Group::from_gid(primary) {
            Ok(Some(group)) => group.name,
            _ => format!("#{primary}"),
        },
    };
    let gid = group_id(&group)?;
    Ok(Some(User { name, group, ids: (uid.as_raw(), gid.as_raw()) }))
}

/// The ids of a user, given by name or as `#id`, and of the primary group.
fn user_ids(name: &str) -> Result<(Uid, Gid), SettingsError> {
    let unknown = || SettingsError::User(name.to_owned());
    if let Some(id) = name.strip_prefix('#') {
        let id: u32 = id.parse().map_err(|_| unknown())?;
        return Ok((Uid::from_raw(id), Gid::from_raw(id)));
    }
    let user = nix::unistd::User::from_name(name).ok().flatten().ok_or_else(unknown)?;
    Ok((user.uid, user.gid))
}

fn group_id(name: &str) -> Result<Gid, SettingsError> {
    let unknown = || SettingsError::User(name.to_owned());
    if let Some(id) = name.strip_prefix('#') {
        return Ok(Gid::from_raw(id.parse().map_err(|_| unknown())?));
    }
    Ok(Group::from_name(name).ok().flatten().ok_or_else(unknown)?.gid)
}
