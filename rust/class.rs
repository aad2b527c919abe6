// SPDX-License-Identifier: GPL-2.0

//! A size class's zspages that have both free and used slots.

use crate::{
    core::{
        compaction,
        fullness::{Fullness, GROUPS},
        handle::Handle,
    },
    lock::WriteGuard,
    sys::{
        init::{pin_data, pin_init, PinInit},
        list::{List, ObjRef},
        spinlock::{lock_class, Guard, SpinLock},
    },
    zspage::{Put, Step, Tag, Zspage},
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

/// What the class lock covers: the lists, and what is known of the slots of each of the class's
/// zspages.
///
/// Full zspages are on no list: nothing looks for them, they are reached through their handles.
pub(crate) struct Partial {
    groups: [List<Zspage>; GROUPS],
    /// Free slots of all zspages of the groups.
    free_slots: u32,
    /// Zspages with objects in them.
    zspages: u32,
    /// Zspages that have just lost their last object. They are kept for a moment: where objects are
    /// replaced all the time, the next is wanted soon.
    empty: List<Zspage>,
    /// The length of that list.
    empty_zspages: u32,
}

/// What became of a slot that was to be given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Freed {
    /// There are other objects in the zspage.
    InUse,
    /// There are so few that the zspage went to a sparser group, or none, and it is kept.
    Sparser,
    /// That was the last object that is not away: the zspage is off all lists, and its pages are
    /// the caller's.
    Emptied,
    /// The object is in another zspage. Nothing was changed.
    Away,
    /// The slot was free before. Nothing was changed.
    NotAllocated,
    /// The zspage is another pool's. Nothing was changed.
    OtherPool,
}

impl Class {
    /// Makes a class without zspages.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            partial <- SpinLock::new(Partial::new(), lock_class!("rsmalloc_class")),
        })
    }

    /// Takes the class lock.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, Partial> {
        self.partial.lock()
    }

    /// Takes the class lock while that of a class of smaller objects is held.
    pub(crate) fn lock_nested(&self) -> Guard<'_, Partial> {
        self.partial.lock_nested()
    }

    /// Takes a slot, of a partly filled zspage if there is one, and returns its handle; [`None`] if
    /// the class has no free slot.
    #[inline]
    pub(crate) fn take_slot(&self) -> Option<Handle> {
        let (zspage, slot) = self.lock().take_slot()?;
        Some(zspage.handle(slot))
    }

    /// Makes a zspage of which the caller has taken the first slot available to others.
    pub(crate) fn insert(&self, zspage: ObjRef<Zspage>) {
        self.lock().insert(zspage);
    }

    /// Free slots of all zspages with objects.
    pub(crate) fn free_slots(&self) -> usize {
        self.lock().free_slots as usize
    }

    /// The number of zspages with objects.
    pub(crate) fn zspages(&self) -> usize {
        self.lock().zspages as usize
    }

    /// The number of zspages without objects.
    pub(crate) fn empty_zspages(&self) -> usize {
        self.lock().empty_zspages as usize
    }

    /// Takes a zspage without objects, which is then the caller's.
    pub(crate) fn take_empty(&self) -> Option<ObjRef<Zspage>> {
        self.lock().take_empty()
    }

    /// Checks the partly filled zspages against each other and the pool's tag, and each with
    /// `check` as well.
    pub(crate) fn validate(&self, tag: Tag, check: impl Fn(ObjRef<Zspage>)) {
        self.lock().validate(tag, check);
    }
}

impl Partial {
    fn new() -> Self {
        const EMPTY: List<Zspage> = List::new();
        Self {
            groups: [EMPTY; GROUPS],
            free_slots: 0,
            zspages: 0,
            empty: List::new(),
            empty_zspages: 0,
        }
    }

    /// A slot of a zspage of the fullest group, so that few zspages stay partly filled.
    #[inline]
    fn take_slot(&mut self) -> Option<(ObjRef<Zspage>, usize)> {
        let Some((group, zspage)) = (0..GROUPS)
            .rev()
            .find_map(|group| Some((group, self.groups[group].first()?)))
        else {
            return self.take_slot_of_empty();
        };
        let (slot, step) = zspage.take_slot(self)?;
        self.free_slots = self.free_slots.wrapping_sub(1);
        match step {
            Step::None => (),
            Step::FullOrNot => self.groups[group].remove(zspage),
            Step::Other => {
                self.regroup(zspage, Fullness::Partial(group));
            }
        }
        Some((zspage, slot))
    }

    #[cold]
    fn take_slot_of_empty(&mut self) -> Option<(ObjRef<Zspage>, usize)> {
        let zspage = self.take_empty()?;
        let (slot, _) = zspage.take_slot(self)?;
        self.insert(zspage);
        Some((zspage, slot))
    }

    /// Takes one of the zspages that are kept without objects. It is the caller's.
    fn take_empty(&mut self) -> Option<ObjRef<Zspage>> {
        let zspage = self.empty.first()?;
        self.empty.remove(zspage);
        self.empty_zspages -= 1;
        Some(zspage)
    }

    fn insert(&mut self, zspage: ObjRef<Zspage>) {
        self.zspages += 1;
        self.free_slots += zspage.free_slots(self).len() as u32;
        self.regroup(zspage, Fullness::Full);
    }

