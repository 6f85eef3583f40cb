//! Writes what a server consists of: httpd's configuration, a file of this folder for each concern,
//! and the scripts beside it.

mod applications;
mod conf;
mod core;
mod files;
mod hosts;
mod logs;
mod modules;
mod proxies;
mod scripts;
mod services;

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use self::conf::Conf;
use crate::httpd::HttpdError;
use crate::settings::Settings;

pub use self::scripts::{APACHECTL, apachectl};

/// Why a server cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A file or folder cannot be made.
    #[error("cannot make {}: {source}", path.display())]
    Make {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The server root is not ours alone.
    #[error(
        "{} cannot be the server root: it belongs to user {owner}, or others than its owner may \
         write there; remove it, or name another one with --server-root",
        path.display()
    )]
    Foreign {
        /// Its path.
        path: PathBuf,
        /// The id of the user that it belongs to.
        owner: u32,
    },
    /// httpd lacks something.
    #[error(transparent)]
    Httpd(#[from] HttpdError),
}

/// Makes the server root, and all that is in it.
///
/// # Errors
/// [`GenerateError`].
pub fn server(settings: &Settings) -> Result<(), GenerateError> {
    let root = Root { settings };
    root.make()?;
    root.write("httpd.conf", &configuration(settings)?, 0o644)?;
    scripts::write(&root)
}

/// The whole configuration of httpd.
///
/// # Errors
/// When httpd lacks a module that is needed.
pub fn configuration(settings: &Settings) -> Result<String, HttpdError> {
    let mut conf = Conf::default();
    conf.comment("Made by mod_wsgi-rs, and made anew whenever it sets this server up.");
    core::names(settings, &mut conf);
    modules::load(settings, &mut conf)?;
    core::limits(settings, &mut conf);
    logs::write(settings, &mut conf);
    applications::write(settings, &mut conf);
    files::write(settings, &mut conf);
    proxies::mounts(settings, &mut conf);
    services::write(settings, &mut conf);
    hosts::write(settings, &mut conf);
    for file in &settings.options.content.include_file {
        conf.line(&["Include", &conf::absolute(file)]);
    }
    Ok(conf.text())
}

/// The server root, where files are made.
struct Root<'s> {
    settings: &'s Settings,
}

impl Root<'_> {
    /// Makes it, or sees that it is ours: it has a name that anybody could use in a folder where
    /// anybody may make one.
    fn make(&self) -> Result<(), GenerateError> {
        let path = &self.settings.root;
        let wrong = |source| GenerateError::Make { path: path.clone(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(wrong)?;
        }
        match DirBuilder::new().mode(0o755).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(wrong(error)),
            _ => {}
        }
        let found = fs::symlink_metadata(path).map_err(wrong)?;
        // A user's folders are often writable for a group of which no other user is.
        let others = if geteuid().is_root() { 0o022 } else { 0o002 };
        let is_ours = found.uid() == geteuid().as_raw() && found.mode() & others == 0;
        if !found.is_dir() || !is_ours {
            return Err(GenerateError::Foreign { path: path.clone(), owner: found.uid() });
        }
        match self.settings.user {
            None => Ok(()),
            // Workers of another user read here, whatever our umask says.
            Some(_) => fs::set_permissions(path, Permissions::from_mode(found.mode() | 0o055))
                .map_err(wrong),
        }
    }

    /// Writes a file with these permissions: a new one, since another one may be in use.
    fn write(&self, name: &str, content: &str, mode: u32) -> Result<(), GenerateError> {
        let path = self.settings.file(name);
        let fresh = self.settings.file(&format!("{name}.new"));
        let write = || {
            let _ = fs::remove_file(&fresh);
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(content.as_bytes())?;
            file.set_permissions(Permissions::from_mode(mode))?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|source| GenerateError::Make { path: path.clone(), source })
    }

    /// Writes a file unless it is there.
    fn keep(&self, name: &str, content: &str) -> Result<(), GenerateError> {
        match self.settings.file(name).exists() {
            true => Ok(()),
            false => self.write(name, content, 0o644),
        }
    }

    /// Makes a folder, with those above it.
    fn folder(&self, path: &Path) -> Result<(), GenerateError> {
        fs::create_dir_all(path)
            .map_err(|source| GenerateError::Make { path: path.to_owned(), source })
    }

    /// Makes a folder that the application writes to.
    fn open_folder(&self, path: &Path) -> Result<(), GenerateError> {
        let is_new = !path.exists();
        self.folder(path)?;
        match &self.settings.user {
            // A link that has been put in its place meanwhile is not followed.
            Some(user) if is_new => lchown(path, Some(user.ids.0), Some(user.ids.1))
                .map_err(|source| GenerateError::Make { path: path.to_owned(), source }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
