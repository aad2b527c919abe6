// SPDX-License-Identifier: GPL-2.0

//! The zspage: a few pages cut into equal slots.

use crate::{
    class::Partial,
    core::{
        fullness::Fullness,
        handle::{Handle, MAX_SLOTS},
        pfn::PackedPfn,
        size_class::{ClassTable, SizeClass, SlotRange, MAX_PAGES},
        slots::SlotSet,
    },
    lock::{WriteGuard, ZspageLock},
    relocation::Relocation,
    sys::{
        list::{Linked, Links, ObjRef, WithTail},
        movable::{Busy, LockedPage, PageOwner},
        page::{self, PAGE_SIZE},
    },
};
use core::{
    cell::Cell,
    mem::size_of,
    ptr::{self, NonNull},
};

/// The geometry of all size classes.
pub(crate) static CLASS_TABLE: ClassTable = TABLE;

/// The number of size classes.
pub(crate) const CLASSES: usize = TABLE.len();

const TABLE: ClassTable = ClassTable::new(PAGE_SIZE, &DESCRIPTOR_SIZES);

/// Bytes of the descriptor of a zspage, by its number of pages.
pub(crate) const DESCRIPTOR_SIZES: [usize; MAX_PAGES + 1] = {
    let mut sizes = [0; MAX_PAGES + 1];
    let mut pages = 0;
    while pages <= MAX_PAGES {
        let bytes = size_of::<Zspage>() + pages * size_of::<PackedPfn>();
        sizes[pages] = bytes.next_multiple_of(DESCRIPTOR_ALIGN);
        pages += 1;
    }
    sizes
};

/// Descriptors are aligned to this many bytes, as [`Handle`] demands. It is a cache line as well.
pub(crate) const DESCRIPTOR_ALIGN: usize = MAX_SLOTS;

/// The descriptor of a zspage. The page frame numbers of its pages follow it in memory.
///
/// | field | covered by |
/// |---|---|
/// | `class`, `pool` | nothing: they never change |
/// | `used`, the free slots, `links` | the class lock; without objects, `links` the emptied zspages' lock |
/// | `relocated` and which `slots` it is | set once, under the class lock and `lock` as a writer: read under either |
/// | page frame numbers | `lock`: read by readers, written by writers |
///
/// A descriptor lives as long as one of its slots is in use: whoever has a handle may use it, and a
/// zspage on a list of its class may be used under the class lock. It also lives as long as it has
/// a movable page: whoever holds the page lock of one may use it. A guest keeps its home alive: who
/// holds the class lock of the zspage that a guest is in may use its home.
///
/// Whoever frees or moves the last object in it takes the zspage off its list under the class lock;
/// from then on its pages are that one thread's. Page by page it takes the page lock, makes the
/// page unmovable and gives it back. A page whose lock somebody else holds is left to
/// [`Pool`](crate::pool::Pool)'s deferred work, which waits for it: so a page that is being moved
/// when the zspage loses its last object is moved first, and what is given back is the page that
/// took its place. The descriptor goes last; if objects of the zspage are away, when the last of
/// them is freed.
#[repr(C)]
pub(crate) struct Zspage {
    lock: ZspageLock,
    class: u8,
    /// Slots that cannot be allocated: those with an object, and those whose object is away.
    used: Cell<u8>,
    pool: u8,
    /// Whether an object was moved into the zspage or out of it.
    relocated: Cell<bool>,
    slots: Cell<Slots>,
    links: Links<Zspage>,
}

/// What is known of a zspage's slots.
#[derive(Clone, Copy)]
union Slots {
    /// The free ones, unless the zspage is `relocated`.
    free: SlotSet,
    /// What else there is to know, if it is.
    relocation: ObjRef<Relocation>,
}

// SAFETY: The cells are accessed only by who holds the lock that covers them, see the table above.
unsafe impl Sync for Zspage {}

// SAFETY: `Zspage::init` writes a page frame number for each page of the class, in memory that its
// caller has provided for them, and makes the first `ObjRef`. A zspage's class does not change.
unsafe impl WithTail for Zspage {
    type Item = PackedPfn;

    #[inline]
    fn tail_len(&self) -> usize {
        self.geometry().pages as usize
    }
}

