// SPDX-License-Identifier: GPL-2.0

//! Work that an object puts off until it may sleep.

use super::{
    bindings,
    init::{pin_data, pin_init, pinned_drop, PinInit},
};
use core::{marker::PhantomData, mem::offset_of, pin::Pin};
use kernel::types::Opaque;

/// An object with a [`DeferredWork`] in it.
///
/// # Safety
///
/// `WORK_OFFSET` is the offset of the object's `DeferredWork<Self>`, which is dropped, or
/// [disabled](DeferredWork::disable), before anything that `run` uses.
pub(crate) unsafe trait HasDeferredWork: Sync + Sized {
    /// Bytes from the beginning of the object to its work.
    const WORK_OFFSET: usize;

    /// Does the work. Called in process context; may sleep.
    fn run(&self);
}

/// Work of a `T`, for the kernel's workqueue.
#[pin_data(PinnedDrop)]
pub(crate) struct DeferredWork<T: HasDeferredWork> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    _owner: PhantomData<fn(&T)>,
}

// SAFETY: A work item may be used by any task.
unsafe impl<T: HasDeferredWork> Send for DeferredWork<T> {}

// SAFETY: A work item does its own locking.
unsafe impl<T: HasDeferredWork> Sync for DeferredWork<T> {}

impl<T: HasDeferredWork> DeferredWork<T> {
    /// Makes work that is not wanted yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The slot is valid for writing and pinned.
            work <- Opaque::ffi_init(|slot| unsafe {
                bindings::rsmalloc_init_work(slot, Some(Self::call))
            }),
            _owner: PhantomData,
        })
    }

    /// Has the work done soon. Does not sleep.
    pub(crate) fn schedule(&self) {
        // SAFETY: The work was initialised by `new`.
        unsafe { bindings::rsmalloc_schedule_work(self.work.get()) };
    }

    /// Has the work done in so many milliseconds, unless it is scheduled already. Does not sleep.
    pub(crate) fn schedule_after(&self, milliseconds: u32) {
        // SAFETY: The work was initialised by `new`.
        unsafe { bindings::rsmalloc_schedule_work_after(self.work.get(), milliseconds) };
    }

    /// Waits until the work is not being done. It is never done again, whoever schedules it. Sleeps.
    pub(crate) fn disable(&self) {
        // SAFETY: The work was initialised by `new`.
        unsafe { bindings::disable_delayed_work_sync(self.work.get()) };
    }

    /// # Safety
    ///
    /// `work` is the work of a `T`.
    unsafe extern "C" fn call(work: *mut bindings::work_struct) {
        const { assert!(offset_of!(bindings::delayed_work, work) == 0) };
        // SAFETY: `HasDeferredWork` promises that this is where the object is, and that it lives.
        let owner = unsafe { &*work.cast::<u8>().sub(T::WORK_OFFSET).cast::<T>() };
        owner.run();
    }
}

#[pinned_drop]
impl<T: HasDeferredWork> PinnedDrop for DeferredWork<T> {
    fn drop(self: Pin<&mut Self>) {
        self.disable();
    }
}
