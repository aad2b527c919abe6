// SPDX-License-Identifier: GPL-2.0

//! With lockdep.

use crate::sys::{
    bindings,
    init::{pin_data, pin_init, pinned_drop, PinInit},
    CStr,
};
use core::pin::Pin;
use kernel::types::Opaque;

/// A lock class of its own: the zspage locks of one pool.
///
/// # Invariants
///
/// `raw` is initialised, and its key registered.
#[pin_data(PinnedDrop)]
pub(crate) struct OwnedLockMap {
    #[pin]
    raw: Opaque<bindings::rsmalloc_lock_map>,
}

// SAFETY: lockdep does its own locking, and any task may unregister the key.
unsafe impl Send for OwnedLockMap {}

// SAFETY: lockdep does its own locking.
unsafe impl Sync for OwnedLockMap {}

impl OwnedLockMap {
    /// Registers a lock class named `name`.
    pub(crate) fn new(name: &'static CStr) -> impl PinInit<Self> {
        // INVARIANT: The initialiser does it.
        pin_init!(Self {
            // SAFETY: The slot is valid for writing and pinned, and the name is static.
            raw <- Opaque::ffi_init(|slot| unsafe {
                bindings::rsmalloc_lock_map_init(slot, name.as_char_ptr())
            }),
        })
    }

    /// The class, for a lock that does not outlive `self`.
    pub(crate) fn map(&self) -> LockMap {
        LockMap(self.raw.get())
    }
}

#[pinned_drop]
impl PinnedDrop for OwnedLockMap {
    /// May sleep.
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The key is registered by the type's invariants.
        unsafe { bindings::rsmalloc_lock_map_destroy(self.raw.get()) };
    }
}

/// The class of a lock.
///
/// # Invariants
///
/// Points to the map of an [`OwnedLockMap`] that lives.
#[derive(Clone, Copy)]
pub(crate) struct LockMap(*mut bindings::rsmalloc_lock_map);

// SAFETY: lockdep does its own locking, and the map belongs to no task.
unsafe impl Send for LockMap {}

// SAFETY: lockdep does its own locking.
unsafe impl Sync for LockMap {}

impl LockMap {
    /// A reader is about to acquire.
    pub(crate) fn acquire_read(self) -> Acquiring {
        // SAFETY: The map is valid by the type's invariants.
        unsafe { bindings::rsmalloc_lock_map_acquire_read(self.0) };
        Acquiring(self)
    }

    /// A writer has acquired.
    pub(crate) fn write_acquired(self) {
        // SAFETY: The map is valid by the type's invariants.
        unsafe { bindings::rsmalloc_lock_map_write_acquired(self.0) };
    }

    /// A writer is about to release.
    pub(crate) fn write_released(self) {
        // SAFETY: The map is valid by the type's invariants.
        unsafe { bindings::rsmalloc_lock_map_released(self.0) };
    }
}

/// A reader that is acquiring a lock.
#[must_use]
pub(crate) struct Acquiring(LockMap);

impl Acquiring {
    /// It has to wait.
    pub(crate) fn contended(&self) {
        // SAFETY: The map is valid by the type's invariants.
        unsafe { bindings::rsmalloc_lock_map_contended(self.0 .0) };
    }

    /// It has acquired, and lockdep may forget it.
    pub(crate) fn acquired(self) {
        // SAFETY: The map is valid by the type's invariants.
        unsafe {
            bindings::rsmalloc_lock_map_read_acquired(self.0 .0);
            bindings::rsmalloc_lock_map_released(self.0 .0);
        }
    }
}
