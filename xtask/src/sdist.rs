//! `cargo xtask sdist`: a source package, from which pip builds without a network: our own sources as far as
//! a server needs them, and those of all crates.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};
use lexopt::Arg;
use toml::{Table, Value};

use crate::{dist, package, requirements, shell, stage};

/// The systems that a crate may be needed on. Those for others are there by name alone.
const TARGETS: [&str; 4] = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-musl",
];

/// What is needed besides crates: paths that git knows.
const OURS: [&str; 8] = [
    "LICENSE",
    "README.md",
    "Cargo.toml",
    "Cargo.lock",
    "build.rs",
    "src",
    "apache-headers",
    "python/mod_wsgi_rs",
];

/// What pip reads to build it, which has its place in the root.
const BACKEND: [&str; 2] = ["pyproject.toml", "backend.py"];

/// How it is built: from the crates beside it, without what is for a debugger.
const CARGO_CONFIG: &str = "\
[env]
PYO3_BUILD_EXTENSION_MODULE = \"1\"

[profile.release]
debug = false
strip = \"symbols\"

[source.crates-io]
replace-with = \"vendored-sources\"

[source.vendored-sources]
directory = \"vendor\"
";

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let mut out = shell::target().join("wheel");
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("out") => out = PathBuf::from(arguments.value()?),
            other => return Err(other.unexpected().into()),
        }
    }
    requirements::ensure()?;
    let sdist = build(&stage::ensure()?, &out)?;
    println!("{}: {} KiB", sdist.display(), fs::metadata(&sdist)?.len() >> 10);
    Ok(())
}

/// Puts the source package into `out`. Returns its path.
pub fn build(stage: &Path, out: &Path) -> Result<PathBuf> {
    let name = format!("{}-{}", package::NAME, package::VERSION);
    let folder = stage.join("sdist");
    let tree = folder.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    stage::folder(&tree)?;
    let metadata = metadata(shell::root(), None)?;
    let members = members(&metadata)?;
    copy_ours(&tree, &members)?;
    for manifest in members.iter().map(|member| tree.join(member)).chain([tree.clone()]) {
        slim(&manifest.join("Cargo.toml"), &members)?;
    }
    // Forgets the crates that are no longer needed.
    self::metadata(&tree, None)?;
    vendor(&tree)?;
    describe(&tree)?;
    stage::folder(&tree.join(".cargo"))?;
    stage::write(&tree.join(".cargo/config.toml"), CARGO_CONFIG)?;
    stage::folder(out)?;
    let sdist = out.join(format!("{name}.tar.gz"));
    package::archive(&folder, &name, &sdist)?;
    Ok(sdist)
}

/// What cargo knows of a workspace, as far as it concerns a target, if one is named.
fn metadata(root: &Path, target: Option<&str>) -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root.join("Cargo.toml")).current_dir(root);
    if let Some(target) = target {
        command.other_options(vec!["--filter-platform".into(), target.into()]);
    }
    Ok(command.exec()?)
}

/// The folders of our packages that a server is built from, but for that in the root, from there.
fn members(metadata: &Metadata) -> Result<Vec<String>> {
    let needed = needed(metadata, &dist::PACKAGES)?;
    let ours = metadata.workspace_packages().into_iter();
    let ours = ours.filter(|package| needed.contains(&package.id));
    let folders = ours.filter_map(|package| {
        let folder = package.manifest_path.parent()?.strip_prefix(&metadata.workspace_root).ok()?;
        (!folder.as_str().is_empty()).then(|| folder.to_string())
    });
    let mut folders: Vec<String> = folders.collect();
    folders.sort();
    Ok(folders)
}

/// These packages of ours, and all that they are built from or by.
fn needed(metadata: &Metadata, packages: &[&str]) -> Result<BTreeSet<PackageId>> {
    let nodes = &metadata.resolve.as_ref().context("cargo has resolved nothing")?.nodes;
    let ours = metadata.workspace_packages().into_iter();
    let ours = ours.filter(|package| packages.contains(&package.name.as_str()));
    let mut open: Vec<_> = ours.map(|package| &package.id).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !found.insert(id.clone()) {
            continue;
        }
        let node = nodes.iter().find(|node| node.id == *id).context("cargo knows it")?;
        let is_built =
            |kind: &cargo_metadata::DepKindInfo| kind.kind != DependencyKind::Development;
        open.extend(
            node.deps.iter().filter(|on| on.dep_kinds.iter().any(is_built)).map(|on| &on.pkg),
        );
    }
    Ok(found)
}

