//! Finds the system's httpd, and asks it what it has.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::options::capacity::Mpm;
use crate::options::installation::Installation;
use crate::sources::Variables;

/// Names of the program, in Debian's way and in that of the others.
const NAMES: [&str; 2] = ["apache2", "httpd"];

/// Folders that may hold it, behind those of `PATH`.
const FOLDERS: [&str; 6] = [
    "/usr/sbin",
    "/usr/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/local/apache2/bin",
    "/opt/homebrew/bin",
];

/// Folders that may hold its modules.
const MODULES: [&str; 7] = [
    "/usr/lib/apache2/modules",
    "/usr/lib64/httpd/modules",
    "/usr/lib/httpd/modules",
    "/usr/lib64/apache2",
    "/usr/lib/apache2",
    "/usr/local/apache2/modules",
    "/usr/libexec/apache2",
];

/// The httpd that is used.
#[derive(Debug, Clone)]
pub struct Httpd {
    /// The program.
    pub program: PathBuf,
    /// Its version, such as 2.4.62.
    pub version: Version,
    /// The folder with its loadable modules.
    pub modules: PathBuf,
    /// Its list of MIME types, if it has one.
    pub mime_types: Option<PathBuf>,
    /// Names such as `mod_unixd.c` or `event.c` that are compiled in.
    built_in: Vec<String>,
}

/// A version of httpd, to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

/// Why there is no httpd to use.
#[derive(Debug, thiserror::Error)]
pub enum HttpdError {
    /// None was found.
    #[error("Apache httpd is not installed: {0}")]
    Missing(String),
    /// It cannot be run.
    #[error("cannot run {}: {source}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What it says is not what an httpd says.
    #[error("{} is no httpd: `-V` names no version of Apache", program.display())]
    Strange {
        /// The program.
        program: PathBuf,
    },
    /// It is too old.
    #[error("{} is of version {}.{}; 2.4 is needed", program.display(), version.0, version.1)]
    Old {
        /// The program.
        program: PathBuf,
        /// Its version.
        version: Version,
    },
    /// Its modules are at none of the usual places.
    #[error(
        "{} has its modules at none of the usual places; --modules-directory names theirs",
        program.display()
    )]
    Modules {
        /// The program.
        program: PathBuf,
    },
    /// It lacks a module.
    #[error(
        "httpd has no mod_{module}: there is no {}, and it is not compiled in either; {cure}",
        path.display()
    )]
    NoModule {
        /// Its name without `mod_`.
        module: String,
        /// Where it should be.
        path: PathBuf,
        /// What brings it.
        cure: String,
    },
}

impl Httpd {
    /// Finds it: what is named, `HTTPD` of the environment, or the first one at the usual places.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn find(options: &Installation, variables: &Variables) -> Result<Httpd, HttpdError> {
        let named = options.httpd_executable.clone();
        let named = named.or_else(|| variables.get("HTTPD").map(PathBuf::from));
        let program = match named {
            Some(program) => on_path(&program).unwrap_or(program),
            None => usual().ok_or_else(|| {
                let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
                HttpdError::Missing(how_to_install(&release))
            })?,
        };
        let settings = ask(&program, "-V")?;
        let version = version(&settings);
        let version = version.ok_or_else(|| HttpdError::Strange { program: program.clone() })?;
        if version < Version(2, 4, 0) {
            return Err(HttpdError::Old { program, version });
        }
        let root = defined(&settings, "HTTPD_ROOT").map(PathBuf::from).unwrap_or_default();
        let built_in = ask(&program, "-l")?;
        let built_in = built_in.lines().map(|line| line.trim().to_owned()).collect();
        let modules = match &options.modules_directory {
            Some(folder) => Some(folder.clone()),
            None => modules(&program, &root),
        };
        let modules = modules.ok_or_else(|| HttpdError::Modules { program: program.clone() })?;
        let mime_types = options.mime_types.clone().or_else(|| mime_types(&settings, &root));
        Ok(Httpd { program, version, modules, mime_types, built_in })
    }

    /// Whether this module is compiled in.
    pub fn is_built_in(&self, module: &str) -> bool {
        self.built_in
            .iter()
            .any(|name| name.strip_prefix("mod_").unwrap_or(name) == format!("{module}.c"))
    }

    /// Whether it has this module in any way.
    pub fn has(&self, module: &str) -> bool {
        self.is_built_in(module) || self.file(module).is_file()
    }

    /// The file of a module that is not compiled in.
    pub fn file(&self, module: &str) -> PathBuf {
        self.modules.join(format!("mod_{module}.so"))
    }

    /// The multi-processing module: the one compiled in, or the first one of these that is there.
    ///
    /// # Errors
    /// When there is none of them.
    pub fn mpm(&self, wanted: &[Mpm]) -> Result<Mpm, HttpdError> {
        if let Some(only) = Mpm::ALL.into_iter().find(|mpm| self.is_built_in(mpm.name())) {
            return Ok(only);
        }
        let wanted = if wanted.is_empty() { &Mpm::ALL } else { wanted };
        let name = |mpm: &Mpm| format!("mpm_{}", mpm.name());
        let found = wanted.iter().find(|mpm| self.file(&name(mpm)).is_file());
        found.copied().ok_or_else(|| self.lacks(&name(&wanted[0])))
    }

    /// The error about a module that it lacks.
    pub fn lacks(&self, module: &str) -> HttpdError {
        let cure = match module {
            "ssl" if !Path::new("/etc/debian_version").exists() => "install mod_ssl",
            _ => "install all of httpd's modules, or name their folder with --modules-directory",
        };
        HttpdError::NoModule {
            module: module.to_owned(),
            path: self.file(module),
            cure: cure.to_owned(),
        }
    }

    /// An httpd for tests of what is generated.
    #[cfg(test)]
    pub fn imagined(modules: &Path, built_in: &[&str]) -> Httpd {
        Httpd {
            program: "/usr/sbin/httpd".into(),
            version: Version(2, 4, 62),
            modules: modules.to_owned(),
            mime_types: Some("/etc/mime.types".into()),
            built_in: built_in.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

/// A program that is named without a folder, where `PATH` has it.
fn on_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return None;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn usual() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    let mut files = folders.flat_map(|folder| NAMES.map(|name| folder.join(name)));
    files.find(|file| file.is_file())
}

fn ask(program: &Path, question: &str) -> Result<String, HttpdError> {
    let output = Command::new(program).arg(question).output();
    let output =
        output.map_err(|source| HttpdError::Run { program: program.to_owned(), source })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The version in `Server version: Apache/2.4.62 (Debian)`.
fn version(settings: &str) -> Option<Version> {
    let (_, rest) = settings.split_once("Apache/")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
    Some(Version(numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)))
}

/// The value in ` -D NAME="value"`.
fn defined<'t>(settings: &'t str, name: &str) -> Option<&'t str> {
    let line =
        settings.lines().find_map(|line| line.trim().strip_prefix("-D ")?.strip_prefix(name))?;
    line.strip_prefix("=\"")?.strip_suffix('"')
}

