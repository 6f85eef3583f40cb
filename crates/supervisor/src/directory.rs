//! The directory of a generation, and the sockets in it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Pid;

/// Name of the socket at which httpd children ask.
pub const CONTROL: &str = "control.sock";

/// Name of the socket at which administrators ask.
pub const ADMIN: &str = "admin.sock";

/// Room for the longest name of a socket, which is a number with ten digits and `.sock`.
const LONGEST_NAME: usize = 15;

/// Length of `sun_path` in `unix(7)`, without its closing zero.
const LONGEST_PATH: usize = 107;

/// A directory that only we can change and only httpd's children can enter.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    httpd: Option<(Uid, Gid)>,
    /// Whether users are let in who are turned away at the sockets: files cannot be given to others.
    is_open: bool,
}

/// Who may connect to a socket besides httpd's user (`socket-user=`), as far as its file tells: who
/// listens asks each peer's user once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guests {
    /// Nobody.
    None,
    /// This user, who owns the socket.
    Owner(Uid),
    /// Several users.
    Several,
}

/// Why the directory or a socket in it cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Sockets in it could not be bound.
    #[error(
        "the path {} has {} bytes, and the sockets in it need one of at most {max}; set \
         DefaultRuntimeDir or WSGISocketPrefix to a shorter one",
        path.display(), path.as_os_str().len()
    )]
    TooLong {
        /// The directory.
        path: PathBuf,
        /// Bytes that it may have.
        max: usize,
    },
    /// Something of that name is there, and not from a supervisor of ours.
    #[error("{} exists and {what}; remove it", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another supervisor answers there.
    #[error("{} is in use by another supervisor; give each httpd its own DefaultRuntimeDir or WSGISocketPrefix", .0.display())]
    InUse(PathBuf),
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Directory {
    /// Makes the directory, or takes over one that a killed supervisor of ours left. With `httpd`,
    /// which is for root, that user and group can use what is in it, and `guests` if there are any.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn make(
        path: &Path,
        httpd: Option<(Uid, Gid)>,
        guests: Guests,
    ) -> Result<Self, DirectoryError> {
        let max = LONGEST_PATH - LONGEST_NAME - 1;
        if path.as_os_str().len() > max {
            return Err(DirectoryError::TooLong { path: path.to_owned(), max });
        }
        let failed = |action| {
            move |error: rustix::io::Errno| DirectoryError::System {
                action,
                path: path.to_owned(),
                source: error.into(),
            }
        };
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => take_over(path)?,
            Err(error) => return Err(failed("make the directory")(error)),
        }
        let mut is_open = false;
        if let Some((_, gid)) = httpd {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(failed("open"))?;
            let gid = rustix::fs::Gid::from_raw(gid.as_raw());
            is_open = match rustix::fs::fchown(&opened, None, Some(gid)) {
                Ok(()) => false,
                // CAP_CHOWN is missing.
                Err(rustix::io::Errno::PERM) => true,
                Err(error) => return Err(failed("change the group of")(error)),
            };
            // Guests have groups of their own: they may pass through, but see no names.
            let passes = is_open || guests != Guests::None;
            let pass = if passes { Mode::XOTH } else { Mode::empty() };
            rustix::fs::fchmod(&opened, Mode::RWXU | Mode::XGRP | pass)
                .map_err(failed("change the mode of"))?;
        }
        Ok(Self { path: path.to_owned(), httpd, is_open })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Whether there is something of that name in it.
    pub fn holds(&self, name: &str) -> bool {
        self.socket(name).symlink_metadata().is_ok()
    }

    /// Makes it once more, with the directories above it, as it was made before.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn make_anew(&self, guests: Guests) -> Result<Self, DirectoryError> {
        if let Some(parent) = self.path.parent() {
            // What cannot be made is told by what follows.
            let _ = std::fs::create_dir_all(parent);
        }
        Self::make(&self.path, self.httpd, guests)
    }

    /// Where the socket of that name is.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a non-blocking listening socket that only httpd's user and `guests` can connect to, with
    /// room for so many connections that wait, or as many as the system allows.
    ///
    /// # Errors
    /// [`DirectoryError::System`].
    pub fn listen(
        &self,
        name: &str,
        backlog: Option<u32>,
        guests: Guests,
    ) -> Result<OwnedFd, DirectoryError> {
        let path = self.socket(name);
        self.bind(&path, backlog, guests).map_err(|error| DirectoryError::System {
            action: "listen on",
            path,
            source: error.into(),
        })
    }

    /// Makes a non-blocking listening socket that only our own user, and root, can connect to.
    ///
    /// # Errors
    /// [`DirectoryError::System`].
    pub fn listen_privately(&self, name: &str) -> Result<OwnedFd, DirectoryError> {
        let without_httpd = Self { path: self.path.clone(), httpd: None, is_open: false };
        without_httpd.listen(name, None, Guests::None)
    }

    fn bind(
        &self,
        path: &Path,
        backlog: Option<u32>,
        guests: Guests,
    ) -> rustix::io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let address = SocketAddrUnix::new(path)?;
        // The mode has to be right from the first moment: `unix_bind` in the kernel makes the file
        // with the mode that the socket has by then.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&socket, &address)?;
        let others = match guests {
            _ if self.is_open => Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH,
            Guests::None => Mode::empty(),
            // httpd's user is let in by its group.
            Guests::Owner(_) => Mode::RGRP | Mode::WGRP,
            Guests::Several => Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH,
        };
        // By another call, as the kernel applies the umask when it makes the file.
        if !others.is_empty() {
            let mode = Mode::RUSR | Mode::WUSR | others;
            rustix::fs::chmodat(CWD, path, mode, AtFlags::empty())?;
        }
        // Last: the mode of what belongs to others can be changed with CAP_FOWNER only.
        if let Some((uid, gid)) = self.httpd.filter(|_| !self.is_open) {
            let owner = if let Guests::Owner(guest) = guests { guest } else { uid };
            let owner = rustix::fs::Uid::from_raw(owner.as_raw());
            let gid = rustix::fs::Gid::from_raw(gid.as_raw());
            rustix::fs::chownat(CWD, path, Some(owner), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        // The kernel lowers it to net.core.somaxconn.
        let most = i32::from(i16::MAX);
        let backlog = backlog.map_or(most, |backlog| i32::try_from(backlog).unwrap_or(most));
        rustix::net::listen(&socket, backlog)?;
        Ok(socket)
    }

    /// Removes a socket. One that is gone already is no error to anybody.
    pub fn unlink(&self, name: &str) {
        let _ = std::fs::remove_file(self.socket(name));
    }

    /// Removes everything.
    ///
    /// # Errors
    /// [`DirectoryError::System`] when something else than sockets is in it.
    pub fn remove(&self) -> Result<(), DirectoryError> {
        remove_sockets(&self.path);
        std::fs::remove_dir(&self.path).map_err(|source| DirectoryError::System {
            action: "remove the directory",
            path: self.path.clone(),
            source,
        })
    }

    /// Removes the directories of generations whose httpd is gone and whose supervisor was killed.
    /// Returns which.
    pub fn remove_stale_siblings(&self) -> Vec<PathBuf> {
        let (Some(parent), Some(ours)) = (self.path.parent(), Name::of(&self.path)) else {
            return Vec::new();
        };
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let stale = entries.map(|entry| entry.path()).filter(|path| {
            Name::of(path).is_some_and(|name| {
                name.prefix == ours.prefix && name.pid != ours.pid && !name.is_alive()
            }) && examine(path).is_ok()
                && !is_answered(path)
        });
        stale
            .filter(|path| {
                remove_sockets(path);
                std::fs::remove_dir(path).is_ok()
            })
            .collect()
    }
}