impl Linked for Zspage {
    #[inline]
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

impl Zspage {
    /// Makes a zspage with lock `lock`, of pool number `pool` and class `class`, whose pages are
    /// `pfns`. Its slot 0 is taken, the others are free.
    ///
    /// # Safety
    ///
    /// `memory` is [`DESCRIPTOR_SIZES`]`[n]` bytes, aligned to [`DESCRIPTOR_ALIGN`], that are the
    /// caller's, and `pfns` yields `n` numbers, `n` being the number of pages of the class.
    pub(crate) unsafe fn init(
        memory: NonNull<u8>,
        lock: ZspageLock,
        pool: u8,
        class: u8,
        pfns: &[PackedPfn],
    ) -> ObjRef<Self> {
        let mut free = SlotSet::all(CLASS_TABLE.class(class).slots as usize);
        free.take_first();
        let zspage = memory.cast::<Self>();
        // SAFETY: The memory is the caller's, large enough and aligned for a descriptor and, behind
        // it, the page frame numbers. From here on it is accessed through references made from this
        // pointer.
        unsafe {
            zspage.as_ptr().write(Self {
                lock,
                class,
                used: Cell::new(1),
                pool,
                relocated: Cell::new(false),
                slots: Cell::new(Slots { free }),
                links: Links::new(),
            });
            ptr::copy_nonoverlapping(
                pfns.as_ptr(),
                zspage.as_ptr().add(1).cast::<PackedPfn>(),
                pfns.len(),
            );
            ObjRef::from_ptr(zspage)
        }
    }

    /// The zspage in which the object of `handle` is.
    ///
    /// # Safety
    ///
    /// The handle came from a pool and the object was not freed, so the descriptor lives.
    #[inline]
    pub(crate) unsafe fn of(handle: Handle) -> ObjRef<Self> {
        // SAFETY: The descriptor that the handle was made from lives, and is only shared. It is not
        // at address 0.
        unsafe { ObjRef::from_ptr(NonNull::new_unchecked(handle.descriptor() as *mut Self)) }
    }

    /// The lock of the zspage's pages.
    #[inline]
    pub(crate) fn lock(&self) -> &ZspageLock {
        &self.lock
    }

    /// The number of the pool that the zspage belongs to.
    #[inline]
    pub(crate) fn pool(&self) -> u8 {
        self.pool
    }

    /// The index of the zspage's class.
    #[inline]
    pub(crate) fn class(&self) -> u8 {
        self.class
    }

    /// The geometry of the zspage's class.
    #[inline]
    pub(crate) fn geometry(&self) -> &'static SizeClass {
        CLASS_TABLE.class(self.class)
    }

    /// Bytes of the descriptor.
    pub(crate) fn descriptor_size(&self) -> usize {
        DESCRIPTOR_SIZES[self.geometry().pages as usize]
    }

    /// Where slot `slot` lies.
    #[inline]
    pub(crate) fn range(&self, slot: usize) -> SlotRange {
        self.geometry().range(slot, PAGE_SIZE)
    }

    /// What there is once an object was moved into the zspage or out of it. The caller holds the
    /// class lock or `lock`, or has an object of the zspage mapped.
    #[inline]
    pub(crate) fn relocation(&self) -> Option<ObjRef<Relocation>> {
        if !self.relocated.get() {
            return None;
        }
        // SAFETY: The flag tells that this is what it is.
        Some(unsafe { self.slots.get().relocation })
    }

    /// Has the zspage keep account of moved objects from now on, with a `relocation` for its number
    /// of slots. `_locked` shows that the class lock is held, and `_writer` that `lock` is.
    pub(crate) fn set_relocation(
        &self,
        locked: &mut Partial,
        _writer: &WriteGuard<'_>,
        relocation: ObjRef<Relocation>,
    ) {
        relocation.free.set(self.free_slots(locked));
        self.slots.set(Slots { relocation });
        self.relocated.set(true);
    }

    /// The slots that can be allocated. `_locked` shows that the class lock is held.
    #[inline]
    pub(crate) fn free_slots(&self, _locked: &Partial) -> SlotSet {
        match self.relocation() {
            Some(relocation) => relocation.free.get(),
            // SAFETY: The zspage is not relocated, so that is what it is.
            None => unsafe { self.slots.get().free },
        }
    }

