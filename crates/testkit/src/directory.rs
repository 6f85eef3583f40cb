//! A short-lived directory that every user may enter: applications run as other users.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, process};

use anyhow::{Context, Result};

use crate::environment;

/// A directory that goes away with its owner.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes a new, empty directory. Its path is short, because the sockets below it must fit
    /// into the 108 bytes of a Unix socket's address.
    pub(crate) fn new() -> Result<Directory> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = env::temp_dir().join(format!("mwrs-{}-{number}", process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {
                    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
                    return Ok(Directory(path));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", path.display()));
                }
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, with its folders, that everybody may read whatever our umask says.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.0.join(name);
        let folder = path.parent().context("a file name without a folder")?;
        self.make(folder)?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
        Ok(())
    }

    /// Makes a folder inside, and those above it, that everybody may enter.
    pub(crate) fn make(&self, folder: &Path) -> Result<()> {
        let mut path = self.0.clone();
        for part in folder.strip_prefix(&self.0).unwrap_or(folder) {
            path.push(part);
            if !path.is_dir() {
                fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
                fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if env::var_os(environment::KEEP).is_some() {
            eprintln!("kept {}", self.0.display());
        } else if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}
