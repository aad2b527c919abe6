// SPDX-License-Identifier: GPL-2.0

use std::cell::Cell;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static OTHER_TASK: Cell<Option<Box<dyn FnMut()>>> = const { Cell::new(None) };
}

/// A host thread can always be preempted: the tests that need it kept off run in the kernel. But what
/// must not be done meanwhile can be seen here.
pub(crate) struct PreemptionOff(());

impl PreemptionOff {
    pub(crate) fn new() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self(())
    }
}

impl Drop for PreemptionOff {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Panics where preemption would be off.
pub(super) fn assert_preemptible() {
    assert_eq!(DEPTH.get(), 0, "on PREEMPT_RT this may sleep");
}

/// Who offers to be preempted, runs the task that [`run_meanwhile`] has named.
pub(crate) fn reschedule() {
    assert_preemptible();
    if let Some(mut task) = OTHER_TASK.take() {
        task();
        OTHER_TASK.set(Some(task));
    }
}

/// Has `task` done whenever this thread could be preempted while it does `work`.
pub(crate) fn run_meanwhile<R>(task: impl FnMut() + 'static, work: impl FnOnce() -> R) -> R {
    OTHER_TASK.set(Some(Box::new(task)));
    let result = work();
    OTHER_TASK.set(None);
    result
}
