// SPDX-License-Identifier: GPL-2.0

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
