// SPDX-License-Identifier: GPL-2.0

use super::{machine, CStr};
use std::{marker::PhantomData, ptr::NonNull};

pub(crate) trait Shrink: Sync {
    fn count(&self) -> usize;
    fn scan(&self, pages: usize) -> Option<usize>;
}

/// Nobody asks but the tests, and they ask the owner.
pub(crate) struct Shrinker<T>(PhantomData<fn(&T)>);

impl<T: Shrink> Shrinker<T> {
    /// # Safety
    ///
    /// As for the kernel's.
    pub(crate) unsafe fn new(_name: &CStr, _owner: NonNull<T>) -> Option<Self> {
        machine::may_allocate().then_some(Self(PhantomData))
    }

    pub(crate) fn stop(&self) {}
}
