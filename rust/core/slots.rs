// SPDX-License-Identifier: GPL-2.0

//! Which slots of a zspage are free.

use super::handle::MAX_SLOTS;

/// The slots of one zspage: a bit for each free one.
///
/// The map is kept in the descriptor, not in the pages: allocating and freeing never touch a page's
/// contents, so copying a page elsewhere excludes only those who have it mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlotMap {
    free: u64,
}

impl SlotMap {
    /// A map of `slots` slots, 1 to [`MAX_SLOTS`], all of them free.
    #[inline]
    pub(crate) fn new(slots: usize) -> Self {
        debug_assert!((1..=MAX_SLOTS).contains(&slots));
        Self {
            free: u64::MAX >> (MAX_SLOTS - slots),
        }
    }

    /// Takes the lowest free slot; [`None`] if there is none.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<usize> {
        if self.free == 0 {
            return None;
        }
        let slot = self.free.trailing_zeros() as usize;
        self.free &= self.free - 1;
        Some(slot)
    }

    /// Gives a slot back. Returns false, and changes nothing, if it was free already.
    #[inline]
    pub(crate) fn put(&mut self, slot: usize) -> bool {
        let bit = 1u64 << (slot % MAX_SLOTS);
        if self.free & bit != 0 {
            return false;
        }
        self.free |= bit;
        true
    }

    /// The number of free slots.
    #[inline]
    pub(crate) fn free_slots(self) -> usize {
        self.free.count_ones() as usize
    }
}
