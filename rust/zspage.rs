// SPDX-License-Identifier: GPL-2.0

//! The zspage: a few pages cut into equal slots.

use crate::{
    class::Partial,
    core::{
        fullness::Fullness,
        handle::{Handle, MAX_SLOTS},
        pfn::{PackedPfn, Region},
        size_class::{ClassTable, DescriptorSizes, SizeClass, SlotRange, MAX_PAGES},
        slots::SlotSet,
    },
    lock::{WriteGuard, ZspageLock},
    relocation::{Occupant, Relocation},
    sys::{
        atomic::{AtomicU8, Ordering},
        list::{Linked, Links, ObjRef, WithTail},
        memory::SlabCache,
        movable::{Busy, LockedPage, PageOwner},
        page::{self, PAGE_SIZE},
    },
};
use core::{cell::Cell, mem::size_of, ptr::NonNull};

/// The geometry of all size classes.
pub(crate) static CLASS_TABLE: ClassTable = TABLE;

/// The number of size classes.
pub(crate) const CLASSES: usize = TABLE.len();

const TABLE: ClassTable = ClassTable::new(PAGE_SIZE, &DESCRIPTOR_SIZES);

/// Descriptors are aligned to this many bytes, as [`Handle`] demands. It is a cache line as well.
pub(crate) const DESCRIPTOR_ALIGN: usize = MAX_SLOTS;

/// Bytes of descriptors, by the number of pages.
pub(crate) const DESCRIPTOR_SIZES: DescriptorSizes = {
    let mut sizes = [0; MAX_PAGES + 1];
    let mut pages = 0;
    while pages <= MAX_PAGES {
        let bytes = size_of::<Zspage>() + pages * size_of::<PackedPfn>();
        sizes[pages] = bytes.div_ceil(DESCRIPTOR_ALIGN) * DESCRIPTOR_ALIGN;
        pages += 1;
    }
    sizes
};

/// The memory of a pool's descriptors: those that take a cache line, and those of zspages with more
/// pages.
pub(crate) struct DescriptorCaches {
    short: SlabCache,
    long: SlabCache,
}

impl DescriptorCaches {
    /// Makes the caches of pool number `pool`; [`None`] without memory. May sleep.
    pub(crate) fn new(pool: u16) -> Option<Self> {
        let cache = |what, size| SlabCache::new(what, pool, size, DESCRIPTOR_ALIGN);
        Some(Self {
            short: cache("zspage", DESCRIPTOR_SIZES[0])?,
            long: cache("long_zspage", DESCRIPTOR_SIZES[MAX_PAGES])?,
        })
    }

    /// The cache for the zspages of class `class`.
    pub(crate) fn of_class(&self, class: u8) -> &SlabCache {
        let size = DESCRIPTOR_SIZES[CLASS_TABLE.class(class).pages as usize];
        match size > DESCRIPTOR_SIZES[0] {
            true => &self.long,
            false => &self.short,
        }
    }
}

/// The descriptor of a zspage. The page frame numbers of its pages follow it in memory.
///
/// | field | covered by |
/// |---|---|
/// | `class`, `region` | nothing: they never change |
/// | `used`, the free slots, `links` | the class lock; without objects, `links` the emptied zspages' lock |
/// | the tag's `RELOCATED`, and which `slots` it is | the class lock and `lock`: written under both, as a writer, and read under either |
/// | the tag's `SCATTERED`, page frame numbers | `lock`: read by readers, written by writers |
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
    tag: AtomicU8,
    region: Region,
    slots: Cell<Slots>,
    links: Links<Zspage>,
}

/// Tells the zspages of a pool from those of most others, with flags for what sets a zspage apart
/// from most: so the hot paths have one byte to compare to find that nothing is special.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tag(u8);

impl Tag {
    /// An object was moved into the zspage or out of it.
    const RELOCATED: u8 = 1 << 0;
    /// Its pages are not next to each other, in order.
    const SCATTERED: u8 = 1 << 1;
    const FLAGS: u32 = 2;

    /// The tag of the plain zspages of pool number `pool`.
    pub(crate) fn new(pool: u16) -> Self {
        Self((pool as u8) << Self::FLAGS)
    }

