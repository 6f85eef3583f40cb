//! `chroot=`: makes one directory all that the process can see, and gives up the right to do so.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// Why the process is not confined. It must not run Python then.
#[derive(Debug, thiserror::Error)]
pub enum ConfinementError {
    /// The system refused.
    #[error("{step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// What it said.
        source: Errno,
    },
    /// Something of the supervisor's rights is left.
    #[error("{0:?} cannot be given up")]
    Kept(CapabilitySet),
}

/// Makes `directory` the root of this process for good, and its working directory.
///
/// To be called by the only thread: capabilities belong to threads. By then everything that this
/// program is linked to has been loaded, from outside, and nothing from inside.
///
/// # Errors
/// [`ConfinementError`].
pub fn confine(directory: OwnedFd) -> Result<(), ConfinementError> {
    let failed = |step| move |source| ConfinementError::System { step, source };
    rustix::process::fchdir(&directory).map_err(failed("cannot enter it"))?;
    // Whoever has a directory outside open can go back there.
    drop(directory);
    rustix::process::chroot(".").map_err(failed("chroot(2) failed"))?;
    rustix::process::chdir("/").map_err(failed("cannot change to its root"))?;
    give_up_capabilities()
}

fn give_up_capabilities() -> Result<(), ConfinementError> {
    let failed = |step| move |source| ConfinementError::System { step, source };
    let nothing = CapabilitySet::empty();
    let sets = CapabilitySets { effective: nothing, permitted: nothing, inheritable: nothing };
    thread::clear_ambient_capability_set().map_err(failed("PR_CAP_AMBIENT_CLEAR_ALL failed"))?;
    thread::set_capabilities(None, sets).map_err(failed("capset(2) failed"))?;
    let left = thread::capabilities(None).map_err(failed("capget(2) failed"))?;
    let ambient = thread::capability_is_in_ambient_set(CapabilitySet::SYS_CHROOT);
    let left = left.effective | left.permitted | left.inheritable;
    match ambient.map_err(failed("PR_CAP_AMBIENT_IS_SET failed"))? {
        true => Err(ConfinementError::Kept(left | CapabilitySet::SYS_CHROOT)),
        false if !left.is_empty() => Err(ConfinementError::Kept(left)),
        false => Ok(()),
    }
}
