//! A response whose body is a file that the worker has opened.

use std::os::fd::OwnedFd;

use rustix::fs::FileType;
use tracing::error;

use super::delivery::FileError;
use super::{Exchange, Outcome};
use crate::ffi::bucket::{ClientGone, Then};
use crate::ffi::{HTTP_BAD_GATEWAY, HTTP_INTERNAL_SERVER_ERROR};

impl Exchange<'_, '_> {
    /// Sends a file as the body. A worker may pass any descriptor, and say anything about it.
    pub(super) fn send_file(
        &mut self,
        file: Option<&OwnedFd>,
        offset: u64,
        length: u64,
    ) -> Result<Option<Outcome>, ClientGone> {
        if !self.begun || self.has_data || self.complete {
            return Ok(Some(self.broken(HTTP_BAD_GATEWAY, "sends a file out of turn")));
        }
        let Some(file) = file.filter(|file| holds(file, offset, length)) else {
            let why = "sends a file that is none, or shorter than it says";
            return Ok(Some(self.broken(HTTP_BAD_GATEWAY, why)));
        };
        let allowed = self.allowance.map_or(length, |allowance| length.min(allowance));
        let missing = self.allowance.map_or(0, |allowance| allowance - allowed);
        if allowed < length {
            error!("The application's file is longer than its Content-Length; it is cut there.");
        }
        let then = if missing == 0 { Then::End } else { Then::Broken };
        if missing > 0 {
            error!("The application's file is {missing} bytes shorter than its Content-Length.");
        }
        let part = (allowed > 0).then_some((file, offset, allowed));
        match self.response.send_file(part, then) {
            Ok(()) => {}
            Err(FileError::ClientGone(gone)) => return Err(gone),
            Err(FileError::Unusable(problem)) => {
                let why = format!("sends a file that cannot be passed on ({problem})");
                return Ok(Some(self.broken(HTTP_INTERNAL_SERVER_ERROR, &why)));
            }
        }
        self.complete = true;
        Ok(None)
    }
}

/// Whether this is a plain file that has these bytes.
fn holds(file: &OwnedFd, offset: u64, length: u64) -> bool {
    let Ok(stat) = rustix::fs::fstat(file) else {
        return false;
    };
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && offset.checked_add(length).is_some_and(|end| end <= size)
}
