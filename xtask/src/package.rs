//! What wheel and source package for pip have in common: what they say of themselves, and how they are
//! packed so that whoever packs them gets the same bytes.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::components::Components;
use crate::{dist, shell, stage};

/// The name of the package in the names of files.
pub const NAME: &str = "mod_wsgi_rs";

/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The system that licences and components are listed for.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The programs that pip makes.
pub const COMMANDS: &str = "\
[console_scripts]
mod_wsgi-rs = mod_wsgi_rs:main
wsgictl = mod_wsgi_rs:wsgictl
";

/// The folder of a wheel with what pip reads.
pub fn dist_info() -> String {
    format!("{NAME}-{VERSION}.dist-info")
}

/// What pip and its users read about the package.
pub fn metadata() -> Result<String> {
    let readme = fs::read_to_string(shell::root().join("README.md"))?;
    Ok(format!(
        "Metadata-Version: 2.4\nName: mod-wsgi-rs\nVersion: {VERSION}\n\
         Summary: Serves Python WSGI applications in Apache httpd, in place of mod_wsgi\n\
         License-Expression: Apache-2.0\nLicense-File: LICENSE\nRequires-Python: >=3.9\n\
         Description-Content-Type: text/markdown\n\n{readme}"
    ))
}

/// Puts our licence into a folder, and below it those of what is compiled into our programs, which are
/// returned.
pub fn licences(folder: &Path) -> Result<Components> {
    stage::folder(folder)?;
    fs::copy(shell::root().join("LICENSE"), folder.join("LICENSE"))?;
    let components = Components::of(&dist::PACKAGES, TARGET)?;
    components.licences(&folder.join("third-party"))?;
    Ok(components)
}

/// The time that packed files have, in seconds since 1970: `SOURCE_DATE_EPOCH`, or that of the last commit.
pub fn date() -> Result<String> {
    match env::var("SOURCE_DATE_EPOCH") {
        Ok(date) => Ok(date),
        Err(_) => shell::capture(
            Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(shell::root()),
        ),
    }
}

/// Packs `folder/name` as `name` into a `.tar.gz`: in the order of names, with one time and one owner for
/// all files, and rights that tell only what may be executed.
pub fn archive(folder: &Path, name: &str, to: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .args(["--mode=u=rwX,go=rX", "--format=posix"])
        // Neither when files were read, nor a process id.
        .arg("--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime")
        .arg(format!("--mtime=@{}", date()?))
        .args(["--use-compress-program=gzip -9n", "--file"])
        .arg(to)
        .arg("--directory")
        .arg(folder)
        .arg(name);
    // The order of names is that of their bytes.
    shell::run(tar.env("LC_ALL", "C"))
}
