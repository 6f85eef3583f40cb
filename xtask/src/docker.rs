//! `cargo xtask docker-base`, and the image of the container tests: an httpd in Debian's layout.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::python::Python;
use crate::{environments, flask_site, requirements, shell, stage};

/// The name of the image.
const IMAGE: &str = "mod_wsgi_rs-flask-site";

/// The name of that with the module from the package for pip.
const WHEEL_IMAGE: &str = "mod_wsgi_rs-wheel-site";

/// The name of that in which the source package for pip is built.
const SDIST_IMAGE: &str = "mod_wsgi_rs-sdist";

/// What applications in the containers import.
const PACKAGES: [&str; 2] = ["flask", "django"];

/// A release of a Debian-like system.
#[derive(Debug, PartialEq, Eq)]
struct Release {
    codename: String,
    /// The name of its image in public registries.
    image: String,
}

/// Runs the command.
pub fn run() -> Result<()> {
    engine()?;
    let release = Release::of_this_machine()?;
    base(&release)?;
    println!("The image {} is there.", release.image);
    Ok(())
}

/// Builds the image with the site, and gives its name.
///
/// The programs in it were built here, so its system is of this machine's release.
pub fn image(stage: &Path, dist: &Path, venv: &Path, python: &Python) -> Result<String> {
    engine()?;
    let release = Release::of_this_machine()?;
    ensure!(
        python.executable.starts_with("/usr/bin"),
        "the container has the system's Python, and here {python} is the default"
    );
    base(&release)?;
    let context = stage.join("docker");
    let programs = context.join("dist");
    if programs.exists() {
        fs::remove_dir_all(&programs)?;
    }
    stage::folder(&programs)?;
    environments::download(&context.join(format!("wheels-{}", python.tag())), venv, &PACKAGES)?;
    for entry in fs::read_dir(dist)? {
        let entry = entry?;
        // Debian's own wsgi.load comes from conf/, and the link to the default worker is made in
        // the image: COPY would follow it.
        if entry.file_type()?.is_file() && entry.file_name() != "wsgi.load" {
            fs::copy(entry.path(), programs.join(entry.file_name()))?;
        }
    }
    for file in [
        flask_site::SITE,
        flask_site::WRAPPER,
        "conf/wsgi.load",
        "conf/wsgi.conf",
        "tests/docker/Dockerfile",
        "tests/docker/Dockerfile.sdist",
        "tests/docker/Dockerfile.wheel",
        "tests/docker/app.py",
        "tests/docker/client.py",
    ] {
        let name = Path::new(file).file_name().context("a path ends with a file name")?;
        fs::copy(shell::root().join(file), context.join(name))
            .with_context(|| format!("cannot copy {file}"))?;
    }
    make(IMAGE, "Dockerfile", &context, &release, python)
}

/// Builds the image with the same site and the module from the package for pip, after [`image`], whose
/// files it takes. Gives its name.
pub fn wheel_image(stage: &Path, wheel: &Path, python: &Python) -> Result<String> {
    let context = stage.join("docker");
    let folder = context.join("wheel");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    stage::folder(&folder)?;
    fs::copy(wheel, folder.join(wheel.file_name().context("a wheel is a file")?))?;
    make(WHEEL_IMAGE, "Dockerfile.wheel", &context, &Release::of_this_machine()?, python)
}

/// Builds the image with the source package for pip, and all that builds it but Rust, after [`image`].
/// `tools` is the environment of which `wheel` is downloaded for the image. Gives its name.
pub fn sdist_image(stage: &Path, sdist: &Path, tools: &Path, python: &Python) -> Result<String> {
    let context = stage.join("docker");
    let folder = context.join("sdist");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    environments::download(&folder, tools, &["wheel"])?;
    fs::copy(sdist, folder.join(sdist.file_name().context("a package is a file")?))?;
    make(SDIST_IMAGE, "Dockerfile.sdist", &context, &Release::of_this_machine()?, python)
}

/// Builds an image.
fn make(
    name: &str,
    recipe: &str,
    context: &Path,
    release: &Release,
    python: &Python,
) -> Result<String> {
    shell::run(
        Command::new("docker")
            .args(["build", "--tag", name, "--file"])
            .arg(context.join(recipe))
            .args(["--build-arg", &format!("BASE={}", release.image)])
            .args(["--build-arg", &format!("PYTHON={}", python.tag())])
            .arg(context),
    )?;
    Ok(name.to_owned())
}