    #[inline]
    fn set_free_slots(&self, _locked: &mut Partial, free: SlotSet) {
        match self.relocation() {
            Some(relocation) => relocation.free.set(free),
            None => self.slots.set(Slots { free }),
        }
    }

    /// The number of slots that cannot be allocated. `_locked` shows that the class lock is held.
    #[inline]
    pub(crate) fn used(&self, _locked: &Partial) -> usize {
        self.used.get() as usize
    }

    /// The number of objects that are in the zspage. `_locked` shows that the class lock is held.
    #[inline]
    pub(crate) fn objects(&self, locked: &Partial) -> usize {
        let away = match self.relocation() {
            Some(relocation) => relocation.away.get().len(),
            None => 0,
        };
        self.used(locked) - away
    }

    /// The lowest slot in which an object is. `locked` shows that the class lock is held.
    pub(crate) fn first_object(&self, locked: &Partial) -> Option<usize> {
        let mut vacant = self.free_slots(locked);
        if let Some(relocation) = self.relocation() {
            vacant = vacant.union(relocation.away.get());
        }
        let slot = vacant.first_absent();
        (slot < self.geometry().slots as usize).then_some(slot)
    }

    /// How full the zspage is. `locked` shows that the class lock is held.
    #[inline]
    pub(crate) fn fullness(&self, locked: &Partial) -> Fullness {
        let slots = self.geometry().slots as usize;
        if self.objects(locked) == 0 {
            Fullness::Empty
        } else {
            Fullness::of(self.used(locked), slots)
        }
    }

    /// How full the zspage was before one of its objects was freed. `locked` shows that the class lock
    /// is held.
    pub(crate) fn fullness_with_one_more(&self, locked: &Partial) -> Fullness {
        Fullness::of(self.used(locked) + 1, self.geometry().slots as usize)
    }

    /// Takes a free slot, and tells what became of the fullness. `locked` shows that the class lock is
    /// held.
    #[inline]
    pub(crate) fn take_slot(&self, locked: &mut Partial) -> Option<(usize, Step)> {
        let mut free = self.free_slots(locked);
        let slot = free.take_first()?;
        self.set_free_slots(locked, free);
        let before = self.used.get();
        self.used.set(before.wrapping_add(1));
        Some((slot, self.step(before)))
    }

    /// Gives back the slot that a handle names, and tells what became of the fullness. `locked` shows
    /// that the class lock is held.
    #[inline]
    pub(crate) fn put_slot(&self, locked: &mut Partial, slot: usize) -> Put {
        if self.relocated.get() {
            return self.put_slot_of_relocated(locked, slot);
        }
        let mut free = self.free_slots(locked);
        if !free.insert(slot) || slot >= self.geometry().slots as usize {
            return Put::NotAllocated;
        }
        self.set_free_slots(locked, free);
        let after = self.used.get().wrapping_sub(1);
        self.used.set(after);
        Put::Done(self.step(after))
    }

    #[inline(never)]
    fn put_slot_of_relocated(&self, locked: &mut Partial, slot: usize) -> Put {
        let Some(relocation) = self.relocation() else {
            return Put::NotAllocated;
        };
        let away = relocation.away.get();
        if away.contains(slot) {
            return Put::Away;
        }
        if slot >= self.geometry().slots as usize
            || relocation.guests.get().contains(slot)
            || !self.put_any_slot(locked, slot)
        {
            return Put::NotAllocated;
        }
        let after = self.used.get();
        Put::Done(match after as usize == away.len() {
            // That was the last object in it.
            true => Step::Other,
            false => self.step(after),
        })
    }

    /// Gives a slot back; false if it was free.
    fn put_any_slot(&self, locked: &mut Partial, slot: usize) -> bool {
        let mut free = self.free_slots(locked);
        if !free.insert(slot) {
            return false;
        }
        self.set_free_slots(locked, free);
        self.used.set(self.used.get() - 1);
        true
    }

    /// What lies between `used` used slots and one more.
    #[inline]
    fn step(&self, used: u8) -> Step {
        let class = self.geometry();
        if class.steps >> (used % MAX_SLOTS as u8) & 1 == 0 {
            Step::None
        } else if used != 0 && used == class.slots.wrapping_sub(1) {
            Step::FullOrNot
        } else {
            Step::Other
        }
    }

