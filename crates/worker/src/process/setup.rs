//! Sets the process up as the supervisor says.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::process::DumpableBehavior;
use wire::control::Settings;
use wire::exchange::Level;

use crate::ffi;
use crate::process::confinement::confine;
use crate::process::control::Reporter;
use crate::process::memory;

/// Keeps processes of the same user from reading this one's memory, environment and descriptors, and
/// from tracing it (`PR_SET_DUMPABLE`; other groups may run as that user). Programs that the application
/// executes are their own affair again.
pub fn hide() {
    // Refused by no kernel.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// A process that is [hidden](hide()) again when this is dropped.
#[derive(Debug)]
pub struct Shown(());

/// Lets this process read its own files in `/proc` that no other user's process may read.
#[must_use]
pub fn show() -> Shown {
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable);
    Shown(())
}

impl Drop for Shown {
    fn drop(&mut self) {
        hide();
    }
}

/// Confines the process to `root`, the group's `chroot=`, and sets umask and working directory in
/// there. (Without a `chroot=`, the supervisor has seen to these.)
///
/// # Errors
/// A sentence that names the option and what the system said.
pub fn enter_root(settings: &Settings, root: OwnedFd) -> Result<(), String> {
    // Opened for later: there need be no /proc inside.
    memory::resident_memory();
    let path = settings.root.as_deref().unwrap_or("/".as_ref()).display();
    confine(root).map_err(|error| format!("chroot={path}: {error}"))?;
    if let Some(mask) = settings.umask {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask & 0o777));
    }
    if let Some(directory) = &settings.working_directory
        && let Err(error) = rustix::process::chdir(directory)
    {
        // Accounts made for a service often have no directory: only the one that was asked for has
        // to be there.
        if settings.home.is_some() {
            let error = std::io::Error::from(error);
            return Err(format!("cannot change to home={}: {error}", directory.display()));
        }
        rustix::process::chdir("/").map_err(|error| format!("cannot change to /: {error}"))?;
    }
    Ok(())
}

/// Sets all categories of the locale; Python itself sets that of characters alone.
pub fn set_locale(settings: &Settings, reporter: &Reporter) {
    let Some(locale) = &settings.locale else { return };
    let is_set = CString::new(locale.as_slice()).is_ok_and(|name| ffi::set_locale(&name));
    if !is_set {
        let locale = String::from_utf8_lossy(locale);
        let text = format!("locale={locale} is not installed: applications run in the C locale");
        reporter.log(Level::Warning, text);
    }
}
