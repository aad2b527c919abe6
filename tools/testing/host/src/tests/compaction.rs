// SPDX-License-Identifier: GPL-2.0

//! Compaction: what it wins, and that nothing else comes of it.

use super::pool::{choice, contents, geometry, machines, Tester};
use crate::{
    backend::Backend,
    compaction::{Limit, Scope, EMPTYING_PAGES},
    core::{
        compaction::{can_be_emptied, gain},
        handle::Handle,
        size_class::{SizeClass, MAX_PAGES},
    },
    sys::{
        machine::{Machine, Memory},
        page::PAGE_SIZE,
        preempt::run_meanwhile,
        shrinker::Shrink,
    },
    zspage::{CLASSES, CLASS_TABLE},
};
use proptest::prelude::*;
use std::{cell::Cell, collections::BTreeMap, ptr, rc::Rc};

/// Random numbers, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn class_of(size: usize) -> &'static SizeClass {
    CLASS_TABLE.class(choice(size).coarse)
}

/// Stores `count` objects of random sizes up to `limit`.
fn fill(tester: &mut Tester, random: &mut Random, count: usize, limit: usize) {
    for _ in 0..count {
        let size = 1 + random.below(limit);
        tester
            .store(contents(size, random.below(256) as u8))
            .unwrap();
    }
}

/// Frees each object with a chance of one half, and what that empties.
fn free_half(tester: &mut Tester, random: &mut Random) {
    let handles: Vec<usize> = tester.objects.keys().copied().collect();
    for raw in handles {
        if random.below(2) == 0 {
            tester.free(Handle::from_raw(raw));
        }
    }
    tester.pool.release_kept();
}

fn fill_and_free_half(tester: &mut Tester, random: &mut Random, count: usize, limit: usize) {
    fill(tester, random, count, limit);
    free_half(tester, random);
}

fn check_all(tester: &Tester, machine: &Machine) {
    tester.validate(machine);
    for raw in tester.objects.keys() {
        tester.check(Handle::from_raw(*raw));
    }
}

/// The fewest pages in which the objects fit, if each stays in the class that it was put into.
fn fewest_pages(tester: &Tester) -> usize {
    let mut objects = BTreeMap::<u32, (usize, &SizeClass)>::new();
    for raw in tester.objects.keys() {
        let class = geometry(Handle::from_raw(*raw));
        objects.entry(class.slot_size).or_insert((0, class)).0 += 1;
    }
    objects
        .values()
        .map(|(count, class)| count.div_ceil(class.slots as usize) * class.pages as usize)
        .sum()
}

/// Catches objects that are lost or mixed up on the way, memory that could be won and is not, more
/// of it announced than there is, and a zspage or its bookkeeping that stays when its objects are
/// gone. Objects are moved again and again, in memory in which they lie across pages that are not
/// next to each other as well.
#[test]
fn compaction_packs_each_class() {
    for machine in machines() {
        let mut tester = Tester::new();
        let before = (machine.pages(), machine.objects());
        let mut random = Random(1);
        for round in 0..4 {
            fill_and_free_half(&mut tester, &mut random, 600, [PAGE_SIZE, 900][round % 2]);
            let (pages, expected) = (tester.pool.pages() as usize, tester.pool.gain().within);
            let compacted = tester.compact(Scope::Class, usize::MAX);
            assert_eq!(compacted.pages, expected);
            assert_eq!(tester.pool.pages() as usize, pages - compacted.pages);
            assert_eq!(tester.pool.pages() as usize, fewest_pages(&tester));
            assert_eq!(tester.pool.gain().within, 0);
            check_all(&tester, &machine);
            assert_eq!(tester.compact(Scope::Class, usize::MAX).objects, 0);
        }
        tester.free_all();
        tester.pool.release_kept();
        assert_eq!((machine.pages(), machine.objects()), before);
        assert_eq!(tester.pool.total_pages(), 0);
    }
}

