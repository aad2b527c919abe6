// SPDX-License-Identifier: GPL-2.0

//! Page frame numbers, packed.

/// Bits of a page frame number that a [`Region`] and a [`PackedPfn`] keep. With 4 KiB pages that is
/// 52 bits of physical address, the most that any supported architecture has.
pub(crate) const PFN_BITS: u32 = 40;

/// Bits of a page frame number that a [`PackedPfn`] keeps. The pages of a [`Region`] differ in them
/// only.
pub(crate) const REGION_BITS: u32 = u32::BITS;

/// What the page frame numbers of one zspage have in common: all but their low [`REGION_BITS`]
/// bits. With 4 KiB pages, a region is 16 TiB of physical memory.
///
/// So a number takes four bytes, and a descriptor with those of eight pages fits into a cache line.
/// The price is that a page cannot be moved to another region than the rest of its zspage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Region(u8);

impl Region {
    /// The region of page `pfn`, which has at most [`PFN_BITS`] bits.
    #[inline]
    pub(crate) fn of(pfn: usize) -> Self {
        debug_assert!(pfn >> PFN_BITS == 0);
        Self((pfn >> REGION_BITS) as u8)
    }

    /// Packs `pfn`; [`None`] if it is of another region, or the region's last, whose packed number
    /// stands for no page.
    pub(crate) fn pack(self, pfn: usize) -> Option<PackedPfn> {
        let packed = PackedPfn(pfn as u32);
        (Self::of(pfn) == self && packed != PackedPfn::NONE).then_some(packed)
    }

    /// The page frame number that was packed.
    #[inline]
    pub(crate) fn unpack(self, packed: PackedPfn) -> usize {
        packed.0 as usize | (self.0 as usize) << REGION_BITS
    }
}

/// A page frame number without its [`Region`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PackedPfn(u32);

impl PackedPfn {
    /// Stands for no page.
    pub(crate) const NONE: Self = Self(u32::MAX);
}
