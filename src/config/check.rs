//! What can only be judged when the whole configuration has been read: the `check_config` hook,
//! which `apachectl configtest` runs too.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::Uid;
use wire::exchange::Level;

use super::chroot::Root;
use super::registry;
use super::registry::{Registry, Script};
use super::settings::ServerConfig;
use super::values::{lossy, path};
use crate::ffi::log::log_server;
use crate::ffi::pool::Pool;
use crate::ffi::process::{configured_ids, library_path};
use crate::ffi::server::{Server, runtime_path};

/// The directory that holds the module, and beside it the supervisor and the workers.
pub fn install_directory() -> PathBuf {
    library_path().and_then(|path| path.parent().map(ToOwned::to_owned)).unwrap_or_default()
}

/// Looks at the whole configuration: warns of what cannot work as meant, and refuses what could
/// never serve.
///
/// # Errors
/// When httpd must not start; the reason has been logged.
pub fn check(pool: Pool<'_>, main: Server<'_>) -> Result<(), ()> {
    let log = |level: Level, text: &str| log_server(Some(main), level.number(), text.as_bytes());
    let registry = registry::of(pool).borrow();
    let mut warnings = groups_without_definition(&registry);
    let roots = roots(main);
    warnings
        .extend(registry.scripts().iter().filter_map(|script| script_to_warn_of(script, &roots)));
    warnings.extend(groups_with_two_logs(main));

    let servers = || main.with_own_settings::<ServerConfig>().map(|(_, settings)| settings);
    let groups = || servers().flat_map(|settings| &settings.groups);
    let has_groups = groups().next().is_some();
    let serves = has_groups || !servers().all(|settings| settings.aliases.is_empty());
    if serves {
        warnings.extend(sockets_that_are_not_where_they_should_be(pool, main));
    }
    let problems: Vec<_> = imports_that_cannot_be(main).collect();
    warnings.iter().for_each(|text| log(Level::Warning, text));
    problems.iter().for_each(|text| log(Level::Error, text));
    if !problems.is_empty() {
        return Err(());
    }
    if !serves {
        return Ok(());
    }
    let directory = install_directory();
    let supervisor = directory.join("wsgi-supervisor");
    if !supervisor.is_file() {
        let text = format!(
            "{} is missing: it belongs into the same directory as the module. Install both from \
             one build (cargo xtask dist).",
            supervisor.display()
        );
        log(Level::Error, &text);
        return Err(());
    }
    Ok(())
}

fn groups_without_definition(registry: &Registry) -> Vec<String> {
    let warn = |(name, location): &(Vec<u8>, _)| {
        let name = lossy(name);
        format!(
            "The process group '{name}' that is named at {location} is defined nowhere: requests \
             that it is to serve get status 500. Add a line 'WSGIDaemonProcess {name}', or correct \
             the name."
        )
    };
    registry.undefined().map(warn).collect()
}

/// Scripts to be loaded in advance in groups that are not there, or that another virtual host has
/// for itself.
fn imports_that_cannot_be(main: Server<'_>) -> impl Iterator<Item = String> {
    let imports = main
        .with_own_settings::<ServerConfig>()
        .flat_map(|(server, settings)| settings.imports.iter().map(move |import| (server, import)));
    imports.filter(|(_, import)| !import.process_group.is_empty()).filter_map(
        move |(server, import)| {
            let (name, location) = (lossy(&import.process_group), &import.location);
            let defines = |(_, settings): &(Server<'_>, &ServerConfig)| {
                settings.groups.iter().any(|group| group.name == import.process_group)
            };
            let Some((owner, _)) = main.with_own_settings::<ServerConfig>().find(defines) else {
                return Some(format!(
                    "WSGI process group not yet configured. '{name}', which is named at \
                     {location}, is defined nowhere. Add a line 'WSGIDaemonProcess {name}', or \
                     correct the name."
                ));
            };
            if !owner.is_virtual() || owner.name() == server.name() {
                return None;
            }
            Some(format!(
                "WSGI process group not accessible. '{name}', which is named at {location} for \
                 the server '{}', belongs to the virtual host '{}'. Define it outside of any \
                 virtual host to share it.",
                lossy(server.name()),
                lossy(owner.name())
            ))
        },
    )
}

/// The directories that groups are confined to (`chroot=`), by their names.
fn roots(main: Server<'_>) -> HashMap<Vec<u8>, Root> {
    let groups =
        main.with_own_settings::<ServerConfig>().flat_map(|(_, settings)| &settings.groups);
    groups.filter_map(|group| Some((group.name.clone(), group.chroot.clone()?))).collect()
}

/// What is wrong with a script for a group that may be in one of these directories.
fn script_to_warn_of(script: &Script, roots: &HashMap<Vec<u8>, Root>) -> Option<String> {
    let Script { path: script, location, process_group, is_mapped } = script;
    let root = process_group.as_ref().and_then(|group| roots.get(group));
    let place = |root: &Root| root.outside(&path(&root.named(script)));
    let (places, inside) = match (root, process_group) {
        (Some(root), Some(group)) if *is_mapped && root.inside(script).is_none() => {
            return Some(format!(
                "{}, which is named at {location}, is not in chroot={} of the process group '{}': \
                 requests for it get status 500. Move it there, or name another group.",
                lossy(script),
                root.path().display(),
                lossy(group)
            ));
        }
        (Some(root), _) if !is_mapped => {
            (vec![place(root)], format!(" in chroot={}", root.path().display()))
        }
        // It may be for any of them, and named as from inside.
        (None, None) if !is_mapped => {
            let outside = std::iter::once(path(script));
            (outside.chain(roots.values().map(place)).collect(), String::new())
        }
        _ => (vec![path(script)], String::new()),
    };
    let problem = |place: &PathBuf| match std::fs::metadata(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => Some("does not exist"),
        // Who checks the configuration need not be who runs it.
        Err(_) => None,
        Ok(metadata) if metadata.mode() & 0o444 == 0 => {
            Some("may be read by nobody (see its mode)")
        }
        Ok(_) => None,
    };
    let problems = places.iter().map(problem).collect::<Option<Vec<_>>>()?;
    let (script, problem) = (lossy(script), problems.last()?);
    Some(format!(
        "{script}, which is named at {location}, {problem}{inside}. Correct path or mode."
    ))
}

