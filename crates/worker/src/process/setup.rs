//! Sets the process up as the supervisor says, before Python runs in it.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use wire::control::Settings;
use wire::exchange::Level;

use crate::ffi;
use crate::process::confinement::confine;
use crate::process::control::Reporter;
use crate::process::memory;

/// Root directory, umask and working directory. `root` is the group's `chroot=`, open.
///
/// # Errors
/// A sentence that names the option and what the system said.
pub fn set_up(settings: &Settings, root: Option<OwnedFd>) -> Result<(), String> {
    if let Some(path) = &settings.root {
        // Opened for later: there need be no /proc inside.
        memory::resident_memory();
        confine(root).map_err(|error| format!("chroot={}: {error}", path.display()))?;
    }
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
