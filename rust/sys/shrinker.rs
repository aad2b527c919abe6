// SPDX-License-Identifier: GPL-2.0

//! Giving memory back when the kernel wants it.
//!
//! C header: `include/linux/shrinker.h`; the caller is `mm/shrinker.c`.

use super::{
    atomic::{AtomicPtr, Ordering},
    bindings::{self, ffi},
};
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
};
use kernel::{c_str, str::CStr};

/// The C macro of that name, which bindgen cannot read.
const SHRINK_STOP: ffi::c_ulong = !0;

/// What has memory to give back.
///
/// Both methods are called in any context in which the kernel reclaims memory: they may sleep, but
/// may not wait for memory.
pub(crate) trait Shrink: Sync {
    /// The number of pages that could be given back now.
    fn count(&self) -> usize;

    /// Gives back about `pages` pages. Returns the number of those that were, or [`None`] if
    /// nothing is to be had at the moment.
    fn scan(&self, pages: usize) -> Option<usize>;
}

/// Makes a `T` known to the kernel as one that has memory to give back.
///
/// # Invariants
///
/// The pointer is null, or to a registered shrinker with the functions below.
pub(crate) struct Shrinker<T> {
    shrinker: AtomicPtr<bindings::shrinker>,
    _owner: PhantomData<fn(&T)>,
}

impl<T: Shrink> Shrinker<T> {
    /// Registers `owner`, under the name of the module and `name`; [`None`] without memory. May
    /// sleep.
    ///
    /// # Safety
    ///
    /// `owner` may be used until [`Shrinker::stop`].
    pub(crate) unsafe fn new(name: &CStr, owner: NonNull<T>) -> Option<Self> {
        // SAFETY: The format wants one C string.
        let shrinker = unsafe {
            bindings::shrinker_alloc(0, c_str!("rsmalloc-%s").as_char_ptr(), name.as_char_ptr())
        };
        let shrinker = NonNull::new(shrinker)?.as_ptr();
        // INVARIANT: It is registered here.
        // SAFETY: It was just allocated.
        unsafe {
            (*shrinker).count_objects = Some(Self::count_objects);
            (*shrinker).scan_objects = Some(Self::scan_objects);
            (*shrinker).private_data = owner.as_ptr().cast();
            bindings::shrinker_register(shrinker);
        }
        Some(Self {
            shrinker: AtomicPtr::new(shrinker),
            _owner: PhantomData,
        })
    }

    /// Unregisters the owner, and waits until nobody asks it any more. Sleeps.
    pub(crate) fn stop(&self) {
        let shrinker = self.shrinker.swap(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: It is a registered one or null, by the type's invariants.
        unsafe { bindings::shrinker_free(shrinker) };
    }

    /// # Safety
    ///
    /// `shrinker` is registered with these functions.
    unsafe fn owner<'a>(shrinker: *mut bindings::shrinker) -> &'a T {
        // SAFETY: `new` put it there, and its caller has promised that it may be used.
        unsafe { &*(*shrinker).private_data.cast::<T>() }
    }

    /// # Safety
    ///
    /// As for [`Self::owner`].
    unsafe extern "C" fn count_objects(
        shrinker: *mut bindings::shrinker,
        _control: *mut bindings::shrink_control,
    ) -> ffi::c_ulong {
        // SAFETY: The caller promises it.
        unsafe { Self::owner(shrinker) }.count()
    }

    /// # Safety
    ///
    /// As for [`Self::owner`], and `control` is valid.
    unsafe extern "C" fn scan_objects(
        shrinker: *mut bindings::shrinker,
        control: *mut bindings::shrink_control,
    ) -> ffi::c_ulong {
        // SAFETY: The caller promises it.
        let (owner, pages) = unsafe { (Self::owner(shrinker), (*control).nr_to_scan) };
        owner.scan(pages).unwrap_or(SHRINK_STOP)
    }
}

impl<T> Drop for Shrinker<T> {
    fn drop(&mut self) {
        // SAFETY: It is a registered one or null, by the type's invariants.
        unsafe { bindings::shrinker_free(*self.shrinker.get_mut()) };
    }
}
