//! C strings as bytes: httpd's strings have no encoding.

use std::ffi::{CStr, CString, c_char};

/// The bytes of a C string without its NUL, or `None` for a null pointer.
///
/// # Safety
/// `string` is null, or points to a NUL-terminated string that lives, unchanged, for `'a`.
pub unsafe fn bytes<'a>(string: *const c_char) -> Option<&'a [u8]> {
    if string.is_null() {
        return None;
    }
    // SAFETY: not null, and the caller says that it is a C string for 'a.
    Some(unsafe { CStr::from_ptr(string) }.to_bytes())
}

/// Reads the number in front as C's `strtod`, which takes hexadecimal digits, `inf` and `nan` as
/// well. Returns what it leaves, too.
pub fn strtod(text: &[u8]) -> (f64, &[u8]) {
    let until_nul = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let Ok(string) = CString::new(until_nul) else { return (0.0, text) };
    let mut end: *mut c_char = std::ptr::null_mut();
    // SAFETY: a C string, and a place for a pointer into it.
    let number = unsafe { libc::strtod(string.as_ptr(), &raw mut end) };
    let length = end.addr() - string.as_ptr().addr();
    (number, text.get(length..).unwrap_or_default())
}
