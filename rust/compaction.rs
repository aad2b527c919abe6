// SPDX-License-Identifier: GPL-2.0

//! Compaction: objects are moved out of sparsely filled zspages, which then give their pages back.
//!
//! Three ask for it: the pool's own background work, when more than a share of the pool is wasted;
//! the memory shrinker, when the kernel wants memory back; and the administrator. One of them
//! compacts at a time, and the others do not wait.
//!
//! Objects are moved one by one. Between two of them no lock is held and nothing is remembered, so
//! that `free` waits for the copy of one object at most, and what has changed meanwhile does no
//! harm.

use crate::{
    class::{Freed, Partial},
    core::compaction::{self, Gain, REACH},
    pool::Pool,
    relocation::{Occupant, Relocation},
    sys::{
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        gfp::Gfp,
        list::ObjRef,
        memory::free_object,
        page::PAGE_SIZE,
        parameters::wasted_share,
        preempt::reschedule,
    },
    zspage::{Zspage, CLASSES, CLASS_TABLE, DESCRIPTOR_SIZES},
};

/// Compaction stops when its bookkeeping takes more than one part in so many of the pool.
///
/// A zspage that is emptied always gives back more than it costs. But if of many zspages one small
/// object each lives on, what is kept for each adds up.
const BOOKKEEPING_SHARE: u64 = 4;

/// Objects that one tick of the background work moves at most.
const OBJECTS_PER_TICK: usize = 2048;

/// Ticks after which a pool that has not grown is compacted across classes. A pool that grows would
/// at once need new zspages for the classes that have lost their last one.
const QUIET_TICKS: u32 = 25;

/// Pages fewer than one tick before with which a pool is taken to be on its way to be emptied, as
/// when a process exits. It is left alone meanwhile: what would be moved is about to be freed.
pub(crate) const EMPTYING_PAGES: u64 = 64;

/// What a pool keeps for compaction.
///
/// Aligned so that writing to it takes no cache line away from what comes before it in the pool.
#[repr(align(64))]
pub(crate) struct Compactor {
    /// Somebody is compacting.
    running: AtomicBool,
    /// Bytes of all [`Relocation`]s, and of the descriptors that they belong to.
    bookkeeping: AtomicU64,
    /// A tick of the background work is to come.
    tick_is_due: AtomicBool,
    /// A zspage was made since the last tick.
    grew: AtomicBool,
    /// Ticks since the last one before which the pool grew.
    quiet_ticks: AtomicU32,
    /// Pages of the pool after the last tick.
    pages: AtomicU64,
}

impl Compactor {
    pub(crate) fn new() -> Self {
        Self {
            running: AtomicBool::new(false),
            bookkeeping: AtomicU64::new(0),
            tick_is_due: AtomicBool::new(false),
            grew: AtomicBool::new(false),
            quiet_ticks: AtomicU32::new(0),
            pages: AtomicU64::new(0),
        }
    }
}

/// How far objects may be moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// Within their class.
    Class,
    /// To larger classes as well.
    LargerClasses,
}

/// When to stop compacting although there is more to be won.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    /// After so many moved objects.
    pub(crate) objects: usize,
    /// After so many pages have been given back.
    pub(crate) pages: usize,
}

impl Limit {
    /// Never.
    pub(crate) const NONE: Self = Self {
        objects: usize::MAX,
        pages: usize::MAX,
    };
}

/// What compaction has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Compacted {
    /// Objects that were moved.
    pub(crate) objects: usize,
    /// Pages that were given back. Those that were locked at the time are not counted.
    pub(crate) pages: usize,
}

/// Bookkeeping for zspages from which and to which objects are about to be moved: it cannot be
/// allocated under the locks.
struct Spares {
    source: Option<ObjRef<Relocation>>,
    destination: Option<ObjRef<Relocation>>,
}

/// How many entries the bookkeeping must have room for that a zspage lacks.
#[derive(Clone, Copy)]
struct Missing {
    source: Option<usize>,
    destination: Option<usize>,
}

impl Spares {
    /// Whether there is what is missing.
    fn suffice(&self, missing: Missing) -> bool {
        is_enough(self.source, missing.source) && is_enough(self.destination, missing.destination)
    }

