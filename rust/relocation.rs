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

/// What a zspage has in addition once an object was moved out of it or into it. An entry for each
/// slot follows it in memory.
///
/// | field | covered by |
/// |---|---|
/// | `free`, `away`, `guests`, `pages_released` | the class lock of the zspage |
/// | entry of a guest's slot | the class lock of the zspage |
/// | entry of an object that is away | the zspage's lock, and the lock of the zspage that the object is in: written by who holds both as a writer, read by who holds one as a reader |
///
/// It lives as long as the zspage's descriptor.
#[repr(C)]
pub(crate) struct Relocation {
    /// The slots that can be allocated. No handle leads to one, and no object is in it.
    pub(crate) free: Cell<SlotSet>,
    /// The slots whose objects lie elsewhere. Nothing else is put there, for the handles are in
    /// use.
    pub(crate) away: Cell<SlotSet>,
    /// The slots in which objects of other handles lie.
    pub(crate) guests: Cell<SlotSet>,
    /// Whether the zspage has given its pages back, and exists only for what is away.
    pub(crate) pages_released: Cell<bool>,
    slots: u8,
}

// SAFETY: The cells are accessed only by who holds what covers them, see the table above.
unsafe impl Sync for Relocation {}

/// Stands for no handle.
const NONE: usize = 0;

// SAFETY: `Relocation::alloc` has the entries made, and the number of slots does not change.
unsafe impl WithTail for Relocation {
    type Item = usize;

    fn tail_len(&self) -> usize {
        self.slots as usize
    }
}

impl Relocation {
    /// Makes one for a zspage with `slots` slots; [`None`] without memory.
    pub(crate) fn alloc(slots: u8, gfp: Gfp) -> Option<ObjRef<Self>> {
        let relocation = Self {
            free: Cell::new(SlotSet::EMPTY),
            away: Cell::new(SlotSet::EMPTY),
            guests: Cell::new(SlotSet::EMPTY),
            pages_released: Cell::new(false),
            slots,
        };
        new_object_with_tail(relocation, NONE, gfp)
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.slots as usize * size_of::<usize>()
    }
}

impl ObjRef<Relocation> {
    /// Where the object of slot `slot` is, or, if a guest is in the slot, its handle; [`None`] if
    /// the slot's own object is in it or it is free.
    pub(crate) fn entry(self, slot: usize) -> Option<Handle> {
        match self.tail()[slot].get() {
            NONE => None,
            raw => Some(Handle::from_raw(raw)),
        }
    }

    /// The zspage and the slot in which the object is whose handle names slot `slot` of `home`, the
    /// zspage that this belongs to. The caller has the object mapped, or `home` locked.
    pub(crate) fn place(self, home: ObjRef<Zspage>, slot: usize) -> (ObjRef<Zspage>, usize) {
        match self.entry(slot) {
            // SAFETY: The zspage that an object is in lives.
            Some(place) => (unsafe { Zspage::of(place) }, place.slot()),
            None => (home, slot),
        }
    }

    /// Changes the entry of slot `slot`.
    pub(crate) fn set_entry(self, slot: usize, entry: Option<Handle>) {
        self.tail()[slot].set(entry.map_or(NONE, Handle::into_raw));
    }
}
