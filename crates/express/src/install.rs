//! Copies the module to a place that belongs to root, and enables it in httpd.
//!
//! root's httpd loads the module. A user who can change a file of it, or a folder above, is as good as
//! root.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf, absolute};
use std::process::{self, Command};

use nix::unistd::{Uid, User, geteuid};
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::files::{Files, FilesError, MODULE};
use crate::options::Install;
use crate::python::{self, PythonError};
use crate::sources::Variables;

/// How the names of the files begin that belong to the module.
const OURS: [&str; 6] =
    ["mod_wsgi_rs.so", "libmod_wsgi_rs-", "wsgi-", "wsgi_", "wsgictl", "mod_wsgi-rs"];

/// The link to the interpreter of groups that name none.
const PYTHON: &str = "python";

/// The command for administrators.
const WSGICTL: &str = "wsgictl";

/// Where Debian's httpd has modules that can be enabled, below `/etc`.
const DEBIAN: &str = "apache2/mods-available";
/// Where Red Hat's httpd has the configuration of modules, below `/etc`.
const RED_HAT: &str = "httpd/conf.modules.d";

/// Why the module is not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Not root.
    #[error("the module's files have to belong to root: run this as root")]
    NotRoot,
    /// Others could change what root's httpd loads.
    #[error("refused: {0}")]
    Risk(Risk),
    /// A file of the module is none.
    #[error("{} is no regular file", .0.display())]
    Strange(PathBuf),
    /// The place is taken by something else.
    #[error("{} is there, and is no earlier copy of the module: name another place", .0.display())]
    Taken(PathBuf),
    /// A file or folder.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `a2enmod` fails.
    #[error("a2enmod fails: {0}")]
    Enable(String),
    /// The module.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The environment of Python.
    #[error(transparent)]
    Python(#[from] PythonError),
}

/// A file or folder that others than root could change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {problem}, so that others could change what root's httpd loads", path.display())]
pub struct Risk {
    path: PathBuf,
    problem: String,
}

/// Everything on the way to a path that others than root could change, links followed.
pub fn risks(path: &Path) -> Vec<Risk> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let found = real.ancestors().filter_map(|path| {
        let metadata = fs::symlink_metadata(path).ok()?;
        let (uid, mode) = (metadata.uid(), metadata.mode());
        let problem = if uid != 0 {
            let name = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            format!("belongs to {}", name.map_or_else(|| uid.to_string(), |user| user.name))
        } else if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            "can be written to by all".to_owned()
        } else if mode & 0o020 != 0 && metadata.gid() != 0 {
            format!("can be written to by group {}", metadata.gid())
        } else {
            return None;
        };
        Some(Risk { path: path.to_owned(), problem })
    });
    found.collect()
}

/// The lines for httpd's configuration.
pub fn lines(module: &Path, home: Option<&Path>) -> String {
    let mut lines = format!("LoadModule wsgi_module \"{}\"\n", module.display());
    if let Some(home) = home {
        lines += &format!("WSGIPythonHome \"{}\"\n", home.display());
    }
    lines
}

/// Installs the module. Returns what to tell.
///
/// # Errors
/// [`InstallError`].
pub fn install(options: &Install, variables: &Variables) -> Result<String, InstallError> {
    if !geteuid().is_root() {
        return Err(InstallError::NotRoot);
    }
    let files = Files::find(variables)?;
    let home = python::home(&options.python, variables)?;
    let place = absolute(&options.modules_directory).map_err(|source| InstallError::Write {
        path: options.modules_directory.clone(),
        source,
    })?;
    let around = place.ancestors().skip(1).find(|path| path.exists()).unwrap_or(Path::new("/"));
    if let Some(risk) = risks(around).into_iter().next() {
        return Err(InstallError::Risk(risk));
    }
    let mut told = String::new();
    for risk in risks(&files.module).into_iter().take(1) {
        told += &format!("note: copied from where {risk}\n");
    }
    copy(&files.folder, &place)?;
    let lines = lines(&place.join(MODULE), home.as_deref());
    told += &format!("Copied to {}\n", place.display());
    match options.no_enable {
        true => told += &lines,
        false => {
            told += &enable(&lines, Path::new("/etc"))?;
            told += &link_command(&place, &options.commands_directory)?;
        }
    }
    Ok(told)
}