    /// Allocates what is missing; [`None`] without memory.
    fn refill(&mut self, missing: Missing) -> Option<()> {
        for (spare, entries) in [
            (&mut self.source, missing.source),
            (&mut self.destination, missing.destination),
        ] {
            if is_enough(*spare, entries) {
                continue;
            }
            let new = Relocation::alloc(entries?, Gfp::SPARE)?;
            if let Some(too_small) = spare.replace(new) {
                // SAFETY: Nobody else knows of it.
                unsafe { free_object(too_small) };
            }
        }
        Some(())
    }
}

fn is_enough(spare: Option<ObjRef<Relocation>>, missing: Option<usize>) -> bool {
    match missing {
        None => true,
        Some(entries) => spare.is_some_and(|spare| spare.entries() >= entries),
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        for spare in [self.source, self.destination].into_iter().flatten() {
            // SAFETY: Nobody else knows of it.
            unsafe { free_object(spare) };
        }
    }
}

/// What came of trying to move one object.
enum Step {
    Moved,
    /// It was moved, and its zspage has no object left: the pages are the caller's.
    Emptied(ObjRef<Zspage>),
    /// The spares have to be refilled first.
    NeedsSpares(Missing),
    /// Nothing is to be won here any more, or somebody has one of the zspages locked.
    Stop,
}

impl Pool {
    /// Moves objects together; [`None`] if somebody else is doing it. May sleep.
    pub(crate) fn compact(&self, scope: Scope, limit: Limit) -> Option<Compacted> {
        if self.compactor.running.swap(true, Ordering::Acquire) {
            return None;
        }
        let mut left = limit;
        for class in 0..CLASSES as u8 {
            self.empty_zspages(class, class, &mut left);
        }
        if scope == Scope::LargerClasses {
            for class in 0..CLASSES as u8 {
                let last = (class as usize + REACH).min(CLASSES - 1) as u8;
                while left.objects > 0 && left.pages > 0 && self.fits_above(class, last) {
                    let before = left.objects;
                    for larger in class + 1..=last {
                        self.empty_zspages(class, larger, &mut left);
                    }
                    if left.objects == before {
                        break;
                    }
                }
            }
        }
        self.compactor.running.store(false, Ordering::Release);
        Some(Compacted {
            objects: limit.objects - left.objects,
            pages: limit.pages - left.pages,
        })
    }

    /// What [`Pool::compact`] could give back now.
    pub(crate) fn gain(&self) -> Gain {
        compaction::gain(&CLASS_TABLE, |class| self.class(class).free_slots())
    }

    /// Whether the objects of the sparsest zspage of `class` fit into the free slots of the classes
    /// after it, up to `last`.
    fn fits_above(&self, class: u8, last: u8) -> bool {
        let objects = {
            let partial = self.class(class).lock();
            partial.source().map(|source| source.objects(&partial))
        };
        let free: usize = (class + 1..=last)
            .map(|larger| self.class(larger).free_slots())
            .sum();
        objects.is_some_and(|objects| objects <= free)
    }

    /// Empties zspages of class `from` into class `to` as long as that is possible.
    fn empty_zspages(&self, from: u8, to: u8, left: &mut Limit) {
        let mut spares = Spares {
            source: None,
            destination: None,
        };
        while left.objects > 0 && left.pages > 0 && !self.has_too_much_bookkeeping() {
            match self.move_object(from, to, &mut spares) {
                Step::Moved => left.objects -= 1,
                Step::Emptied(zspage) => {
                    left.objects -= 1;
                    left.pages -= self.release(zspage).min(left.pages);
                    if from != to {
                        break;
                    }
                }
                Step::NeedsSpares(missing) => {
                    if spares.refill(missing).is_none() {
                        break;
                    }
                }
                Step::Stop => break,
            }
            reschedule();
        }
    }

    fn has_too_much_bookkeeping(&self) -> bool {
        let bytes = self.compactor.bookkeeping.load(Ordering::Relaxed);
        bytes * BOOKKEEPING_SHARE > self.pages() * PAGE_SIZE as u64
    }

