// SPDX-License-Identifier: GPL-2.0

//! Handles and packed page frame numbers keep what they are given.

use crate::core::{
    handle::{Handle, MAX_SLOTS},
    pfn::{PackedPfn, PFN_BITS},
};
use proptest::prelude::*;

/// Catches a slot number that runs into the address, or the other way round.
#[test]
fn every_slot_of_a_descriptor_round_trips() {
    for descriptor in [MAX_SLOTS, 0xffff_8880_0000_0000, !(MAX_SLOTS - 1)] {
        for slot in 0..MAX_SLOTS {
            let handle = Handle::from_raw(Handle::new(descriptor, slot).into_raw());
            assert_eq!((handle.descriptor(), handle.slot()), (descriptor, slot));
            assert_ne!(handle.into_raw(), 0);
        }
    }
}

/// Catches a page frame number that does not fit, as happened with PAE and with five page-table
/// levels: the highest one of a 52-bit physical address must.
#[test]
fn page_frame_numbers_round_trip() {
    assert!(PFN_BITS >= 52 - 12);
    let highest = (1usize << PFN_BITS) - 1;
    for bit in 0..PFN_BITS {
        for pfn in [1 << bit, (1 << bit) - 1, highest ^ 1 << bit] {
            assert_eq!(PackedPfn::new(pfn).get(), pfn);
        }
    }
    assert_eq!(PackedPfn::new(highest).get(), highest);
    assert_eq!(size_of::<PackedPfn>(), 5);
}

proptest! {
    #[test]
    fn any_page_frame_number_round_trips(pfn in 0usize..1 << PFN_BITS) {
        prop_assert_eq!(PackedPfn::new(pfn).get(), pfn);
    }

    #[test]
    fn any_handle_round_trips(line in 1usize..usize::MAX / MAX_SLOTS, slot in 0..MAX_SLOTS) {
        let handle = Handle::new(line * MAX_SLOTS, slot);
        prop_assert_eq!(handle.descriptor(), line * MAX_SLOTS);
        prop_assert_eq!(handle.slot(), slot);
    }
}