    /// Whether `self` and `other` are tags of the same pool's zspages.
    fn is_same_pool(self, other: Self) -> bool {
        self.0 >> Self::FLAGS == other.0 >> Self::FLAGS
    }

    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    fn with(self, flag: u8, set: bool) -> Self {
        match set {
            true => Self(self.0 | flag),
            false => Self(self.0 & !flag),
        }
    }
}

/// What is known of a zspage's slots.
#[derive(Clone, Copy)]
union Slots {
    /// Unless the zspage is relocated: the free ones. Those that it does not have are among them,
    /// so that freeing one is noticed. Nobody takes them, for what has no free slot is on no list.
    free: SlotSet,
    /// What else there is to know, if it is.
    relocation: ObjRef<Relocation>,
}

// SAFETY: The cells are accessed only by who holds the lock that covers them, see the table above.
unsafe impl Sync for Zspage {}

// SAFETY: `Zspage::init` has the numbers written, and a zspage keeps its class.
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
    /// Makes a zspage with lock `lock` and class `class`, of the pool with tag `tag`, whose pages
    /// are `pfns`. Its slot 0 is taken, the others are free. [`None`] if there is no common region
    /// of the pages.
    ///
    /// # Safety
    ///
    /// `memory` is as many bytes as [`DESCRIPTOR_SIZES`] tells for the pages, aligned to
    /// [`DESCRIPTOR_ALIGN`], that are the caller's; and the class's zspages have that many pages.
    pub(crate) unsafe fn init(
        memory: NonNull<u8>,
        lock: ZspageLock,
        tag: Tag,
        class: u8,
        pfns: &[usize],
    ) -> Option<ObjRef<Self>> {
        let region = Region::of(*pfns.first()?);
        let mut free = SlotSet::FULL;
        free.take_first();
        let zspage = memory.cast::<Self>();
        // SAFETY: The memory is the caller's, large enough and aligned for a descriptor. From here
        // on it is accessed through references made from this pointer.
        let zspage = unsafe {
            zspage.as_ptr().write(Self {
                lock,
                class,
                used: Cell::new(1),
                tag: AtomicU8::new(tag.0),
                region,
                slots: Cell::new(Slots { free }),
                links: Links::new(),
            });
            let pages = zspage.as_ptr().add(1).cast::<PackedPfn>();
            for (index, &pfn) in pfns.iter().enumerate() {
                pages.add(index).write(region.pack(pfn)?);
            }
            ObjRef::from_ptr(zspage)
        };
        zspage.note_scattered();
        Some(zspage)
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

    #[inline]
    fn tag(&self) -> Tag {
        Tag(self.tag.load(Ordering::Relaxed))
    }

    /// Whether the zspage is one of the pool with tag `tag` of which there is nothing else to know:
    /// its own objects lie in pages that are next to each other. True as long as the caller holds
    /// `lock`; as far as objects go, the class lock does as well.
    #[inline]
    pub(crate) fn is_plain(&self, tag: Tag) -> bool {
        self.tag() == tag
    }

    /// Sets a flag of the tag, or clears it. The caller holds `lock` as a writer, or nobody else
    /// knows of the zspage.
    fn set_flag(&self, flag: u8, set: bool) {
        let tag = self.tag().with(flag, set);
        self.tag.store(tag.0, Ordering::Relaxed);
    }

    /// The index of the zspage's class, below [`CLASSES`].
    #[inline]
    pub(crate) fn class(&self) -> u8 {
        self.class
    }

    /// The geometry of the zspage's class.
    #[inline]
    pub(crate) fn geometry(&self) -> &'static SizeClass {
        CLASS_TABLE.class(self.class)
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
        if !self.tag().has(Tag::RELOCATED) {
            return None;
        }
        // SAFETY: The flag tells that this is what it is.
        Some(unsafe { self.slots.get().relocation })
    }

    /// How many entries a [`Relocation`] must have room for if the objects of the slots `more` are
    /// to be moved; [`None`] if the zspage has one that will do. `_locked` shows that the class
    /// lock is held.
    pub(crate) fn entries_missing(&self, _locked: &Partial, more: SlotSet) -> Option<usize> {
        match self.relocation() {
            None => Some(more.len()),
            Some(relocation) if relocation.covers(more) => None,
            Some(relocation) => Some(relocation.to_be_covered(more).len()),
        }
    }

    /// Has the zspage keep account in `relocation`, which has room for as many entries as
    /// [`Self::entries_missing`] has told for `more`. Returns what has kept account so far, which
    /// nobody uses any more. `locked` shows that the class lock is held, and `_writer` that `lock`
    /// is.
    pub(crate) fn set_relocation(
        &self,
        locked: &mut Partial,
        _writer: &WriteGuard<'_>,
        relocation: ObjRef<Relocation>,
        more: SlotSet,
    ) -> Option<ObjRef<Relocation>> {
        let before = self.relocation();
        let covered = before.map_or(more, |before| before.to_be_covered(more));
        relocation.init(self.occupied_slots(locked), covered, before);
        self.slots.set(Slots { relocation });
        self.set_flag(Tag::RELOCATED, true);
        before
    }

    #[inline]
    fn all_slots(&self) -> SlotSet {
        SlotSet::all(self.geometry().slots as usize)
    }

    /// The slots that can be allocated. `_locked` shows that the class lock is held.
    #[inline]
    pub(crate) fn free_slots(&self, _locked: &Partial) -> SlotSet {
        match self.relocation() {
            Some(relocation) => relocation.free(self.all_slots()),
            // SAFETY: The zspage is not relocated, so that is what it is.
            None => unsafe { self.slots.get().free }.intersection(self.all_slots()),
        }
    }

    /// The slots in which an object lies. `locked` shows that the class lock is held.
    #[inline]
    fn occupied_slots(&self, locked: &Partial) -> SlotSet {
        match self.relocation() {
            Some(relocation) => relocation.occupied(),
            None => self.all_slots().difference(self.free_slots(locked)),
        }
    }

    /// The slots with objects whose handles name them. `locked` shows that the class lock is held.
    pub(crate) fn own_objects(&self, locked: &Partial) -> SlotSet {
        let guests = self
            .relocation()
            .map_or(SlotSet::EMPTY, |relocation| relocation.guests());
        self.occupied_slots(locked).difference(guests)
    }

    /// The number of slots that cannot be allocated. `_locked` shows that the class lock is held.
    #[inline]
    pub(crate) fn used(&self, _locked: &Partial) -> usize {
        self.used.get() as usize
    }

    /// The number of objects that are in the zspage. `locked` shows that the class lock is held.
    pub(crate) fn objects(&self, locked: &Partial) -> usize {
        self.occupied_slots(locked).len()
    }

    /// The lowest slot in which an object is. `locked` shows that the class lock is held.
    pub(crate) fn first_object(&self, locked: &Partial) -> Option<usize> {
        self.occupied_slots(locked).take_first()
    }

    /// Whether no object is in the zspage. `locked` shows that the class lock is held.
    #[inline]
    fn is_empty(&self, locked: &Partial) -> bool {
        match self.relocation() {
            Some(relocation) => relocation.occupied() == SlotSet::EMPTY,
            None => self.used(locked) == 0,
        }
    }

    /// How full the zspage is. `locked` shows that the class lock is held.
    #[inline]
    pub(crate) fn fullness(&self, locked: &Partial) -> Fullness {
        if self.is_empty(locked) {
            Fullness::Empty
        } else {
            Fullness::of(self.used(locked), self.geometry().slots as usize)
        }
    }

    /// How full the zspage was before one of its objects was freed. `locked` shows that the class
    /// lock is held.
    pub(crate) fn fullness_with_one_more(&self, locked: &Partial) -> Fullness {
        Fullness::of(self.used(locked) + 1, self.geometry().slots as usize)
    }

    /// Takes a free slot, and tells what became of the fullness. `locked` shows that the class lock
    /// is held.
    #[inline]
    pub(crate) fn take_slot(&self, locked: &mut Partial) -> Option<(usize, Step)> {
        let slot = if let Some(relocation) = self.relocation() {
            let slot = self.free_slots(locked).take_first()?;
            relocation.occupy(slot);
            slot
        } else {
            // SAFETY: The zspage is not relocated, so that is what it is.
            let mut free = unsafe { self.slots.get().free };
            let slot = free.take_first()?;
            self.slots.set(Slots { free });
            slot
        };
        let before = self.used.get();
        self.used.set(before.wrapping_add(1));
        Some((slot, self.step(before)))
    }

    /// Gives back the slot that a handle of the pool with tag `tag` names, and tells what became of
    /// the fullness. `locked` shows that the class lock is held.
    #[inline]
    pub(crate) fn put_slot(&self, locked: &mut Partial, tag: Tag, slot: usize) -> Put {
        if !self.is_plain(tag) {
            return self.put_special_slot(locked, tag, slot);
        }
        // SAFETY: A plain zspage is not relocated.
        unsafe { self.put_plain_slot(slot) }
    }

    /// As [`Self::put_slot`], for a zspage in which nothing was moved.
    ///
    /// # Safety
    ///
    /// The zspage is not relocated, and the class lock is held.
    #[inline]
    unsafe fn put_plain_slot(&self, slot: usize) -> Put {
        // SAFETY: The caller promises that this is what it is.
        let mut free = unsafe { self.slots.get().free };
        if !free.insert(slot) {
            return Put::NotAllocated;
        }
        self.slots.set(Slots { free });
        let after = self.used.get().wrapping_sub(1);
        self.used.set(after);
        Put::Done(self.step(after))
    }

    /// As [`Self::put_slot`], for a zspage that is not plain.
    #[inline(never)]
    fn put_special_slot(&self, locked: &mut Partial, tag: Tag, slot: usize) -> Put {
        if !self.tag().is_same_pool(tag) {
            return Put::OtherPool;
        }
        let Some(relocation) = self.relocation() else {
            // SAFETY: It is not relocated. Scattered pages make no difference here.
            return unsafe { self.put_plain_slot(slot) };
        };
        match relocation.occupant(slot) {
            Occupant::Own => relocation.vacate(slot),
            Occupant::Away => return Put::Away,
            Occupant::Guest | Occupant::None => return Put::NotAllocated,
        }
        let after = self.used.get().wrapping_sub(1);
        self.used.set(after);
        Put::Done(match self.is_empty(locked) {
            true => Step::Other,
            false => self.step(after),
        })
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
    /// relocated, with an entry for the slot. `locked` shows that the class lock is held.
    pub(crate) fn take_guest_slot(&self, locked: &mut Partial, handle: Handle) -> Option<usize> {
        let (slot, _) = self.take_slot(locked)?;
        self.relocation()?.set_moved(slot, handle);
        Some(slot)
    }

    /// Gives back the slot of a guest that has been freed or moved, or of an object that was away
    /// when it was freed. `_locked` shows that the class lock is held.
    pub(crate) fn put_moved_slot(&self, _locked: &mut Partial, slot: usize) {
        if let Some(relocation) = self.relocation() {
            relocation.end(slot);
            self.used.set(self.used.get() - 1);
        }
    }

    /// Remembers that the object of slot `slot` is now at `place`. The zspage is relocated, with an
    /// entry for the slot. `_locked` shows that the class lock is held, and `_writer` that `lock`
    /// is.
    pub(crate) fn send_away(
        &self,
        _locked: &mut Partial,
        _writer: &WriteGuard<'_>,
        slot: usize,
        place: Handle,
    ) {
        if let Some(relocation) = self.relocation() {
            relocation.send_away(slot, place);
        }
    }

    /// Remembers that the object of slot `slot`, which is away, is now at `place`.
    pub(crate) fn redirect(&self, _writer: &WriteGuard<'_>, slot: usize, place: Handle) {
        if let Some(relocation) = self.relocation() {
            relocation.redirect(slot, place);
        }
    }

    /// Panics if the descriptor contradicts itself or is not of the pool with tag `tag`. `locked`
    /// shows that the class lock is held.
    pub(crate) fn validate(&self, locked: &Partial, tag: Tag) {
        assert!(self.tag().is_same_pool(tag));
        let slots = self.geometry().slots as usize;
        let free = self.free_slots(locked);
        assert_eq!(free.len() + self.used(locked), slots);
        if let Some(relocation) = self.relocation() {
            let (away, guests) = (relocation.away(), relocation.guests());
            let all = free.union(away).union(guests);
            assert_eq!(all.len(), free.len() + away.len() + guests.len());
            assert!(relocation.covers(away.union(guests)));
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
    /// The zspage is another pool's. Nothing was changed.
    OtherPool,
}

impl PageOwner for Zspage {
    /// Fails if an object is mapped or another page is being moved, and if the new page is of
    /// another [`Region`].
    ///
    /// Nothing but mappings is excluded: allocating and freeing slots touches neither the pages nor
    /// the page array, and no handle names a page.
    fn move_page(zspage: ObjRef<Self>, from: usize, to: usize) -> Result<(), Busy> {
        let _writer = zspage.lock.try_write().ok_or(Busy)?;
        let (from_packed, to_packed) = zspage
            .region
            .pack(from)
            .zip(zspage.region.pack(to))
            .ok_or(Busy)?;
        let place = zspage
            .tail()
            .iter()
            .find(|place| place.get() == from_packed)
            .ok_or(Busy)?;
        // SAFETY: The pages are locked, so they stay. Nobody has the zspage locked as a reader, so
        // nobody accesses `from`, and nobody knows of `to` yet.
        unsafe { page::copy(from, to) };
        place.set(to_packed);
        zspage.note_scattered();
        Ok(())
    }
}

impl ObjRef<Zspage> {
    /// Notes whether the pages are next to each other. For the caller, see [`Zspage::set_flag`].
    fn note_scattered(self) {
        let first = self.pfn(0);
        let is_adjacent = (0..self.tail_len()).all(|index| self.pfn(index) == first + index);
        self.set_flag(Tag::SCATTERED, !is_adjacent);
    }

    /// The page frame number of page `index`. The caller holds `lock` or owns the zspage.
    #[inline]
    pub(crate) fn pfn(self, index: usize) -> usize {
        self.region.unpack(self.tail()[index].get())
    }

    /// The page frame number of the first page. For the caller, see [`Self::pfn`].
    #[inline]
    pub(crate) fn first_pfn(self) -> usize {
        // SAFETY: Every zspage has a page.
        self.region.unpack(unsafe { self.tail_item(0) }.get())
    }

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
        let mut guests = relocation.guests();
        while let Some(slot) = guests.take_first() {
            let place = relocation.entry(slot).and_then(|handle| {
                // SAFETY: A guest's home lives.
                let home = unsafe { Zspage::of(handle) }.relocation()?;
                home.entry(handle.slot())
            });
            assert_eq!(place, Some(self.handle(slot)));
        }
    }

    /// Counts the pages as the zspage's, and lets the kernel move them.
    ///
    /// # Safety
    ///
    /// The pages are new, and so far known to the caller alone.
    pub(crate) unsafe fn adopt_pages(self) {
        for index in 0..self.tail_len() {
            let pfn = self.pfn(index);
            // SAFETY: The page is allocated. It stays, and the descriptor lives, until
            // `release_page` has made it, or what took its place, unmovable.
            unsafe {
                page::count_in_zone(pfn, 1);
                LockedPage::lock(pfn).set_movable(self);
            }
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
        for index in 0..self.tail_len() {
            // SAFETY: The page is the zspage's, so it is allocated.
            if let Some(page) = unsafe { LockedPage::try_lock(self.pfn(index)) } {
                // SAFETY: The caller owns the zspage.
                unsafe { self.release_page(index, page) };
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
        for index in 0..self.tail_len() {
            while let Some(pfn) = self.get_page(index) {
                // SAFETY: The page is allocated: `get_page` has taken a reference.
                let page = unsafe { LockedPage::lock(pfn) };
                let reader = self.lock().read();
                if self.pfn(index) == pfn {
                    // SAFETY: The caller owns the zspage.
                    unsafe { self.release_page(index, page) };
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

    /// Takes a reference to page `index`, if it was not released yet.
    fn get_page(self, index: usize) -> Option<usize> {
        let _reader = self.lock().read();
        if self.tail()[index].get() == PackedPfn::NONE {
            return None;
        }
        let pfn = self.pfn(index);
        // SAFETY: The page is the zspage's, so it is allocated.
        unsafe { page::get(pfn) };
        Some(pfn)
    }

    /// Gives back page `index`, which is locked as `page`.
    ///
    /// # Safety
    ///
    /// The zspage belongs to the caller, who holds its lock as a reader; no object is left in it.
    unsafe fn release_page(self, index: usize, page: LockedPage) {
        let pfn = self.pfn(index);
        self.tail()[index].set(PackedPfn::NONE);
        page.clear_movable();
        drop(page);
        // SAFETY: Nobody can reach the page now. If the kernel has isolated it, it has a reference
        // of its own.
        unsafe {
            page::count_in_zone(pfn, -1);
            page::free(pfn);
        }
    }
}
