//! `cargo xtask tidy`: the rules of this repository that no other tool checks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Where `unsafe` may be written: paths from the root, or beginnings of them.
const UNSAFE_MAY_BE_IN: [&str; 7] = [
    "src/ffi/",
    "crates/channel/src/window.rs",
    "crates/metrics/src/memory.rs",
    "crates/worker/src/ffi",
    "crates/worker-extension/src/embedded.rs",
    "crates/worker-embedded/src/load.rs",
    "crates/supervisor/src/sys.rs",
];

/// A folder of modules, each of which imports only from those that stand before it. What is named in
/// one string stands on one floor.
struct House {
    folder: &'static str,
    floors: &'static [&'static str],
}

/// The folders that keep such an order. Their `lib.rs` sees all floors.
const HOUSES: [House; 2] = [
    House {
        folder: "src/",
        floors: &[
            "ffi",
            "log",
            "url",
            "config",
            "request_id",
            "generation",
            "mapping",
            "status",
            "handler",
            "access",
        ],
    },
    House {
        folder: "crates/worker/src/",
        floors: &[
            "clock ffi lines forked embedded",
            "interruption slot",
            "process",
            "conversation",
            "monitor",
            "io",
            "wsgi",
            "telemetry",
            "python",
            "worker",
            "runner",
            "lifecycle",
        ],
    },
];

/// Folders without code of ours.
const NOT_OURS: [&str; 3] = ["target", ".git", "corpus"];

/// The package of ours that depends on none of the others.
const BASE: &str = "wire";

/// Runs the command.
pub fn run() -> Result<()> {
    let mut problems = Vec::new();
    for path in files(shell::root(), &["rs"])? {
        let name = path.strip_prefix(shell::root())?.display().to_string();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        check_file(&name, &text, &mut problems);
    }
    check_packages(&mut problems)?;
    check_messages(&mut problems)?;
    if !problems.is_empty() {
        bail!("not tidy:\n  {}", problems.join("\n  "));
    }
    println!("Tidy.");
    Ok(())
}

/// The page of log messages and their cures.
const MESSAGES: &str = "docs/troubleshooting.md";

/// Where messages are: the module's programs.
const MESSAGES_ARE_IN: [&str; 5] =
    ["src", "crates/channel/src", "crates/supervisor/src", "crates/wire/src", "crates/worker/src"];

/// Each message that the page quotes is still one of ours: between the parts that differ (`…`), it says
/// what some file of the programs says. And what the module logs of requests as an error or a warning is on
/// the page.
fn check_messages(problems: &mut Vec<String>) -> Result<()> {
    let page = fs::read_to_string(shell::root().join(MESSAGES))
        .with_context(|| format!("cannot read {MESSAGES}"))?;
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split("` |").next());
    let rows: Vec<Vec<_>> = rows.map(|row| fixed_parts(row, '…')).collect();
    let mut sources = String::new();
    for folder in MESSAGES_ARE_IN {
        for path in files(&shell::root().join(folder), &["rs", "py"])? {
            let text = as_one_line(&fs::read_to_string(&path).unwrap_or_default());
            for message in logged(&text) {
                let is_on_page = |row: &Vec<&str>| row.iter().all(|part| message.contains(part));
                if !rows.iter().any(is_on_page) {
                    problems
                        .push(format!("{MESSAGES}: does not tell what to do about '{message}'"));
                }
            }
            sources.push_str(&text);
        }
    }
    for part in rows.iter().flatten().filter(|part| !sources.contains(**part)) {
        problems.push(format!("{MESSAGES}: no program of ours says '{part}'"));
    }
    if rows.is_empty() {
        problems.push(format!("{MESSAGES}: has no row that begins with a message"));
    }
    Ok(())
}

/// What is the same in each message of a kind; what is too short to tell one from another is left out.
fn fixed_parts(message: &str, between: char) -> Vec<&str> {
    message.split(between).map(str::trim).filter(|part| part.len() > 4).collect()
}

/// The format strings of `error!` and `warn!` in a source text that say something by themselves.
fn logged(text: &str) -> Vec<&str> {
    let calls = ["error!(", "warn!("].into_iter().flat_map(|call| text.split(call).skip(1));
    let strings = calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next());
    strings
        .filter(|string| string.split(['{', '}']).step_by(2).any(|part| part.len() > 4))
        .collect()
}

/// Source text with the strings that go on in the next line put together.
fn as_one_line(text: &str) -> String {
    let mut pieces = text.split("\\\n");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |joined, piece| joined + piece.trim_start())
}

