// SPDX-License-Identifier: GPL-2.0

//! The handle: what zswap keeps of a stored object.

/// Slots that a zspage can have at most: what fits into the low bits of an aligned address.
pub(crate) const MAX_SLOTS: usize = 64;

/// Names one object: the address of its zspage's descriptor, with the slot number in the low bits.
///
/// The descriptor is aligned to [`MAX_SLOTS`] bytes, so those bits are free. The address of a page
/// is not part of a handle: a page can move without any handle changing, and however wide a
/// physical address is (36-bit PAE, 52 bits with five page-table levels), it need not fit here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Handle(usize);

impl Handle {
    /// Makes the handle of slot `slot` in the zspage whose descriptor is at `descriptor`.
    #[inline]
    pub(crate) fn new(descriptor: usize, slot: usize) -> Self {
        debug_assert!(descriptor % MAX_SLOTS == 0 && slot < MAX_SLOTS);
        Self(descriptor | slot)
    }

    /// Takes a handle back from the number that a caller kept.
    #[inline]
    pub(crate) fn from_raw(raw: usize) -> Self {
        Self(raw)
    }

    /// The number to give to a caller. It is never 0, because a descriptor is never at address 0.
    #[inline]
    pub(crate) fn into_raw(self) -> usize {
        self.0
    }

    /// The address of the zspage's descriptor.
    #[inline]
    pub(crate) fn descriptor(self) -> usize {
        self.0 & !(MAX_SLOTS - 1)
    }

    /// The slot number.
    #[inline]
    pub(crate) fn slot(self) -> usize {
        self.0 & (MAX_SLOTS - 1)
    }
}