/// Catches memory that only larger classes can take being left where it is, objects that are moved
/// to slots too small for them, and an estimate that promises what cannot be had.
#[test]
fn compaction_fills_larger_classes() {
    for machine in machines() {
        let mut tester = Tester::new();
        let before = (machine.pages(), machine.objects());
        let mut random = Random(2);
        for _ in 0..3 {
            fill_and_free_half(&mut tester, &mut random, 500, PAGE_SIZE);
            let packed = fewest_pages(&tester);
            let compacted = tester.compact(Scope::LargerClasses, usize::MAX);
            assert!(compacted.pages > 0);
            assert!((tester.pool.pages() as usize) < packed * 9 / 10);
            check_all(&tester, &machine);
        }
        tester.free_all();
        tester.pool.release_kept();
        assert_eq!((machine.pages(), machine.objects()), before);
    }
}

/// Catches more copying than the memory that is won is worth: to empty the zspages with the fewest
/// objects is enough, up to the width of a fullness group.
#[test]
fn few_objects_are_moved_for_a_page() {
    let machine = Machine::new(Memory::Plenty);
    for size in [100, 700, 1500, 2500] {
        let mut tester = Tester::new();
        let mut random = Random(size as u64);
        let class = class_of(size);
        let slots = class.slots as usize;
        for _ in 0..40 * slots {
            tester.store(contents(size, 1)).unwrap();
        }
        let handles: Vec<usize> = tester.objects.keys().copied().collect();
        for raw in handles {
            if random.below(100) < 60 {
                tester.free(Handle::from_raw(raw));
            }
        }
        let mut objects = BTreeMap::<usize, usize>::new();
        for raw in tester.objects.keys() {
            *objects
                .entry(Handle::from_raw(*raw).descriptor())
                .or_default() += 1;
        }
        let mut fewest: Vec<usize> = objects.into_values().collect();
        fewest.sort_unstable();
        let zspages = fewest.len() - tester.objects.len().div_ceil(slots);
        let needed: usize = fewest[..zspages].iter().sum();
        let compacted = tester.compact(Scope::Class, usize::MAX);
        assert_eq!(compacted.pages, zspages * class.pages as usize);
        assert!(
            compacted.objects <= needed + needed / 4,
            "{size}: {} instead of {needed}",
            compacted.objects
        );
        tester.free_all();
        tester.validate(&machine);
    }
}

/// Catches an object that is moved while somebody has it mapped, whether it is where its handle
/// points or has been moved before, and a mapping that is ended in the wrong place.
#[test]
fn a_mapped_object_stays() {
    for machine in machines() {
        let mut tester = Tester::new();
        let mut random = Random(3);
        for _ in 0..3 {
            fill_and_free_half(&mut tester, &mut random, 400, 2000);
            for index in [0, 50, 100] {
                let handle = tester.nth(index).unwrap();
                if !tester.is_held(handle) && tester.mapped.len() < 2 {
                    tester.hold(handle);
                }
            }
            tester.compact(Scope::LargerClasses, usize::MAX);
            check_all(&tester, &machine);
            while !tester.mapped.is_empty() {
                tester.release(0);
            }
            tester.compact(Scope::LargerClasses, usize::MAX);
            check_all(&tester, &machine);
        }
        tester.free_all();
    }
}

/// Catches a free of a handle whose slot has been given to a guest, and one of an object that is
/// away and was freed before.
#[test]
fn a_double_free_is_caught_after_compaction() {
    let machine = Machine::new(Memory::Plenty);
    let mut tester = Tester::new();
    let mut random = Random(4);
    for _ in 0..200 {
        tester.store(contents(1000, 1)).unwrap();
    }
    let all: Vec<usize> = tester.objects.keys().copied().collect();
    free_half(&mut tester, &mut random);
    tester.compact(Scope::Class, usize::MAX);
    let live: Vec<usize> = tester.objects.keys().copied().collect();
    let descriptors: Vec<usize> = live
        .iter()
        .map(|raw| Handle::from_raw(*raw).descriptor())
        .collect();
    for raw in all {
        let handle = Handle::from_raw(raw);
        if !live.contains(&raw) && descriptors.contains(&handle.descriptor()) {
            // SAFETY: The descriptor lives, which is all that a double free that is caught needs.
            unsafe { tester.pool.free(handle) };
            assert_eq!(machine.complaints(), [("double free".to_owned(), raw)]);
        }
    }
    check_all(&tester, &machine);
    tester.free_all();
}