/// Puts a link to the command for administrators where a shell finds it. What is there and is no such link
/// stays. Returns what to tell.
fn link_command(place: &Path, folder: &Path) -> Result<String, InstallError> {
    let (command, link) = (place.join(WSGICTL), folder.join(WSGICTL));
    let leads = fs::read_link(&link);
    match &leads {
        Ok(leads) if leads.file_name().is_some_and(|name| name == WSGICTL) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => return Ok(format!("note: {} is there, and stays as it is\n", link.display())),
    }
    let fresh = folder.join(format!("{WSGICTL}.new-{}", process::id()));
    fs::create_dir_all(folder)
        .and_then(|()| symlink(&command, &fresh))
        .and_then(|()| fs::rename(&fresh, &link))
        .map_err(|source| InstallError::Write { path: link.clone(), source })?;
    Ok(format!("{} leads to {}\n", link.display(), command.display()))
}

/// Puts a copy of the module's files in place, all at once.
fn copy(from: &Path, place: &Path) -> Result<(), InstallError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::Write { path, source }
    };
    if place.exists() && !place.join(MODULE).is_file() && !is_empty(place) {
        return Err(InstallError::Taken(place.to_owned()));
    }
    let parent = place.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(wrong(parent))?;
    let fresh = place.with_extension(format!("new-{}", process::id()));
    DirBuilder::new().mode(0o755).create(&fresh).map_err(wrong(&fresh))?;
    let done = fill(from, &fresh).and_then(|()| {
        fs::set_permissions(&fresh, Permissions::from_mode(0o755)).map_err(wrong(&fresh))?;
        match place.exists() {
            true => replace(&fresh, place).map_err(wrong(place)),
            false => fs::rename(&fresh, place).map_err(wrong(place)),
        }
    });
    let left = if fresh.exists() { fs::remove_dir_all(&fresh) } else { Ok(()) };
    done.and(left.map_err(wrong(&fresh)))
}

/// Puts a copy in the place of an earlier one.
fn replace(fresh: &Path, place: &Path) -> io::Result<()> {
    match renameat_with(CWD, fresh, CWD, place, RenameFlags::EXCHANGE) {
        // The earlier copy has the new one's name now, and goes.
        Ok(()) => Ok(()),
        // A folder in a lower layer of a container's file system cannot be renamed, and some file systems
        // exchange nothing.
        Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS) => replace_files(fresh, place),
        Err(error) => Err(error.into()),
    }
}

/// The same, one file after the other. What loads the others comes last.
fn replace_files(fresh: &Path, place: &Path) -> io::Result<()> {
    let mut names = names(fresh)?;
    names.sort_by_key(|name| name == MODULE);
    for name in &names {
        fs::rename(fresh.join(name), place.join(name))?;
    }
    for name in self::names(place)?.iter().filter(|name| !names.contains(name) && is_ours(name)) {
        fs::remove_file(place.join(name))?;
    }
    Ok(())
}

/// The names in a folder.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

/// Whether a file of this name belongs to the module.
fn is_ours(name: &OsStr) -> bool {
    OURS.iter().any(|start| name.as_bytes().starts_with(start.as_bytes()))
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// Copies the module's files into an empty folder.
fn fill(from: &Path, to: &Path) -> Result<(), InstallError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::Write { path, source }
    };
    for entry in fs::read_dir(from).map_err(wrong(from))? {
        let entry = entry.map_err(wrong(from))?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().map_err(wrong(&path))?;
        let target = to.join(&name);
        if name == PYTHON && kind.is_symlink() {
            // What groups without an environment run in. Workers execute it with their own rights.
            let leads = fs::read_link(&path).map_err(wrong(&path))?;
            symlink(&leads, &target).map_err(wrong(&target))?;
            continue;
        }
        if !is_ours(&name) {
            continue;
        }
        copy_file(&path, &target)?;
    }
    Ok(())
}