/// Checks that an engine answers.
fn engine() -> Result<()> {
    ensure!(shell::on_path("docker").is_some(), "docker is not installed");
    shell::capture(Command::new("docker").arg("info")).context("no Docker engine answers")?;
    Ok(())
}

/// Sees to it that the engine has the image of a release: from a registry, or made from the
/// packages that this machine itself is made of.
fn base(release: &Release) -> Result<()> {
    let image = release.image.as_str();
    if shell::succeeds(Command::new("docker").args(["image", "inspect", image]))
        || shell::succeeds(Command::new("docker").args(["pull", "--quiet", image]))
    {
        return Ok(());
    }
    println!("No registry has {image} for us: making it from this machine's package sources.");
    if shell::on_path("debootstrap").is_none() {
        requirements::install(&["debootstrap"], "debootstrap: makes the base image")?;
    }
    let sources = Sources::of_this_machine(&release.codename)?;
    let folder = shell::target().join("docker-base");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    shell::run(
        Command::new("debootstrap")
            .arg("--variant=minbase")
            .arg(&release.codename)
            .arg(&folder)
            .arg(&sources.site)
            .stdout(File::create(folder.with_extension("log"))?),
    )?;
    fs::write(folder.join("etc/apt/sources.list"), &sources.list)?;
    import(&folder, image)?;
    Ok(fs::remove_dir_all(&folder)?)
}

/// Makes an image of a folder.
fn import(folder: &Path, image: &str) -> Result<()> {
    let mut archive = Command::new("tar")
        .args(["--create", "--numeric-owner", "--directory"])
        .arg(folder)
        .arg(".")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run tar")?;
    let stream = archive.stdout.take().context("tar has no output")?;
    shell::run(
        Command::new("docker")
            .args(["import", "--change", "CMD [\"bash\"]", "-", image])
            .stdin(Stdio::from(stream)),
    )?;
    ensure!(archive.wait()?.success(), "tar failed");
    Ok(())
}

impl Release {
    fn of_this_machine() -> Result<Release> {
        Release::parse(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    /// Reads the text of an `os-release` file.
    fn parse(text: &str) -> Result<Release> {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().trim_matches('"').to_owned()
        };
        let codename = field("VERSION_CODENAME");
        let image = match field("ID").as_str() {
            "debian" => format!("debian:{codename}-slim"),
            "ubuntu" => format!("ubuntu:{codename}"),
            _ => bail!("this machine is neither Debian nor Ubuntu"),
        };
        Ok(Release { codename, image })
    }
}

/// Where packages come from.
#[derive(Debug, PartialEq, Eq)]
struct Sources {
    /// The address of the main one.
    site: String,
    /// All of a release, as lines of `sources.list`.
    list: String,
}

impl Sources {
    /// Asks apt, which knows the configuration in all its formats.
    fn of_this_machine(codename: &str) -> Result<Sources> {
        let targets = shell::capture(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(SITE) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ]))?;
        Sources::parse(&targets, codename)
    }

    /// Takes the lines that belong to the release: the machine may have other sources besides.
    fn parse(targets: &str, codename: &str) -> Result<Sources> {
        let (mut site, mut list) = (None, String::new());
        for line in targets.lines() {
            let [place, release, component] = line.split(' ').collect::<Vec<_>>()[..] else {
                continue;
            };
            let source = format!("deb {place} {release} {component}\n");
            let belongs = release == codename || release.starts_with(&format!("{codename}-"));
            if !belongs || list.contains(&source) {
                continue;
            }
            list.push_str(&source);
            if release == codename && site.is_none() {
                site = Some(place.to_owned());
            }
        }
        let site = site.with_context(|| format!("apt has no source for {codename}"))?;
        Ok(Sources { site, list })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        let debian = "PRETTY_NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(Release::parse(debian).unwrap().image, "debian:bookworm-slim");
        let ubuntu = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=\"noble\"\n";
        assert_eq!(Release::parse(ubuntu).unwrap().image, "ubuntu:noble");
        assert!(Release::parse("ID=fedora\n").is_err());
        assert!(Release::parse("").is_err());
    }

    #[test]
    fn sources() {
        let targets = "http://a/debian bookworm main\n\
                       http://a/debian bookworm main\n\
                       http://a/security bookworm-security main\n\
                       http://b/tools tools-bookworm main\n";
        let sources = Sources::parse(targets, "bookworm").unwrap();
        assert_eq!(sources.site, "http://a/debian");
        assert_eq!(
            sources.list,
            "deb http://a/debian bookworm main\ndeb http://a/security bookworm-security main\n"
        );
        assert!(Sources::parse(targets, "trixie").is_err());
    }
}