/// Catches bookkeeping that eats up what compaction wins: again and again, all but few of many
/// small objects are freed.
#[test]
fn bookkeeping_is_bounded() {
    let machine = Machine::new(Memory::Plenty);
    let mut tester = Tester::new();
    let mut random = Random(5);
    let mut kept = Vec::new();
    for _ in 0..30 {
        fill(&mut tester, &mut random, 1000, 64);
        let handles: Vec<usize> = tester.objects.keys().copied().collect();
        for raw in handles {
            if !kept.contains(&raw) {
                if random.below(64) == 0 {
                    kept.push(raw);
                } else {
                    tester.free(Handle::from_raw(raw));
                }
            }
        }
        let before = tester.pool.bookkeeping_pages();
        tester.compact(Scope::LargerClasses, usize::MAX);
        check_all(&tester, &machine);
        let (pages, bookkeeping) = (tester.pool.pages(), tester.pool.bookkeeping_pages());
        assert!(
            bookkeeping <= before.max((pages + MAX_PAGES as u64) / 4 + 1),
            "{bookkeeping} for {pages}"
        );
    }
    tester.free_all();
    assert_eq!(tester.pool.bookkeeping_pages(), 0);
}

/// Catches compaction that loses an object, or memory, when it cannot get any itself.
#[test]
fn without_memory_nothing_moves() {
    let machine = Machine::new(Memory::Plenty);
    let mut tester = Tester::new();
    let mut random = Random(6);
    fill_and_free_half(&mut tester, &mut random, 500, PAGE_SIZE);
    for left in 0..8 {
        machine.set_memory(Memory::Left(left));
        let objects = tester.compact(Scope::LargerClasses, 1).objects;
        assert_eq!(objects, (left >= 2) as usize);
        check_all(&tester, &machine);
    }
    tester.free_all();
}

/// Catches compactors that get in each other's way: who asks while another is at it goes away.
#[test]
fn one_compacts_at_a_time() {
    let _machine = Machine::new(Memory::Plenty);
    let mut tester = Tester::new();
    let mut random = Random(10);
    fill_and_free_half(&mut tester, &mut random, 500, PAGE_SIZE);
    let asked = Rc::new(Cell::new(0));
    let (times, pool) = (Rc::clone(&asked), ptr::from_ref(&*tester.pool));
    let another = move || {
        times.set(times.get() + 1);
        // SAFETY: The pool lives longer than this is called.
        let pool = unsafe { &*pool };
        assert_eq!(pool.compact(Scope::LargerClasses, Limit::NONE), None);
        assert_eq!(pool.scan(1), None);
    };
    let compact = || tester.compact(Scope::LargerClasses, usize::MAX);
    let compacted = run_meanwhile(another, compact);
    assert!(asked.get() >= compacted.objects && compacted.objects > 0);
    tester.free_all();
}

/// Catches background work that does nothing, that goes on when there is nothing to do, or that is
/// done although it is switched off.
#[test]
fn the_pool_compacts_itself() {
    for share in [0, 3, 20] {
        let machine = Machine::new(Memory::Plenty);
        machine.set_wasted_share(share);
        let mut tester = Tester::new();
        let mut random = Random(7);
        fill_and_free_half(&mut tester, &mut random, 1500, PAGE_SIZE);
        let before = tester.pool.pages() as usize;
        tester.compacted = true;
        let ticks = machine.tick_to_the_end();
        tester.validate(&machine);
        let after = tester.pool.pages() as usize;
        if share == 0 {
            assert_eq!((ticks, after), (1, before));
        } else {
            assert!(tester.pool.count() * 100 <= share as usize * after);
            assert!(after < before);
        }
        check_all(&tester, &machine);
        tester.free_all();
        // What is left to do then is to notice that nothing is.
        machine.tick_to_the_end();
        assert_eq!(tester.pool.pages(), 0);
    }
}