/// Virtual hosts that lead into the same group, but log to different files: only one of these gets
/// the lines that belong to no request.
fn groups_with_two_logs(main: Server<'_>) -> Vec<String> {
    let inherited = main.settings::<ServerConfig>().map_or(&[][..], |settings| &settings.aliases);
    let mut logs: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
    for server in main.and_following().filter(|server| server.is_virtual()) {
        let aliases =
            server.settings::<ServerConfig>().map_or(&[][..], |settings| &settings.aliases);
        let own = aliases.iter().filter(|it| !inherited.iter().any(|other| Arc::ptr_eq(it, other)));
        for group in own.filter_map(|alias| alias.process_group.as_ref()?.literal()) {
            let logs = logs.entry(group).or_default();
            if !logs.contains(&server.error_log_name()) {
                logs.push(server.error_log_name());
            }
        }
    }
    let mut warnings: Vec<_> = logs
        .into_iter()
        .filter(|(name, logs)| logs.len() > 1 && !name.is_empty())
        .map(|(name, logs)| {
            let (name, first, second) = (lossy(name), lossy(logs[0]), lossy(logs[1]));
            format!(
                "Virtual hosts with the error logs {first} and {second} share the process group \
                 '{name}': what its applications write outside of requests goes to the log of the \
                 server that defines the group. Give each virtual host a WSGIDaemonProcess of its \
                 own to keep them apart."
            )
        })
        .collect();
    warnings.sort();
    warnings
}

fn sockets_that_are_not_where_they_should_be(pool: Pool<'_>, main: Server<'_>) -> Option<String> {
    let configured = configured_socket_prefix(main);
    let prefix = socket_prefix(pool, main)?;
    let instead = configured.as_ref().filter(|configured| **configured != prefix);
    let wanted = instead.unwrap_or(&prefix);
    let problem = if instead.is_some_and(|wanted| is_too_long(wanted)) {
        format!("paths of more than {LONGEST_PREFIX} bytes leave no room for their names")
    } else {
        let closed = closed_directory(wanted)?;
        let what =
            if closed.is_dir() { "cannot be entered by httpd's User" } else { "is no directory" };
        format!("{} {what}", closed.display())
    };
    let then = match instead {
        None => "no request will be served".to_owned(),
        Some(_) => format!("they are made in {}", directory_of(&prefix).display()),
    };
    Some(format!(
        "Sockets are to be made in {}, but {problem}: {then}. Correct it, or name another place with \
         WSGISocketPrefix.",
        directory_of(wanted).display()
    ))
}

/// With `.PID.NUMBER` and a socket's name behind it, a prefix of this length still fits into an
/// address (`sun_path` in unix(7)).
const LONGEST_PREFIX: usize = 107 - ".4194304.99999".len() - "/4294967295.sock".len();

fn is_too_long(prefix: &Path) -> bool {
    prefix.as_os_str().len() > LONGEST_PREFIX
}

/// The beginning of the name of the directory for sockets.
pub fn socket_prefix(pool: Pool<'_>, main: Server<'_>) -> Option<PathBuf> {
    let has_groups =
        main.with_own_settings::<ServerConfig>().any(|(_, settings)| !settings.groups.is_empty());
    // mod_wsgi has sockets for the groups that are defined: without any it serves, whatever the
    // prefix is. And it has room for longer ones.
    configured_socket_prefix(main)
        .filter(|prefix| !is_too_long(prefix))
        .filter(|prefix| has_groups || closed_directory(prefix).is_none())
        .or_else(|| runtime_path(pool, "wsgi"))
}

fn configured_socket_prefix(main: Server<'_>) -> Option<PathBuf> {
    main.settings::<ServerConfig>().and_then(|settings| settings.globals.socket_prefix.clone())
}

/// The directory that sockets with this prefix are made in.
fn directory_of(prefix: &Path) -> &Path {
    prefix.parent().unwrap_or(prefix)
}

/// A directory on the way to it that httpd's children cannot enter.
fn closed_directory(prefix: &Path) -> Option<&Path> {
    let ids = Uid::effective().is_root().then(configured_ids);
    prefix.ancestors().skip(1).find(|directory| !may_enter(directory, ids))
}

/// Whether a directory is there, and user and group `ids` may enter it.
fn may_enter(directory: &Path, ids: Option<(u32, u32)>) -> bool {
    if directory.as_os_str().as_bytes().is_empty() {
        return true;
    }
    let metadata = match std::fs::metadata(directory) {
        Err(error) => return error.kind() == ErrorKind::PermissionDenied,
        Ok(metadata) => metadata,
    };
    let needed = match ids {
        // Without root, httpd's children are who checks.
        None | Some((0, _)) => return metadata.is_dir(),
        Some((uid, _)) if metadata.uid() == uid => 0o100,
        Some((_, gid)) if metadata.gid() == gid => 0o010,
        Some(_) => 0o001,
    };
    metadata.is_dir() && metadata.mode() & needed != 0
}