    /// Moves one object out of the sparsest zspage of class `from` into the fullest of class `to`.
    fn move_object(&self, from: u8, to: u8, spares: &mut Spares) -> Step {
        let mut partial = self.class(from).lock();
        let Some(source) = partial.source() else {
            return Step::Stop;
        };
        if from == to {
            if !partial.can_be_emptied(source) {
                return Step::Stop;
            }
            let Some(destination) = partial.destination(source) else {
                return Step::Stop;
            };
            let mut both = Both::One(&mut partial);
            self.move_object_between(&mut both, source, destination, spares)
        } else {
            let mut larger = self.class(to).lock_nested();
            let Some(destination) = larger.destination(source) else {
                return Step::Stop;
            };
            let mut both = Both::Two(&mut partial, &mut larger);
            self.move_object_between(&mut both, source, destination, spares)
        }
        .unwrap_or(Step::Stop)
    }

    /// Moves the first object of `source` to `destination`; [`None`] if somebody has one of the
    /// zspages locked, or the object's home.
    fn move_object_between(
        &self,
        locked: &mut Both<'_>,
        source: ObjRef<Zspage>,
        destination: ObjRef<Zspage>,
        spares: &mut Spares,
    ) -> Option<Step> {
        let source_lock = source.lock().try_write()?;
        let destination_lock = destination.lock().try_write()?;
        let slot = source.first_object(locked.source())?;
        let guest = source
            .relocation()
            .filter(|relocation| relocation.occupant(slot) == Occupant::Guest)
            .and_then(|relocation| relocation.entry(slot));
        let handle = guest.unwrap_or_else(|| source.handle(slot));
        // SAFETY: A guest's home lives as long as the class lock of the zspage that it is in is
        // held, and the source itself is on a list.
        let home = unsafe { Zspage::of(handle) };
        let third_lock;
        let home_lock = if home == source {
            &source_lock
        } else if home == destination {
            &destination_lock
        } else {
            third_lock = home.lock().try_write()?;
            &third_lock
        };
        // Most likely all objects of the source will follow, until the destination is full.
        let leaving = source.own_objects(locked.source());
        let arriving = destination.free_slots(locked.destination());
        let missing = Missing {
            source: source.entries_missing(locked.source(), leaving),
            destination: destination.entries_missing(locked.destination(), arriving),
        };
        if !spares.suffice(missing) {
            return Some(Step::NeedsSpares(missing));
        }
        // What is not needed any more is a spare: nothing is freed under the locks, for on
        // PREEMPT_RT that may sleep.
        if missing.destination.is_some() {
            let spare = spares.destination.take()?;
            let (locked, writer) = (locked.destination(), &destination_lock);
            spares.destination = destination.set_relocation(locked, writer, spare, arriving);
            self.account(destination, Some(spare), spares.destination);
        }
        if missing.source.is_some() {
            let spare = spares.source.take()?;
            let (locked, writer) = (locked.source(), &source_lock);
            spares.source = source.set_relocation(locked, writer, spare, leaving);
            self.account(source, Some(spare), spares.source);
        }
        let place = locked.destination().take_guest_slot(destination, handle)?;
        self.copy_object(source, slot, destination, place);
        let place = destination.handle(place);
        let freed = if guest.is_some() {
            home.redirect(home_lock, handle.slot(), place);
            locked.source().put_guest_slot(source, slot)
        } else {
            locked.source().send_away(source, home_lock, slot, place)
        };
        Some(match freed {
            Freed::Emptied => Step::Emptied(source),
            _ => Step::Moved,
        })
    }

    /// Counts bookkeeping that `zspage` has got, and what it has lost.
    fn account(
        &self,
        zspage: ObjRef<Zspage>,
        new: Option<ObjRef<Relocation>>,
        old: Option<ObjRef<Relocation>>,
    ) {
        let [new, old] = [new, old]
            .map(|some| some.map_or(0, |relocation| bookkeeping_bytes(zspage, relocation)));
        let bookkeeping = &self.compactor.bookkeeping;
        bookkeeping.fetch_add(new, Ordering::Relaxed);
        bookkeeping.fetch_sub(old, Ordering::Relaxed);
    }

