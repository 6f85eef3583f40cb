//! C strings as bytes: httpd's strings have no encoding.

use std::ffi::{CStr, c_char};

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
