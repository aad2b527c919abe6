// SPDX-License-Identifier: GPL-2.0

//! The size classes of 4K, 16K and 64K pages, every size of each.

use crate::{
    core::{
        handle::MAX_SLOTS,
        size_class::{ClassTable, MAX_CLASSES, MAX_PAGES},
    },
    zspage::DESCRIPTOR_SIZE,
};

const PAGE_SIZES: [usize; 3] = [4096, 16384, 65536];

fn tables() -> impl Iterator<Item = (usize, ClassTable)> {
    PAGE_SIZES
        .map(|page_size| (page_size, ClassTable::new(page_size, DESCRIPTOR_SIZE)))
        .into_iter()
}

/// Catches a size that has no class, or one whose slots are too small for it.
#[test]
fn every_size_fits_its_class() {
    for (page_size, table) in tables() {
        assert_eq!(table.index_for(0), None);
        for size in 1..=page_size {
            let class = table.class(table.index_for(size).unwrap());
            assert!(
                class.slot_size as usize >= size,
                "{size} of {page_size}: {class:?}"
            );
        }
        for size in [page_size + 1, 2 * page_size, usize::MAX] {
            assert_eq!(table.index_for(size), None);
        }
    }
}

/// Catches a table in which a larger object gets a smaller slot, or two classes that are the same.
#[test]
fn classes_grow_with_the_size() {
    for (page_size, table) in tables() {
        assert!(table.len() <= MAX_CLASSES);
        assert_eq!(table.index_for(1), Some(0));
        assert_eq!(table.index_for(page_size), Some((table.len() - 1) as u8));
        for size in 2..=page_size {
            let (before, index) = (
                table.index_for(size - 1).unwrap(),
                table.index_for(size).unwrap(),
            );
            assert!(index == before || index == before + 1);
        }
        for index in 1..table.len() {
            let [before, class] = [index - 1, index].map(|i| table.class(i as u8));
            assert!(class.slot_size > before.slot_size);
        }
    }
}

/// Catches a geometry that throws memory away: for sizes above 1/64 page, which is the smallest
/// slot there is, rounding up and the end of the zspage together cost at most the spacing of the
/// sizes and a few per cent of a slot.
#[test]
fn waste_is_bounded() {
    for (page_size, table) in tables() {
        let spacing = page_size / MAX_CLASSES;
        let mut waste_sum = 0.0;
        for size in page_size / MAX_SLOTS..=page_size {
            let class = table.class(table.index_for(size).unwrap());
            let bytes = class.pages as usize * page_size;
            let waste = bytes as f64 / class.slots as f64 - size as f64;
            waste_sum += waste / size as f64;
            // The worst size is just above the largest that does not take a whole page: 8 pages /
            // 9.
            assert!(
                waste <= spacing as f64 + page_size as f64 / (MAX_PAGES + 1) as f64,
                "{size} of {page_size}: {class:?}"
            );
        }
        let mean = waste_sum / (page_size - page_size / MAX_SLOTS) as f64;
        assert!(mean < 0.04, "{mean}");
    }
}

/// Catches two slots that share a byte, one that ends outside the zspage, and one that touches
/// three pages.
#[test]
fn slots_are_disjoint_and_inside() {
    for (page_size, table) in tables() {
        for index in 0..table.len() {
            let class = table.class(index as u8);
            let (pages, slots) = (class.pages as usize, class.slots as usize);
            assert!((1..=MAX_PAGES).contains(&pages) && (1..=MAX_SLOTS).contains(&slots));
            let mut end = 0;
            for slot in 0..slots {
                let range = class.range(slot, page_size);
                let start = range.page * page_size + range.offset;
                assert!(
                    start >= end
                        && range.offset < page_size
                        && range.len == class.slot_size as usize
                );
                end = start + range.len;
                assert!(end <= pages * page_size);
                assert_eq!(
                    range.crosses(page_size),
                    (end - 1) / page_size != range.page
                );
                assert!((end - 1) / page_size <= range.page + 1);
            }
        }
    }
}
