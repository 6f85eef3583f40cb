//! Finds the supervisor to talk to.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// `wsgi` in the `DefaultRuntimeDir` of Debian, Fedora, Arch, and httpd as it is distributed.
const USUAL: [&str; 4] = [
    "/var/run/apache2/wsgi",
    "/run/httpd/wsgi",
    "/etc/httpd/run/wsgi",
    "/usr/local/apache2/logs/wsgi",
];

/// Connects to the newest generation below this prefix, or below one of the usual ones, whose
/// supervisor answers.
pub fn supervisor(prefix: Option<&Path>) -> Result<UnixStream> {
    let prefixes = match prefix {
        Some(prefix) => vec![prefix.to_owned()],
        None => USUAL.map(PathBuf::from).to_vec(),
    };
    let mut sockets: Vec<_> = prefixes.iter().flat_map(|prefix| sockets(prefix)).collect();
    sockets.sort_by_key(|socket| fs::metadata(socket).and_then(|found| found.modified()).ok());
    let mut failure = None;
    for socket in sockets.iter().rev() {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = failure.or(Some((error, socket))),
        }
    }
    if let Some((error, socket)) = failure {
        return Err(error).with_context(|| {
            format!(
                "cannot connect to {}; only root and the user who started httpd may",
                socket.display()
            )
        });
    }
    let places: Vec<_> = prefixes.iter().map(|path| format!("{}.*", path.display())).collect();
    bail!(
        "no supervisor at {}; --prefix says where else, as WSGISocketPrefix does in httpd's \
         configuration",
        places.join(", ")
    )
}

/// Where the sockets of the generations are: `PREFIX.PID.NUMBER/admin.sock`.
fn sockets(prefix: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (prefix.parent(), prefix.file_name()) else {
        return Vec::new();
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let generations = entries.map(|entry| entry.path()).filter(|path| {
        let found = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        found.strip_prefix(name.as_bytes()).is_some_and(|numbers| {
            let mut numbers = numbers.split(|byte| *byte == b'.');
            let is_number =
                |number: &[u8]| !number.is_empty() && number.iter().all(u8::is_ascii_digit);
            numbers.next() == Some(b"")
                && numbers.next().is_some_and(is_number)
                && numbers.next().is_some_and(is_number)
                && numbers.next().is_none()
        })
    });
    generations.map(|path| path.join("admin.sock")).collect()
}
