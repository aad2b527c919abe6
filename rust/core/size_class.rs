// SPDX-License-Identifier: GPL-2.0

//! Size classes: which slot an object of a given size gets, and where in the zspage a slot lies.

use super::{fullness, handle::MAX_SLOTS};

/// Pages that a zspage can have at most.
///
/// Longer zspages waste less at their end and more while they are partly filled.
pub(crate) const MAX_PAGES: usize = 8;

/// Size classes that a table can have at most; a class index is one byte.
pub(crate) const MAX_CLASSES: usize = 256;

/// Sizes that share a class at least, as a fraction of a page.
const SIZES_PER_PAGE: usize = MAX_CLASSES;

/// Slot sizes are multiples of this many bytes, so that copies start aligned.
const SLOT_ALIGN: usize = 8;

/// Pages that a class is taken to have when its geometry is chosen. Half a zspage of each class is
/// unused on average: in small pools, that is what long zspages cost.
const PAGES_PER_CLASS: usize = 512;

/// The geometry of one size class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SizeClass {
    /// Bytes of a slot.
    pub(crate) slot_size: u32,
    /// Pages of a zspage.
    pub(crate) pages: u8,
    /// Slots of a zspage.
    pub(crate) slots: u8,
    /// Where its fullness changes, see [`fullness::steps`].
    pub(crate) steps: u64,
}

/// Where a slot lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlotRange {
    /// The page, counted from the zspage's first, in which the slot begins.
    pub(crate) page: usize,
    /// Bytes from the beginning of that page.
    pub(crate) offset: usize,
    /// Bytes of the slot. A slot is not larger than a page, so it touches two pages at most.
    pub(crate) len: usize,
}

impl SlotRange {
    /// Whether the slot ends in the page after the one in which it begins.
    #[inline]
    pub(crate) fn crosses(self, page_size: usize) -> bool {
        self.offset + self.len > page_size
    }

    /// What is left of it after its first `bytes` bytes.
    pub(crate) fn skip(self, bytes: usize, page_size: usize) -> Self {
        let offset = self.offset + bytes;
        Self {
            page: self.page + offset / page_size,
            offset: offset % page_size,
            len: self.len - bytes,
        }
    }

    /// How much of it is in the page in which it begins.
    pub(crate) fn len_in_page(self, page_size: usize) -> usize {
        self.len.min(page_size - self.offset)
    }
}

impl SizeClass {
    const UNUSED: Self = Self {
        slot_size: 0,
        pages: 0,
        slots: 0,
        steps: 0,
    };

    /// Bytes from the beginning of the zspage to slot `slot`.
    #[inline]
    pub(crate) const fn start(&self, slot: usize) -> usize {
        // No overflow: a zspage has at most MAX_PAGES pages.
        slot.wrapping_mul(self.slot_size as usize)
    }

    /// Where slot `slot` lies; `page_size` is a power of two.
    #[inline]
    pub(crate) const fn range(&self, slot: usize, page_size: usize) -> SlotRange {
        let start = self.start(slot);
        SlotRange {
            page: start >> page_size.trailing_zeros(),
            offset: start & (page_size - 1),
            len: self.slot_size as usize,
        }
    }

    /// The cheapest class for objects of `size` bytes: the number of pages and of slots that take
    /// the least memory for each object, with the descriptor and what is unused in a partly filled
    /// zspage.
    const fn cheapest(size: usize, page_size: usize, descriptor_size: usize) -> Self {
        let mut best = Self::UNUSED;
        let mut best_bytes = usize::MAX;
        let mut pages = 1;
        while pages <= MAX_PAGES {
            let mut slots = pages * page_size / size;
            if slots > MAX_SLOTS {
                slots = MAX_SLOTS;
            }
            let bytes = (pages * page_size + descriptor_size) * (2 * PAGES_PER_CLASS + pages);
            // bytes / slots < best_bytes / best.slots, without dividing. A tie goes to fewer pages.
            if best.slots == 0 || bytes * (best.slots as usize) < best_bytes * slots {
                best_bytes = bytes;
                best = Self {
                    slot_size: (pages * page_size / slots / SLOT_ALIGN * SLOT_ALIGN) as u32,
                    pages: pages as u8,
                    slots: slots as u8,
                    steps: fullness::steps(slots),
                };
            }
            pages += 1;
        }
        best
    }
}

/// All size classes, for one page size.
pub(crate) struct ClassTable {
    page_size: usize,
    len: usize,
    classes: [SizeClass; MAX_CLASSES],
    /// The class of each multiple of `page_size / SIZES_PER_PAGE` bytes.
    class_of: [u8; SIZES_PER_PAGE + 1],
}

impl ClassTable {
    /// Works the table out, for pages of `page_size` bytes and descriptors of `descriptor_size`.
    pub(crate) const fn new(page_size: usize, descriptor_size: usize) -> Self {
        let spacing = page_size / SIZES_PER_PAGE;
        let mut table = Self {
            page_size,
            len: 0,
            classes: [SizeClass::UNUSED; MAX_CLASSES],
            class_of: [0; SIZES_PER_PAGE + 1],
        };
        let mut step = 1;
        while step <= SIZES_PER_PAGE {
            let class = SizeClass::cheapest(step * spacing, page_size, descriptor_size);
            // Sizes for which the same geometry is cheapest share a class.
            if table.len == 0 || table.classes[table.len - 1].slot_size != class.slot_size {
                table.classes[table.len] = class;
                table.len += 1;
            }
            table.class_of[step] = (table.len - 1) as u8;
            step += 1;
        }
        table
    }

    /// The number of classes.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The index of the class for objects of `size` bytes; [`None`] if no class takes that size,
    /// which is 1 to the size of a page.
    #[inline]
    pub(crate) fn index_for(&self, size: usize) -> Option<u8> {
        let spacing = self.page_size / SIZES_PER_PAGE;
        if size == 0 || size > self.page_size {
            return None;
        }
        self.class_of
            .get((size + spacing - 1) >> spacing.trailing_zeros())
            .copied()
    }

    /// The geometry of class `index`.
    #[inline]
    pub(crate) fn class(&self, index: u8) -> &SizeClass {
        &self.classes[index as usize]
    }
}
