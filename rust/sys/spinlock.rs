// SPDX-License-Identifier: GPL-2.0

//! A spinlock with what it covers.
//!
//! The `kernel` crate's makes three calls to take it. This one makes one into the module and one
//! from there, and can be instantiated without a `Backend` layer.

use super::{
    bindings,
    init::{pin_data, pin_init, PinInit},
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};
use kernel::{str::CStr, types::Opaque};

/// Names a kind of lock for lockdep: a `&'static` [`LockClass`].
macro_rules! lock_class {
    ($name:literal) => {{
        static KEY: $crate::sys::spinlock::LockClass =
            $crate::sys::spinlock::LockClass::new(::kernel::c_str!($name));
        &KEY
    }};
}
pub(crate) use lock_class;

/// A kind of lock: all locks that play the same part.
pub(crate) struct LockClass {
    name: &'static CStr,
    key: Opaque<bindings::lock_class_key>,
}

// SAFETY: lockdep does its own locking of the key.
unsafe impl Sync for LockClass {}

impl LockClass {
    /// Makes a class for a `static`: [`lock_class!`] does it.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            key: Opaque::uninit(),
        }
    }
}

/// A spinlock (`spinlock_t`: a sleeping lock on PREEMPT_RT) that covers a `T`.
///
/// It is taken with interrupts as they are: not for use in interrupt handlers.
#[pin_data]
#[repr(C)]
pub(crate) struct SpinLock<T> {
    #[pin]
    lock: Opaque<bindings::spinlock_t>,
    value: UnsafeCell<T>,
}

// SAFETY: The value goes where the lock goes.
unsafe impl<T: Send> Send for SpinLock<T> {}

// SAFETY: One task at a time gets at the value.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// Makes an unlocked lock.
    pub(crate) fn new(value: T, class: &'static LockClass) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The slot is valid for writing, and the name and key are static.
            lock <- Opaque::ffi_init(|slot| unsafe {
                bindings::rsmalloc_spin_lock_init(slot, class.name.as_char_ptr(), class.key.get())
            }),
            value: UnsafeCell::new(value),
        })
    }

    /// Takes the lock.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        // SAFETY: The lock was initialised by `new`.
        unsafe { bindings::rsmalloc_spin_lock(self.lock.get()) };
        Guard {
            lock: self,
            _not_send: PhantomData,
        }
    }

    /// Takes the lock while another of its class is held. The caller sees to the order.
    pub(crate) fn lock_nested(&self) -> Guard<'_, T> {
        // SAFETY: The lock was initialised by `new`.
        unsafe { bindings::rsmalloc_spin_lock_nested(self.lock.get()) };
        Guard {
            lock: self,
            _not_send: PhantomData,
        }
    }
}

/// Shows that a [`SpinLock`] is held, and releases it at the end.
#[must_use = "the lock is released when the guard goes"]
pub(crate) struct Guard<'a, T> {
    lock: &'a SpinLock<T>,
    _not_send: PhantomData<*mut ()>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The lock is held.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is held.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The guard shows that this task holds the lock.
        unsafe { bindings::rsmalloc_spin_unlock(self.lock.lock.get()) };
    }
}
