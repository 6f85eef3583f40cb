//! What can only be judged when the whole configuration has been read: the `check_config` hook,
//! which `apachectl configtest` runs too.

use std::path::PathBuf;

use wire::exchange::Level;

use super::{python, registry};
use crate::ffi::log::log_server;
use crate::ffi::pool::Pool;
use crate::ffi::process::module_path;
use crate::ffi::server::Server;

/// The directory that holds the module, and beside it the supervisor and the workers.
pub fn install_directory() -> PathBuf {
    module_path().and_then(|path| path.parent().map(ToOwned::to_owned)).unwrap_or_default()
}

/// Looks at the whole configuration: warns of what cannot work as meant, and refuses what could
/// never serve.
///
/// # Errors
/// When httpd must not start; the reason has been logged.
pub fn check(pool: Pool<'_>, main: Server<'_>) -> Result<(), ()> {
    let log = |level: Level, text: String| log_server(Some(main), level.number(), text.as_bytes());
    let registry = registry::of(pool).borrow();
    for (name, location) in registry.undefined() {
        let name = String::from_utf8_lossy(name);
        let text = format!(
            "The process group '{name}' that is named at {location} is defined nowhere: requests \
             that it is to serve get status 500. Add a line 'WSGIDaemonProcess {name}', or correct \
             the name."
        );
        log(Level::Warning, text);
    }
    let servers = || main.and_following().filter_map(Server::settings);
    let groups = || servers().flat_map(|settings| &settings.groups);
    let has_groups = groups().next().is_some();
    if !has_groups && servers().all(|settings| settings.aliases.is_empty()) {
        return Ok(());
    }
    let directory = install_directory();
    let supervisor = directory.join("wsgi-supervisor");
    if !supervisor.is_file() {
        let text = format!(
            "{} is missing: it belongs into the same directory as the module. Install both from \
             one build (cargo xtask dist).",
            supervisor.display()
        );
        log(Level::Error, text);
        return Err(());
    }
    match python::default_worker(&directory) {
        Err(error) if !has_groups || groups().any(|group| group.worker.is_none()) => {
            log(Level::Error, error.to_string());
            Err(())
        }
        _ => Ok(()),
    }
}
