//! Where the module is: the files that belong together, found from where this program is.

use std::env;
use std::path::{Path, PathBuf};

use crate::sources::Variables;

/// The file for `LoadModule`.
pub const MODULE: &str = "mod_wsgi_rs.so";

/// The files that httpd needs.
#[derive(Debug, Clone)]
pub struct Files {
    /// The folder that has them all.
    pub folder: PathBuf,
    /// The file for `LoadModule`.
    pub module: PathBuf,
}

/// Why the module cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// This program does not know where it is.
    #[error(
        "cannot find out where this program is: {0}; MOD_WSGI_RS_HOME says where the module is"
    )]
    Program(#[source] std::io::Error),
    /// It is at none of the places.
    #[error("there is no {MODULE} in {}; MOD_WSGI_RS_HOME says where it is", list(places))]
    Missing {
        /// Where it was looked for.
        places: Vec<PathBuf>,
    },
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Files {
    /// Finds them: where `MOD_WSGI_RS_HOME` says, beside this program, in `lib/mod_wsgi_rs` beside
    /// its folder, or in a Python package of that name there.
    pub fn find(variables: &Variables) -> Result<Files, FilesError> {
        if let Some(home) = variables.get("MOD_WSGI_RS_HOME") {
            return Files::among(vec![PathBuf::from(home)]);
        }
        let program = env::current_exe().map_err(FilesError::Program)?;
        Files::among(places(&program))
    }

    fn among(places: Vec<PathBuf>) -> Result<Files, FilesError> {
        let found = places.iter().find(|folder| folder.join(MODULE).is_file());
        match found.and_then(|folder| std::path::absolute(folder).ok()) {
            Some(folder) => Ok(Files { module: folder.join(MODULE), folder }),
            None => Err(FilesError::Missing { places }),
        }
    }
}

/// The folders where a program has its module.
fn places(program: &Path) -> Vec<PathBuf> {
    let beside = program.parent().unwrap_or(Path::new("/"));
    let lib = beside.parent().unwrap_or(Path::new("/")).join("lib");
    let mut places = vec![beside.to_owned(), lib.join("mod_wsgi_rs")];
    let pythons = std::fs::read_dir(&lib).into_iter().flatten().flatten().map(|entry| entry.path());
    let pythons = pythons.filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"))
    });
    for python in pythons {
        let packages = ["site-packages", "dist-packages"];
        places.extend(packages.map(|name| python.join(name).join("mod_wsgi_rs")));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_relative_to_the_program() {
        let places = places(Path::new("/opt/x/bin/mod_wsgi-rs"));
        assert_eq!(places, [Path::new("/opt/x/bin"), Path::new("/opt/x/lib/mod_wsgi_rs")]);
    }

    #[test]
    fn a_place_without_the_module_is_named() {
        let error = Files::find(&Variables::from([("MOD_WSGI_RS_HOME", "/nowhere")])).unwrap_err();
        assert!(error.to_string().contains("no mod_wsgi_rs.so in /nowhere"), "{error}");
    }
}
