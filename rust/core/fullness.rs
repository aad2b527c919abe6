// SPDX-License-Identifier: GPL-2.0

//! How full a zspage is: used slots / slots, in groups.

/// Groups of partly filled zspages that a class keeps apart.
pub(crate) const GROUPS: usize = 4;

/// A zspage's fullness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fullness {
    /// No slot is used. The zspage is on its way back to the kernel.
    Empty,
    /// Some slots are used; the group, below [`GROUPS`], grows with their share.
    Partial(usize),
    /// Every slot is used.
    Full,
}

impl Fullness {
    /// The fullness of a zspage with `used` of its `slots` slots in use.
    ///
    /// `slots` is not 0, and `used` does not exceed it.
    #[inline]
    pub(crate) fn of(used: usize, slots: usize) -> Self {
        debug_assert!(used <= slots);
        if used == slots {
            Self::Full
        } else if used == 0 {
            Self::Empty
        } else {
            // Three comparisons cost less than a division.
            let quarters = used * GROUPS;
            let group = (quarters >= slots) as usize
                + (quarters >= 2 * slots) as usize
                + (quarters >= 3 * slots) as usize;
            Self::Partial(group)
        }
    }
}
