//! Becoming a group's user, for good.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Uid};
use rustix::thread::{self, CapabilitySet, CapabilitySets};
use wire::generation::Identity;

/// Why a process is not the user that it is to become. It must not go on.
#[derive(Debug, thiserror::Error)]
#[error("cannot become user '{user}' (uid {uid}): {step}: {source}")]
pub struct IdentityError {
    user: String,
    uid: u32,
    step: &'static str,
    source: io::Error,
}

/// Changes all ids of this process, which has one thread, for good, and reads them again.
/// `may_chroot`: the one right of root's to change the root directory is kept, for the program that
/// is executed next to use and to give up.
///
/// Asks the system's database for the user's groups, which may take as long as it likes.
///
/// # Errors
/// [`IdentityError`].
pub fn assume(identity: &Identity, may_chroot: bool) -> Result<(), IdentityError> {
    let failed = |step: &'static str| {
        let (user, uid) = (identity.user.clone(), identity.uid);
        move |source: io::Error| IdentityError { user, uid, step, source }
    };
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    if uid.is_root() {
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        return Err(failed("applications never run as root")(refused));
    }
    let groups = groups(identity).map_err(failed("the user's groups are unknown"))?;
    if may_chroot {
        // Whatever is executed from here on gains no rights by its file's mode, as a program with
        // root's rights would believe the files below that directory.
        thread::set_no_new_privs(true)
            .map_err(|error| failed("PR_SET_NO_NEW_PRIVS failed")(error.into()))?;
        // Otherwise changing the user id takes all capabilities away (capabilities(7)).
        thread::set_keep_capabilities(true)
            .map_err(|error| failed("PR_SET_KEEPCAPS failed")(error.into()))?;
    }
    nix::unistd::setgroups(&groups).map_err(|error| failed("setgroups failed")(error.into()))?;
    nix::unistd::setresgid(gid, gid, gid)
        .map_err(|error| failed("setresgid failed")(error.into()))?;
    nix::unistd::setresuid(uid, uid, uid)
        .map_err(|error| failed("setresuid failed")(error.into()))?;
    let unchanged = || io::Error::from(io::ErrorKind::PermissionDenied);
    let users = nix::unistd::getresuid().map_err(|error| failed("getresuid")(error.into()))?;
    let group_ids = nix::unistd::getresgid().map_err(|error| failed("getresgid")(error.into()))?;
    if [users.real, users.effective, users.saved] != [uid; 3] {
        return Err(failed("the user id did not change")(unchanged()));
    }
    if [group_ids.real, group_ids.effective, group_ids.saved] != [gid; 3] {
        return Err(failed("the group id did not change")(unchanged()));
    }
    if !may_chroot {
        return Ok(());
    }
    let (nothing, chroot) = (CapabilitySet::empty(), CapabilitySet::SYS_CHROOT);
    let sets = CapabilitySets { effective: nothing, permitted: chroot, inheritable: chroot };
    thread::set_capabilities(None, sets).map_err(|error| {
        failed("the capabilities other than CAP_SYS_CHROOT cannot be given up")(error.into())
    })?;
    // Only ambient capabilities outlast the execution of an ordinary file.
    thread::configure_capability_in_ambient_set(chroot, true)
        .map_err(|error| failed("CAP_SYS_CHROOT cannot be kept")(error.into()))
}

/// All groups of the user, the primary one first.
fn groups(identity: &Identity) -> io::Result<Vec<Gid>> {
    let gid = Gid::from_raw(identity.gid);
    match &identity.groups {
        Some(groups) => {
            let others = groups.iter().copied().map(Gid::from_raw);
            Ok(std::iter::once(gid).chain(others.filter(|other| *other != gid)).collect())
        }
        None => {
            let user = CString::new(identity.user.as_str())?;
            Ok(nix::unistd::getgrouplist(&user, gid)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_becomes_root_this_way() {
        let root = Identity { uid: 0, gid: 0, user: "root".to_owned(), groups: Some(Vec::new()) };
        let error = assume(&root, false).unwrap_err().to_string();
        assert!(error.contains("never run as root"), "{error}");
    }
}
