//! APR tables: ordered lists of names and values, names compared without regard to case.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::bindings as c;
use super::pool::Pool;
use super::string;

/// A table in a pool that lives for `'t`.
#[derive(Clone, Copy)]
pub struct Table<'t> {
    raw: NonNull<c::apr_table_t>,
    pool: Pool<'t>,
    lifetime: PhantomData<&'t ()>,
}

impl<'t> Table<'t> {
    /// # Safety
    /// `raw` is a table of the pool `pool`, or of one that lives as long.
    pub(super) unsafe fn from_raw(raw: *mut c::apr_table_t, pool: Pool<'t>) -> Self {
        let raw = NonNull::new(raw).expect("httpd makes a request's tables with it");
        Self { raw, pool, lifetime: PhantomData }
    }

    /// The first value of `name`.
    pub fn get(self, name: &CStr) -> Option<&'t [u8]> {
        // SAFETY: the table is alive (`from_raw`), the name is a C string.
        let value = unsafe { c::apr_table_get(self.raw.as_ptr(), name.as_ptr()) };
        // SAFETY: values are C strings in pools that live for 't.
        unsafe { string::bytes(value) }
    }

    /// Sets `name` to a copy of `value`, in place of all values that it had.
    pub fn set(self, name: &CStr, value: &[u8]) {
        let name = self.pool.string(name.to_bytes());
        let value = self.pool.string(value);
        // SAFETY: table, name and value live in the same pool.
        unsafe { c::apr_table_setn(self.raw.as_ptr(), name.as_ptr(), value.as_ptr()) };
    }

    /// Removes all entries of this name.
    pub fn unset(self, name: &CStr) {
        // SAFETY: the table is alive (`from_raw`), the name a C string.
        unsafe { c::apr_table_unset(self.raw.as_ptr(), name.as_ptr()) };
    }

    /// Adds a further line of `name`, copied.
    pub fn add(self, name: &[u8], value: &[u8]) {
        let name = self.pool.string(name);
        let value = self.pool.string(value);
        // SAFETY: table, name and value live in the same pool.
        unsafe { c::apr_table_addn(self.raw.as_ptr(), name.as_ptr(), value.as_ptr()) };
    }

    /// All entries in order. Entries without a value have an empty one.
    pub fn iter(self) -> impl Iterator<Item = (&'t [u8], &'t [u8])> {
        // SAFETY: the table is alive; the array header is part of it.
        let array = unsafe { c::apr_table_elts(self.raw.as_ptr()) };
        // SAFETY: not null, as it is a part of the table, which nobody changes meanwhile.
        let array = unsafe { &*array };
        let first = array.elts.cast::<c::apr_table_entry_t>();
        let length = usize::try_from(array.nelts).unwrap_or(0);
        let entries = if length == 0 {
            &[]
        } else {
            // SAFETY: an APR table's array holds `nelts` entries of this type (apr_tables.h).
            unsafe { std::slice::from_raw_parts(first, length) }
        };
        entries.iter().filter_map(|entry| {
            // SAFETY: keys are C strings in pools that live for 't, or null when unset.
            let name = unsafe { string::bytes(entry.key) }?;
            // SAFETY: so are values.
            let value = unsafe { string::bytes(entry.val) }.unwrap_or_default();
            Some((name, value))
        })
    }
}