    /// Takes a free slot for the object of `handle`, whose home is another zspage. The zspage is
    /// relocated. `locked` shows that the class lock is held.
    pub(crate) fn take_guest_slot(&self, locked: &mut Partial, handle: Handle) -> Option<usize> {
        let (slot, _) = self.take_slot(locked)?;
        let relocation = self.relocation()?;
        let mut guests = relocation.guests.get();
        guests.insert(slot);
        relocation.guests.set(guests);
        relocation.set_entry(slot, Some(handle));
        Some(slot)
    }

    /// Gives back the slot of a guest that has been freed or moved, or of an object that was away when
    /// it was freed. `locked` shows that the class lock is held.
    pub(crate) fn put_moved_slot(&self, locked: &mut Partial, slot: usize) {
        if let Some(relocation) = self.relocation() {
            for set in [&relocation.guests, &relocation.away] {
                let mut slots = set.get();
                slots.remove(slot);
                set.set(slots);
            }
            relocation.set_entry(slot, None);
            self.put_any_slot(locked, slot);
        }
    }

    /// Remembers that the object of slot `slot` is now at `place`. The zspage is relocated.
    /// `_locked` shows that the class lock is held, and `writer` that `lock` is.
    pub(crate) fn send_away(
        &self,
        _locked: &mut Partial,
        writer: &WriteGuard<'_>,
        slot: usize,
        place: Handle,
    ) {
        if let Some(relocation) = self.relocation() {
            let mut away = relocation.away.get();
            away.insert(slot);
            relocation.away.set(away);
            self.redirect(writer, slot, place);
        }
    }

    /// Remembers that the object of slot `slot`, which is away, is now at `place`.
    pub(crate) fn redirect(&self, _writer: &WriteGuard<'_>, slot: usize, place: Handle) {
        if let Some(relocation) = self.relocation() {
            relocation.set_entry(slot, Some(place));
        }
    }

    /// Panics if the descriptor contradicts itself. `locked` shows that the class lock is held.
    pub(crate) fn validate(&self, locked: &Partial) {
        let slots = self.geometry().slots as usize;
        let free = self.free_slots(locked);
        assert_eq!(free.len() + self.used(locked), slots);
        if let Some(relocation) = self.relocation() {
            let (away, guests) = (relocation.away.get(), relocation.guests.get());
            let all = free.union(away).union(guests);
            assert_eq!(all.len(), free.len() + away.len() + guests.len());
            for slot in 0..slots {
                let moved = away.contains(slot) || guests.contains(slot);
                assert_eq!(relocation.entry(slot).is_some(), moved);
            }
        }
    }
}

/// How the fullness of a zspage changes with one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Not at all.
    None,
    /// From full to the fullest group, or back.
    FullOrNot,
    /// It may change in any way.
    Other,
}

/// What became of a slot that was to be given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Put {
    /// It is free now.
    Done(Step),
    /// Its object is in another zspage. Nothing was changed.
    Away,
    /// No handle names it. Nothing was changed.
    NotAllocated,
}

impl PageOwner for Zspage {
    /// Fails if an object is mapped or another page is being moved.
    ///
    /// Nothing but mappings is excluded: allocating and freeing slots touches neither the pages nor
    /// the page array, and no handle names a page.
    fn move_page(zspage: ObjRef<Self>, from: usize, to: usize) -> Result<(), Busy> {
        let _writer = zspage.lock.try_write().ok_or(Busy)?;
        let place = zspage
            .tail()
            .iter()
            .find(|place| place.get() == PackedPfn::new(from))
            .ok_or(Busy)?;
        // SAFETY: The pages are locked, so they stay. Nobody has the zspage locked as a reader, so
        // nobody accesses `from`, and nobody knows of `to` yet.
        unsafe { page::copy(from, to) };
        place.set(PackedPfn::new(to));
        Ok(())
    }
}

impl ObjRef<Zspage> {
    /// The handle of slot `slot`.
    #[inline]
    pub(crate) fn handle(self, slot: usize) -> Handle {
        Handle::new(self.as_ptr().as_ptr() as usize, slot)
    }