    /// Gives a slot back, to the pool with tag `tag`.
    #[inline]
    pub(crate) fn put_slot(&mut self, tag: Tag, zspage: ObjRef<Zspage>, slot: usize) -> Freed {
        match zspage.put_slot(self, tag, slot) {
            Put::Done(Step::None) => {
                self.free_slots = self.free_slots.wrapping_add(1);
                Freed::InUse
            }
            // Most zspages are full, so this is how most objects go.
            Put::Done(Step::FullOrNot) => {
                self.free_slots = self.free_slots.wrapping_add(1);
                self.groups[GROUPS - 1].push_front(zspage);
                Freed::InUse
            }
            Put::Done(Step::Other) => self.step_down(zspage),
            Put::Away => Freed::Away,
            Put::NotAllocated => Freed::NotAllocated,
            Put::OtherPool => Freed::OtherPool,
        }
    }

    /// Gives back the slot of a guest that has been freed or moved.
    pub(crate) fn put_guest_slot(&mut self, zspage: ObjRef<Zspage>, slot: usize) -> Freed {
        let before = zspage.fullness(self);
        zspage.put_moved_slot(self, slot);
        self.slot_freed(zspage, before)
    }

    /// Gives back the slot of an object that was away when it was freed. Returns whether the zspage
    /// has nothing left for which it exists.
    pub(crate) fn put_away_slot(&mut self, zspage: ObjRef<Zspage>, slot: usize) -> bool {
        let before = zspage.fullness(self);
        zspage.put_moved_slot(self, slot);
        if before != Fullness::Empty {
            self.slot_freed(zspage, before);
        }
        zspage.used(self) == 0
            && zspage
                .relocation()
                .is_some_and(|relocation| relocation.pages_released.get())
    }

    /// Notes that a zspage's pages were given back. Returns whether it has nothing left for which
    /// it exists.
    pub(crate) fn pages_released(&mut self, zspage: ObjRef<Zspage>) -> bool {
        if let Some(relocation) = zspage.relocation() {
            relocation.pages_released.set(true);
        }
        zspage.used(self) == 0
    }

    /// Notes that an object was freed, and that this changes how full the zspage is.
    #[inline(never)]
    fn step_down(&mut self, zspage: ObjRef<Zspage>) -> Freed {
        let before = zspage.fullness_with_one_more(self);
        self.slot_freed(zspage, before)
    }

    fn slot_freed(&mut self, zspage: ObjRef<Zspage>, before: Fullness) -> Freed {
        self.free_slots += 1;
        let now = self.regroup(zspage, before);
        match now {
            Fullness::Empty => self.emptied(zspage),
            _ if now == before => Freed::InUse,
            _ => Freed::Sparser,
        }
    }

    /// Files a zspage that has lost its last object and is in no group any more.
    fn emptied(&mut self, zspage: ObjRef<Zspage>) -> Freed {
        self.zspages -= 1;
        self.free_slots -= zspage.free_slots(self).len() as u32;
        if zspage.relocation().is_some() {
            return Freed::Emptied;
        }
        self.empty.push_front(zspage);
        self.empty_zspages += 1;
        Freed::Sparser
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

    /// The zspage to be emptied next: one of the sparsest group, and of the first few of them the
    /// one with the fewest objects.
    pub(crate) fn source(&self) -> Option<ObjRef<Zspage>> {
        const LOOKED_AT: usize = 16;
        let group = self.groups.iter().find(|group| group.first().is_some())?;
        group
            .iter()
            .take(LOOKED_AT)
            .min_by_key(|zspage| zspage.objects(self))
    }

    /// The zspage to be filled next: of the fullest group, but not `source`.
    pub(crate) fn destination(&self, source: ObjRef<Zspage>) -> Option<ObjRef<Zspage>> {
        self.groups
            .iter()
            .rev()
            .find_map(|group| group.iter().find(|zspage| *zspage != source))
    }

    /// Whether `source` can be emptied into other zspages of the class.
    pub(crate) fn can_be_emptied(&self, source: ObjRef<Zspage>) -> bool {
        compaction::can_be_emptied(
            source.objects(self),
            source.free_slots(self).len(),
            self.free_slots as usize,
        )
    }

    /// Takes a slot of `zspage`, which is relocated, for the object of `handle`.
    pub(crate) fn take_guest_slot(
        &mut self,
        zspage: ObjRef<Zspage>,
        handle: Handle,
    ) -> Option<usize> {
        let before = zspage.fullness(self);
        let slot = zspage.take_guest_slot(self, handle)?;
        self.free_slots -= 1;
        self.regroup(zspage, before);
        Some(slot)
    }

    /// Remembers that the object of slot `slot` is now at `place`. If it was the last in the
    /// zspage, that is off all lists, and its pages are the caller's.
    pub(crate) fn send_away(
        &mut self,
        zspage: ObjRef<Zspage>,
        writer: &WriteGuard<'_>,
        slot: usize,
        place: Handle,
    ) -> Freed {
        let before = zspage.fullness(self);
        zspage.send_away(self, writer, slot, place);
        match self.regroup(zspage, before) {
            Fullness::Empty => self.emptied(zspage),
            _ => Freed::InUse,
        }
    }

    fn validate(&self, tag: Tag, check: impl Fn(ObjRef<Zspage>)) {
        let mut free_slots = 0;
        for (group, list) in self.groups.iter().enumerate() {
            for zspage in list.iter() {
                zspage.validate(self, tag);
                assert_eq!(zspage.fullness(self), Fullness::Partial(group));
                free_slots += zspage.free_slots(self).len();
                check(zspage);
            }
        }
        assert_eq!(self.free_slots as usize, free_slots);
        for zspage in self.empty.iter() {
            zspage.validate(self, tag);
            assert_eq!(zspage.used(self), 0);
            check(zspage);
        }
        assert_eq!(self.empty_zspages as usize, self.empty.iter().count());
    }
}
