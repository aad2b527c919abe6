// SPDX-License-Identifier: GPL-2.0

//! How full a zspage is: used slots / slots, in groups.

/// Groups of partly filled zspages that a class keeps apart.
///
/// More would make compaction choose a little better, and every store and free more expensive.
pub(crate) const GROUPS: usize = 2;

/// A zspage's fullness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fullness {
    /// No slot is used. The zspage goes back to the kernel soon, if it is not used again before.
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
    pub(crate) const fn of(used: usize, slots: usize) -> Self {
        debug_assert!(used <= slots);
        if used == slots {
            Self::Full
        } else if used == 0 {
            Self::Empty
        } else {
            // A comparison costs less than a division.
            const { assert!(GROUPS == 2) };
            Self::Partial((2 * used >= slots) as usize)
        }
    }

    /// A number for each fullness, which grows with it.
    const fn rank(self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Partial(group) => 1 + group,
            Self::Full => 1 + GROUPS,
        }
    }
}

/// The numbers of used slots at which one more used slot changes the [`Fullness`] of a zspage with
/// `slots` slots, as a set of bits.
///
/// Most stores and frees do not cross one, and for them that is all there is to know.
pub(crate) const fn steps(slots: usize) -> u64 {
    let mut steps = 0;
    let mut used = 0;
    while used < slots {
        if Fullness::of(used, slots).rank() != Fullness::of(used + 1, slots).rank() {
            steps |= 1 << used;
        }
        used += 1;
    }
    steps
}
