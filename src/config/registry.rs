//! What is known about the whole configuration while it is being read: which process groups it
//! defines and names, and what else can only be judged at its end.

use std::cell::{Cell, RefCell};

use super::expansion::Name;
use crate::ffi::command::Location;
use crate::ffi::pool::Pool;

/// Definitions and uses, over all servers.
#[derive(Debug, Default)]
pub struct Registry {
    defined: Vec<(Vec<u8>, Location)>,
    used: Vec<(Vec<u8>, Location)>,
    scripts: Vec<Script>,
    imports: usize,
}

/// A script that is named.
#[derive(Debug)]
pub struct Script {
    /// Its path, or that of a directory of scripts.
    pub path: Vec<u8>,
    /// Where it is named.
    pub location: Location,
    /// The process group that it is for, if that is known before the request.
    pub process_group: Option<Vec<u8>>,
    /// Whether URLs are mapped to it, so that the path is httpd's in any case.
    pub is_mapped: bool,
}

/// The registry of the configuration cycle whose pool is `pool`.
pub fn of(pool: Pool<'_>) -> &RefCell<Registry> {
    pool.shared(c"mod_wsgi_rs: process groups", RefCell::default)
}

/// Which `<WSGIInterpreterOptions>` the lines that are being read stand in, if any: its place among
/// all of them.
pub fn block(pool: Pool<'_>) -> &Cell<Option<usize>> {
    pool.shared(c"mod_wsgi_rs: in interpreter options", Cell::default)
}

impl Registry {
    /// Notes a definition.
    ///
    /// # Errors
    /// Where the group has been defined before.
    pub fn define(&mut self, name: &[u8], location: Location) -> Result<(), Location> {
        match self.defined.iter().find(|(defined, _)| defined == name) {
            Some((_, before)) => Err(before.clone()),
            None => {
                self.defined.push((name.to_vec(), location));
                Ok(())
            }
        }
    }

    /// Notes that a group is named, if its name is known before the request.
    pub fn use_group(&mut self, name: &Name, location: Location) {
        if let Some(name) = name.literal().filter(|name| !name.is_empty()) {
            self.used.push((name.to_vec(), location));
        }
    }

    /// Notes that a script is named, which httpd's user will have to see.
    pub fn use_script(&mut self, script: Script) {
        self.scripts.push(script);
    }

    /// Counts a script that is loaded in advance. Returns its place among them.
    pub fn count_import(&mut self) -> usize {
        self.imports += 1;
        self.imports
    }

    /// The groups that are named but nowhere defined, and where.
    pub fn undefined(&self) -> impl Iterator<Item = &(Vec<u8>, Location)> {
        let is_defined = |name: &Vec<u8>| self.defined.iter().any(|(defined, _)| defined == name);
        self.used.iter().filter(move |(name, _)| !is_defined(name))
    }

    /// The scripts that are named.
    pub fn scripts(&self) -> &[Script] {
        &self.scripts
    }
}
