// SPDX-License-Identifier: GPL-2.0

//! Sets of slots of one zspage.

use super::handle::MAX_SLOTS;

/// A set of slots: a bit for each.
///
/// What is known of the slots is kept outside the pages: allocating and freeing never touch a
/// page's contents, so copying a page elsewhere excludes only those who have it mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlotSet {
    bits: u64,
}

impl SlotSet {
    /// The set of no slot.
    pub(crate) const EMPTY: Self = Self { bits: 0 };

    /// The set of all slots that a zspage can have.
    pub(crate) const FULL: Self = Self { bits: u64::MAX };

    /// The set of the first `slots` slots, 1 to [`MAX_SLOTS`].
    #[inline]
    pub(crate) fn all(slots: usize) -> Self {
        debug_assert!((1..=MAX_SLOTS).contains(&slots));
        Self {
            bits: u64::MAX >> (MAX_SLOTS - slots),
        }
    }

    /// Takes the lowest slot out; [`None`] if there is none.
    #[inline]
    pub(crate) fn take_first(&mut self) -> Option<usize> {
        if self.bits == 0 {
            return None;
        }
        let slot = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(slot)
    }

    /// Puts a slot in. Returns false, and changes nothing, if it was in already.
    #[inline]
    pub(crate) fn insert(&mut self, slot: usize) -> bool {
        let absent = !self.contains(slot);
        self.bits |= 1u64 << (slot % MAX_SLOTS);
        absent
    }

    /// Takes a slot out. Returns false, and changes nothing, if it was not in.
    #[inline]
    pub(crate) fn remove(&mut self, slot: usize) -> bool {
        let present = self.contains(slot);
        self.bits &= !(1u64 << (slot % MAX_SLOTS));
        present
    }

    /// Whether a slot is in.
    #[inline]
    pub(crate) fn contains(self, slot: usize) -> bool {
        self.bits & 1u64 << (slot % MAX_SLOTS) != 0
    }

    /// The slots that are in this set or in `other`.
    #[inline]
    pub(crate) fn union(self, other: Self) -> Self {
        Self {
            bits: self.bits | other.bits,
        }
    }

    /// The slots that are in this set and in `other`.
    #[inline]
    pub(crate) fn intersection(self, other: Self) -> Self {
        Self {
            bits: self.bits & other.bits,
        }
    }

    /// The slots that are in this set and not in `other`.
    #[inline]
    pub(crate) fn difference(self, other: Self) -> Self {
        Self {
            bits: self.bits & !other.bits,
        }
    }

    /// The number of slots in the set that are below `slot`.
    #[inline]
    pub(crate) fn rank(self, slot: usize) -> usize {
        let below = (1u64 << (slot % MAX_SLOTS)) - 1;
        (self.bits & below).count_ones() as usize
    }

    /// The number of slots.
    #[inline]
    pub(crate) fn len(self) -> usize {
        self.bits.count_ones() as usize
    }
}
