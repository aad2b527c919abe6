// SPDX-License-Identifier: GPL-2.0

//! What zswap asks of a pool.
//!
//! The contexts of the calls are those of `mm/zswap.c`; [`crate::sys::zpool`] connects them to C.

use crate::{
    core::handle::Handle,
    error::Error,
    sys::{gfp::Gfp, init::PinInit, CStr},
};

/// What a caller wants to do with a mapped object (`enum zpool_mapmode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MapMode {
    /// Read it, and perhaps write to it.
    ReadWrite,
    /// Only read it.
    ReadOnly,
    /// Write it without having read it: what it held before may be lost.
    WriteOnly,
}

/// A pool of a zpool backend.
///
/// Every method may be called by several tasks at once.
pub(crate) trait Backend: Sized + Send + Sync + 'static {
    /// The name under which the backend is selected.
    const TYPE: &'static CStr;

    /// Whether the caller may sleep while it has an object mapped.
    const SLEEP_MAPPED: bool;

    /// Whether pages may be allocated as movable: whether every page can be migrated.
    const SUPPORTS_MOVABLE: bool;

    /// Makes an empty pool. Called in process context; may sleep.
    ///
    /// `name` is the caller's own and lives no longer than the call.
    fn new(name: &CStr) -> impl PinInit<Self, Error>;

    /// Ends the pool's life: nobody calls it any more. Called in process context; sleeps.
    ///
    /// Returns whether the pool's memory may be freed. If not, something still leads to it, because
    /// of a mistake of the caller: then it stays as it is, and so does the module.
    fn close(&self) -> bool;

    /// Allocates room for an object of `size` bytes.
    ///
    /// Called in process context, inside reclaim: it may not reclaim itself, whatever `gfp` says.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    fn malloc(&self, size: usize, gfp: Gfp) -> Result<Handle, Error>;

    /// Frees an object. Called in atomic context with interrupts on: it may not sleep.
    ///
    /// # Safety
    ///
    /// `handle` came from [`Backend::malloc`] of this pool, was not freed, is not mapped, and is
    /// not used again. zswap's `zswap_entry_free()` promises it.
    unsafe fn free(&self, handle: Handle);

    /// Gives the address of an object, until [`Backend::unmap`]. It cannot fail: zswap does not
    /// check.
    ///
    /// # Safety
    ///
    /// `handle` came from [`Backend::malloc`] of this pool and was not freed. Who maps an object
    /// for writing is the only one to have it mapped. zswap promises the second: it writes to an
    /// object only before others can find it.
    unsafe fn map(&self, handle: Handle, mode: MapMode) -> *mut u8;

    /// Ends a mapping; another task than the one that mapped may do it.
    ///
    /// # Safety
    ///
    /// There is a mapping of `handle` by [`Backend::map`] that was not ended, and its address is
    /// not used any more.
    unsafe fn unmap(&self, handle: Handle);

    /// The number of pages that the pool's objects take. Called in atomic context, for each page
    /// stored.
    fn total_pages(&self) -> u64;
}
