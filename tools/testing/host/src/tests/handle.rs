// SPDX-License-Identifier: GPL-2.0

//! Handles and packed page frame numbers keep what they are given.

use crate::core::{
    handle::{Handle, MAX_SLOTS},
    pfn::{PackedPfn, Region, PFN_BITS, REGION_BITS},
};
use crate::zspage::{DESCRIPTOR_ALIGN, DESCRIPTOR_SIZES};
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
/// levels: the highest one of a 52-bit physical address must, but for one that stands for no page.
#[test]
fn page_frame_numbers_round_trip() {
    assert!(PFN_BITS >= 52 - 12);
    let highest = (1usize << PFN_BITS) - 1;
    for bit in 0..PFN_BITS {
        for pfn in [1 << bit, (1 << bit) - 1, highest ^ 1 << bit] {
            let packed = Region::of(pfn).pack(pfn);
            let last_of_region = pfn as u32 == u32::MAX;
            assert_eq!(packed.is_none(), last_of_region);
            if let Some(packed) = packed {
                assert_eq!(Region::of(pfn).unpack(packed), pfn);
            }
        }
    }
    assert_eq!(size_of::<PackedPfn>(), 4);
}

/// Catches a descriptor that has outgrown its cache line, or its two if the zspage has more than
/// eight pages: they are the larger part of what a pool takes beside its pages.
#[test]
fn a_descriptor_is_one_or_two_cache_lines() {
    assert_eq!(DESCRIPTOR_ALIGN, 64);
    for (pages, size) in DESCRIPTOR_SIZES.iter().enumerate() {
        assert_eq!(*size, if pages <= 8 { 64 } else { 128 });
    }
}

proptest! {
    /// Catches a page that is taken for one of another region, and one that is not known again.
    #[test]
    fn a_region_packs_its_own_pages(
        pfn in 0usize..1 << PFN_BITS,
        other in 0usize..1 << REGION_BITS,
    ) {
        let region = Region::of(pfn);
        let own = pfn >> REGION_BITS << REGION_BITS | other;
        prop_assume!(other != u32::MAX as usize);
        prop_assert_eq!(region.pack(own).map(|packed| region.unpack(packed)), Some(own));
        prop_assert_eq!(region.pack(own ^ 1 << REGION_BITS), None);
    }

    #[test]
    fn any_handle_round_trips(line in 1usize..usize::MAX / MAX_SLOTS, slot in 0..MAX_SLOTS) {
        let handle = Handle::new(line * MAX_SLOTS, slot);
        prop_assert_eq!(handle.descriptor(), line * MAX_SLOTS);
        prop_assert_eq!(handle.slot(), slot);
    }
}
