// SPDX-License-Identifier: GPL-2.0

//! The zspage: a few pages cut into equal slots.

use crate::{
    class::Partial,
    core::{
        fullness::Fullness,
        handle::{Handle, MAX_SLOTS},
        pfn::PackedPfn,
        size_class::{ClassTable, SizeClass, SlotRange, MAX_PAGES},
        slots::SlotMap,
    },
    lock::ZspageLock,
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
/// | `used`, `slots`, `links` | the class lock; without objects, `links` the emptied zspages' lock |
/// | page frame numbers | `lock`: read by readers, written by writers |
///
/// A descriptor lives as long as one of its slots is in use: whoever has a handle may use it, and a
/// zspage on a list of its class may be used under the class lock. It also lives as long as it has a
/// movable page: whoever holds the page lock of one may use it.
///
/// The free of the last object takes the zspage off its list under the class lock; from then on it
/// belongs to that one thread. Page by page it takes the page lock, makes the page unmovable and gives
/// it back. A page whose lock somebody else holds is left to [`Pool`](crate::pool::Pool)'s deferred
/// work, which waits for it: so a page that is being moved when the zspage loses its last object
/// is moved first, and what is given back is the page that took its place. The descriptor goes last.
#[repr(C)]
pub(crate) struct Zspage {
    lock: ZspageLock,
    class: u8,
    used: Cell<u8>,
    pool: u16,
    slots: Cell<SlotMap>,
    links: Links<Zspage>,
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
        pool: u16,
        class: u8,
        pfns: &[PackedPfn],
    ) -> ObjRef<Self> {
        let mut slots = SlotMap::new(CLASS_TABLE.class(class).slots as usize);
        slots.take();
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
                slots: Cell::new(slots),
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
    pub(crate) fn pool(&self) -> u16 {
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

    /// Where slot `slot` lies.
    #[inline]
    pub(crate) fn range(&self, slot: usize) -> SlotRange {
        self.geometry().range(slot, PAGE_SIZE)
    }

    /// How full the zspage is. `_locked` shows that the class lock is held.
    #[inline]
    pub(crate) fn fullness(&self, _locked: &Partial) -> Fullness {
        Fullness::of(self.used.get() as usize, self.geometry().slots as usize)
    }

    /// Takes a free slot. `_locked` shows that the class lock is held.
    #[inline]
    pub(crate) fn take_slot(&self, _locked: &mut Partial) -> Option<usize> {
        let mut slots = self.slots.get();
        let slot = slots.take()?;
        self.slots.set(slots);
        self.used.set(self.used.get() + 1);
        Some(slot)
    }

    /// Gives a slot back; false if it was free or there is no such slot. `_locked` shows that the
    /// class lock is held.
    #[inline]
    pub(crate) fn put_slot(&self, _locked: &mut Partial, slot: usize) -> bool {
        let mut slots = self.slots.get();
        if slot >= self.geometry().slots as usize || !slots.put(slot) {
            return false;
        }
        self.slots.set(slots);
        self.used.set(self.used.get() - 1);
        true
    }

    /// Panics if the descriptor contradicts itself. `_locked` shows that the class lock is held.
    pub(crate) fn validate(&self, _locked: &Partial) {
        let slots = self.geometry().slots as usize;
        assert_eq!(
            self.slots.get().free_slots() + self.used.get() as usize,
            slots
        );
    }
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
        // SAFETY: The pages are locked, so they stay. Nobody has the zspage locked as a reader, so nobody
        // accesses `from`, and nobody knows of `to` yet.
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
/// The page's zspage belongs to the caller, who holds its lock as a reader; no object is left in it.
unsafe fn release_page(place: &Cell<PackedPfn>, page: LockedPage) {
    let pfn = place.replace(PackedPfn::NONE).get();
    page.clear_movable();
    drop(page);
    // SAFETY: Nobody can reach the page now. If the kernel has isolated it, it has a reference of its
    // own.
    unsafe {
        page::count_in_zone(pfn, -1);
        page::free(pfn);
    }
}
