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
        page::PAGE_SIZE,
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
/// | `used`, `slots`, `links` | the class lock |
/// | page frame numbers | `lock` |
///
/// A descriptor lives as long as one of its slots is in use: whoever has a handle may use it, and a
/// zspage on a list of its class may be used under the class lock. The free of the last object
/// takes the zspage off its list under the class lock; from then on it belongs to that one thread,
/// which frees it.
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
    /// Makes a zspage of pool number `pool` and class `class`, whose pages are `pfns`. Its slot 0
    /// is taken, the others are free.
    ///
    /// # Safety
    ///
    /// `memory` is [`DESCRIPTOR_SIZES`]`[n]` bytes, aligned to [`DESCRIPTOR_ALIGN`], that are the
    /// caller's, and `pfns` yields `n` numbers, `n` being the number of pages of the class.
    pub(crate) unsafe fn init(
        memory: NonNull<u8>,
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
                lock: ZspageLock::new(),
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

    /// The page frame number of page `index`. The caller holds `lock` or owns the zspage.
    #[inline]
    pub(crate) fn pfn(self, index: usize) -> usize {
        self.tail()[index].get().get()
    }
}
