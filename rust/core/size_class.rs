// SPDX-License-Identifier: GPL-2.0

//! Size classes: which slot an object of a given size gets, and where in the zspage a slot lies.

use super::{fullness, handle::MAX_SLOTS};

/// Pages that a zspage can have at most.
pub(crate) const MAX_PAGES: usize = FINE.max_pages;

/// Size classes that a table can have at most; a class index is one byte.
pub(crate) const MAX_CLASSES: usize = 256;

/// The number of buckets: sizes of one bucket share their classes.
pub(crate) const BUCKETS: usize = 256;

/// Slot sizes are multiples of this many bytes, so that copies start aligned.
const SLOT_ALIGN: usize = 8;

/// What zspages are best depends on how many there are of a class. Longer ones waste less at their
/// end and more while they are partly filled, and more classes leave less of each slot unused and
/// more zspages partly filled.
struct Granularity {
    /// Pages that a zspage can have at most.
    max_pages: usize,
    /// Pages that a class is taken to have when its geometry is chosen. Half a zspage of each class
    /// is unused on average.
    pages_per_class: usize,
}

const COARSE: Granularity = Granularity {
    max_pages: 8,
    pages_per_class: 512,
};

const FINE: Granularity = Granularity {
    max_pages: 16,
    pages_per_class: 1024,
};

/// The classes for the sizes of one bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Choice {
    /// The index of the class that is used while there are few zspages.
    pub(crate) coarse: u8,
    /// The index of the class that is used when there are many. Its slots are not larger; it may be
    /// the same class.
    pub(crate) fine: u8,
}

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

    /// Whether it comes before `other` in a table.
    const fn is_before(&self, other: &Self) -> bool {
        self.slot_size < other.slot_size
            || self.slot_size == other.slot_size && self.pages < other.pages
    }

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
    const fn cheapest(
        size: usize,
        page_size: usize,
        descriptor_sizes: &DescriptorSizes,
        granularity: &Granularity,
    ) -> Self {
        let mut best = Self::UNUSED;
        let mut best_bytes = usize::MAX;
        let mut pages = 1;
        while pages <= granularity.max_pages {
            let mut slots = pages * page_size / size;
            if slots > MAX_SLOTS {
                slots = MAX_SLOTS;
            }
            let bytes = (pages * page_size + descriptor_sizes[pages])
                * (2 * granularity.pages_per_class + pages);
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

/// Bytes of the descriptor of a zspage with so many pages.
pub(crate) type DescriptorSizes = [usize; MAX_PAGES + 1];

/// All size classes, for one page size, in the order of their slot sizes.
pub(crate) struct ClassTable {
    page_size: usize,
    len: usize,
    classes: [SizeClass; MAX_CLASSES],
    choices: [Choice; BUCKETS],
}

impl ClassTable {
    /// Works the table out, for pages of `page_size` bytes.
    pub(crate) const fn new(page_size: usize, descriptor_sizes: &DescriptorSizes) -> Self {
        let mut table = Self {
            page_size,
            len: 0,
            classes: [SizeClass::UNUSED; MAX_CLASSES],
            choices: [Choice { coarse: 0, fine: 0 }; BUCKETS],
        };
        let mut best = [[SizeClass::UNUSED; 2]; BUCKETS];
        let mut bucket = 0;
        while bucket < BUCKETS {
            let size = (bucket + 1) * (page_size / BUCKETS);
            best[bucket] = [
                SizeClass::cheapest(size, page_size, descriptor_sizes, &COARSE),
                SizeClass::cheapest(size, page_size, descriptor_sizes, &FINE),
            ];
            table = table.with(best[bucket][0]).with(best[bucket][1]);
            bucket += 1;
        }
        while bucket > 0 {
            bucket -= 1;
            table.choices[bucket] = Choice {
                coarse: table.place_of(&best[bucket][0]) as u8,
                fine: table.place_of(&best[bucket][1]) as u8,
            };
        }
        table
    }

    /// Where `class` is in the table, or belongs.
    const fn place_of(&self, class: &SizeClass) -> usize {
        let mut place = 0;
        while place < self.len && self.classes[place].is_before(class) {
            place += 1;
        }
        place
    }

    /// The table with `class` in it.
    const fn with(mut self, class: SizeClass) -> Self {
        let place = self.place_of(&class);
        if place < self.len && !class.is_before(&self.classes[place]) {
            return self;
        }
        let mut index = self.len;
        while index > place {
            self.classes[index] = self.classes[index - 1];
            index -= 1;
        }
        self.classes[place] = class;
        self.len += 1;
        self
    }

    /// The number of classes.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The bucket of objects of `size` bytes; [`None`] if no class takes that size, which is 1 to
    /// the size of a page.
    #[inline]
    pub(crate) fn bucket(&self, size: usize) -> Option<u8> {
        let last_byte = size.wrapping_sub(1);
        if last_byte >= self.page_size {
            return None;
        }
        let spacing = self.page_size / BUCKETS;
        Some((last_byte >> spacing.trailing_zeros()) as u8)
    }

    /// The classes for the sizes of a bucket.
    pub(crate) const fn choice(&self, bucket: u8) -> Choice {
        self.choices[bucket as usize]
    }

    /// The geometry of class `index`.
    #[inline]
    pub(crate) fn class(&self, index: u8) -> &SizeClass {
        &self.classes[index as usize]
    }
}
