// SPDX-License-Identifier: GPL-2.0

//! Without lockdep: the interface of the other one, and nothing behind it.

use crate::{
    lock::ZspageLock,
    sys::{
        init::{pin_data, pin_init, PinInit},
        CStr,
    },
};
use core::mem::size_of;

// A zspage lock is its word, and what is between acquiring and holding it is nothing.
const _: () = assert!(size_of::<ZspageLock>() == size_of::<u32>());
const _: () = assert!(size_of::<Acquiring>() == 0);

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
