//! A directory to confine workers to: Python's standard library, an application, and nothing else.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use testkit::environment;

use crate::TELL;

/// What of the library no test asks for.
const LEFT_OUT: [&str; 7] =
    ["test", "idlelib", "tkinter", "lib2to3", "ensurepip", "turtledemo", "site-packages"];

/// It goes away with its owner.
pub struct Jail {
    outer: PathBuf,
    path: PathBuf,
    prefix: PathBuf,
    version: String,
}

impl Jail {
    /// One with [`TELL`] as its `app.wsgi`.
    pub fn new() -> Jail {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mwrs-jail-{}-{number}", std::process::id());
        let outer = std::env::temp_dir().join(name);
        let question = "import sys, sysconfig; print(sys.base_prefix); \
                        print(sysconfig.get_path('stdlib')); print('%d.%d' % sys.version_info[:2])";
        let python = Command::new(environment::venv().join("bin/python"))
            .args(["-c", question])
            .output()
            .expect("the environment has a Python");
        let answers = String::from_utf8(python.stdout).expect("Python prints text");
        let [prefix, library, version] = answers.lines().collect::<Vec<_>>()[..] else {
            panic!("Python answers {answers:?}");
        };
        let path = outer.join("jail");
        let jail = Jail { path, outer, prefix: prefix.into(), version: version.into() };
        link_tree(Path::new(library), &jail.outside(library));
        jail.write("app.wsgi", TELL);
        jail
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that it is in.
    pub fn outer(&self) -> &Path {
        &self.outer
    }

    /// Where Python is installed, here and on the system.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Python's version, without its last part.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The path by which others know one in here.
    pub fn outside(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Writes a file that everybody may read.
    pub fn write(&self, name: impl AsRef<Path>, content: &str) {
        let path = self.outside(name);
        fs::create_dir_all(path.parent().expect("files are in a folder")).expect("it is ours");
        fs::write(&path, content).expect("it is ours");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// Makes a virtual environment with a module of this text.
    pub fn environment(&self, home: &str, module: &str) {
        let version = self.version();
        let config = format!("home = {}/bin\nversion = {version}.0\n", self.prefix.display());
        self.write(format!("{home}/pyvenv.cfg"), &config);
        self.write(format!("{home}/lib/python{version}/site-packages/mwrs_inside.py"), module);
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.outer) {
            eprintln!("cannot remove {}: {error}", self.outer.display());
        }
    }
}

/// Gives each file another name, or makes a copy where the file system is another one.
fn link_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it is ours");
    for entry in fs::read_dir(from).expect("Python has a library").flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let target = to.join(&name);
        if path.is_dir() {
            link_tree(&path, &target);
        } else if fs::hard_link(&path, &target).is_err() {
            fs::copy(&path, &target).expect("it is ours");
        }
    }
}
