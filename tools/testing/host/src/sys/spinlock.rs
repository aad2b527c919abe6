// SPDX-License-Identifier: GPL-2.0

use super::init::{pin_init, PinInit};
use std::sync::Mutex;
pub(crate) use std::sync::MutexGuard as Guard;

macro_rules! lock_class {
    ($name:literal) => {
        $crate::sys::spinlock::LockClass
    };
}
pub(crate) use lock_class;

pub(crate) struct LockClass;

/// A mutex that nobody may find taken: a test has one thread for each machine.
#[pinned_init::pin_data]
pub(crate) struct SpinLock<T> {
    value: Mutex<T>,
}

impl<T> SpinLock<T> {
    pub(crate) fn new(value: T, _class: LockClass) -> impl PinInit<Self> {
        pin_init!(Self {
            value: Mutex::new(value),
        })
    }

    pub(crate) fn lock_nested(&self) -> Guard<'_, T> {
        self.lock()
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.value
            .try_lock()
            .expect("a lock is taken while it is held")
    }
}