    /// Frees the bookkeeping of a zspage that is about to go.
    ///
    /// # Safety
    ///
    /// Nobody knows of the zspage any more.
    pub(crate) unsafe fn free_relocation(&self, zspage: ObjRef<Zspage>) {
        let relocation = zspage.relocation();
        self.account(zspage, None, relocation);
        if let Some(relocation) = relocation {
            // SAFETY: Only the zspage leads there.
            unsafe { free_object(relocation) };
        }
    }

    /// Pages that [`Pool::compact`] takes for its bookkeeping.
    pub(crate) fn bookkeeping_pages(&self) -> u64 {
        let bytes = self.compactor.bookkeeping.load(Ordering::Relaxed);
        bytes.div_ceil(PAGE_SIZE as u64)
    }

    /// Notes that the pool has got a zspage more.
    pub(crate) fn grew(&self) {
        self.compactor.grew.store(true, Ordering::Relaxed);
        self.may_have_waste();
    }

    /// Notes that there may be something to be won, so that it is looked into a little later.
    #[inline]
    pub(crate) fn may_have_waste(&self) {
        if !self.compactor.tick_is_due.load(Ordering::Relaxed) {
            self.start_ticking();
        }
    }

    /// Has the background work done after the interval of a tick.
    #[cold]
    fn start_ticking(&self) {
        self.compactor.tick_is_due.store(true, Ordering::Relaxed);
        self.schedule_tick();
    }

    /// Compacts, and returns whether it may be worth going on.
    fn compact_further(&self, scope: Scope, limit: Limit) -> bool {
        match self.compact(scope, limit) {
            Some(compacted) => compacted.objects > 0,
            None => true,
        }
    }

    /// The background work: gives back what is kept without objects, and compacts if too much of
    /// the pool is wasted.
    ///
    /// It has something to do only after objects were stored or freed, so an idle pool has no
    /// ticks.
    pub(crate) fn tick(&self) {
        let compactor = &self.compactor;
        if !compactor.tick_is_due.swap(false, Ordering::Relaxed) {
            return;
        }
        self.release_kept();
        let quiet_ticks = match compactor.grew.swap(false, Ordering::Relaxed) {
            true => 0,
            false => compactor.quiet_ticks.load(Ordering::Relaxed) + 1,
        };
        compactor.quiet_ticks.store(quiet_ticks, Ordering::Relaxed);
        let limit = Limit {
            objects: OBJECTS_PER_TICK,
            ..Limit::NONE
        };
        let (gain, share) = (self.gain(), wasted_share() as u64);
        let is_much = |pages| share > 0 && pages as u64 * 100 > share * self.pages();
        let is_emptying = self.pages() + EMPTYING_PAGES <= compactor.pages.load(Ordering::Relaxed);
        let goes_on = if is_emptying {
            true
        } else if is_much(gain.within) {
            self.compact_further(Scope::Class, limit)
        } else if !is_much(gain.within + gain.across) {
            false
        } else if quiet_ticks < QUIET_TICKS {
            true
        } else {
            self.compact_further(Scope::LargerClasses, limit)
        };
        compactor.pages.store(self.pages(), Ordering::Relaxed);
        if goes_on {
            self.start_ticking();
        }
    }
}

/// Bytes that are counted for the bookkeeping of a zspage: the descriptor may be kept for it alone.
fn bookkeeping_bytes(zspage: ObjRef<Zspage>, relocation: ObjRef<Relocation>) -> u64 {
    (relocation.size() + DESCRIPTOR_SIZES[zspage.geometry().pages as usize]) as u64
}

/// The locked classes of the zspages that an object goes from and to.
enum Both<'a> {
    One(&'a mut Partial),
    Two(&'a mut Partial, &'a mut Partial),
}

impl Both<'_> {
    fn source(&mut self) -> &mut Partial {
        match self {
            Self::One(partial) | Self::Two(partial, _) => partial,
        }
    }

    fn destination(&mut self) -> &mut Partial {
        match self {
            Self::One(partial) | Self::Two(_, partial) => partial,
        }
    }
}
