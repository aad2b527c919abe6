// SPDX-License-Identifier: GPL-2.0

use super::CStr;
use std::{marker::PhantomData, ptr::NonNull};

pub(crate) trait Written: Sync {
    fn written(&self);
}

/// Nobody writes but the tests, and they call the owner.
pub(crate) struct WriteOnlyFile<T>(PhantomData<fn(&T)>);

impl<T: Written> WriteOnlyFile<T> {
    /// # Safety
    ///
    /// As for the kernel's.
    pub(crate) unsafe fn new(_directory: &CStr, _name: &CStr, _owner: NonNull<T>) -> Self {
        Self(PhantomData)
    }

    pub(crate) fn remove(&self) {}
}
