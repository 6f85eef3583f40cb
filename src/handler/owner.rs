//! `script-user=` and `script-group=`: whose scripts a process group runs.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::ScriptOwner;

const GROUP_MAY_WRITE: u32 = 0o020;
const WORLD_MAY_WRITE: u32 = 0o002;

/// Checks a script and the directory that it is in.
///
/// # Errors
/// A sentence that says what is wrong with which of them.
pub fn check(script: &[u8], owner: ScriptOwner) -> Result<(), String> {
    let script = Path::new(std::ffi::OsStr::from_bytes(script));
    for path in [Some(script), script.parent()].into_iter().flatten() {
        let problem = match std::fs::metadata(path) {
            Ok(metadata) => problem(&metadata, owner),
            Err(error) => Some(format!("cannot be looked at ({error})")),
        };
        if let Some(problem) = problem {
            return Err(format!("{} {problem}", path.display()));
        }
    }
    Ok(())
}

fn problem(metadata: &Metadata, owner: ScriptOwner) -> Option<String> {
    let (option, expected, found, forbidden) = match owner {
        ScriptOwner::User(uid) => {
            ("script-user=, user", uid, metadata.uid(), GROUP_MAY_WRITE | WORLD_MAY_WRITE)
        }
        ScriptOwner::Group(gid) => ("script-group=, group", gid, metadata.gid(), WORLD_MAY_WRITE),
    };
    if found != expected {
        return Some(format!(
            "belongs to the id {found}, and not to that of {option} id {expected}"
        ));
    }
    let mode = metadata.mode() & 0o7777;
    (mode & forbidden != 0)
        .then(|| format!("has the mode {mode:o}, with which others may write it ({option})"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn owner_and_mode_count_of_script_and_directory() {
        let root = std::env::temp_dir().join(format!("mod_wsgi_rs-owner-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let script = root.join("app.wsgi");
        fs::write(&script, "").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let metadata = fs::metadata(&script).unwrap();
        let (user, group) = (metadata.uid(), metadata.gid());
        let outcome = |owner| check(script.as_os_str().as_bytes(), owner);
        mode(&script, 0o644);
        mode(&root, 0o755);
        assert_eq!(outcome(ScriptOwner::User(user)), Ok(()));
        assert_eq!(outcome(ScriptOwner::Group(group)), Ok(()));
        assert!(outcome(ScriptOwner::User(user + 1)).unwrap_err().contains("app.wsgi belongs"));
        assert!(outcome(ScriptOwner::Group(group + 1)).is_err());
        mode(&root, 0o775);
        assert!(outcome(ScriptOwner::User(user)).unwrap_err().contains("mode 775"));
        assert_eq!(outcome(ScriptOwner::Group(group)), Ok(()));
        mode(&root, 0o755);
        mode(&script, 0o646);
        assert!(outcome(ScriptOwner::Group(group)).unwrap_err().contains("mode 646"));
        fs::remove_dir_all(root).unwrap();
    }
}
