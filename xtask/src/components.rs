//! What others have written and our programs contain: its licences, and the list of it (an SBOM in the
//! format CycloneDX).

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use serde_json::{Value, json};

use crate::{shell, stage};

/// How the names of files begin that say under which terms a package may be used.
const TERMS: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// All that is compiled into some packages of the workspace.
pub struct Components {
    packages: Vec<Package>,
    /// The names of those that each one of them is made with.
    dependencies: BTreeMap<String, Vec<String>>,
}

impl Components {
    /// Asks cargo.
    pub fn of(packages: &[&str], target: &str) -> Result<Components> {
        let metadata = MetadataCommand::new()
            .manifest_path(shell::root().join("Cargo.toml"))
            .features(CargoOpt::SomeFeatures(Vec::new()))
            .other_options(vec!["--locked".into(), "--filter-platform".into(), target.into()])
            .exec()?;
        let mut found = reachable(&metadata, packages)?;
        let named: HashMap<_, _> =
            metadata.packages.iter().map(|package| (&package.id, reference(package))).collect();
        let dependencies = found
            .iter()
            .map(|(id, on)| (named[id].clone(), on.iter().map(|id| named[id].clone()).collect()));
        let dependencies = dependencies.collect();
        let mut packages: Vec<_> = metadata.packages.clone();
        packages.retain(|package| found.remove(&package.id).is_some());
        packages.sort_by_key(reference);
        Ok(Components { packages, dependencies })
    }

    /// Puts the licences of the packages, and that of Rust's own library, into a folder, each into one
    /// of its own.
    pub fn licences(&self, folder: &Path) -> Result<()> {
        for package in self.foreign() {
            let source = package.manifest_path.parent().context("a manifest is in a folder")?;
            let to = folder.join(format!("{}-{}", package.name, package.version));
            copy_terms(source.as_std_path(), &to)?;
            let terms = package.license.clone().unwrap_or_else(|| "see the files here".to_owned());
            stage::folder(&to)?;
            stage::write(&to.join("TERMS"), &format!("{terms}\n{}\n", package.authors.join("\n")))?;
        }
        let sysroot = shell::capture(Command::new("rustc").args(["--print", "sysroot"]))?;
        let name = "COPYRIGHT-library.html";
        let source = PathBuf::from(sysroot).join("share/doc/rust").join(name);
        // Distributions keep it elsewhere.
        if source.is_file() {
            stage::folder(&folder.join("rust"))?;
            fs::copy(source, folder.join("rust").join(name))?;
        }
        Ok(())
    }

    /// The list, as JSON of CycloneDX 1.6.
    pub fn list(&self, version: &str) -> Result<String> {
        let components = self.packages.iter().map(|package| {
            json!({
                "type": "library",
                "bom-ref": reference(package),
                "name": package.name.as_str(),
                "version": package.version.to_string(),
                "purl": reference(package),
                "licenses": package.license.iter().map(|terms| json!({"expression": terms}))
                    .collect::<Vec<Value>>(),
            })
        });
        let rust = shell::capture(Command::new("rustc").arg("--version"))?;
        let rust = json!({
            "type": "library",
            "bom-ref": "rust-std",
            "name": "std",
            "version": rust.split(' ').nth(1),
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
        });
        let dependencies =
            self.dependencies.iter().map(|(of, on)| json!({"ref": of, "dependsOn": on}));
        let list = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"component": {
                "type": "application",
                "bom-ref": "mod-wsgi-rs",
                "name": "mod-wsgi-rs",
                "version": version,
                "purl": format!("pkg:pypi/mod-wsgi-rs@{version}"),
            }},
            "components": components.chain([rust]).collect::<Vec<Value>>(),
            "dependencies": dependencies.collect::<Vec<Value>>(),
        });
        Ok(format!("{list:#}\n"))
    }

    /// Those that are not ours.
    fn foreign(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.source.is_some())
    }
}

/// These packages and all that is linked with them, each with what it is linked with directly: neither
/// what runs while they are built, nor what is for their tests.
fn reachable(
    metadata: &Metadata,
    packages: &[&str],
) -> Result<BTreeMap<PackageId, Vec<PackageId>>> {
    let nodes = &metadata.resolve.as_ref().context("cargo has resolved nothing")?.nodes;
    let nodes: HashMap<_, _> = nodes.iter().map(|node| (&node.id, node)).collect();
    let ours = metadata.workspace_packages().into_iter();
    let ours = ours.filter(|package| packages.contains(&package.name.as_str()));
    let mut open: Vec<_> = ours.map(|package| &package.id).collect();
    let mut found = BTreeMap::new();
    while let Some(id) = open.pop() {
        if found.contains_key(id) {
            continue;
        }
        let linked = nodes[id].deps.iter().filter(|dependency| {
            dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        });
        let linked: Vec<_> = linked.map(|dependency| &dependency.pkg).collect();
        open.extend(&linked);
        found.insert(id.clone(), linked.into_iter().cloned().collect());
    }
    Ok(found)
}

/// A package's name for all the world (purl).
fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

/// Copies the files with terms from one folder to another, if there are any.
fn copy_terms(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let upper = name.to_string_lossy().to_uppercase();
        if entry.path().is_file() && TERMS.iter().any(|start| upper.starts_with(start)) {
            stage::folder(to)?;
            fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed() {
        let components = Components::of(&["mod_wsgi_rs"], "x86_64-unknown-linux-gnu").unwrap();
        let list: Value = serde_json::from_str(&components.list("1.2.3").unwrap()).unwrap();
        let names: Vec<_> =
            list["components"].as_array().unwrap().iter().map(|one| one["name"].as_str()).collect();
        // Our own, one of theirs, one of one of theirs.
        for name in ["channel", "rustix", "linux-raw-sys", "std"] {
            assert!(names.contains(&Some(name)), "{name}: {names:?}");
        }
        // Only used to build it, only used to test it, only used by others of ours.
        for name in ["bindgen", "testkit", "clap"] {
            assert!(!names.contains(&Some(name)), "{name}: {names:?}");
        }
    }
}
