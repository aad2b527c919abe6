// SPDX-License-Identifier: GPL-2.0

//! Memory for the module's own data, and copying.

use super::{
    bindings,
    gfp::Gfp,
    list::{ObjRef, WithTail},
};
use core::{
    mem::{align_of, size_of},
    ptr::NonNull,
};
use kernel::{fmt, str::CString};

/// A slab cache: memory for objects of one size.
///
/// # Invariants
///
/// The pointer is to a slab cache that nobody else destroys.
pub(crate) struct SlabCache(NonNull<bindings::kmem_cache>);

// SAFETY: A slab cache may be used and destroyed by any task.
unsafe impl Send for SlabCache {}

// SAFETY: A slab cache does its own locking.
unsafe impl Sync for SlabCache {}

impl SlabCache {
    /// Makes a cache of objects of `size` bytes aligned to `align`; [`None`] without memory. May
    /// sleep.
    ///
    /// It appears in `/proc/slabinfo` under the name of the module, `what` and `number`, together
    /// unique.
    pub(crate) fn new(what: &str, number: u16, size: usize, align: usize) -> Option<Self> {
        let name = CString::try_from_fmt(fmt!("rsmalloc_{what}_{number}")).ok()?;
        // SAFETY: The name is a C string, and is copied.
        let cache = unsafe {
            bindings::rsmalloc_cache_create(name.as_char_ptr(), size as u32, align as u32)
        };
        // INVARIANT: It was just made.
        NonNull::new(cache).map(Self)
    }

    /// Allocates an object, which is not initialised.
    pub(crate) fn alloc(&self, gfp: Gfp) -> Option<NonNull<u8>> {
        // SAFETY: The cache is valid by the type's invariants.
        let object = unsafe { bindings::kmem_cache_alloc_noprof(self.0.as_ptr(), gfp.as_raw()) };
        NonNull::new(object.cast())
    }

    /// Frees an object. Does not sleep.
    ///
    /// # Safety
    ///
    /// `object` came from this cache and is not used any more.
    pub(crate) unsafe fn free<T>(&self, object: NonNull<T>) {
        // SAFETY: The caller answers for the object, and the cache is valid by the type's
        // invariants.
        unsafe { bindings::kmem_cache_free(self.0.as_ptr(), object.as_ptr().cast()) };
    }
}

impl Drop for SlabCache {
    /// Sleeps. The kernel complains loudly about an object that was not freed.
    fn drop(&mut self) {
        // SAFETY: The cache is valid by the type's invariants, and this is its last use.
        unsafe { bindings::kmem_cache_destroy(self.0.as_ptr()) };
    }
}

/// Moves `value` to memory of its own; [`None`] without memory.
pub(crate) fn new_object<T>(value: T, gfp: Gfp) -> Option<ObjRef<T>> {
    assert!(align_of::<T>() <= bindings::ARCH_SLAB_MINALIGN);
    // SAFETY: Any size and flags are allowed.
    let memory = unsafe { bindings::__kmalloc_noprof(size_of::<T>(), gfp.as_raw()) };
    let object = NonNull::new(memory.cast::<T>())?;
    // SAFETY: The memory was just allocated, with the size of a `T`, and kmalloc aligns it to more
    // than a `T` wants. From here on it is only shared.
    unsafe {
        object.as_ptr().write(value);
        Some(ObjRef::from_ptr(object))
    }
}

/// Moves `value` to memory of its own, with an array of `item`s behind it; [`None`] without memory.
pub(crate) fn new_object_with_tail<T: WithTail>(
    value: T,
    item: T::Item,
    gfp: Gfp,
) -> Option<ObjRef<T>> {
    const {
        assert!(align_of::<T>() <= bindings::ARCH_SLAB_MINALIGN);
        assert!(size_of::<T>() % align_of::<T::Item>() == 0);
    }
    let len = value.tail_len();
    let size = size_of::<T>() + len * size_of::<T::Item>();
    // SAFETY: Any size and flags are allowed.
    let memory = unsafe { bindings::__kmalloc_noprof(size, gfp.as_raw()) };
    let object = NonNull::new(memory.cast::<T>())?;
    // SAFETY: The memory was just allocated, with the size of a `T` and the array, and kmalloc
    // aligns it to more than a `T` wants. From here on it is only shared.
    unsafe {
        object.as_ptr().write(value);
        let tail = object.as_ptr().add(1).cast::<T::Item>();
        for index in 0..len {
            tail.add(index).write(item);
        }
        Some(ObjRef::from_ptr(object))
    }
}

/// Frees an object of [`new_object`] or [`new_object_with_tail`].
///
/// # Safety
///
/// The object is on no list, and no copy of the reference is used any more.
pub(crate) unsafe fn free_object<T>(object: ObjRef<T>) {
    let object = object.as_ptr().as_ptr();
    // SAFETY: The object came from one of these functions, and the caller answers for its not being
    // used any more.
    unsafe {
        object.drop_in_place();
        bindings::kfree(object.cast());
    }
}

/// Copies `len` bytes.
///
/// # Safety
///
/// `from` is readable and `to` writable for `len` bytes, and they do not overlap.
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: Passed on to the caller.
    unsafe { core::ptr::copy_nonoverlapping(from, to, len) };
}
