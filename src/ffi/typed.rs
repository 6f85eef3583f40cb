//! Values that httpd keeps for us behind pointers of no type, and says nothing about.

use std::any::TypeId;
use std::ffi::c_void;

/// A value that knows its type, wherever a pointer to it has been.
#[repr(C)]
pub(super) struct Typed<T> {
    /// First, so that it is found whatever follows.
    id: TypeId,
    value: T,
}

impl<T: 'static> Typed<T> {
    pub(super) fn new(value: T) -> Self {
        Self { id: TypeId::of::<T>(), value }
    }

    /// The value, if it is one of this type.
    ///
    /// # Safety
    /// `raw` is null, or points to a `Typed` of any type that nothing changes for `'a`.
    pub(super) unsafe fn get<'a>(raw: *const c_void) -> Option<&'a T> {
        // SAFETY: every `Typed` begins with its id.
        let id = unsafe { raw.cast::<TypeId>().as_ref() }?;
        if *id != TypeId::of::<T>() {
            return None;
        }
        // SAFETY: alive, and of this type, as its id says.
        Some(unsafe { &(*raw.cast::<Self>()).value })
    }

    /// As [`Self::get`].
    ///
    /// # Safety
    /// `raw` is null, or points to a `Typed` of any type that nothing else uses for `'a`.
    pub(super) unsafe fn get_mut<'a>(raw: *mut c_void) -> Option<&'a mut T> {
        // SAFETY: nothing else uses it, which is more than `get` asks for.
        unsafe { Self::get(raw) }?;
        // SAFETY: as it says, alive and of this type.
        Some(unsafe { &mut (*raw.cast::<Self>()).value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_type_that_was_kept_is_found() {
        let mut kept = Typed::new(String::from("kept"));
        let raw = (&raw mut kept).cast::<c_void>();
        // SAFETY: a `Typed` that lives on, and no other reference to it.
        assert_eq!(unsafe { Typed::<Vec<u8>>::get(raw) }, None);
        // SAFETY: as before.
        assert_eq!(unsafe { Typed::<u128>::get_mut(raw) }, None);
        // SAFETY: as before.
        unsafe { Typed::<String>::get_mut(raw) }.unwrap().push('!');
        // SAFETY: as before.
        assert_eq!(unsafe { Typed::<String>::get(raw) }.map(String::as_str), Some("kept!"));
        // SAFETY: null.
        assert_eq!(unsafe { Typed::<String>::get(std::ptr::null()) }, None);
    }
}
