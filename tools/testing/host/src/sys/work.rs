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
    disabled: Cell<bool>,
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
            disabled: Cell::default(),
            _owner: PhantomData,
        })
    }

    pub(crate) fn schedule(&self) {
        if !self.disabled.get() {
            machine::add_work(self.call());
        }
    }

    pub(crate) fn schedule_after(&self, _milliseconds: u32) {
        if !self.disabled.get() {
            machine::add_tick(self.call());
        }
    }

    fn call(&self) -> (Rc<Cell<bool>>, Box<dyn FnOnce()>) {
        self.scheduled.set(true);
        let owner = (&raw const *self)
            .wrapping_byte_sub(T::WORK_OFFSET)
            .cast::<T>();
        // SAFETY: `HasDeferredWork` promises that this is where the object is, and disables the
        // work before the object goes.
        let run = move || unsafe { &*owner }.run();
        (self.scheduled.clone(), Box::new(run))
    }

    pub(crate) fn disable(&self) {
        self.scheduled.set(false);
        self.disabled.set(true);
    }
}

#[pinned_drop]
impl<T: HasDeferredWork> PinnedDrop for DeferredWork<T> {
    fn drop(self: Pin<&mut Self>) {
        self.disable();
    }
}
