// SPDX-License-Identifier: GPL-2.0

//! Page frame numbers, packed.

/// Bits of a page frame number that a [`PackedPfn`] keeps. With 4 KiB pages that is 52 bits of
/// physical address, the most that any supported architecture has.
pub(crate) const PFN_BITS: u32 = 40;

/// A page frame number in five bytes, so that a descriptor with its page array stays within a cache
/// line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, packed)]
pub(crate) struct PackedPfn {
    low: u32,
    high: u8,
}

impl PackedPfn {
    /// Stands for no page. No page has this number: it would be the last of the physical address
    /// space, where there is no memory.
    pub(crate) const NONE: Self = Self {
        low: u32::MAX,
        high: u8::MAX,
    };

    /// Packs `pfn`.
    ///
    /// The caller has made sure that it has at most [`PFN_BITS`] bits; more are cut off.
    #[inline]
    pub(crate) fn new(pfn: usize) -> Self {
        debug_assert!(pfn >> PFN_BITS == 0);
        Self {
            low: pfn as u32,
            high: (pfn >> 32) as u8,
        }
    }

    /// The page frame number.
    #[inline]
    pub(crate) fn get(self) -> usize {
        self.low as usize | (self.high as usize) << 32
    }
}
