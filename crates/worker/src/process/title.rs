//! What lists of processes call this one.

use std::ffi::CString;

use crate::ffi::Arguments;

/// Without a `display-name=`, and what programs are found by (`pgrep`, `top`).
const NAME: &str = "wsgi-worker";

/// The place for the name.
#[derive(Debug, Clone)]
pub struct Title(Option<Arguments>);

impl Title {
    /// Finds it, which must be done while there is a `/proc`.
    pub fn find() -> Self {
        Self(Arguments::find())
    }

    /// Sets the command line to `display_name`, and the name of the program to ours instead of the
    /// interpreter's.
    pub fn set(&self, display_name: Option<&[u8]>) {
        let name = CString::new(NAME).expect("it has no NUL");
        // Refused by no kernel.
        let _ = rustix::thread::set_name(&name);
        self.0.iter().for_each(|place| place.overwrite(display_name.unwrap_or(NAME.as_bytes())));
    }
}
