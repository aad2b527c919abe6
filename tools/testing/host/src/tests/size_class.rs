// SPDX-License-Identifier: GPL-2.0

//! The size classes of 4K, 16K and 64K pages, every size of each.

use crate::{
    core::{
        handle::MAX_SLOTS,
        size_class::{ClassTable, SizeClass, BUCKETS, MAX_CLASSES, MAX_PAGES},
    },
    zspage::DESCRIPTOR_SIZES,
};

const PAGE_SIZES: [usize; 3] = [4096, 16384, 65536];

fn tables() -> impl Iterator<Item = (usize, ClassTable)> {
    PAGE_SIZES
        .map(|page_size| (page_size, ClassTable::new(page_size, &DESCRIPTOR_SIZES)))
        .into_iter()
}

/// The indices of the coarse and the fine class for objects of `size` bytes.
fn choice(table: &ClassTable, size: usize) -> [u8; 2] {
    let choice = table.choice(table.bucket(size).unwrap());
    [choice.coarse, choice.fine]
}

/// Catches a size that has no class, or one whose slots are too small for it.
#[test]
fn every_size_fits_its_classes() {
    for (page_size, table) in tables() {
        for size in 1..=page_size {
            let [coarse, fine] = choice(&table, size).map(|index| table.class(index));
            assert!(
                fine.slot_size as usize >= size,
                "{size} of {page_size}: {fine:?}"
            );
            assert!(
                coarse.slot_size >= fine.slot_size,
                "{size} of {page_size}: {coarse:?}, {fine:?}"
            );
        }
        for size in [0, page_size + 1, 2 * page_size, usize::MAX] {
            assert_eq!(table.bucket(size), None);
        }
    }
}

/// Catches a table in which a larger object gets a smaller slot, a class that no size has, or two
/// that are the same.
#[test]
fn classes_grow_with_the_size() {
    for (page_size, table) in tables() {
        assert!(table.len() <= MAX_CLASSES);
        let mut used = [false; MAX_CLASSES];
        let mut before = [0; 2];
        for size in 1..=page_size {
            let classes = choice(&table, size);
            assert!(classes[0] >= before[0] && classes[1] >= before[1]);
            for index in classes {
                used[index as usize] = true;
            }
            before = classes;
        }
        assert_eq!(used, std::array::from_fn(|index| index < table.len()));
        for index in 1..table.len() {
            let [before, class] = [index - 1, index]
                .map(|i| table.class(i as u8))
                .map(|class| (class.slot_size, class.pages));
            assert!(class > before);
        }
    }
}

/// Catches a geometry that throws memory away: for sizes above 1/64 page, which is the smallest
/// slot there is, rounding up and the end of the zspage together cost at most the spacing of the
/// sizes and a few per cent of a slot; and fine classes that are no better than coarse ones.
#[test]
fn waste_is_bounded() {
    for (page_size, table) in tables() {
        let spacing = page_size / BUCKETS;
        let mut waste_sums = [0.0; 2];
        for size in page_size / MAX_SLOTS..=page_size {
            let classes = choice(&table, size).map(|index| table.class(index));
            let waste_of = |class: &SizeClass| {
                let bytes = class.pages as usize * page_size;
                bytes as f64 / class.slots as f64 - size as f64
            };
            // The worst size is just above the largest that does not take a whole page: 8 pages /
            // 9, or 16 / 17.
            let wastes = classes.map(waste_of);
            for (waste, max_pages) in wastes.iter().zip([8, MAX_PAGES]) {
                assert!(
                    *waste <= spacing as f64 + page_size as f64 / (max_pages + 1) as f64,
                    "{size} of {page_size}: {classes:?}"
                );
            }
            for (sum, waste) in waste_sums.iter_mut().zip(wastes) {
                *sum += waste / size as f64;
            }
        }
        let [coarse, fine] = waste_sums.map(|sum| sum / (page_size - page_size / MAX_SLOTS) as f64);
        assert!(coarse < 0.04 && fine < 0.75 * coarse, "{coarse}, {fine}");
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
