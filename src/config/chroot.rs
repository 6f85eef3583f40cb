//! `chroot=`: which path of httpd's is which path of the workers that are confined to a directory.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// As many symbolic links as Linux follows on one way.
const MOST_LINKS: usize = 40;

/// The directory that the workers of a group are confined to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The directory at this absolute path.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What workers call a file of httpd's, if it is in here.
    pub fn inside(&self, path: &[u8]) -> Option<Vec<u8>> {
        let rest = Path::new(OsStr::from_bytes(path)).strip_prefix(&self.0).ok()?;
        Some([b"/", rest.as_os_str().as_bytes()].concat())
    }

    /// What workers call a script that a directive names. mod_wsgi wants it by that name, unless
    /// a URL is mapped to it; by httpd's name, it is found as well.
    pub fn named(&self, path: &[u8]) -> Vec<u8> {
        self.inside(path).unwrap_or_else(|| path.to_vec())
    }

    /// Where a path of workers leads, by httpd's name. Symbolic links on the way mean what they mean
    /// in here.
    pub fn outside(&self, path: &Path) -> PathBuf {
        let mut found = self.0.clone();
        let mut links = 0;
        let mut left: VecDeque<OsString> = components(path).collect();
        while let Some(name) = left.pop_front() {
            match name.as_bytes() {
                b"/" => found.clone_from(&self.0),
                b".." if found == self.0 => {}
                b".." => drop(found.pop()),
                _ => {
                    found.push(&name);
                    let Ok(target) = std::fs::read_link(&found) else { continue };
                    links += 1;
                    if links > MOST_LINKS {
                        continue;
                    }
                    found.pop();
                    left = components(&target).chain(left).collect();
                }
            }
        }
        found
    }
}

fn components(path: &Path) -> impl Iterator<Item = OsString> {
    let named = path.components().filter(|component| *component != Component::CurDir);
    named.map(|component| component.as_os_str().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_below_the_root_has_a_name_inside() {
        for root in ["/srv/jail", "/srv/jail/", "/srv//jail"] {
            let root = Root::new(root.into());
            assert_eq!(root.inside(b"/srv/jail/app.wsgi").as_deref(), Some(&b"/app.wsgi"[..]));
            assert_eq!(root.inside(b"/srv/jail/a/b").as_deref(), Some(&b"/a/b"[..]));
            assert_eq!(root.inside(b"/srv/jail").as_deref(), Some(&b"/"[..]));
            for path in [&b"/srv/jails/app.wsgi"[..], b"/srv/app.wsgi", b"app.wsgi", b""] {
                assert_eq!(root.inside(path), None);
            }
            assert_eq!(root.named(b"/app.wsgi"), b"/app.wsgi");
            assert_eq!(root.named(b"/srv/jail/app.wsgi"), b"/app.wsgi");
        }
    }

    #[test]
    fn links_lead_nowhere_else() {
        let path = std::env::temp_dir().join(format!("mod_wsgi_rs-chroot-{}", std::process::id()));
        fs::create_dir_all(path.join("usr/lib")).unwrap();
        for (target, link) in
            [("/usr", "absolute"), ("usr/lib", "lib"), ("../../..", "usr/up"), ("loop", "loop")]
        {
            symlink(target, path.join(link)).unwrap();
        }
        let root = Root::new(path.clone());
        let found = |inside: &str| {
            let found = root.outside(Path::new(inside));
            found.strip_prefix(&path).unwrap().display().to_string()
        };
        assert_eq!(found("/usr/lib"), "usr/lib");
        assert_eq!(found("/absolute/lib/x"), "usr/lib/x");
        assert_eq!(found("/lib/x"), "usr/lib/x");
        assert_eq!(found("/lib/../x"), "usr/x");
        assert_eq!(found("/usr/up/x"), "x");
        assert_eq!(found("/../../etc/passwd"), "etc/passwd");
        assert_eq!(found("/loop/x"), "loop/x");
        fs::remove_dir_all(path).unwrap();
    }
}