/// Catches objects that are moved while a process exits, which costs it time for nothing; and a
/// pool that is left alone for good after that.
#[test]
fn a_pool_that_is_being_emptied_is_left_alone() {
    let machine = Machine::new(Memory::Plenty);
    machine.set_wasted_share(1);
    let mut tester = Tester::new();
    let mut random = Random(9);
    fill_and_free_half(&mut tester, &mut random, 1500, PAGE_SIZE);
    let exiting: Vec<_> = (0..=EMPTYING_PAGES as usize)
        .flat_map(|_| (0..class_of(PAGE_SIZE).slots).map(|_| PAGE_SIZE))
        .map(|size| tester.store(contents(size, 1)).unwrap())
        .collect();
    tester.compacted = true;
    machine.tick_to_the_end();
    assert_eq!(tester.pool.gain().within, 0);
    free_half(&mut tester, &mut random);
    for handle in exiting {
        if tester.objects.contains_key(&handle.into_raw()) {
            tester.free(handle);
        }
    }
    let waste = tester.pool.gain();
    assert!(waste.within > 0);
    machine.tick();
    assert_eq!(tester.pool.gain(), waste);
    machine.tick_to_the_end();
    assert!(tester.pool.gain().within < waste.within);
    check_all(&tester, &machine);
    tester.free_all();
}

/// Catches a shrinker that gives back much more than it is asked for, or says that it did.
#[test]
fn the_shrinker_stops_and_tells_the_truth() {
    let machine = Machine::new(Memory::Plenty);
    let mut tester = Tester::new();
    let mut random = Random(8);
    fill_and_free_half(&mut tester, &mut random, 1500, PAGE_SIZE);
    tester.compacted = true;
    let all = tester.pool.count();
    assert!(all > 100);
    let before = tester.pool.pages();
    let told = tester.pool.scan(20).unwrap();
    let given = (before - tester.pool.pages()) as usize;
    assert_eq!(told.min(given), told);
    // It stops at the end of a zspage.
    assert!((20..40).contains(&given), "{given}");
    assert!(tester.pool.count() < all);
    check_all(&tester, &machine);
    tester.free_all();
}

proptest! {
    /// Catches an estimate above what there is, which is all free slots together, and one below
    /// what can be had within the classes.
    #[test]
    fn the_estimate_is_bounded(free in prop::collection::vec(0..200usize, CLASSES)) {
        let gain = gain(&CLASS_TABLE, |class| free[class as usize]);
        let within: usize = (0..CLASSES)
            .map(|i| CLASS_TABLE.class(i as u8))
            .zip(&free)
            .map(|(class, free)| free / class.slots as usize * class.pages as usize)
            .sum();
        prop_assert_eq!(gain.within, within);
        let bytes: usize = (0..CLASSES)
            .map(|i| CLASS_TABLE.class(i as u8).pages as usize * PAGE_SIZE
                * free[i].div_ceil(CLASS_TABLE.class(i as u8).slots as usize))
            .sum();
        prop_assert!((gain.within + gain.across) * PAGE_SIZE <= bytes);
    }

    /// Catches a zspage that is to be emptied into its own free slots.
    #[test]
    fn a_zspage_needs_room_elsewhere(objects in 1..64usize, free in 0..64usize, elsewhere in 0..500usize) {
        prop_assert_eq!(can_be_emptied(objects, free, free + elsewhere), elsewhere >= objects);
    }
}
