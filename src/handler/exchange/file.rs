//! A response whose body is a file that the worker has opened.

use std::os::fd::OwnedFd;

use rustix::fs::FileType;
use tracing::error;

use super::delivery::FileError;
use super::{Exchange, Outcome};
use crate::ffi::bucket::{ClientGone, Sendfile, Then};
use crate::handler::fault::Fault;

/// File systems that are on this machine, as `linux/magic.h` numbers them: ext2 to ext4, XFS, Btrfs,
/// F2FS, tmpfs, and the layers of containers. On others, httpd's manual says of `EnableSendfile`, the
/// kernel may not be able to send what is in its cache.
const LOCAL: [u32; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994, 0x794c_7630];

impl Exchange<'_, '_> {
    /// Sends a file as the body. A worker may pass any descriptor, and say anything about it.
    pub(super) fn send_file(
        &mut self,
        file: Option<&OwnedFd>,
        offset: u64,
        length: u64,
    ) -> Result<Option<Outcome>, ClientGone> {
        if self.page.is_some() || self.complete && self.bodiless {
            // httpd's own page takes the place of the body, or there is none.
            return Ok(None);
        }
        if !self.begun || self.has_data || self.complete {
            return Ok(Some(self.nonsense("sends a file out of turn")));
        }
        let Some(file) = file.filter(|file| holds(file, offset, length)) else {
            let why = "sends a file that is none, or shorter than it says";
            return Ok(Some(self.nonsense(why)));
        };
        let allowed = self.allowance.map_or(length, |allowance| length.min(allowance));
        let missing = self.allowance.map_or(0, |allowance| allowance - allowed);
        if allowed < length {
            error!("The application's file is longer than its Content-Length; it is cut there.");
        }
        let then = if missing == 0 { Then::End } else { Then::More };
        if missing > 0 {
            error!("The application's file is {missing} bytes shorter than its Content-Length.");
        }
        let part = (allowed > 0).then_some((file, offset, allowed));
        let by_kernel = is_local(file);
        let sendfile = if by_kernel { Sendfile::UnlessOff } else { Sendfile::AsConfigured };
        match self.response.send_file(part, sendfile, then) {
            Ok(()) => {}
            Err(FileError::ClientGone(gone)) => return Err(gone),
            Err(FileError::Unusable(problem)) => {
                let why = format!("sends a file that cannot be passed on ({problem})");
                return Ok(Some(self.broken(Fault::ApplicationFailed, why)));
            }
        }
        if missing > 0 {
            self.has_data = true;
            return Ok(Some(self.fail(Fault::ApplicationFailed)));
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

/// Whether a file is on a file system that can do all that Linux can do with files.
fn is_local(file: &OwnedFd) -> bool {
    let number = rustix::fs::fstatfs(file).map(|system| system.f_type);
    // The kernel's numbers have 32 bits, whatever type the C library gives them.
    number.is_ok_and(|number| LOCAL.contains(&(number as u32)))
}