/// Copies a regular file, and nothing that has been put in its place meanwhile.
fn copy_file(from: &Path, to: &Path) -> Result<(), InstallError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::Write { path, source }
    };
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut source =
        OpenOptions::new().read(true).custom_flags(flags).open(from).map_err(wrong(from))?;
    let metadata = source.metadata().map_err(wrong(from))?;
    if !metadata.is_file() {
        return Err(InstallError::Strange(from.to_owned()));
    }
    let mode = if metadata.mode() & 0o111 != 0 { 0o755 } else { 0o644 };
    let mut target = File::create_new(to).map_err(wrong(to))?;
    io::copy(&mut source, &mut target).map_err(wrong(to))?;
    target.set_permissions(Permissions::from_mode(mode)).map_err(wrong(to))
}

/// Has httpd load the module, in the way of the system whose `/etc` this is. Returns what to tell.
fn enable(lines: &str, etc: &Path) -> Result<String, InstallError> {
    let write = |path: &Path| {
        let fresh = path.with_extension("new");
        fs::write(&fresh, lines)
            .and_then(|()| fs::set_permissions(&fresh, Permissions::from_mode(0o644)))
            .and_then(|()| fs::rename(&fresh, path))
            .map_err(|source| InstallError::Write { path: path.to_owned(), source })
    };
    let debian = etc.join(DEBIAN);
    if debian.is_dir() {
        let file = debian.join("mod_wsgi_rs.load");
        write(&file)?;
        if debian.with_file_name("mods-enabled").join("wsgi.load").exists() {
            return Ok(format!(
                "Written {}. Debian's mod_wsgi is enabled: `a2dismod wsgi && a2enmod mod_wsgi_rs` \
                 changes over.\n",
                file.display()
            ));
        }
        let output = Command::new("a2enmod").args(["--quiet", "mod_wsgi_rs"]).output();
        return match output {
            Ok(output) if output.status.success() => Ok(format!(
                "Enabled by {}. `apachectl configtest && apachectl graceful` loads it.\n",
                file.display()
            )),
            Ok(output) => {
                Err(InstallError::Enable(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(format!(
                "Written {0}. There is no a2enmod: put `Include {0}` into httpd's configuration.\n",
                file.display()
            )),
            Err(error) => Err(InstallError::Enable(error.to_string())),
        };
    }
    let red_hat = etc.join(RED_HAT);
    if red_hat.is_dir() {
        let file = red_hat.join("10-mod_wsgi_rs.conf");
        write(&file)?;
        return Ok(format!(
            "Enabled by {}. Where another mod_wsgi is loaded there, remove its file. `apachectl \
             configtest && apachectl graceful` loads it.\n",
            file.display()
        ));
    }
    Ok(format!("Put this into httpd's configuration:\n{lines}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes away with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("mod_wsgi-rs-{name}-{}", process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_copy_takes_the_place_of_an_earlier_one_whole() {
        let scratch = Scratch::new("copy");
        let (from, place) = (scratch.0.join("from"), scratch.0.join("place"));
        fs::create_dir_all(&from).unwrap();
        for name in [MODULE, "libmod_wsgi_rs-1.so", "wsgi_worker.abi3.so", "other"] {
            fs::write(from.join(name), name).unwrap();
        }
        symlink("/usr/bin/python3", from.join(PYTHON)).unwrap();
        copy(&from, &place).unwrap();
        assert!(place.join("wsgi_worker.abi3.so").is_file() && !place.join("other").exists());
        assert_eq!(fs::read_link(place.join(PYTHON)).unwrap(), Path::new("/usr/bin/python3"));
        fs::rename(from.join("libmod_wsgi_rs-1.so"), from.join("libmod_wsgi_rs-2.so")).unwrap();
        copy(&from, &place).unwrap();
        assert!(place.join("libmod_wsgi_rs-2.so").is_file());
        assert!(!place.join("libmod_wsgi_rs-1.so").exists());
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_renamed_gets_the_new_files() {
        let scratch = Scratch::new("files");
        let (fresh, place) = (scratch.0.join("fresh"), scratch.0.join("place"));
        for (folder, names) in [
            (&place, [MODULE, "libmod_wsgi_rs-1.so", PYTHON, "other"]),
            (&fresh, [MODULE, "libmod_wsgi_rs-2.so", PYTHON, "wsgictl"]),
        ] {
            fs::create_dir_all(folder).unwrap();
            names.iter().for_each(|name| {
                fs::write(folder.join(name), folder.as_os_str().as_bytes()).unwrap()
            });
        }
        replace_files(&fresh, &place).unwrap();
        let mut there = names(&place).unwrap();
        there.sort();
        assert_eq!(there, ["libmod_wsgi_rs-2.so", MODULE, "other", PYTHON, "wsgictl"]);
        assert_eq!(fs::read(place.join(MODULE)).unwrap(), fresh.as_os_str().as_bytes());
        assert!(names(&fresh).unwrap().is_empty());
    }

    #[test]
    fn links_out_of_the_folder_are_not_followed() {
        let scratch = Scratch::new("links");
        let (from, place) = (scratch.0.join("from"), scratch.0.join("place"));
        fs::create_dir_all(&from).unwrap();
        symlink("/etc/passwd", from.join("wsgi-worker")).unwrap();
        assert!(copy(&from, &place).is_err());
        assert!(!place.exists() && fs::read_dir(&scratch.0).unwrap().count() == 1);
        fs::create_dir(&place).unwrap();
        fs::write(place.join("something"), "").unwrap();
        assert!(matches!(copy(&from, &place), Err(InstallError::Taken(_))));
    }

    #[test]
    fn httpd_is_told_in_the_way_of_the_system() {
        let scratch = Scratch::new("enable");
        let told = enable("LoadModule x\n", &scratch.0).unwrap();
        assert!(told.contains("httpd's configuration:\nLoadModule x\n"), "{told}");
        fs::create_dir_all(scratch.0.join(RED_HAT)).unwrap();
        let told = enable("LoadModule y\n", &scratch.0).unwrap();
        let file = scratch.0.join(RED_HAT).join("10-mod_wsgi_rs.conf");
        assert!(told.contains(&file.display().to_string()), "{told}");
        assert_eq!(fs::read_to_string(file).unwrap(), "LoadModule y\n");
        // Debian's own mod_wsgi has to be disabled first.
        let enabled = scratch.0.join("apache2/mods-enabled");
        fs::create_dir_all(&enabled).unwrap();
        fs::create_dir_all(scratch.0.join(DEBIAN)).unwrap();
        fs::write(enabled.join("wsgi.load"), "").unwrap();
        let told = enable("LoadModule z\n", &scratch.0).unwrap();
        assert!(told.contains("a2dismod wsgi && a2enmod mod_wsgi_rs"), "{told}");
        let file = scratch.0.join(DEBIAN).join("mod_wsgi_rs.load");
        assert_eq!(fs::read_to_string(file).unwrap(), "LoadModule z\n");
    }

    #[test]
    fn the_command_is_linked_to_unless_something_else_has_its_name() {
        let scratch = Scratch::new("link");
        let (folder, link) = (scratch.0.join("bin"), scratch.0.join("bin/wsgictl"));
        for place in ["/usr/lib/one", "/usr/lib/two"] {
            let told = link_command(Path::new(place), &folder).unwrap();
            assert!(told.contains(&format!("leads to {place}/wsgictl")), "{told}");
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(place).join("wsgictl"));
        }
        fs::remove_file(&link).unwrap();
        fs::write(&link, "another program").unwrap();
        let told = link_command(Path::new("/usr/lib/one"), &folder).unwrap();
        assert!(told.contains("stays as it is"), "{told}");
        assert_eq!(fs::read_to_string(&link).unwrap(), "another program");
    }

    #[test]
    fn folders_that_all_may_write_to_are_risks() {
        let scratch = Scratch::new("risks");
        let open = scratch.0.join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        let found = risks(&open.join("file"));
        assert!(
            found.iter().any(|risk| risk.path == fs::canonicalize(&open).unwrap()),
            "{found:?}"
        );
        assert!(risks(Path::new("/bin/sh")).is_empty(), "{:?}", risks(Path::new("/bin/sh")));
    }
}