impl Directory {
    /// Whether a supervisor of an earlier generation of the same httpd is still there: it removes its
    /// directory when its last worker has gone.
    pub fn has_predecessor(&self) -> bool {
        let (Some(parent), Some(ours)) = (self.path.parent(), Name::of(&self.path)) else {
            return false;
        };
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).any(|path| {
            Name::of(&path).is_some_and(|name| {
                name.prefix == ours.prefix
                    && name.pid == ours.pid
                    && name.generation < ours.generation
            }) && is_answered(&path)
        })
    }
}

/// The parts of a directory's name: prefix, process id of the httpd, number of the generation.
struct Name<'a> {
    prefix: &'a [u8],
    pid: Pid,
    generation: u64,
}

impl<'a> Name<'a> {
    fn of(path: &'a Path) -> Option<Self> {
        let mut parts = path.file_name()?.as_bytes().rsplitn(3, |byte| *byte == b'.');
        let generation = std::str::from_utf8(parts.next()?).ok()?;
        let pid = std::str::from_utf8(parts.next()?).ok()?;
        let generation = generation.parse().ok()?;
        Some(Self { prefix: parts.next()?, pid: Pid::from_raw(pid.parse().ok()?)?, generation })
    }

    fn is_alive(&self) -> bool {
        rustix::process::test_kill_process(self.pid) != Err(rustix::io::Errno::SRCH)
    }
}

/// Empties a directory that is there already, if it is one that a supervisor of ours left.
fn take_over(path: &Path) -> Result<(), DirectoryError> {
    examine(path)?;
    if is_answered(path) {
        return Err(DirectoryError::InUse(path.to_owned()));
    }
    remove_sockets(path);
    Ok(())
}

/// Checks that nobody else can have put something into the directory.
fn examine(path: &Path) -> Result<(), DirectoryError> {
    let found = std::fs::symlink_metadata(path).map_err(|source| DirectoryError::System {
        action: "examine",
        path: path.to_owned(),
        source,
    })?;
    let what = if !found.is_dir() {
        "is no directory"
    } else if found.uid() != Uid::effective().as_raw() {
        "belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "can be written by others"
    } else {
        return Ok(());
    };
    Err(DirectoryError::Foreign { path: path.to_owned(), what })
}

/// Whether a supervisor listens there: one whose httpd was killed may still serve its children. Not
/// waited for: one that has too much to do is there, too.
fn is_answered(path: &Path) -> bool {
    let connected = || {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path.join(CONTROL))?)
    };
    matches!(connected(), Ok(()) | Err(rustix::io::Errno::AGAIN))
}

fn remove_sockets(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            // What remains makes the removal of the directory fail, which is told.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
