//! Sees that files of the application change, and has its workers replaced: those that cannot load
//! the new code leave the old ones serving.
//!
//! This is for the code to be loaded, and its errors to be seen, at once. Modules elsewhere, and
//! servers without this command, are watched by the handler script, which looks every second.

use std::fs;
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::Style;
use crate::settings::{Settings, Target};

/// How long it has to be quiet: editors and version control write several files.
const QUIET: Duration = Duration::from_millis(50);

/// How many folders are watched.
const MOST: usize = 4096;

/// Watches the application's folders, in a thread of its own.
pub fn start(settings: &Settings) {
    let control = settings.files.folder.join("wsgictl");
    let prefix = settings.socket_prefix();
    let mut folders = vec![settings.working_directory.clone()];
    let named = &settings.options.debugging.reload_path;
    let files: Vec<PathBuf> = named.iter().filter_map(|path| absolute(path).ok()).collect();
    folders.extend(
        settings.options.application.python_path.iter().filter_map(|path| absolute(path).ok()),
    );
    folders.extend(files.iter().cloned());
    for application in &settings.applications {
        if let Target::Script(file) | Target::Paste(file) = &application.target {
            folders.extend(file.parent().map(Path::to_owned));
        }
    }
    let (spare, style) = (settings.root.clone(), super::style(settings));
    thread::spawn(move || {
        if let Err(error) = watch(&folders, &files, &spare, || reload(&control, &prefix, style)) {
            let text = "mod_wsgi-rs: cannot watch files; workers look every second";
            style.say("warn", &format!("{text}: {error}\n"));
        }
    });
}

/// Has all workers replaced. [`super::reap`] takes note of its end.
fn reload(control: &Path, prefix: &Path, style: Style) {
    let mut command = Command::new(control);
    command.arg("--prefix").arg(prefix).arg("reload").stdin(Stdio::null()).stdout(Stdio::null());
    if let Err(error) = command.spawn() {
        style.say("error", &format!("mod_wsgi-rs: cannot run {}: {error}\n", control.display()));
    }
}

/// Calls `changed` after each change, until the process ends.
fn watch(
    folders: &[PathBuf],
    files: &[PathBuf],
    spare: &Path,
    changed: impl Fn(),
) -> notify::Result<()> {
    let (sender, events) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(sender)?;
    let mut count = 0;
    for folder in folders {
        add(&mut watcher, folder, spare, &mut count);
    }
    while let Ok(first) = events.recv() {
        let mut batch = vec![first];
        while let Ok(next) = events.recv_timeout(QUIET) {
            batch.push(next);
        }
        let events: Vec<Event> = batch.into_iter().flatten().collect();
        for path in
            events.iter().filter(|event| event.kind.is_create()).flat_map(|event| &event.paths)
        {
            add(&mut watcher, path, spare, &mut count);
        }
        if events.iter().any(|event| counts(event, files)) {
            changed();
        }
    }
    Ok(())
}

/// Watches a folder and those below it, but for those that hold no code of the application.
fn add(watcher: &mut RecommendedWatcher, folder: &Path, spare: &Path, count: &mut usize) {
    let name = folder.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let foreign = name.starts_with('.')
        || ["__pycache__", "node_modules", "site-packages"].contains(&&*name)
        || folder.join("pyvenv.cfg").exists()
        || folder == spare;
    if foreign
        || *count >= MOST
        || !fs::metadata(folder).is_ok_and(|found| found.is_dir() || found.is_file())
    {
        return;
    }
    // What cannot be watched here is looked at by the handler script.
    if !folder.is_dir() {
        return;
    }
    if watcher.watch(folder, RecursiveMode::NonRecursive).is_ok() {
        *count += 1;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            add(watcher, &entry.path(), spare, count);
        }
    }
}

/// Whether an event is a change of code.
fn counts(event: &Event, files: &[PathBuf]) -> bool {
    let is_change =
        matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_));
    let is_code = |path: &PathBuf| {
        let code =
            path.extension().is_some_and(|extension| extension == "py" || extension == "wsgi");
        code || files.iter().any(|file| path.starts_with(file))
    };
    is_change && event.paths.iter().any(is_code)
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, ModifyKind};

    use super::*;

    #[test]
    fn only_changes_of_code_count() {
        let modified = EventKind::Modify(ModifyKind::Any);
        let named = ["/x/templates".into()];
        for (kind, path, expected) in [
            (modified, "/x/a.py", true),
            (modified, "/x/a.pyc", false),
            (modified, "/x/templates/a.html", true),
            (EventKind::Access(AccessKind::Any), "/x/a.py", false),
        ] {
            let event = Event::new(kind).add_path(path.into());
            assert_eq!(counts(&event, &named), expected, "{path}");
        }
    }
}
