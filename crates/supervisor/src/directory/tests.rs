//! Directories of all kinds that may be in the way.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A place of its own for each test, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sd-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process id that nobody has.
fn dead_pid() -> u32 {
    let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

/// What a killed supervisor leaves behind.
fn leave_behind(path: &Path) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o710)).unwrap();
    drop(UnixListener::bind(path.join(CONTROL)).unwrap());
    drop(UnixListener::bind(path.join("3.sock")).unwrap());
}

#[test]
fn nobody_but_us_can_enter_a_new_directory() {
    let place = Place::new();
    let directory = Directory::make(&place.join("wsgi.1.0"), None, Guests::None).unwrap();
    assert_eq!(fs::metadata(&directory.path).unwrap().mode() & 0o777, 0o700);
    let socket = directory.listen("1.sock", None, Guests::None).unwrap();
    assert_eq!(fs::metadata(directory.socket("1.sock")).unwrap().mode() & 0o777, 0o600);
    drop(socket);
    directory.remove().unwrap();
    assert!(!directory.path.exists());
}

#[test]
fn root_lets_the_group_of_httpd_in() {
    if !Uid::effective().is_root() {
        return;
    }
    let place = Place::new();
    let httpd = (Uid::from_raw(65_534), Gid::from_raw(65_534));
    let directory = Directory::make(&place.join("wsgi.1.0"), Some(httpd), Guests::None).unwrap();
    let found = fs::metadata(&directory.path).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (0, 65_534, 0o710));
    let _socket = directory.listen("1.sock", None, Guests::None).unwrap();
    let found = fs::metadata(directory.socket("1.sock")).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o777), (65_534, 0o600));
}

#[test]
fn root_lets_socket_users_in() {
    if !Uid::effective().is_root() {
        return;
    }
    let place = Place::new();
    let httpd = (Uid::from_raw(65_534), Gid::from_raw(65_534));
    let guests = Guests::Several;
    let directory = Directory::make(&place.join("wsgi.1.0"), Some(httpd), guests).unwrap();
    let found = fs::metadata(&directory.path).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (0, 65_534, 0o711));
    for (guests, uid, mode) in [
        (Guests::None, 65_534, 0o600),
        (Guests::Owner(Uid::from_raw(2)), 2, 0o660),
        (Guests::Several, 65_534, 0o666),
    ] {
        let name = format!("{mode:o}.sock");
        let _socket = directory.listen(&name, None, guests).unwrap();
        let found = fs::metadata(directory.socket(&name)).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (uid, 65_534, mode));
    }
}

#[test]
fn a_directory_of_a_killed_supervisor_is_taken_over() {
    let place = Place::new();
    let path = place.join("wsgi.1.0");
    leave_behind(&path);
    let directory = Directory::make(&path, None, Guests::None).unwrap();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    directory.listen(CONTROL, None, Guests::None).unwrap();
}

#[test]
fn a_directory_in_use_is_not() {
    let place = Place::new();
    let path = place.join("wsgi.1.0");
    let directory = Directory::make(&path, None, Guests::None).unwrap();
    let _listening = directory.listen(CONTROL, None, Guests::None).unwrap();
    let error = Directory::make(&path, None, Guests::None).unwrap_err().to_string();
    assert!(error.contains("in use by another supervisor"), "{error}");
}

#[test]
fn what_somebody_else_could_have_prepared_is_refused() {
    let place = Place::new();
    let check = |path: &Path, expected: &str| {
        let error = Directory::make(path, None, Guests::None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let file = place.join("wsgi.1.0");
    fs::write(&file, "").unwrap();
    check(&file, "is no directory");
    let writable = place.join("wsgi.1.1");
    fs::create_dir(&writable).unwrap();
    fs::set_permissions(&writable, fs::Permissions::from_mode(0o777)).unwrap();
    check(&writable, "can be written by others");
    let link = place.join("wsgi.1.2");
    symlink(&place.0, &link).unwrap();
    check(&link, "is no directory");
    if Uid::effective().is_root() {
        let foreign = place.join("wsgi.1.3");
        fs::create_dir(&foreign).unwrap();
        std::os::unix::fs::chown(&foreign, Some(65_534), None).unwrap();
        check(&foreign, "belongs to another user");
    }
    check(&place.join("missing/wsgi.1.0"), "cannot make the directory");
}

#[test]
fn a_path_without_room_for_sockets_is_refused_with_the_cure() {
    let place = Place::new();
    let error =
        Directory::make(&place.join(&"x".repeat(100)), None, Guests::None).unwrap_err().to_string();
    assert!(error.contains("shorter"), "{error}");
    // The longest path that is let through really has room for the longest socket name.
    let name = "x".repeat(LONGEST_PATH - LONGEST_NAME - 2 - place.0.as_os_str().len());
    let directory = Directory::make(&place.join(&name), None, Guests::None).unwrap();
    directory.listen(&format!("{}.sock", u32::MAX), None, Guests::None).unwrap();
}

#[test]
fn only_directories_of_dead_generations_are_removed() {
    let place = Place::new();
    let dead = dead_pid();
    let stale = place.join(&format!("wsgi.{dead}.4"));
    leave_behind(&stale);
    let served = place.join(&format!("wsgi.{dead}.5"));
    leave_behind(&served);
    fs::remove_file(served.join(CONTROL)).unwrap();
    let _listening = UnixListener::bind(served.join(CONTROL)).unwrap();
    let alive = place.join(&format!("wsgi.{}.0", std::process::id()));
    leave_behind(&alive);
    let other = place.join(&format!("other.{dead}.0"));
    leave_behind(&other);
    let full = place.join(&format!("wsgi.{dead}.6"));
    leave_behind(&full);
    fs::write(full.join("notes"), "").unwrap();
    let ours = Directory::make(&place.join("wsgi.1.0"), None, Guests::None).unwrap();

    assert_eq!(ours.remove_stale_siblings(), std::slice::from_ref(&stale));
    assert!(!stale.exists());
    for kept in [served, alive, other, full] {
        assert!(kept.exists(), "{}", kept.display());
    }
}
