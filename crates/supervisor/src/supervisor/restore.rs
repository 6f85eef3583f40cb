//! Sockets whose names something else has removed: whatever cleans directories of old files, or stops
//! another service that shares one.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use wire::exchange::Level;

use super::Supervisor;
use super::act::socket_name;
use crate::directory::{ADMIN, CONTROL, DirectoryError};
use crate::logic::{Event, SetId};

/// How long after names could not be restored it is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Becomes readable when a name in the directory goes, or the directory itself does.
///
/// # Errors
/// `inotify_init1(2)`'s and `inotify_add_watch(2)`'s.
pub(super) fn watch_names(directory: &Path) -> io::Result<OwnedFd> {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let goes = WatchFlags::DELETE | WatchFlags::MOVED_FROM;
    let goes = goes | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
    inotify::add_watch(&watch, directory, goes)?;
    Ok(watch)
}

impl Supervisor {
    /// Makes the names anew that are missing.
    pub(super) fn restore(&mut self) {
        if let Some(names) = &self.names {
            let mut some = [0; 4096];
            while rustix::io::read(names, &mut some).is_ok_and(|length| length > 0) {}
        }
        self.restore_at = None;
        if self.logic.is_over() {
            return;
        }
        if let Err(error) = self.try_restore() {
            let line = format!("{error}; no other request can find its workers before");
            self.logs.main(Level::Error, &line);
            self.restore_at = Some(Instant::now() + RETRY);
        }
    }

    fn try_restore(&mut self) -> Result<(), DirectoryError> {
        if !self.directory.exists() {
            self.directory = self.directory.make_anew(self.guests)?;
            // Without it, the next loss is found when it is too late, as with kernels without.
            self.names = watch_names(self.directory.path()).ok();
        }
        let mut lost = false;
        if !self.directory.holds(CONTROL) {
            let listener = self.directory.listen(CONTROL, None, self.guests)?;
            self.closer.close_listener(self.broker.replace_listener(listener));
            lost = true;
        }
        if !self.directory.holds(ADMIN) {
            self.admin.replace_listener(self.directory.listen_privately(ADMIN)?);
            lost = true;
        }
        let is_lost = |id: &&SetId| !self.directory.holds(&socket_name(**id));
        for id in self.sets.keys().filter(is_lost) {
            self.events.push_back(Event::SetLost(*id));
            lost = true;
        }
        if lost {
            let line = format!(
                "something has removed sockets in {}; they are made anew",
                self.directory.path().display()
            );
            self.logs.main(Level::Warning, &line);
        }
        Ok(())
    }
}
