// SPDX-License-Identifier: GPL-2.0

//! What lockdep is told of the zspage locks. In a kernel without lockdep all of this takes no memory
//! and no instructions.
//!
//! lockdep keeps the locks that are held by task, and a mapping may be ended by another task than
//! the one that made it. So a reader is reported as acquiring, with all that lockdep makes of that
//! (the order against each lock that the task holds, and against what writers take), and as
//! releasing at once. `down_read_non_owner()` does not even report the first. What lockdep could
//! find beyond that does not exist: nobody waits for a reader, because writers only try.

#[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
pub(crate) use disabled::{LockMap, OwnedLockMap};
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
pub(crate) use enabled::{LockMap, OwnedLockMap};

#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
mod enabled {
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
}

#[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
mod disabled {
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
}
