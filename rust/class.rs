// SPDX-License-Identifier: GPL-2.0

//! A size class's zspages that have both free and used slots.

use crate::{
    core::fullness::{Fullness, GROUPS},
    sys::{
        init::{pin_data, pin_init, PinInit},
        list::{List, ObjRef},
        spinlock::{lock_class, SpinLock},
    },
    zspage::Zspage,
};

/// One size class of a pool.
///
/// Aligned so that the locks of two classes are not in one cache line.
#[pin_data]
#[repr(align(64))]
pub(crate) struct Class {
    #[pin]
    partial: SpinLock<Partial>,
}

/// What the class lock covers: the lists, and the slot map and links of each of the class's
/// zspages.
///
/// Full zspages are on no list: nothing looks for them, they are reached through their handles.
pub(crate) struct Partial {
    groups: [List<Zspage>; GROUPS],
}

/// What became of a slot that was to be given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Freed {
    /// Other slots of the zspage are in use.
    InUse,
    /// That was the last used slot: the zspage is off all lists, and the caller owns it.
    Emptied,
    /// The slot was free before. Nothing was changed.
    NotAllocated,
}

impl Class {
    /// Makes a class without zspages.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            partial <- SpinLock::new(Partial::new(), lock_class!("rsmalloc_class")),
        })
    }

    /// Takes a slot of a partly filled zspage, or [`None`] if the class has no free slot.
    #[inline]
    pub(crate) fn take_slot(&self) -> Option<(ObjRef<Zspage>, usize)> {
        self.partial.lock().take_slot()
    }

    /// Makes a zspage of which the caller has taken the first slot available to others.
    pub(crate) fn insert(&self, zspage: ObjRef<Zspage>) {
        self.partial.lock().insert(zspage);
    }

    /// Gives a slot back.
    #[inline]
    pub(crate) fn put_slot(&self, zspage: ObjRef<Zspage>, slot: usize) -> Freed {
        self.partial.lock().put_slot(zspage, slot)
    }

    /// Checks the partly filled zspages against each other, and each with `check` as well.
    pub(crate) fn validate(&self, check: impl Fn(&Zspage)) {
        self.partial.lock().validate(check);
    }
}

impl Partial {
    fn new() -> Self {
        const EMPTY: List<Zspage> = List::new();
        Self {
            groups: [EMPTY; GROUPS],
        }
    }

    /// A slot of a zspage of the fullest group, so that few zspages stay partly filled.
    #[inline]
    fn take_slot(&mut self) -> Option<(ObjRef<Zspage>, usize)> {
        let (group, zspage) = (0..GROUPS)
            .rev()
            .find_map(|group| Some((group, self.groups[group].first()?)))?;
        let slot = zspage.take_slot(self)?;
        self.regroup(zspage, Fullness::Partial(group));
        Some((zspage, slot))
    }

    fn insert(&mut self, zspage: ObjRef<Zspage>) {
        self.regroup(zspage, Fullness::Full);
    }

    #[inline]
    fn put_slot(&mut self, zspage: ObjRef<Zspage>, slot: usize) -> Freed {
        let before = zspage.fullness(self);
        if !zspage.put_slot(self, slot) {
            return Freed::NotAllocated;
        }
        match self.regroup(zspage, before) {
            Fullness::Empty => Freed::Emptied,
            _ => Freed::InUse,
        }
    }

    /// Moves a zspage that was listed under `before` to where it belongs now.
    #[inline]
    fn regroup(&mut self, zspage: ObjRef<Zspage>, before: Fullness) -> Fullness {
        let now = zspage.fullness(self);
        if now != before {
            if let Fullness::Partial(group) = before {
                self.groups[group].remove(zspage);
            }
            if let Fullness::Partial(group) = now {
                self.groups[group].push_front(zspage);
            }
        }
        now
    }

    fn validate(&self, check: impl Fn(&Zspage)) {
        for (group, list) in self.groups.iter().enumerate() {
            for zspage in list.iter() {
                zspage.validate(self);
                assert_eq!(zspage.fullness(self), Fullness::Partial(group));
                check(&zspage);
            }
        }
    }
}