/// All our files of these kinds.
fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            if !NOT_OURS.iter().any(|folder| name == *folder) {
                files.extend(self::files(&path, extensions)?);
            }
        } else if path.extension().is_some_and(|own| extensions.iter().any(|one| own == *one)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The rules for each file.
fn check_file(name: &str, text: &str, problems: &mut Vec<String>) {
    if !text.starts_with("//! ") {
        problems.push(format!("{name}: does not open with a `//!` line that says what it owns"));
    }
    check_floor(name, text, problems);
    if UNSAFE_MAY_BE_IN.iter().any(|place| name.starts_with(place)) {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        if writes_unsafe(line) {
            problems
                .push(format!("{name}:{}: `unsafe` is only for {UNSAFE_MAY_BE_IN:?}", number + 1));
        }
    }
}

/// No module imports from one above it.
fn check_floor(name: &str, text: &str, problems: &mut Vec<String>) {
    let Some(house) = HOUSES.iter().find(|house| name.starts_with(house.folder)) else { return };
    let place = &name[house.folder.len()..];
    if place == "lib.rs" {
        return;
    }
    let module = place.split(['/', '.']).next().unwrap_or_default();
    let floor = |module: &str| {
        house.floors.iter().position(|floor| floor.split(' ').any(|name| name == module))
    };
    let Some(own) = floor(module) else {
        let floors = house.floors;
        problems.push(format!("{name}: `{module}` is on no floor; the floors are {floors:?}"));
        return;
    };
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for used in code.split("crate::").skip(1) {
            let used = used.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next();
            let used = used.unwrap_or_default();
            // A group of imports, or an item of lib.rs, has no floor.
            if floor(used).is_none_or(|floor| floor > own) {
                problems.push(format!(
                    "{name}:{}: `{module}` imports from `crate::{used}`, which is not below it",
                    number + 1
                ));
            }
        }
    }
}

/// Whether a line of code, not of comment or in quotes, holds the keyword.
fn writes_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let outside_quotes = code.split('"').step_by(2);
    let mut words = outside_quotes
        .flat_map(|part| part.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')));
    words.any(|word| word == "unsafe")
}

/// The rules for packages: who may depend on what, and who must be described.
fn check_packages(problems: &mut Vec<String>) -> Result<()> {
    let ours = packages()?;
    if tree("mod_wsgi_rs")?.iter().any(|package| package.starts_with("pyo3")) {
        problems
            .push("mod_wsgi_rs: pyo3 is in its dependency tree, but httpd holds no Python".into());
    }
    for package in tree(BASE)?.iter().filter(|name| *name != BASE && ours.contains(name)) {
        problems.push(format!("{BASE}: depends on {package}, but must depend on nothing of ours"));
    }
    let name = "docs/ARCHITECTURE.md";
    let architecture = fs::read_to_string(shell::root().join(name)).unwrap_or_default();
    for package in ours.iter().filter(|package| !architecture.contains(&format!("`{package}`"))) {
        let path = format!("crates/{package}`");
        if !architecture.contains(&path) {
            problems.push(format!("{name}: does not say what `{package}` is"));
        }
    }
    Ok(())
}

/// Names of all packages in the workspace.
fn packages() -> Result<Vec<String>> {
    let ids = shell::capture(shell::cargo().args([
        "tree",
        "--workspace",
        "--depth",
        "0",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    Ok(names(&ids))
}

/// Names of all packages that a package is built from, itself included.
fn tree(package: &str) -> Result<Vec<String>> {
    let lines = shell::capture(shell::cargo().args([
        "tree",
        "--package",
        package,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    Ok(names(&lines))
}

/// The first words of lines, without the empty ones.
fn names(lines: &str) -> Vec<String> {
    lines
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, text: &str, expected: usize) {
        let mut problems = Vec::new();
        check_file(name, text, &mut problems);
        assert_eq!(problems.len(), expected, "{problems:?}");
    }

    #[test]
    fn first_line() {
        check("src/log.rs", "//! Owns a.\n", 0);
        check("src/log.rs", "use b;\n//! Owns a.\n", 1);
        check("src/log.rs", "", 1);
    }

    #[test]
    fn keyword() {
        let code = ["//! A.\n", "un", "safe { b() }\n"].concat();
        check("src/log.rs", &code, 1);
        check("src/ffi/a.rs", &code, 0);
        check("crates/worker/src/ffi.rs", &code, 0);
        check(
            "src/log.rs",
            "//! unsafe\n#![forbid(unsafe_code)]\n// unsafe\nlet a = \"unsafe\";\n",
            0,
        );
    }

    #[test]
    fn messages() {
        let text = "error!(\"{a}: {b}\"); warn!(\n  \"It is {a}.\"); debug!(\"Not here.\")";
        assert_eq!(logged(text), ["It is {a}."]);
        assert_eq!(fixed_parts("… is no file: …", '…'), ["is no file:"]);
    }

    #[test]
    fn floors() {
        let using = |what: &str| format!("//! A.\nuse crate::{what};\n");
        check("src/handler/a.rs", &using("config::Name"), 0);
        check("src/handler/a.rs", &using("handler::b"), 0);
        check("src/config.rs", &using("handler::b"), 1);
        check("src/ffi/a.rs", &using("log::b"), 1);
        check("src/ffi/a.rs", &using("{config, ffi}"), 1);
        check("src/ffi/a.rs", "//! A.\nfn a() { crate::access::b() }\n", 1);
        check("src/ffi/a.rs", "//! A.\n/// [`crate::access::b`]\n", 0);
        check("src/cellar.rs", "//! A.\n", 1);
        check("src/lib.rs", &using("access::b"), 0);
        check("crates/wire/src/a.rs", &using("access::b"), 0);
        check("crates/worker/src/io/a.rs", &using("conversation::b"), 0);
        check("crates/worker/src/conversation/a.rs", &using("io::b"), 1);
        check("crates/worker/src/ffi.rs", &using("clock::now"), 0);
    }

    #[test]
    fn names_of_packages() {
        assert_eq!(names("wire v0.1.0 (/x)\n\nlibc v0.2.1\n"), ["wire", "libc"]);
    }
}
