//! The folder for what a running server reads: other users must be able to enter it, which a
//! checkout below somebody's home does not allow.

use std::env;
use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Uid;

use crate::shell;

/// Makes the folder where it does not exist. It is the same every time for a user and a checkout,
/// so that virtual environments need not be made again.
pub fn ensure() -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    shell::root().hash(&mut hasher);
    let checkout = hasher.finish() as u32;
    ensure_named(&format!("{checkout:08x}"))
}

/// The same for all checkouts of a user: for what takes minutes to build, and is not made of a checkout.
pub fn ensure_common() -> Result<PathBuf> {
    ensure_named("common")
}

fn ensure_named(name: &str) -> Result<PathBuf> {
    let uid = Uid::effective();
    let path = env::temp_dir().join(format!("mod_wsgi_rs-{uid}-{name}"));
    if let Some(closed) = closed_to_others(&env::temp_dir()) {
        bail!("other users may not enter {}: set TMPDIR to another folder", closed.display());
    }
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    // Anybody may have made a folder of this name in a common one, to have us run what they put
    // there.
    let metadata = fs::symlink_metadata(&path)?;
    ensure!(
        metadata.is_dir() && metadata.uid() == uid.as_raw(),
        "{} belongs to somebody else",
        path.display()
    );
    open(&path)?;
    Ok(path)
}

/// Makes a folder in the stage that everybody may enter.
pub fn folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    open(path)
}

/// Writes a file that everybody may read.
pub fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o644))?)
}

/// The folder on the way to `path`, or `path` itself, that users other than its owner cannot use.
pub fn closed_to_others(path: &Path) -> Option<PathBuf> {
    let path = fs::canonicalize(path).ok()?;
    let closed = path.ancestors().collect::<Vec<_>>().into_iter().rev().find(|part| {
        let needed = if part.is_dir() { 0o001 } else { 0o004 };
        fs::metadata(part).is_ok_and(|metadata| metadata.mode() & needed == 0)
    });
    closed.map(Path::to_owned)
}

/// Lets everybody in, whatever our umask says.
fn open(folder: &Path) -> Result<()> {
    Ok(fs::set_permissions(folder, Permissions::from_mode(0o755))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_folders_are_named() {
        let stage = ensure().unwrap();
        assert_eq!(closed_to_others(&stage), None);
        let closed = stage.join(format!("closed-{}", std::process::id()));
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        fs::write(closed.join("file"), "").unwrap();
        let named = closed_to_others(&closed.join("file"));
        assert_eq!(named, Some(fs::canonicalize(&closed).unwrap()));
        fs::remove_dir_all(&closed).unwrap();
    }
}