    /// Whether `range` lies in one page or in two that are next to each other, so that its bytes
    /// have consecutive addresses. The caller holds `lock`.
    #[inline]
    pub(crate) fn is_adjacent(self, range: SlotRange) -> bool {
        !range.crosses(PAGE_SIZE) || self.pfn(range.page) + 1 == self.pfn(range.page + 1)
    }

    /// Panics if a guest's home does not know that it is here. The caller holds the class lock.
    pub(crate) fn validate_guests(self) {
        let Some(relocation) = self.relocation() else {
            return;
        };
        let mut guests = relocation.guests.get();
        while let Some(slot) = guests.take_first() {
            let place = relocation.entry(slot).and_then(|handle| {
                // SAFETY: A guest's home lives.
                let home = unsafe { Zspage::of(handle) }.relocation()?;
                home.entry(handle.slot())
            });
            assert_eq!(place, Some(self.handle(slot)));
        }
    }

    /// Lets the kernel move the pages.
    ///
    /// # Safety
    ///
    /// The pages are new, and so far known to the caller alone.
    pub(crate) unsafe fn set_pages_movable(self) {
        for place in self.tail() {
            // SAFETY: The page is allocated. It stays, and the descriptor lives, until
            // `release_page` has made it, or what took its place, unmovable.
            unsafe { LockedPage::lock(place.get().get()).set_movable(self) };
        }
    }

    /// Gives back the pages that nobody has locked, and returns their number. Does not sleep.
    ///
    /// # Safety
    ///
    /// The zspage belongs to the caller: it is on no list and no object is left in it.
    pub(crate) unsafe fn try_release_pages(self) -> usize {
        // A reader keeps the pages from being moved: those that are locked are still the zspage's.
        let _reader = self.lock().read();
        let mut released = 0;
        for place in self.tail() {
            // SAFETY: The page is the zspage's, so it is allocated.
            if let Some(page) = unsafe { LockedPage::try_lock(place.get().get()) } {
                // SAFETY: The caller owns the zspage.
                unsafe { release_page(place, page) };
                released += 1;
            }
        }
        released
    }

    /// Gives back the pages that [`Self::try_release_pages`] left, and returns their number. Sleeps
    /// until nobody has them locked.
    ///
    /// # Safety
    ///
    /// As for [`Self::try_release_pages`].
    pub(crate) unsafe fn release_pages(self) -> usize {
        let mut released = 0;
        for place in self.tail() {
            while let Some(pfn) = self.get_page(place) {
                // SAFETY: The page is allocated: `get_page` has taken a reference.
                let page = unsafe { LockedPage::lock(pfn) };
                let reader = self.lock().read();
                if place.get() == PackedPfn::new(pfn) {
                    // SAFETY: The caller owns the zspage.
                    unsafe { release_page(place, page) };
                    released += 1;
                } else {
                    drop(page);
                }
                drop(reader);
                // SAFETY: It is the reference of `get_page`.
                unsafe { page::free(pfn) };
            }
        }
        released
    }

    /// Takes a reference to the page in `place`, if there is one.
    fn get_page(self, place: &Cell<PackedPfn>) -> Option<usize> {
        let _reader = self.lock().read();
        if place.get() == PackedPfn::NONE {
            return None;
        }
        let pfn = place.get().get();
        // SAFETY: The page is the zspage's, so it is allocated.
        unsafe { page::get(pfn) };
        Some(pfn)
    }

    /// The page frame number of page `index`. The caller holds `lock` or owns the zspage.
    #[inline]
    pub(crate) fn pfn(self, index: usize) -> usize {
        self.tail()[index].get().get()
    }
}

/// Gives back the page in `place`, which is locked as `page`.
///
/// # Safety
///
/// The page's zspage belongs to the caller, who holds its lock as a reader; no object is left in
/// it.
unsafe fn release_page(place: &Cell<PackedPfn>, page: LockedPage) {
    let pfn = place.replace(PackedPfn::NONE).get();
    page.clear_movable();
    drop(page);
    // SAFETY: Nobody can reach the page now. If the kernel has isolated it, it has a reference of
    // its own.
    unsafe {
        page::count_in_zone(pfn, -1);
        page::free(pfn);
    }
}