/// The folder with the most usual module: what belongs to the program comes first.
fn modules(program: &Path, root: &Path) -> Option<PathBuf> {
    let program = fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    let prefix = program.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let own = ["modules", "lib/apache2/modules", "lib64/httpd/modules", "lib/httpd/modules"];
    let own = own.map(|name| prefix.join(name));
    let mut folders =
        own.into_iter().chain([root.join("modules")]).chain(MODULES.map(PathBuf::from));
    folders
        .find(|folder| folder.join("mod_dir.so").is_file() || folder.join("mod_mime.so").is_file())
}

fn mime_types(settings: &str, root: &Path) -> Option<PathBuf> {
    let own = defined(settings, "AP_TYPES_CONFIG_FILE").unwrap_or("conf/mime.types");
    [root.join(own), "/etc/mime.types".into(), "/etc/apache2/mime.types".into()]
        .into_iter()
        .find(|file| file.is_file())
}

/// What installs httpd, by `os-release(5)`.
fn how_to_install(release: &str) -> String {
    let fields = release.lines().filter_map(|line| line.split_once('='));
    let names: Vec<String> = fields
        .filter(|(name, _)| ["ID", "ID_LIKE"].contains(name))
        .flat_map(|(_, value)| {
            value.trim_matches('"').split(' ').map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let is = |known: &[&str]| names.iter().any(|name| known.contains(&name.as_str()));
    let command = if is(&["debian", "ubuntu"]) {
        "apt-get install apache2-bin"
    } else if is(&["fedora", "rhel", "centos"]) {
        "dnf install httpd"
    } else if is(&["alpine"]) {
        "apk add apache2"
    } else if is(&["suse", "opensuse"]) {
        "zypper install apache2"
    } else if is(&["arch"]) {
        "pacman -S apache"
    } else {
        return "install it with the system's packages, or name it with --httpd-executable".into();
    };
    format!("`{command}` installs it; --httpd-executable names one at another place")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &str = "Server version: Apache/2.4.62 (Debian)\n -D HTTPD_ROOT=\"/etc/apache2\"\n \
                            -D AP_TYPES_CONFIG_FILE=\"mime.types\"\n";

    #[test]
    fn what_httpd_says_of_itself() {
        assert_eq!(version(SETTINGS), Some(Version(2, 4, 62)));
        assert_eq!(version("nginx/1.2"), None);
        assert_eq!(defined(SETTINGS, "HTTPD_ROOT"), Some("/etc/apache2"));
        assert_eq!(defined(SETTINGS, "SUEXEC_BIN"), None);
        assert!(Version(2, 2, 34) < Version(2, 4, 0));
    }

    #[test]
    fn each_system_has_its_own_command() {
        for (release, command) in [
            ("ID=debian\n", "apt-get install apache2-bin"),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get install apache2-bin"),
            ("ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf install httpd"),
            ("ID=alpine\n", "apk add apache2"),
            ("", "--httpd-executable"),
        ] {
            assert!(how_to_install(release).contains(command), "{release}");
        }
    }

    #[test]
    fn modules_that_are_compiled_in() {
        let httpd = Httpd::imagined(Path::new("/nowhere"), &["event.c", "mod_unixd.c"]);
        assert!(httpd.is_built_in("unixd") && !httpd.is_built_in("dir") && !httpd.has("dir"));
        assert_eq!(httpd.mpm(&[Mpm::Prefork]).unwrap(), Mpm::Event);
        let error = Httpd::imagined(Path::new("/nowhere"), &[]).mpm(&[]).unwrap_err();
        assert!(error.to_string().contains("/nowhere/mod_mpm_event.so"), "{error}");
    }
}
