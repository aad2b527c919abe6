// SPDX-License-Identifier: GPL-2.0

//! Pages that the kernel may move: `struct movable_operations`.
//!
//! C header: `include/linux/migrate.h`; the callers are in `mm/migrate.c`. The kernel isolates a
//! page first, later asks for its contents to be moved, and if that fails puts it back. In between
//! the page may be released by its owner, and then belongs to the kernel alone. All of that happens
//! under the page lock, of which [`LockedPage`] is proof.

use super::{
    bindings::{self, ffi},
    list::ObjRef,
    page, preempt,
};
use core::{
    marker::PhantomData,
    mem::{align_of, ManuallyDrop},
    ptr::NonNull,
};
use kernel::error::code::EAGAIN;

/// Whether the kernel moves pages at all: without compaction there is nobody to ask for it.
pub(crate) const SUPPORTED: bool = cfg!(CONFIG_COMPACTION);

/// How often to wait for those who keep a page in place, if the caller may be kept waiting.
///
/// The kernel asks ten times without a pause. Who was preempted in the middle of a mapping does not
/// run again in that time, and in the time of a tick it does.
const WAITS: u32 = 2;

/// The contents of a page cannot be moved now, but perhaps a little later.
pub(crate) struct Busy;

/// What has movable pages.
pub(crate) trait PageOwner: Sized {
    /// Moves what is in page `from` to page `to`, which is then used in its place.
    ///
    /// Both pages are locked, and `from` is one of the owner's. May be called in parallel for
    /// different pages of one owner.
    ///
    /// # Errors
    ///
    /// [`Busy`]: nothing was changed.
    fn move_page(owner: ObjRef<Self>, from: usize, to: usize) -> Result<(), Busy>;
}

/// A page of which the page lock is held.
///
/// # Invariants
///
/// The page is allocated, and its lock is held for this value.
pub(crate) struct LockedPage(NonNull<bindings::page>);

impl LockedPage {
    /// Locks page `pfn` unless somebody else has it locked.
    ///
    /// # Safety
    ///
    /// The page is allocated, and stays so while the lock is held.
    pub(crate) unsafe fn try_lock(pfn: usize) -> Option<Self> {
        let page = page::from_pfn(pfn);
        // SAFETY: The page is allocated.
        let locked = unsafe { bindings::rsmalloc_page_trylock(page.as_ptr()) };
        // INVARIANT: It was just locked. Not `then_some`: that would make a value in any case,
        // whose end unlocks the page of somebody else.
        locked.then(|| Self(page))
    }

    /// Locks page `pfn`. Sleeps.
    ///
    /// # Safety
    ///
    /// As for [`LockedPage::try_lock`].
    pub(crate) unsafe fn lock(pfn: usize) -> Self {
        let page = page::from_pfn(pfn);
        // SAFETY: The page is allocated.
        unsafe { bindings::rsmalloc_page_lock(page.as_ptr()) };
        // INVARIANT: It was just locked.
        Self(page)
    }

    /// Lets the kernel move the page, by asking `owner`.
    ///
    /// # Safety
    ///
    /// `owner` lives until [`LockedPage::clear_movable`] was called for the page, or for the one
    /// that took its place.
    pub(crate) unsafe fn set_movable<T: PageOwner>(&self, owner: ObjRef<T>) {
        // SAFETY: The page is locked by the type's invariants, and the operations are static.
        unsafe {
            bindings::rsmalloc_set_page_private(self.0.as_ptr(), owner.as_ptr().as_ptr() as usize);
            bindings::rsmalloc_set_page_movable(self.0.as_ptr(), Operations::<T>::TABLE);
        }
    }

    /// Takes that back. The kernel will not ask any more, even if it has isolated the page.
    pub(crate) fn clear_movable(&self) {
        // SAFETY: The page is locked by the type's invariants.
        unsafe {
            bindings::rsmalloc_clear_page_movable(self.0.as_ptr());
            bindings::rsmalloc_set_page_private(self.0.as_ptr(), 0);
        }
    }
}

impl Drop for LockedPage {
    fn drop(&mut self) {
        // SAFETY: The page is locked by the type's invariants.
        unsafe { bindings::rsmalloc_page_unlock(self.0.as_ptr()) };
    }
}

struct Operations<T>(PhantomData<T>);

impl<T: PageOwner> Operations<T> {
    const TABLE: &'static bindings::movable_operations = {
        // The kernel keeps flags in the low bits of the pointer.
        assert!(align_of::<bindings::movable_operations>() >= 4);
        &bindings::movable_operations {
            isolate_page: Some(Self::isolate_page),
            migrate_page: Some(Self::migrate_page),
            putback_page: Some(Self::putback_page),
        }
    };

    /// Nothing is prepared: the page stays in use until it is moved.
    ///
    /// # Safety
    ///
    /// None needed.
    unsafe extern "C" fn isolate_page(
        _page: *mut bindings::page,
        _mode: bindings::isolate_mode_t,
    ) -> bool {
        true
    }

    /// # Safety
    ///
    /// Both pages are locked by the caller. `src` is movable with these operations, so that its
    /// owner lives.
    unsafe extern "C" fn migrate_page(
        dst: *mut bindings::page,
        src: *mut bindings::page,
        mode: bindings::migrate_mode,
    ) -> ffi::c_int {
        // INVARIANT: The caller holds the locks, and releases them itself.
        // SAFETY: The caller passes pages.
        let (from, to) = unsafe {
            (
                ManuallyDrop::new(LockedPage(NonNull::new_unchecked(src))),
                ManuallyDrop::new(LockedPage(NonNull::new_unchecked(dst))),
            )
        };
        // SAFETY: A movable page with these operations has the address of its owner there, which
        // lives as long as the page is movable.
        let owner = unsafe {
            let address = bindings::rsmalloc_page_private(src) as *mut T;
            ObjRef::from_ptr(NonNull::new_unchecked(address))
        };
        let move_page = || T::move_page(owner, page::pfn_of(from.0), page::pfn_of(to.0));
        let mut result = move_page();
        if mode != bindings::migrate_mode_MIGRATE_ASYNC {
            for _ in 0..WAITS {
                if result.is_ok() {
                    break;
                }
                preempt::sleep_a_tick();
                result = move_page();
            }
        }
        match result {
            // SAFETY: The owner now uses `dst` as it used `src`, and so lives as long as `dst` is
            // movable. The reference to `src` was the owner's.
            Ok(()) => unsafe {
                to.set_movable(owner);
                bindings::rsmalloc_get_page(dst);
                bindings::rsmalloc_mod_nr_zspages(dst, 1);
                bindings::rsmalloc_mod_nr_zspages(src, -1);
                from.clear_movable();
                bindings::__free_pages(src, 0);
                0
            },
            Err(Busy) => EAGAIN.to_errno(),
        }
    }

    /// Nothing was prepared.
    ///
    /// # Safety
    ///
    /// None needed.
    unsafe extern "C" fn putback_page(_page: *mut bindings::page) {}
}
