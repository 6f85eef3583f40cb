//! `cargo xtask lint`: format, clippy, documentation and the rules of `tidy`, warnings denied.

use anyhow::Result;

use crate::shell;
use crate::{python, requirements, tidy};

/// Private items are documented, too, and may be linked to.
const RUSTDOC: &str = "--deny warnings --allow rustdoc::private_intra_doc_links";

/// Runs the command.
pub fn run() -> Result<()> {
    requirements::ensure()?;
    let python = python::default()?;
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
    let mut clippy = shell::cargo();
    python.build_environment(&mut clippy);
    shell::run(
        clippy
            .args(["clippy", "--quiet", "--workspace", "--all-targets"])
            .args(["--", "--deny", "warnings"]),
    )?;
    let mut documentation = shell::cargo();
    python.build_environment(&mut documentation);
    shell::run(documentation.env("RUSTDOCFLAGS", RUSTDOC).args([
        "doc",
        "--quiet",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]))?;
    tidy::run()
}
