//! Which system users an httpd and its applications run as.

use std::fs;

use nix::unistd::{Group, Uid, User};

use crate::skipped;

/// Users that unprivileged services run as, by system: Debian, Fedora, Arch, and what all have.
const HTTPD_USERS: [&str; 5] = ["www-data", "apache", "http", "daemon", "nobody"];

/// Users for applications: existing everywhere, and nothing of the machine belongs to them.
const APP_USERS: [&str; 4] = ["daemon", "games", "nobody", "www-data"];

/// Whether httpd can switch to other users.
pub fn running_as_root() -> bool {
    Uid::effective().is_root()
}

/// Whether this test may look at what httpd's processes have mapped, which takes CAP_SYS_PTRACE where they
/// belong to others than us. A container's root lacks it: the test has to return then.
#[must_use]
pub fn sees_into_processes() -> bool {
    const CAP_SYS_PTRACE: u32 = 19;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let sees = !running_as_root() || effective.is_some_and(|mask| mask >> CAP_SYS_PTRACE & 1 == 1);
    if !sees {
        skipped("root needs CAP_SYS_PTRACE to look into httpd's processes: docker run --cap-add");
    }
    sees
}

/// The user and group that httpd's children run as: an unprivileged one when we are root,
/// otherwise ourselves.
pub fn httpd_user() -> (String, String) {
    pick(&HTTPD_USERS, None)
}

/// A user and group for applications, other than [`httpd_user`] when we are root, so that a test
/// can tell the two apart.
pub fn app_user() -> (String, String) {
    let (httpd, _) = httpd_user();
    pick(&APP_USERS, Some(&httpd))
}

/// The first of `names` that exists and is not `taken`, with its primary group.
fn pick(names: &[&str], taken: Option<&str>) -> (String, String) {
    if !running_as_root() {
        return named(User::from_uid(Uid::effective()).ok().flatten())
            .expect("the user who runs this has an entry in the user database");
    }
    names
        .iter()
        .filter(|name| Some(**name) != taken)
        .find_map(|name| named(User::from_name(name).ok().flatten()))
        .expect("every system has a user such as nobody")
}

/// A user's name with the name of its primary group.
fn named(user: Option<User>) -> Option<(String, String)> {
    let user = user?;
    let group = Group::from_gid(user.gid).ok().flatten()?;
    Some((user.name, group.name))
}
