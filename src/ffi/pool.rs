//! APR pools: memory that httpd frees all at once.

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::bindings as c;

/// A pool that lives for `'p`: a request, a configuration cycle, or the process.
#[derive(Clone, Copy)]
pub struct Pool<'p> {
    raw: NonNull<c::apr_pool_t>,
    lifetime: PhantomData<&'p ()>,
}

impl<'p> Pool<'p> {
    /// # Safety
    /// `raw` is a pool that is not cleared for `'p` and that no other thread uses meanwhile.
    pub(super) unsafe fn from_raw(raw: *mut c::apr_pool_t) -> Self {
        let raw = NonNull::new(raw).expect("httpd gives no null pools");
        Self { raw, lifetime: PhantomData }
    }

    pub(super) fn as_ptr(self) -> *mut c::apr_pool_t {
        self.raw.as_ptr()
    }

    /// Copies `bytes` into the pool, with a NUL behind them. A NUL inside ends the string for C.
    pub fn string(self, bytes: &[u8]) -> PoolStr<'p> {
        // SAFETY: the pool is alive (`from_raw`), and the bytes are as long as stated.
        let copy = unsafe { c::apr_pstrmemdup(self.as_ptr(), bytes.as_ptr().cast(), bytes.len()) };
        PoolStr { raw: copy, lifetime: PhantomData }
    }

    /// Moves `value` into the pool's keeping. It is dropped when the pool is cleared.
    pub fn keep<T>(self, value: T) -> &'p mut T {
        let kept = Box::into_raw(Box::new(value));
        // SAFETY: the pool is alive, and the cleanup takes exactly the pointer that it is given.
        // A child that is about to execute another program has nothing to clean up.
        unsafe {
            c::apr_pool_cleanup_register(
                self.as_ptr(),
                kept.cast(),
                Some(drop_kept::<T>),
                Some(c::apr_pool_cleanup_null),
            );
        }
        // SAFETY: a box just leaked, which lives until the pool's end and has no other reference.
        unsafe { &mut *kept }
    }

    /// Moves `value` into the pool's keeping. It is dropped when the pool is about to be cleared, before
    /// the pools that are below it.
    pub fn keep_until_before<T>(self, value: T) {
        let kept = Box::into_raw(Box::new(value));
        // SAFETY: the pool is alive, and the cleanup takes exactly the pointer that it is given.
        unsafe {
            c::apr_pool_pre_cleanup_register(self.as_ptr(), kept.cast(), Some(drop_kept::<T>));
        }
    }

    /// The value that was kept under `key`, or else the one that `make` gives, kept from now on.
    ///
    /// A key stands for one type: this is private to the crate, and each key is used once in it.
    pub fn shared<T: 'static>(self, key: &'static CStr, make: impl FnOnce() -> T) -> &'p T {
        let mut found: *mut c_void = std::ptr::null_mut();
        // SAFETY: the pool is alive, the key is a C string, and `found` takes the pointer.
        unsafe { c::apr_pool_userdata_get(&raw mut found, key.as_ptr(), self.as_ptr()) };
        if !found.is_null() {
            // SAFETY: only the lines below store something under the key, always a kept `T`,
            // which lives as long as the pool.
            return unsafe { &*found.cast::<T>() };
        }
        let kept = std::ptr::from_mut(self.keep(make()));
        // SAFETY: the pool is alive, key and value outlive it; the cleanup is `keep`'s affair.
        unsafe { c::apr_pool_userdata_setn(kept.cast(), key.as_ptr(), None, self.as_ptr()) };
        // SAFETY: just made, and from here on only shared.
        unsafe { &*kept }
    }
}

/// # Safety
/// Called by APR once, as a cleanup that [`Pool::keep`] or [`Pool::keep_until_before`] has registered.
unsafe extern "C" fn drop_kept<T>(kept: *mut c_void) -> c::apr_status_t {
    super::boundary::guard((), || {
        // SAFETY: `kept` is the box that was leaked there; APR runs a cleanup once.
        drop(unsafe { Box::from_raw(kept.cast::<T>()) });
    });
    c::APR_SUCCESS as c::apr_status_t
}

/// A NUL-terminated string in a pool.
#[derive(Clone, Copy)]
pub struct PoolStr<'p> {
    raw: *mut c_char,
    lifetime: PhantomData<&'p ()>,
}

impl PoolStr<'_> {
    pub(super) fn as_ptr(self) -> *mut c_char {
        self.raw
    }
}
