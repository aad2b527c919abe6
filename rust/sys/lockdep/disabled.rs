// SPDX-License-Identifier: GPL-2.0

//! Without lockdep: the interface of the other one, and nothing behind it.

use crate::sys::{
    init::{pin_data, pin_init, PinInit},
    CStr,
};

#[pin_data]
pub(crate) struct OwnedLockMap {}

impl OwnedLockMap {
    pub(crate) fn new(_name: &'static CStr) -> impl PinInit<Self> {
        pin_init!(Self {})
    }

    pub(crate) fn map(&self) -> LockMap {
        LockMap
    }
}

#[derive(Clone, Copy)]
pub(crate) struct LockMap;

impl LockMap {
    #[inline]
    pub(crate) fn acquire_read(self) -> Acquiring {
        Acquiring
    }

    #[inline]
    pub(crate) fn write_acquired(self) {}

    #[inline]
    pub(crate) fn write_released(self) {}
}

pub(crate) struct Acquiring;

impl Acquiring {
    #[inline]
    pub(crate) fn contended(&self) {}

    #[inline]
    pub(crate) fn acquired(self) {}
}
