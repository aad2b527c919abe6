// SPDX-License-Identifier: GPL-2.0

use super::{
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
    pub(crate) fn acquire_read(self) -> Acquiring {
        Acquiring
    }

    pub(crate) fn write_acquired(self) {}

    pub(crate) fn write_released(self) {}
}

pub(crate) struct Acquiring;

impl Acquiring {
    pub(crate) fn contended(&self) {}

    pub(crate) fn acquired(self) {}
}
