//! `cargo xtask requirements`: checks what building and testing need, and installs what is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};
use nix::unistd::Uid;
use testkit::Apache;

use crate::{python, shell};

/// Something that must be there.
struct Requirement {
    what: &'static str,
    why: &'static str,
    /// The Debian packages that bring it.
    packages: &'static [&'static str],
    /// Where it is, when it is there.
    find: fn() -> Option<String>,
}

const REQUIREMENTS: [Requirement; 4] = [
    Requirement {
        what: "C compiler",
        why: "the module has a C part for what httpd's headers hide in macros",
        packages: &["gcc", "libc6-dev"],
        find: || shell::on_path("cc").map(|path| path.display().to_string()),
    },
    Requirement {
        what: "httpd with apxs",
        why: "the module is built against httpd's headers, and the tests run it",
        // Not the package apache2: that one starts a server on port 80.
        packages: &["apache2-bin", "apache2-dev"],
        find: || Apache::find().ok().map(|apache| apache.program.display().to_string()),
    },
    Requirement {
        what: "libclang",
        why: "the module's view of httpd's headers is made with bindgen",
        packages: &["libclang-dev"],
        find: || libclang().map(|path| path.display().to_string()),
    },
    Requirement {
        what: "Python with venv",
        why: "applications run in it",
        packages: &["python3", "python3-venv"],
        find: python_with_venv,
    },
];

/// Runs the command.
pub fn run() -> Result<()> {
    for requirement in &REQUIREMENTS {
        match (requirement.find)() {
            Some(place) => println!("found {}: {place}", requirement.what),
            None => println!("missing {}: {}", requirement.what, requirement.why),
        }
    }
    ensure()
}

/// Sees to it that everything is there; says nothing when it is.
pub fn ensure() -> Result<()> {
    let missing = || REQUIREMENTS.iter().filter(|requirement| (requirement.find)().is_none());
    let packages: Vec<_> = missing().flat_map(|one| one.packages).copied().collect();
    if packages.is_empty() {
        return Ok(());
    }
    let reasons: Vec<_> = missing().map(|one| format!("{}: {}", one.what, one.why)).collect();
    install(&packages, &reasons.join("\n  "))?;
    let still: Vec<_> = missing().map(|requirement| requirement.what).collect();
    ensure!(still.is_empty(), "still missing after installation: {}", still.join(", "));
    Ok(())
}

/// Sees to it that a tool of one command only is there; the Debian package has its name.
pub fn ensure_tool(name: &str, why: &str) -> Result<()> {
    match shell::on_path(name) {
        Some(_) => Ok(()),
        None => install(&[name], &format!("{name}: {why}")),
    }
}

/// Sees to mpm-itk, which one test needs. Not every system has it.
pub fn look_for_mpm_itk() {
    let there = Apache::find().is_ok_and(|apache| apache.modules.join("mpm_itk.so").exists());
    if !there && let Err(error) = install(&["libapache2-mpm-itk"], "mpm-itk: a test runs it") {
        println!("Skipping the test under mpm-itk: {error:#}");
    }
}

/// Sees to a browser, which shows the status page in tests. Without one, they are skipped.
pub fn look_for_chromium() {
    if shell::on_path("chromium").is_none()
        && let Err(error) = install(&["chromium"], "chromium: tests have it show the status page")
    {
        println!("Skipping the tests in a browser: {error:#}");
    }
}

/// Sees to h2load, with which a test floods a server.
pub fn look_for_h2load() {
    let why = "h2load: a test sends many streams of HTTP/2";
    if shell::on_path("h2load").is_none()
        && let Err(error) = install(&["nghttp2-client"], why)
    {
        println!("Skipping the test with h2load: {error:#}");
    }
}

/// Sees to promtool, with which a test checks metrics.
pub fn ensure_promtool() -> Result<()> {
    match shell::on_path("promtool") {
        Some(_) => Ok(()),
        None => install(&["prometheus"], "promtool: a test checks metrics with it"),
    }
}

/// Sees to the headers of a Python, which Debian has in a package of their own.
pub fn ensure_headers(python: &Path, why: &str) -> Result<()> {
    let question = "import sysconfig; print(sysconfig.get_path('include'))";
    let folder = shell::capture(Command::new(python).args(["-I", "-c", question]))?;
    match Path::new(&folder).join("Python.h").is_file() {
        true => Ok(()),
        false => install(&["python3-dev"], &format!("Python.h: {why}")),
    }
}

/// Installs Debian packages when we may, otherwise says how to.
pub fn install(packages: &[&str], why: &str) -> Result<()> {
    let list = packages.join(" ");
    if shell::on_path("apt-get").is_none() {
        bail!("missing (under Debian's names: {list}):\n  {why}");
    }
    if !Uid::effective().is_root() {
        bail!(
            "missing:\n  {why}\nTo install: \
             sudo sh -c 'apt-get update && apt-get install --yes {list}'"
        );
    }
    println!("Installing {list}, because something is missing:\n  {why}");
    shell::run(apt_get().arg("update"))?;
    shell::run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

/// apt-get that asks no questions.
fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// A Python that applications run in, and that can make virtual environments.
fn python_with_venv() -> Option<String> {
    let python = python::default().ok()?;
    let mut command = Command::new(&python.executable);
    shell::succeeds(command.args(["-c", "import ensurepip, venv"])).then(|| python.to_string())
}

/// The library, in the places where bindgen looks for it.
fn libclang() -> Option<PathBuf> {
    let named = std::env::var_os("LIBCLANG_PATH").map(PathBuf::from);
    let llvm = files_in(Path::new("/usr/lib"), "llvm").into_iter().map(|path| path.join("lib"));
    let plain = ["/usr/lib64", "/usr/lib", "/usr/local/lib"].map(PathBuf::from);
    let multiarch = files_in(Path::new("/usr/lib"), "-linux-gnu");
    named.into_iter().chain(llvm).chain(plain).chain(multiarch).find(|folder| {
        files_in(folder, "libclang").iter().any(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.contains(".so") && !name.starts_with("libclang-cpp")
        })
    })
}

/// What is in a folder with this text in its name.
fn files_in(folder: &Path, text: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let matching = entries.filter(|entry| entry.file_name().to_string_lossy().contains(text));
    matching.map(|entry| entry.path()).collect()
}
