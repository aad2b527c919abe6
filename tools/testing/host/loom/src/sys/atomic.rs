// SPDX-License-Identifier: GPL-2.0

//! loom's atomic operations, one of which can be broken on purpose.

pub(crate) use loom::{hint::spin_loop, sync::atomic::Ordering};

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    panic::Location,
    thread,
};

/// A way to break one atomic operation of the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mutation {
    /// The operation orders nothing.
    Relax,
    /// The read-modify-write operation becomes a load and a store, between which others may come.
    Tear,
    /// The read-modify-write operation reports success and changes nothing.
    Omit,
}

/// A mutation, and where in the lock's source it applies.
pub(crate) type Mutant = (&'static Location<'static>, Mutation);

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    static POSSIBLE: RefCell<BTreeSet<Mutant>> = const { RefCell::new(BTreeSet::new()) };
}

/// Has `mutant` act in the models that this thread runs from now on.
pub(crate) fn activate(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// The mutants of all operations that this thread's models have executed.
pub(crate) fn possible() -> BTreeSet<Mutant> {
    POSSIBLE.with_borrow(BTreeSet::clone)
}

/// Whether the operation at `site` is to be broken by `mutation`.
fn is_active(site: &'static Location<'static>, mutation: Mutation) -> bool {
    POSSIBLE.with_borrow_mut(|possible| possible.insert((site, mutation)));
    ACTIVE.get() == Some((site, mutation))
}

/// The ordering of the operation at `site`.
fn effective(site: &'static Location<'static>, order: Ordering) -> Ordering {
    if order != Ordering::Relaxed && is_active(site, Mutation::Relax) {
        Ordering::Relaxed
    } else {
        order
    }
}

/// The parts of `order` that apply to a load and to a store.
fn split(order: Ordering) -> (Ordering, Ordering) {
    match order {
        Ordering::Acquire => (Ordering::Acquire, Ordering::Relaxed),
        Ordering::Release => (Ordering::Relaxed, Ordering::Release),
        Ordering::AcqRel => (Ordering::Acquire, Ordering::Release),
        both => (both, both),
    }
}

pub(crate) struct AtomicU32(loom::sync::atomic::AtomicU32);

impl AtomicU32 {
    pub(crate) fn new(value: u32) -> Self {
        Self(loom::sync::atomic::AtomicU32::new(value))
    }

    #[track_caller]
    pub(crate) fn load(&self, order: Ordering) -> u32 {
        self.0.load(effective(Location::caller(), order))
    }

    #[track_caller]
    pub(crate) fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
        let whole = |order| self.0.fetch_add(value, order);
        self.modify(order, whole, |old| old.wrapping_add(value))
    }

    #[track_caller]
    pub(crate) fn fetch_sub(&self, value: u32, order: Ordering) -> u32 {
        let whole = |order| self.0.fetch_sub(value, order);
        self.modify(order, whole, |old| old.wrapping_sub(value))
    }

    #[track_caller]
    pub(crate) fn fetch_and(&self, value: u32, order: Ordering) -> u32 {
        let whole = |order| self.0.fetch_and(value, order);
        self.modify(order, whole, |old| old & value)
    }

    #[track_caller]
    pub(crate) fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        let site = Location::caller();
        let success = effective(site, success);
        if is_active(site, Mutation::Omit) {
            return Ok(current);
        }
        if !is_active(site, Mutation::Tear) {
            return self.0.compare_exchange(current, new, success, failure);
        }
        let (load, store) = split(success);
        let old = self.0.load(load);
        if old != current {
            return Err(old);
        }
        self.0.store(new, store);
        Ok(old)
    }

    /// `whole` is the operation, and `new` computes what it stores.
    #[track_caller]
    fn modify(
        &self,
        order: Ordering,
        whole: impl FnOnce(Ordering) -> u32,
        new: impl FnOnce(u32) -> u32,
    ) -> u32 {
        if thread::panicking() {
            // The model has failed, and a guard releases the lock. If that panicked as well, for
            // want of a mark, the process would abort.
            return u32::MAX;
        }
        let site = Location::caller();
        let order = effective(site, order);
        if is_active(site, Mutation::Omit) {
            return self.0.load(split(order).0);
        }
        if !is_active(site, Mutation::Tear) {
            return whole(order);
        }
        let (load, store) = split(order);
        let old = self.0.load(load);
        self.0.store(new(old), store);
        old
    }
}
