//! The files of our own that workers are made of, held open from the start: a supervisor goes on
//! with those that belong to it, whatever is installed over them meanwhile.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What is installed beside the supervisor.
#[derive(Debug)]
pub struct Installed {
    /// Where the supervisor, the module and the rest were installed.
    pub directory: PathBuf,
    /// The workers that an interpreter loads: the tag in the name of the file `wsgi_worker.TAG.so`,
    /// and the file.
    pub workers: Vec<(String, OwnedFd)>,
    /// `wsgi-worker`, which loads Python itself.
    pub program: Option<OwnedFd>,
}

impl Installed {
    /// Opens what is there. What is missing is missed by the group that needs it.
    pub fn open() -> Self {
        let own = std::env::current_exe().unwrap_or_default();
        Self::open_in(own.parent().unwrap_or(Path::new("/")))
    }

    fn open_in(directory: &Path) -> Self {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut workers: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let tag = name.strip_prefix("wsgi_worker.")?.strip_suffix(".so")?.to_owned();
                Some((tag, File::open(entry.path()).ok()?.into()))
            })
            .collect();
        workers.sort_by(|one, other| one.0.cmp(&other.0));
        let program = File::open(directory.join("wsgi-worker")).ok().map(OwnedFd::from);
        Self { directory: directory.to_owned(), workers, program }
    }
}
