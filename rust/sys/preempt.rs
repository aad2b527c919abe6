// SPDX-License-Identifier: GPL-2.0

//! Preemption.

use super::bindings;
use core::marker::PhantomData;

/// Keeps preemption off for this task while it lives.
pub(crate) struct PreemptionOff(PhantomData<*mut ()>);

impl PreemptionOff {
    /// Turns preemption off. It nests.
    pub(crate) fn new() -> Self {
        // SAFETY: It is turned on again in `drop`, by the same task, since this type is not `Send`.
        unsafe { bindings::rsmalloc_preempt_disable() };
        Self(PhantomData)
    }
}

impl Drop for PreemptionOff {
    fn drop(&mut self) {
        // SAFETY: It was turned off in `new`.
        unsafe { bindings::rsmalloc_preempt_enable() };
    }
}

/// Sleeps until the next timer tick.
pub(super) fn sleep_a_tick() {
    // SAFETY: It has no preconditions but the context.
    unsafe { bindings::rsmalloc_sleep_a_tick() };
}

/// Lets others run if they are waiting, in a kernel that would not preempt this task. May sleep.
pub(crate) fn reschedule() {
    // SAFETY: It has no preconditions but the context.
    unsafe { bindings::rsmalloc_cond_resched() };
}
