//! Which module the tests are about: ours, or an original mod_wsgi that ours is compared with.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{env, thread};

use crate::environment;

/// What begins the line about a test that returned without asking anything.
pub const SKIPPED: &str = "skipped: ";

/// The module that httpds of the tests load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderTest {
    /// mod_wsgi-rs.
    Ours,
    /// PyPI's mod_wsgi.
    Theirs,
    /// Debian's mod_wsgi, which is older.
    Debian,
}

impl UnderTest {
    /// What the environment chooses.
    ///
    /// # Panics
    /// When it chooses something that there is not.
    pub fn chosen() -> UnderTest {
        match env::var(environment::UNDER_TEST).as_deref() {
            Err(_) | Ok("" | "ours") => UnderTest::Ours,
            Ok("theirs") => UnderTest::Theirs,
            Ok("debian") => UnderTest::Debian,
            Ok(other) => panic!(
                "{} is {other}, which is none of ours, theirs and debian",
                environment::UNDER_TEST
            ),
        }
    }

    /// Whether it is an original.
    pub fn is_original(self) -> bool {
        self != UnderTest::Ours
    }
}

/// Tells that this test has to return without asking anything, and why, past libtest, which hides
/// what passing tests say.
pub fn skipped(reason: &str) {
    let test = thread::current();
    let _ = writeln!(io::stdout(), "{SKIPPED}{}: {reason}", test.name().unwrap_or_default());
}

/// Whether an original is under test, of which this test can ask nothing: it has to return. The
/// reason says what is only ours.
#[must_use]
pub fn ours_only(reason: &str) -> bool {
    skips(UnderTest::chosen().is_original(), reason)
}

/// The same for Debian's, which is older than what ours is compared with. The reason says what came
/// later.
#[must_use]
pub fn later_than_debians(reason: &str) -> bool {
    skips(UnderTest::chosen() == UnderTest::Debian, reason)
}

/// The same for PyPI's, which has dropped what older versions had.
#[must_use]
pub fn dropped_by_pypis(reason: &str) -> bool {
    skips(UnderTest::chosen() == UnderTest::Theirs, reason)
}

fn skips(skips: bool, reason: &str) -> bool {
    if skips {
        skipped(&format!("ours only: {reason}"));
    }
    skips
}

/// A module for httpd's `LoadModule`.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    path: PathBuf,
    original: bool,
}

impl Module {
    /// Ours, from this folder.
    pub(crate) fn ours(dist: &Path) -> Module {
        Module { path: dist.join("mod_wsgi_rs.so"), original: false }
    }

    /// The one under test.
    pub(crate) fn chosen() -> Module {
        match UnderTest::chosen() {
            UnderTest::Ours => Module::ours(&environment::dist()),
            _ => Module { path: environment::original(), original: true },
        }
    }

    /// Whether it is an original.
    pub(crate) fn is_original(&self) -> bool {
        self.original
    }

    /// The line that loads it. An original's sockets are put where ours are: their default place
    /// is one of the system's, or the folder of the logs.
    pub(crate) fn lines(&self) -> String {
        let prefix = if self.original { "WSGISocketPrefix run/wsgi\n" } else { "" };
        format!("{}\n{prefix}", self.load())
    }

    /// The `LoadModule` line alone.
    pub(crate) fn load(&self) -> String {
        format!("LoadModule wsgi_module \"{}\"", self.path.display())
    }
}
