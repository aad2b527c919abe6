// SPDX-License-Identifier: GPL-2.0

//! Every state of every possible zspage.

use crate::core::{
    fullness::{Fullness, GROUPS},
    handle::MAX_SLOTS,
};

/// Catches a group that does not grow with the share of used slots, or that is out of bounds.
#[test]
fn fullness_is_the_share_of_used_slots() {
    for slots in 1..=MAX_SLOTS {
        assert_eq!(Fullness::of(0, slots), Fullness::Empty);
        assert_eq!(Fullness::of(slots, slots), Fullness::Full);
        for used in 1..slots {
            assert_eq!(
                Fullness::of(used, slots),
                Fullness::Partial(used * GROUPS / slots)
            );
        }
    }
}
