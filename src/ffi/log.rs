//! httpd's error log.

use std::ffi::{c_char, c_int};

use super::bindings as c;
use super::module::module_index;
use super::request::Request;
use super::server::Server;

/// Writes one line to the error log of `server`, or of no server while there is none yet.
/// `level` is httpd's number, see `wire::exchange::Level`.
pub fn log_server(server: Option<Server<'_>>, level: u8, text: &[u8]) {
    let server = server.map_or(std::ptr::null(), Server::as_ptr);
    // SAFETY: the server is alive or null, which ap_log_error takes for "before there is one";
    // the text is as long as stated, and copied before the call returns.
    unsafe {
        c::mwrs_log_server(
            server,
            module_index(),
            level.into(),
            length(text),
            text.as_ptr().cast(),
        );
    }
}

/// Writes one line to the error log of the request's virtual host.
pub fn log_request(request: Request<'_>, level: u8, text: &[u8]) {
    write(request, std::ptr::null(), 0, level, text);
}

/// As [`log_request`], with the source file and line (`%F` in an ErrorLogFormat).
pub fn log_request_from(request: Request<'_>, level: u8, (path, line): (&[u8], u32), text: &[u8]) {
    let path = request.pool().string(path).as_ptr();
    write(request, path, c_int::try_from(line).unwrap_or(0), level, text);
}

fn write(request: Request<'_>, path: *const c_char, line: c_int, level: u8, text: &[u8]) {
    // SAFETY: as above; the request is alive, and `path` a C string in its pool, or null.
    unsafe {
        c::mwrs_log_request(
            path,
            line,
            request.as_ptr(),
            module_index(),
            level.into(),
            length(text),
            text.as_ptr().cast(),
        );
    }
}

/// httpd cuts lines at 8 KiB (`MAX_STRING_LEN`) anyway.
fn length(text: &[u8]) -> c_int {
    c_int::try_from(text.len()).unwrap_or(c_int::MAX)
}
