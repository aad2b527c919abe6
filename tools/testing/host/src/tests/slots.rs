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

    /// Catches a slot on the wrong side of a combination of two sets, or in the wrong place.
    #[test]
    fn sets_combine(
        one in prop::collection::btree_set(0..MAX_SLOTS, 0..=MAX_SLOTS),
        other in prop::collection::btree_set(0..MAX_SLOTS, 0..=MAX_SLOTS),
    ) {
        let [a, b] = [&one, &other].map(|slots| {
            let mut set = SlotSet::EMPTY;
            for slot in slots {
                set.insert(*slot);
            }
            set
        });
        for slot in 0..MAX_SLOTS {
            let (in_one, in_other) = (one.contains(&slot), other.contains(&slot));
            prop_assert_eq!(a.union(b).contains(slot), in_one || in_other);
            prop_assert_eq!(a.intersection(b).contains(slot), in_one && in_other);
            prop_assert_eq!(a.difference(b).contains(slot), in_one && !in_other);
            prop_assert_eq!(a.rank(slot), one.range(..slot).count());
        }
    }
}
