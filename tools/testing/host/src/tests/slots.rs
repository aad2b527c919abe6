// SPDX-License-Identifier: GPL-2.0

//! The slot map against a set.

use crate::core::{handle::MAX_SLOTS, slots::SlotSet};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Catches a map with a slot too many or too few.
#[test]
fn a_map_has_each_slot_once() {
    for slots in 1..=MAX_SLOTS {
        let mut map = SlotSet::all(slots);
        assert_eq!(map.len(), slots);
        for slot in 0..slots {
            assert_eq!(map.take_first(), Some(slot));
        }
        assert_eq!(map.take_first(), None);
        assert_eq!(map.len(), 0);
    }
}

proptest! {
    /// Catches a slot that is given out twice, one that is lost, and a double free that is not
    /// noticed.
    #[test]
    fn a_map_is_a_set(
        slots in 1..=MAX_SLOTS,
        steps in prop::collection::vec(0..2 * MAX_SLOTS, 0..500),
    ) {
        let mut map = SlotSet::all(slots);
        let mut free: BTreeSet<usize> = (0..slots).collect();
        for step in steps {
            if step < slots {
                prop_assert_eq!(map.insert(step), free.insert(step));
            } else {
                prop_assert_eq!(map.take_first(), free.pop_first());
            }
            prop_assert_eq!(map.len(), free.len());
        }
    }
}
