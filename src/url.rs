//! How httpd has divided the URL of a request: SCRIPT_NAME and PATH_INFO.

use crate::ffi::request::Request;

/// SCRIPT_NAME: the URL path in front of the path info, runs of slashes collapsed.
pub fn script_name(request: Request<'_>) -> Vec<u8> {
    collapse_slashes(&request.uri()[..request.script_name_len()])
}

/// PATH_INFO, runs of slashes collapsed.
pub fn path_info(request: Request<'_>) -> Vec<u8> {
    collapse_slashes(request.path_info())
}

fn collapse_slashes(path: &[u8]) -> Vec<u8> {
    let mut collapsed = Vec::with_capacity(path.len());
    for &byte in path {
        if byte != b'/' || collapsed.last() != Some(&b'/') {
            collapsed.push(byte);
        }
    }
    collapsed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_collapse() {
        assert_eq!(collapse_slashes(b"//a///b/"), b"/a/b/");
        assert_eq!(collapse_slashes(b""), b"");
    }
}
