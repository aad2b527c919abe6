// SPDX-License-Identifier: GPL-2.0

use super::{
    gfp::Gfp,
    list::{ObjRef, WithTail},
    machine,
};
use std::{alloc::Layout, ptr::NonNull};

pub(crate) struct SlabCache(Layout);

impl SlabCache {
    pub(crate) fn new(_what: &str, _number: u16, size: usize, align: usize) -> Option<Self> {
        Some(Self(Layout::from_size_align(size, align).unwrap()))
    }

    pub(crate) fn alloc(&self, gfp: Gfp) -> Option<NonNull<u8>> {
        assert!(!gfp.direct_reclaim && !gfp.movable);
        NonNull::new(machine::alloc_object(self.0)?)
    }

    /// # Safety
    ///
    /// As for the kernel's.
    pub(crate) unsafe fn free<T>(&self, object: NonNull<T>) {
        machine::free_object(object.as_ptr().cast());
    }
}

pub(crate) fn new_object<T>(value: T, gfp: Gfp) -> Option<ObjRef<T>> {
    assert!(!gfp.movable);
    let object = NonNull::new(machine::alloc_object(Layout::new::<T>())?)?.cast::<T>();
    // SAFETY: The memory was just allocated for a `T`.
    unsafe {
        object.write(value);
        Some(ObjRef::from_ptr(object))
    }
}

pub(crate) fn new_object_with_tail<T: WithTail>(
    value: T,
    item: T::Item,
    gfp: Gfp,
) -> Option<ObjRef<T>> {
    assert!(!gfp.movable && !gfp.direct_reclaim);
    let len = value.tail_len();
    let layout = Layout::new::<T>()
        .extend(Layout::array::<T::Item>(len).unwrap())
        .unwrap()
        .0;
    let object = NonNull::new(machine::alloc_object(layout)?)?.cast::<T>();
    // SAFETY: The memory was just allocated for a `T` and the array.
    unsafe {
        object.write(value);
        let tail = object.add(1).cast::<T::Item>();
        (0..len).for_each(|index| tail.add(index).write(item));
        Some(ObjRef::from_ptr(object))
    }
}

/// # Safety
///
/// As for the kernel's.
pub(crate) unsafe fn free_object<T>(object: ObjRef<T>) {
    let object = object.as_ptr().as_ptr();
    // SAFETY: Passed on to the caller.
    unsafe { object.drop_in_place() };
    machine::free_object(object.cast());
}

/// # Safety
///
/// As for the kernel's.
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: Passed on to the caller.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
}
