// SPDX-License-Identifier: GPL-2.0

//! Where objects are that compaction has moved.
//!
//! A handle names a slot, and stays the same when the object is moved to a slot of another zspage.
//! The zspage that the handle names, the object's *home*, then remembers where the object is, and
//! the zspage that it lies in, as a *guest*, whose it is: when it is moved again, its home learns
//! of it. So an object is never more than one step away from where its handle points.
//!
//! A table that all handles lead through would cost every object eight bytes, and every mapping a
//! cache miss. This costs those objects that were moved, and no others.
//!
//! A mapping of an object that is away keeps both zspages locked as a reader: the one that it lies
//! in, so that it stays there, and its home, which tells where that is.

use crate::{
    core::{handle::Handle, slots::SlotSet},
    sys::{
        gfp::Gfp,
        list::{ObjRef, WithTail},
        memory::new_object_with_tail,
    },
    zspage::Zspage,
};
use core::{cell::Cell, mem::size_of};

/// What a zspage has in addition once an object was moved out of it or into it. Entries follow it
/// in memory, for the slots that are `covered`, in their order.
///
/// | field | covered by |
/// |---|---|
/// | `occupied`, `moved`, `pages_released` | the class lock of the zspage |
/// | `covered` | the zspage's lock and its class lock: written before anybody knows of it |
/// | entry of an object that is away | the zspage's lock; written under the class lock alone when the object is freed |
/// | entry of a guest's slot | the class lock of the zspage |
///
/// When entries for more slots are wanted, another takes its place, under the zspage's lock as a
/// writer and the class lock.
#[repr(C)]
pub(crate) struct Relocation {
    /// The slots in which an object lies.
    occupied: Cell<SlotSet>,
    /// The slots in which a guest lies, and those whose own object lies elsewhere: these are not
    /// free, for the handles are in use.
    moved: Cell<SlotSet>,
    /// The slots that have an entry. Those that are moved are among them.
    covered: Cell<SlotSet>,
    /// Whether the zspage has given its pages back, and exists only for what is away.
    pub(crate) pages_released: Cell<bool>,
    entries: u8,
}

/// What is in a slot of a zspage that has a [`Relocation`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Occupant {
    /// Nothing: the slot can be allocated.
    None,
    /// The object whose handle names it.
    Own,
    /// Nothing, for the object whose handle names it lies elsewhere.
    Away,
    /// An object whose handle names another.
    Guest,
}

// SAFETY: The cells are accessed only by who holds what covers them, see the table above.
unsafe impl Sync for Relocation {}

/// Stands for no handle.
const NONE: usize = 0;

// SAFETY: `Relocation::alloc` has the entries made, and their number does not change.
unsafe impl WithTail for Relocation {
    type Item = usize;

    fn tail_len(&self) -> usize {
        self.entries as usize
    }
}

impl Relocation {
    /// Makes one with room for `entries` entries; [`None`] without memory.
    pub(crate) fn alloc(entries: usize, gfp: Gfp) -> Option<ObjRef<Self>> {
        let relocation = Self {
            occupied: Cell::new(SlotSet::EMPTY),
            moved: Cell::new(SlotSet::EMPTY),
            covered: Cell::new(SlotSet::EMPTY),
            pages_released: Cell::new(false),
            entries: entries as u8,
        };
        new_object_with_tail(relocation, NONE, gfp)
    }

    /// The number of entries that there is room for.
    pub(crate) fn entries(&self) -> usize {
        self.entries as usize
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.entries() * size_of::<usize>()
    }

    /// The slots in which an object lies.
    #[inline]
    pub(crate) fn occupied(&self) -> SlotSet {
        self.occupied.get()
    }

    /// The slots that can be allocated, of all slots `all` of the zspage.
    #[inline]
    pub(crate) fn free(&self, all: SlotSet) -> SlotSet {
        all.difference(self.occupied.get().union(self.moved.get()))
    }

    /// The slots whose objects lie elsewhere.
    pub(crate) fn away(&self) -> SlotSet {
        self.moved.get().difference(self.occupied.get())
    }

    /// The slots in which objects of other handles lie.
    pub(crate) fn guests(&self) -> SlotSet {
        self.moved.get().intersection(self.occupied.get())
    }

