// SPDX-License-Identifier: GPL-2.0

use super::{
    init::{pin_data, pin_init, pinned_drop, PinInit},
    machine,
};
use std::{cell::Cell, marker::PhantomData, pin::Pin, rc::Rc};

/// # Safety
///
/// As for the kernel's.
pub(crate) unsafe trait HasDeferredWork: Sized + 'static {
    const WORK_OFFSET: usize;

    fn run(&self);
}

/// Work that is done by [`Machine::run_work`](super::machine::Machine::run_work) or
/// [`Machine::tick`](super::machine::Machine::tick).
#[pin_data(PinnedDrop)]
pub(crate) struct DeferredWork<T: HasDeferredWork> {
    scheduled: Rc<Cell<bool>>,
    _owner: PhantomData<fn(&T)>,
}

// SAFETY: Each test has one thread.
unsafe impl<T: HasDeferredWork> Send for DeferredWork<T> {}

// SAFETY: Each test has one thread.
unsafe impl<T: HasDeferredWork> Sync for DeferredWork<T> {}

impl<T: HasDeferredWork> DeferredWork<T> {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            scheduled: Rc::default(),
            _owner: PhantomData,
        })
    }

    pub(crate) fn schedule(&self) {
        machine::add_work(self.call());
    }

    pub(crate) fn schedule_after(&self, _milliseconds: u32) {
        machine::add_tick(self.call());
    }

    /// Does the work, unless it has been cancelled.
    fn call(&self) -> Box<dyn FnOnce()> {
        self.scheduled.set(true);
        let scheduled = self.scheduled.clone();
        let owner = (&raw const *self)
            .wrapping_byte_sub(T::WORK_OFFSET)
            .cast::<T>();
        Box::new(move || {
            if scheduled.take() {
                // SAFETY: `HasDeferredWork` promises that this is where the object is, and cancels
                // the work before the object goes.
                unsafe { &*owner }.run();
            }
        })
    }

    pub(crate) fn cancel(&self) {
        self.scheduled.set(false);
    }
}

#[pinned_drop]
impl<T: HasDeferredWork> PinnedDrop for DeferredWork<T> {
    fn drop(self: Pin<&mut Self>) {
        self.cancel();
    }
}
