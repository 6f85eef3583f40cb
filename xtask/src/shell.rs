//! Runs other programs, showing what it runs, and knows the paths everything is relative to.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};

/// The root of the checkout: the one that cargo runs us for, which need not be the one that we were
/// compiled in when a target directory has been copied.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let ours = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let ours = ours.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        ours.parent().expect("xtask lies in the workspace").to_owned()
    });
    &ROOT
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs us, in the root of the checkout.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command that must succeed; its output goes where ours goes.
pub fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    ensure!(status.success(), "{} ended with {status}", shown(command));
    Ok(())
}

/// Runs a command that must succeed, without a word, and gives what it prints.
pub fn capture(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("cannot run {}", shown(command)))?;
    let stderr = String::from_utf8_lossy(&stderr);
    ensure!(status.success(), "{} ended with {status}: {}", shown(command), stderr.trim());
    Ok(String::from_utf8(stdout)?.trim().to_owned())
}

/// Whether a command can be run and succeeds, without a word.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The first file of this name in the folders of PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words: Vec<_> = [name].into_iter().chain(command.get_args()).map(OsStr::display).collect();
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