    /// What is in slot `slot`.
    #[inline]
    pub(crate) fn occupant(&self, slot: usize) -> Occupant {
        match (
            self.occupied.get().contains(slot),
            self.moved.get().contains(slot),
        ) {
            (false, false) => Occupant::None,
            (false, true) => Occupant::Away,
            (true, false) => Occupant::Own,
            (true, true) => Occupant::Guest,
        }
    }

    /// Notes that an object was put into slot `slot`.
    #[inline]
    pub(crate) fn occupy(&self, slot: usize) {
        let mut occupied = self.occupied.get();
        occupied.insert(slot);
        self.occupied.set(occupied);
    }

    /// Notes that there is none any more.
    #[inline]
    pub(crate) fn vacate(&self, slot: usize) {
        let mut occupied = self.occupied.get();
        occupied.remove(slot);
        self.occupied.set(occupied);
    }

    /// The slots for which there must be entries if there are to be some for `more`.
    pub(crate) fn to_be_covered(&self, more: SlotSet) -> SlotSet {
        self.moved.get().union(more)
    }
}

impl ObjRef<Relocation> {
    /// Fills in one that no zspage has: with entries for the slots `covered`, of a zspage in whose
    /// slots `occupied` objects lie and in which nothing was moved so far but what `before` tells.
    pub(crate) fn init(self, occupied: SlotSet, covered: SlotSet, before: Option<Self>) {
        self.occupied.set(occupied);
        self.covered.set(covered);
        self.moved.set(SlotSet::EMPTY);
        self.pages_released.set(false);
        for entry in self.tail() {
            entry.set(NONE);
        }
        let Some(before) = before else {
            return;
        };
        self.pages_released.set(before.pages_released.get());
        let mut moved = before.moved.get();
        self.moved.set(moved);
        while let Some(slot) = moved.take_first() {
            self.set_entry(slot, before.entry(slot));
        }
    }

    /// Where the object of slot `slot` is, or, if a guest is in the slot, its handle; [`None`] if
    /// the slot's own object is in it or it is free.
    pub(crate) fn entry(self, slot: usize) -> Option<Handle> {
        match self.place_of_entry(slot)?.get() {
            NONE => None,
            raw => Some(Handle::from_raw(raw)),
        }
    }

    fn place_of_entry(&self, slot: usize) -> Option<&Cell<usize>> {
        let covered = self.covered.get();
        if !covered.contains(slot) {
            return None;
        }
        self.tail().get(covered.rank(slot))
    }

    /// Whether there is room for an entry for each of `slots`.
    pub(crate) fn covers(self, slots: SlotSet) -> bool {
        slots.difference(self.covered.get()) == SlotSet::EMPTY
    }

    /// The zspage and the slot in which the object is whose handle names slot `slot` of `home`, the
    /// zspage that this belongs to. The caller has `home` locked.
    pub(crate) fn place(self, home: ObjRef<Zspage>, slot: usize) -> (ObjRef<Zspage>, usize) {
        match self.entry(slot) {
            // SAFETY: The zspage that an object is in lives.
            Some(place) => (unsafe { Zspage::of(place) }, place.slot()),
            None => (home, slot),
        }
    }

    fn set_entry(self, slot: usize, entry: Option<Handle>) {
        if let Some(place) = self.place_of_entry(slot) {
            place.set(entry.map_or(NONE, Handle::into_raw));
        }
    }

    /// Notes that a guest of handle `entry` lies in slot `slot`, or, if the slot is vacant, that its
    /// own object lies at `entry`.
    pub(crate) fn set_moved(self, slot: usize, entry: Handle) {
        let mut moved = self.moved.get();
        moved.insert(slot);
        self.moved.set(moved);
        self.set_entry(slot, Some(entry));
    }

    /// Notes that the object of slot `slot` lies at `place` now.
    pub(crate) fn send_away(self, slot: usize, place: Handle) {
        self.vacate(slot);
        self.set_moved(slot, place);
    }

    /// Notes that the object of slot `slot`, which is away, lies at `place` now.
    pub(crate) fn redirect(self, slot: usize, place: Handle) {
        self.set_entry(slot, Some(place));
    }

    /// Frees a slot whose object is away, or that of a guest.
    pub(crate) fn end(self, slot: usize) {
        self.vacate(slot);
        let mut moved = self.moved.get();
        moved.remove(slot);
        self.moved.set(moved);
        self.set_entry(slot, None);
    }
}