/// Copies what git knows of our sources, but for tests and examples.
fn copy_ours(tree: &Path, members: &[String]) -> Result<()> {
    let mut command = Command::new("git");
    command.args(["ls-files", "-z", "--"]).args(OURS).args(members).current_dir(shell::root());
    let listed = shell::capture(&mut command)?;
    for name in listed.split_terminator('\0') {
        let is_extra =
            |folder: &str| name.contains(&format!("/{folder}/")) && !name.contains("/src/");
        if !is_extra("tests") && !is_extra("examples") {
            copy(name, &tree.join(name))?;
        }
    }
    BACKEND.iter().try_for_each(|name| copy(&format!("python/sdist/{name}"), &tree.join(name)))
}

/// Copies a file of the checkout.
fn copy(name: &str, to: &Path) -> Result<()> {
    stage::folder(to.parent().context("a file is in a folder")?)?;
    fs::copy(shell::root().join(name), to).with_context(|| format!("cannot copy {name}"))?;
    Ok(())
}

/// Takes out of a manifest what only a checkout has: tests, examples, what they need, and further packages.
fn slim(manifest: &Path, members: &[String]) -> Result<()> {
    edit(manifest, |table| {
        for part in ["dev-dependencies", "example", "test", "bench"] {
            table.remove(part);
        }
        let Some(workspace) = table.get_mut("workspace").and_then(Value::as_table_mut) else {
            return;
        };
        workspace.remove("exclude");
        let all = members.iter().cloned().map(Value::String).collect();
        workspace.insert("members".into(), Value::Array(all));
        let shared = workspace.get_mut("dependencies").and_then(Value::as_table_mut);
        if let Some(shared) = shared {
            shared.retain(|_, dependency| {
                let path = dependency.get("path").and_then(Value::as_str);
                path.is_none_or(|path| members.iter().any(|member| member == path))
            });
        }
    })
}

/// Changes a manifest.
fn edit(manifest: &Path, change: impl FnOnce(&mut Table)) -> Result<()> {
    let text = fs::read_to_string(manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    let mut table: Table = text.parse().with_context(|| format!("in {}", manifest.display()))?;
    change(&mut table);
    stage::write(manifest, &table.to_string())
}

/// Puts the sources of all crates into the tree.
fn vendor(tree: &Path) -> Result<()> {
    let mut command = shell::cargo();
    command.current_dir(tree).args(["vendor", "--quiet", "--locked", "--versioned-dirs", "vendor"]);
    // It prints what is in our own `.cargo/config.toml`.
    shell::capture(&mut command)?;
    let mut needed = BTreeSet::new();
    for target in TARGETS {
        let metadata = metadata(tree, Some(target))?;
        let all = self::needed(&metadata, &dist::PACKAGES)?;
        let crates = metadata.packages.iter().filter(|package| all.contains(&package.id));
        needed.extend(crates.map(|package| format!("{}-{}", package.name, package.version)));
    }
    for entry in fs::read_dir(tree.join("vendor"))? {
        let entry = entry?;
        if !needed.contains(&*entry.file_name().to_string_lossy()) {
            hollow_out(&entry.path())?;
        }
    }
    Ok(())
}

/// Leaves of a crate only what cargo wants to see of those that it does not compile: name, version,
/// dependencies and features.
fn hollow_out(folder: &Path) -> Result<()> {
    const CHECKSUMS: &str = ".cargo-checksum.json";
    let checksums: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join(CHECKSUMS))?)?;
    let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
    fs::remove_dir_all(folder)?;
    stage::folder(&folder.join("src"))?;
    stage::write(&folder.join("src/lib.rs"), "")?;
    stage::write(&folder.join("Cargo.toml"), &manifest)?;
    edit(&folder.join("Cargo.toml"), |table| {
        for part in ["bin", "example", "test", "bench"] {
            table.remove(part);
        }
        let path = Value::String("src/lib.rs".into());
        table.insert("lib".into(), Value::Table(Table::from_iter([("path".into(), path)])));
        if let Some(package) = table.get_mut("package").and_then(Value::as_table_mut) {
            for part in ["build", "readme", "license-file"] {
                package.remove(part);
            }
        }
    })?;
    let checksums = serde_json::json!({"files": {}, "package": checksums["package"]});
    stage::write(&folder.join(CHECKSUMS), &checksums.to_string())
}

/// Writes what pip reads about the package, in its root and for the wheel that is built from it. What is
/// compiled into that, only its builder can list.
fn describe(tree: &Path) -> Result<()> {
    let folder = tree.join(package::dist_info());
    package::licences(&folder.join("licenses"))?;
    stage::write(&folder.join("entry_points.txt"), package::COMMANDS)?;
    let readme = folder.join("METADATA");
    ensure!(!readme.exists(), "{} is written by the wheel's builder", readme.display());
    stage::write(&tree.join("PKG-INFO"), &package::metadata()?)
}
