// SPDX-License-Identifier: GPL-2.0

//! The pool, driven as zswap drives it, against a model that knows the contents of every object.

use crate::{
    backend::{
        Backend,
        MapMode::{self, ReadOnly, ReadWrite, WriteOnly},
    },
    compaction::{Compacted, Limit, Scope},
    core::{
        handle::Handle,
        size_class::{Choice, SizeClass},
    },
    error::Error,
    pool::{Pool, FEW_ZSPAGES, NEXT_CLASSES},
    sys::{
        gfp::Gfp,
        init::PinInit,
        machine::{Machine, Memory, BORDER},
        page::{self, CPUS, PAGE_SIZE},
    },
    zspage::{Zspage, CLASSES, CLASS_TABLE},
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    mem::ManuallyDrop,
    pin::Pin,
};

pub(super) fn new_pool() -> Result<Pin<Box<Pool>>, Error> {
    let mut pool = Box::<Pool>::new_uninit();
    // SAFETY: The place is valid and is pinned before anybody sees it. If this fails, it holds
    // nothing.
    unsafe {
        Pool::new(c"test").__pinned_init(pool.as_mut_ptr())?;
        Ok(Box::into_pin(pool.assume_init()))
    }
}

/// A pool, and what should be in it.
pub(super) struct Tester {
    pub(super) pool: ManuallyDrop<Pin<Box<Pool>>>,
    pub(super) objects: BTreeMap<usize, Vec<u8>>,
    pub(super) mapped: Vec<(Handle, *mut u8)>,
    /// Whether objects may have been moved.
    pub(super) compacted: bool,
    /// Pages that the machine has isolated, and whether it has them locked to move them.
    isolated: Vec<(usize, bool)>,
}

impl Drop for Tester {
    /// Destroys the pool, as the zpool front end does.
    fn drop(&mut self) {
        if self.pool.close() {
            // SAFETY: It is not used any more.
            unsafe { ManuallyDrop::drop(&mut self.pool) };
        }
    }
}

impl Tester {
    pub(super) fn new() -> Self {
        Self {
            pool: ManuallyDrop::new(new_pool().unwrap()),
            objects: BTreeMap::new(),
            mapped: Vec::new(),
            compacted: false,
            isolated: Vec::new(),
        }
    }

    pub(super) fn with_mapping<R>(
        &self,
        handle: Handle,
        mode: MapMode,
        work: impl FnOnce(*mut u8) -> R,
    ) -> R {
        // SAFETY: The handles here are of live objects, and each object is mapped by one test at a
        // time.
        unsafe {
            let address = self.pool.map(handle, mode);
            assert!(!address.is_null());
            let result = work(address);
            self.pool.unmap(handle);
            result
        }
    }

    pub(super) fn store(&mut self, contents: Vec<u8>) -> Result<Handle, Error> {
        let handle = self.pool.malloc(contents.len(), Gfp::EVERYTHING)?;
        // SAFETY: A mapping is valid for the object's size.
        self.with_mapping(handle, WriteOnly, |address| unsafe {
            address.copy_from(contents.as_ptr(), contents.len())
        });
        assert!(self.objects.insert(handle.into_raw(), contents).is_none());
        Ok(handle)
    }

    /// Writes to one byte of an object and leaves the others.
    pub(super) fn change(&mut self, handle: Handle, at: usize, byte: u8) {
        // SAFETY: A mapping is valid for the object's size.
        self.with_mapping(handle, ReadWrite, |address| unsafe {
            address.add(at).write(byte)
        });
        self.objects.get_mut(&handle.into_raw()).unwrap()[at] = byte;
    }

    pub(super) fn check_at(&self, handle: Handle, address: *const u8) {
        let contents = &self.objects[&handle.into_raw()];
        // SAFETY: A mapping is valid for the object's size.
        let found = unsafe { std::slice::from_raw_parts(address, contents.len()) };
        assert!(
            found == contents,
            "an object of {} bytes has changed",
            contents.len()
        );
    }

    pub(super) fn check(&self, handle: Handle) {
        self.with_mapping(handle, ReadOnly, |address| self.check_at(handle, address));
    }

    pub(super) fn free(&mut self, handle: Handle) {
        self.objects.remove(&handle.into_raw()).unwrap();
        // SAFETY: The object is live and not mapped.
        unsafe { self.pool.free(handle) };
    }

    pub(super) fn free_all(&mut self) {
        while let Some(handle) = self.nth(0) {
            self.free(handle);
        }
    }

    /// Maps an object and leaves it mapped.
    pub(super) fn hold(&mut self, handle: Handle) {
        // SAFETY: The object is live, and is not written to while it is held.
        let address = unsafe { self.pool.map(handle, ReadOnly) };
        assert!(!address.is_null());
        self.mapped.push((handle, address));
    }

    /// Ends a mapping of [`Tester::hold`].
    pub(super) fn release(&mut self, index: usize) {
        let (handle, address) = self.mapped.remove(index);
        self.check_at(handle, address);
        // SAFETY: It is mapped.
        unsafe { self.pool.unmap(handle) };
    }

    pub(super) fn is_held(&self, handle: Handle) -> bool {
        self.mapped.iter().any(|(held, _)| *held == handle)
    }

    pub(super) fn finish_migration(&mut self, machine: &Machine, index: usize) {
        let (pfn, locked) = self.isolated.remove(index);
        if !locked {
            machine.start_migration(pfn);
        }
        machine.finish_migration(pfn);
    }

    pub(super) fn nth(&self, index: usize) -> Option<Handle> {
        let count = self.objects.len().max(1);
        let raw = self.objects.keys().nth(index % count)?;
        Some(Handle::from_raw(*raw))
    }

    pub(super) fn compact(&mut self, scope: Scope, objects: usize) -> Compacted {
        self.compacted = true;
        let limit = Limit {
            objects,
            ..Limit::NONE
        };
        self.pool.compact(scope, limit).unwrap()
    }

    /// Everything that must hold at any time.
    pub(super) fn validate(&self, machine: &Machine) {
        self.pool.validate();
        assert_eq!(machine.counted_in_zone(), self.pool.pages() as isize);
        for (handle, address) in &self.mapped {
            self.check_at(*handle, *address);
        }
        if self.compacted {
            return;
        }
        // Each zspage with an object in it has its pages, and there are no others.
        let zspages: BTreeMap<usize, u64> = self
            .objects
            .keys()
            .map(|raw| Handle::from_raw(*raw))
            .map(|handle| (handle.descriptor(), geometry(handle).pages as u64))
            .collect();
        let pages: u64 = zspages.values().sum();
        // Pages that were locked when their zspage lost its last object go when the work is done.
        let total = self.pool.total_pages();
        // Those that were kept go with the next tick.
        assert!(total == pages || total > pages && machine.has_work());
    }
}

/// The geometry of the zspage that the handle of a live object names.
pub(super) fn geometry(handle: Handle) -> &'static SizeClass {
    // SAFETY: The object was not freed.
    unsafe { Zspage::of(handle) }.geometry()
}

/// The classes for objects of `size` bytes.
pub(super) fn choice(size: usize) -> Choice {
    CLASS_TABLE.choice(CLASS_TABLE.bucket(size).unwrap())
}

/// The largest size of an object that goes to a class of a small pool, if that has it.
fn largest_size(class: u8) -> Option<usize> {
    let is_of_class = |size: &usize| choice(*size).coarse == class;
    (1..=PAGE_SIZE).rev().find(is_of_class)
}

pub(super) fn contents(size: usize, seed: u8) -> Vec<u8> {
    (0..size)
        .map(|i| (i as u8).wrapping_mul(31) ^ (i >> 8) as u8 ^ seed)
        .collect()
}

const MEMORIES: [Memory; 3] = [Memory::Plenty, Memory::Fragmented, Memory::PartlyFragmented];

/// From how many pages on a class is populous, so that pools have coarse classes alone or fine
/// ones alone.
const GRANULARITIES: [usize; 2] = [usize::MAX, 0];

/// Machines whose memory needs no bounce buffers, has every object over a page boundary need one,
/// and does both; with coarse classes, and with fine ones.
pub(super) fn machines() -> impl Iterator<Item = Machine> {
    let machine = |memory, populous_pages| {
        let machine = Machine::new(memory);
        machine.set_populous_pages(populous_pages);
        machine
    };
    MEMORIES
        .into_iter()
        .flat_map(move |memory| GRANULARITIES.map(|pages| (memory, pages)))
        .map(move |(memory, pages)| machine(memory, pages))
}

/// Catches an object whose bytes are lost or are another's: every size, on every machine.
#[test]
fn every_size_keeps_its_contents() {
    for machine in machines() {
        let mut tester = Tester::new();
        for size in 1..=PAGE_SIZE {
            tester.store(contents(size, size as u8)).unwrap();
            if size % 512 == 0 {
                tester.validate(&machine);
                let handles: Vec<usize> = tester.objects.keys().copied().collect();
                for raw in handles {
                    tester.check(Handle::from_raw(raw));
                    tester.free(Handle::from_raw(raw));
                }
                tester.pool.release_kept();
                assert_eq!(tester.pool.total_pages(), 0);
            }
        }
    }
}

/// Catches a slot whose first or last byte belongs to a neighbour: all slots of a zspage of each
/// class, filled to the slot size, whatever the object's own size was.
#[test]
fn neighbours_do_not_overlap() {
    for _machine in machines() {
        let mut tester = Tester::new();
        for size in (16..=PAGE_SIZE).step_by(16) {
            let class = geometry(tester.store(contents(size, 0)).unwrap());
            tester.free_all();
            let len = class.slot_size as usize;
            let handles: Vec<Handle> = (0..class.slots)
                .map(|slot| tester.store(contents(len, slot)).unwrap())
                .collect();
            handles.iter().for_each(|handle| tester.check(*handle));
            handles.iter().for_each(|handle| tester.free(*handle));
        }
    }
}

/// Catches a wrong errno, and a request that leaves something behind when it is refused.
#[test]
fn bad_sizes_are_refused() {
    let machine = Machine::new(Memory::Plenty);
    let pool = new_pool().unwrap();
    let before = (machine.pages(), machine.objects());
    assert_eq!(pool.malloc(0, Gfp::EVERYTHING), Err(Error::EmptyObject));
    for size in [PAGE_SIZE + 1, 2 * PAGE_SIZE, usize::MAX] {
        assert_eq!(
            pool.malloc(size, Gfp::EVERYTHING),
            Err(Error::ObjectTooLarge)
        );
    }
    assert_eq!((machine.pages(), machine.objects()), before);
    assert_eq!(pool.total_pages(), 0);
}

/// Catches a leak on any of the ways on which an allocation or the making of a pool can fail.
#[test]
fn without_memory_nothing_is_left_behind() {
    let machine = Machine::new(Memory::Plenty);
    let mut left = 0;
    loop {
        machine.set_memory(Memory::Left(left));
        match new_pool() {
            Ok(_) => break,
            Err(error) => assert_eq!(error, Error::NoMemory),
        }
        assert_eq!((machine.pages(), machine.objects()), (0, 0));
        left += 1;
    }
    assert!(left >= 2 * CPUS);

    machine.set_memory(Memory::Plenty);
    let pool = new_pool().unwrap();
    let before = (machine.pages(), machine.objects());
    for size in 1..=PAGE_SIZE {
        // One allocation for the descriptor, then one that fails for adjacent pages, and so on.
        machine.set_memory(Memory::Left(size % 2));
        assert_eq!(pool.malloc(size, Gfp::EVERYTHING), Err(Error::NoMemory));
        assert_eq!((machine.pages(), machine.objects()), before);
        pool.validate();
    }
}

/// Catches a zspage that is made although one of the next classes has room, while the class has
/// few; and objects that go on being put into slots that are too large when it has many.
#[test]
fn a_small_class_uses_the_room_of_the_next() {
    for distance in 1..=NEXT_CLASSES as u8 {
        for class in 0..CLASSES as u8 - distance {
            let (own, larger) = (class, class + distance);
            let (Some(own_size), Some(larger_size)) = (largest_size(own), largest_size(larger))
            else {
                continue;
            };
            let machine = Machine::new(Memory::Plenty);
            let mut tester = Tester::new();
            let mut store = |class| {
                let size = if class == own { own_size } else { larger_size };
                let handle = tester.store(contents(size, class)).unwrap();
                (geometry(handle), handle.descriptor())
            };
            let geometry_of = |class| CLASS_TABLE.class(class);
            store(larger);
            for _ in 1..geometry_of(larger).slots {
                assert_eq!(store(own).0, geometry_of(larger));
            }
            let mut zspages = BTreeSet::new();
            while zspages.len() < FEW_ZSPAGES {
                let (geometry, zspage) = store(own);
                assert_eq!(geometry, geometry_of(own));
                zspages.insert(zspage);
            }
            store(larger);
            for _ in 0..2 * geometry_of(own).slots {
                assert_eq!(store(own).0, geometry_of(own));
            }
            tester.validate(&machine);
            tester.free_all();
        }
    }
}

/// Catches a pool whose classes stay coarse when there are many objects, or fine when there are few
/// again; and free slots of the coarse class that are left unused when there are many.
#[test]
fn populous_classes_are_fine() {
    const POPULOUS_PAGES: usize = 64;
    let has_two = |size: &usize| choice(*size).fine != choice(*size).coarse;
    for size in (1..=PAGE_SIZE).step_by(48).filter(has_two) {
        let machine = Machine::new(Memory::Plenty);
        machine.set_populous_pages(POPULOUS_PAGES);
        let mut tester = Tester::new();
        let [coarse, fine] =
            [choice(size).coarse, choice(size).fine].map(|index| CLASS_TABLE.class(index));
        let store = |tester: &mut Tester| tester.store(contents(size, 1)).unwrap();
        let mut handles = Vec::new();
        while tester.pool.pages() < POPULOUS_PAGES as u64 {
            handles.push(store(&mut tester));
        }
        let full_zspages = tester.pool.pages() as usize / coarse.pages as usize;
        while handles.len() < full_zspages * coarse.slots as usize {
            handles.push(store(&mut tester));
        }
        assert!(handles.iter().all(|handle| geometry(*handle) == coarse));
        for _ in 0..fine.slots {
            assert_eq!(geometry(store(&mut tester)), fine);
        }
        let freed = handles.remove(handles.len() / 2);
        tester.free(freed);
        assert_eq!(store(&mut tester), freed);
        assert_eq!(geometry(store(&mut tester)), fine);
        tester.validate(&machine);

        tester.free_all();
        tester.pool.release_kept();
        let handle = store(&mut tester);
        assert_eq!(geometry(handle), coarse);
        tester.free(handle);
        tester.validate(&machine);
    }
}

/// Catches a store that fails for want of memory while the pool itself keeps some, of zspages that
/// other classes have just emptied.
#[test]
fn kept_zspages_go_before_a_store_fails() {
    let machine = Machine::new(Memory::Plenty);
    let mut tester = Tester::new();
    let first: Vec<_> = (0..64)
        .map(|seed| tester.store(contents(1000, seed)).unwrap())
        .collect();
    machine.set_memory(Memory::AtMost(machine.pages()));
    assert_eq!(
        tester.store(contents(PAGE_SIZE, 1)).err(),
        Some(Error::NoMemory)
    );
    first.into_iter().for_each(|handle| tester.free(handle));
    let other = tester.store(contents(PAGE_SIZE, 1)).unwrap();
    tester.validate(&machine);
    tester.free(other);
}

/// Catches a double free that corrupts the map, and one of a handle that another pool gave out:
/// each is reported, and the pool goes on.
#[test]
fn bad_frees_are_reported() {
    let machine = Machine::new(Memory::Plenty);
    let mut tester = Tester::new();
    let other = new_pool().unwrap();
    let kept = tester.store(contents(100, 1)).unwrap();
    let freed = tester.store(contents(100, 2)).unwrap();
    tester.free(freed);
    let no_slot = Handle::new(kept.descriptor(), 63);
    // SAFETY: It is the misuse that is tested. The descriptor is there, because of `kept`.
    unsafe {
        tester.pool.free(freed);
        other.free(kept);
        tester.pool.free(no_slot);
    }
    let report = |what: &str, handle: Handle| (what.to_owned(), handle.into_raw());
    assert_eq!(
        machine.complaints(),
        [
            report("double free", freed),
            report("free of a handle of another pool", kept),
            report("double free", no_slot),
        ]
    );
    tester.check(kept);
    tester.free(kept);
    tester.validate(&machine);
}

/// Catches memory being given away that somebody still reads: it is reported, and lost rather than
/// reused.
#[test]
fn freeing_a_mapped_object_keeps_its_pages() {
    let machine = Machine::new(Memory::Plenty);
    let mut tester = Tester::new();
    let handle = tester.store(contents(3000, 1)).unwrap();
    tester.hold(handle);
    let (pages, objects) = (machine.pages(), machine.objects());
    // SAFETY: It is the misuse that is tested.
    unsafe { tester.pool.free(handle) };
    tester.pool.release_kept();
    tester.release(0);
    assert_eq!((machine.pages(), machine.objects()), (pages, objects));
    drop(tester);
    let reports = machine.complaints();
    assert_eq!(
        reports[0],
        (
            "free of an object that is mapped".to_owned(),
            handle.into_raw()
        )
    );
    assert_eq!(reports[1].0, "a pool is destroyed with objects in it");
    assert_eq!(reports.len(), 2);
    machine.forget();
}

/// Catches work that is put off when nobody waits for it any more: a page is locked, to be moved,
/// when its zspage is given back, which is at the last moment at which that can happen.
#[test]
fn a_destroyed_pool_puts_nothing_off() {
    for kept in [false, true] {
        let machine = Machine::new(Memory::Plenty);
        let mut tester = Tester::new();
        let handle = tester.store(contents(100, 1)).unwrap();
        let pfn = machine.movable_pages()[0];
        machine.isolate(pfn);
        machine.start_migration(pfn);
        tester.free(handle);
        if !kept {
            tester.pool.release_kept();
        }
        assert!(tester.pool.close());
        assert!(!machine.has_work());
        drop(tester);
    }
}

/// Catches a page that leads to a pool that is gone: the kernel moves the pages of an object that
/// the caller has left, or freed while it was mapped, whenever it wants.
#[test]
fn what_a_caller_leaves_stays_movable() {
    for mapped in [false, true] {
        let machine = Machine::new(Memory::Plenty);
        let mut tester = Tester::new();
        let handle = tester.store(contents(100, 1)).unwrap();
        if mapped {
            tester.hold(handle);
            // SAFETY: It is the misuse that is tested.
            unsafe { tester.pool.free(handle) };
            tester.pool.release_kept();
            tester.release(0);
        }
        assert!(!tester.pool.close());
        let pfn = machine.movable_pages()[0];
        machine.isolate(pfn);
        machine.start_migration(pfn);
        assert!(machine.finish_migration(pfn));
        assert!(!machine.complaints().is_empty());
        std::mem::forget(tester);
        machine.forget();
    }
}

/// Catches new pages being taken while the class has a free slot: a full zspage at the head of a
/// list must not hide others.
#[test]
fn free_slots_are_used_first() {
    let _machine = Machine::new(Memory::Plenty);
    let mut tester = Tester::new();
    let handles: Vec<Handle> = (0..1000)
        .map(|i| tester.store(contents(700, i as u8)).unwrap())
        .collect();
    let full = tester.pool.total_pages();
    for (i, handle) in handles.iter().enumerate() {
        if i * 7919 % 1000 < 500 {
            tester.free(*handle);
        }
    }
    let free = 1000 - tester.objects.len();
    for i in 0..free {
        tester.store(contents(700, i as u8)).unwrap();
        assert!(tester.pool.total_pages() <= full);
    }
    let handles: Vec<usize> = tester.objects.keys().copied().collect();
    handles
        .into_iter()
        .for_each(|raw| tester.free(Handle::from_raw(raw)));
}

/// Catches a buffer that is shared by two mappings: more of them at once than there are CPUs, of
/// objects that all need a buffer, and of one object several times.
#[test]
fn many_mappings_at_once() {
    for machine in machines() {
        let mut tester = Tester::new();
        let handles: Vec<Handle> = (0..64)
            .map(|i| tester.store(contents(3000 + i, i as u8)).unwrap())
            .collect();
        handles.iter().for_each(|handle| tester.hold(*handle));
        handles.iter().for_each(|handle| tester.hold(*handle));
        tester.validate(&machine);
        for round in 0..tester.mapped.len() {
            let index = round * 31 % tester.mapped.len();
            tester.release(index);
            tester.validate(&machine);
        }
        handles.iter().for_each(|handle| tester.free(*handle));
    }
}

/// Moves a page, and returns whether it moved.
fn move_page(machine: &Machine, pfn: usize) -> bool {
    machine.isolate(pfn);
    machine.start_migration(pfn);
    machine.finish_migration(pfn)
}

/// Moves each page of the pool once, and returns the number of those that moved.
fn move_all_pages(machine: &Machine) -> usize {
    let pages = machine.movable_pages();
    pages.iter().filter(|pfn| move_page(machine, **pfn)).count()
}

/// Catches contents that stay behind, or a page array that does not follow: every size, moved
/// twice.
#[test]
fn moving_pages_keeps_the_contents() {
    for machine in machines() {
        let mut tester = Tester::new();
        for size in (1..=PAGE_SIZE).step_by(13) {
            tester.store(contents(size, size as u8)).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(move_all_pages(&machine) as u64, tester.pool.total_pages());
            tester.validate(&machine);
            for raw in tester.objects.keys() {
                tester.check(Handle::from_raw(*raw));
            }
        }
        tester.free_all();
        tester.validate(&machine);
    }
}

/// Catches a page that is still taken for the neighbour of the one before it when it alone has
/// moved: of each class's zspages, the pages one by one, the last first.
#[test]
fn pages_move_alone() {
    for machine in machines() {
        let mut tester = Tester::new();
        for size in (16..=PAGE_SIZE).step_by(16) {
            let slots = geometry(tester.store(contents(size, 0)).unwrap()).slots;
            for seed in 1..slots {
                tester.store(contents(size, seed)).unwrap();
            }
            for pfn in machine.movable_pages().into_iter().rev() {
                assert!(move_page(&machine, pfn));
                for raw in tester.objects.keys() {
                    tester.check(Handle::from_raw(*raw));
                }
            }
            tester.free_all();
            tester.pool.release_kept();
        }
    }
}

/// Catches a page that is taken for one 16 TiB away, which somebody else owns: the page frame
/// numbers of a zspage are kept without what they have in common. Where that differs, nothing is
/// allocated and nothing is moved.
#[test]
fn pages_of_two_regions_do_not_mix() {
    let machine = Machine::new(Memory::Plenty);
    let mut tester = Tester::new();
    let elsewhere = tester.store(contents(PAGE_SIZE, 0)).unwrap();
    machine.set_memory(Memory::AtBorder);
    let size_with = |has: fn(u8) -> bool| {
        (0..CLASSES as u8)
            .filter(|class| has(CLASS_TABLE.class(*class).pages))
            .find_map(largest_size)
            .unwrap()
    };
    let one_page = size_with(|pages| pages == 1);
    let several_pages = size_with(|pages| pages > 1);
    let mut last = elsewhere;
    while machine.next_page() < BORDER - 2 {
        last = tester.store(contents(one_page, 1)).unwrap();
    }
    for _ in 1..geometry(last).slots {
        tester.store(contents(one_page, 2)).unwrap();
    }
    let refuses = |tester: &mut Tester, size| {
        let before = (machine.pages(), machine.objects());
        assert_eq!(tester.store(contents(size, 2)).err(), Some(Error::NoMemory));
        assert_eq!((machine.pages(), machine.objects()), before);
    };
    refuses(&mut tester, several_pages);
    let take = || page::alloc(Gfp::NOWAIT).unwrap();
    let [before_last, last] = [take(), take()];
    // SAFETY: The page was just allocated.
    unsafe { page::free(before_last) };
    // A page of the first region, and then pages of the second.
    refuses(&mut tester, several_pages);
    let before_last = take();
    // SAFETY: As above.
    unsafe { page::free(last) };
    // The one page whose packed number stands for none.
    refuses(&mut tester, one_page);
    let last = take();

    assert_eq!(machine.next_page(), BORDER);
    assert_eq!(move_all_pages(&machine), 0);
    tester.check(elsewhere);
    for page in [before_last, last] {
        // SAFETY: As above.
        unsafe { page::free(page) };
    }
    tester.validate(&machine);
    tester.free_all();
}

/// Catches a page that moves away from under a mapping, and a zspage that can never move after one.
#[test]
fn a_mapping_keeps_its_zspage_in_place() {
    let machine = Machine::new(Memory::Plenty);
    let mut tester = Tester::new();
    let handle = tester.store(contents(1000, 1)).unwrap();
    tester.hold(handle);
    assert_eq!(move_all_pages(&machine), 0);
    tester.release(0);
    assert_eq!(move_all_pages(&machine) as u64, tester.pool.total_pages());
    tester.check(handle);
    tester.free(handle);
}

/// Catches a page that stays for ever, one that is freed twice and a descriptor that goes too
/// early: the last object goes while a page is isolated, is being moved, or both, and the rest
/// happens later or only when the pool is destroyed.
#[test]
fn the_last_object_goes_while_a_page_moves() {
    for size in [50, 1000, 3000, PAGE_SIZE] {
        for (locked, wait) in [(false, false), (true, false), (true, true)] {
            for which in 0..2 {
                let machine = Machine::new(Memory::Plenty);
                let mut tester = Tester::new();
                let handle = tester.store(contents(size, 1)).unwrap();
                let pages = machine.movable_pages();
                let pfn = pages[which * (pages.len() - 1)];
                machine.isolate(pfn);
                if locked {
                    machine.start_migration(pfn);
                }
                tester.free(handle);
                tester.pool.release_kept();
                // What nobody has locked is back at once.
                assert_eq!(tester.pool.total_pages(), locked as u64);
                if wait {
                    // Destroying the pool waits for the page, and leaves nothing to be done.
                    assert!(tester.pool.close());
                    assert!(!machine.is_migrating(pfn));
                    assert!(!machine.has_work());
                    drop(tester);
                } else {
                    if !locked {
                        machine.start_migration(pfn);
                    }
                    assert!(machine.finish_migration(pfn));
                    drop(tester);
                }
                assert_eq!(machine.pages(), 0);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Store { size: usize, seed: u8 },
    Change { object: usize, at: usize, byte: u8 },
    Free { object: usize },
    Check { object: usize },
    Hold { object: usize },
    Release { mapping: usize },
    Memory(Memory),
    Isolate { page: usize },
    StartMigration { page: usize },
    FinishMigration { page: usize },
    RunWork,
    Compact { across: bool, objects: usize },
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let object = any::<usize>();
    let size = prop_oneof![1..=PAGE_SIZE, 1..200usize, 3000..3700usize, Just(PAGE_SIZE)];
    prop_oneof![
        8 => (size, any::<u8>()).prop_map(|(size, seed)| Step::Store { size, seed }),
        2 => (object, any::<usize>(), any::<u8>())
            .prop_map(|(object, at, byte)| Step::Change { object, at, byte }),
        5 => object.prop_map(|object| Step::Free { object }),
        2 => object.prop_map(|object| Step::Check { object }),
        2 => object.prop_map(|object| Step::Hold { object }),
        2 => object.prop_map(|mapping| Step::Release { mapping }),
        3 => object.prop_map(|page| Step::Isolate { page }),
        3 => object.prop_map(|page| Step::StartMigration { page }),
        3 => object.prop_map(|page| Step::FinishMigration { page }),
        1 => Just(Step::RunWork),
        4 => (any::<bool>(), prop_oneof![1..4usize, Just(usize::MAX)])
            .prop_map(|(across, objects)| Step::Compact { across, objects }),
        2 => Just(Step::Tick),
        1 => prop_oneof![
            prop::sample::select(&MEMORIES[..]),
            (0usize..12).prop_map(Memory::Left)
        ].prop_map(Step::Memory),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 400 }))]

    /// Catches what the tests above did not think of: any sequence of what zswap may do, with
    /// memory running out and coming back, the invariants checked after each step, and nothing left
    /// at the end.
    #[test]
    fn any_sequence_keeps_the_invariants(
        populous_pages in prop_oneof![
            prop::sample::select(&GRANULARITIES[..]),
            (1..64usize)
        ],
        steps in prop::collection::vec(step(), 1..200)
    ) {
        let machine = Machine::new(Memory::Plenty);
        machine.set_populous_pages(populous_pages);
        machine.set_wasted_share(3);
        let mut tester = Tester::new();
        let before = (machine.pages(), machine.objects());
        for step in steps {
            match step {
                Step::Store { size, seed } => match tester.store(contents(size, seed)) {
                    Ok(_) | Err(Error::NoMemory) => (),
                    Err(error) => panic!("{error:?}"),
                },
                Step::Change { object, at, byte } => if let Some(handle) = tester.nth(object) {
                    if !tester.is_held(handle) {
                        let at = at % tester.objects[&handle.into_raw()].len();
                        tester.change(handle, at, byte);
                    }
                },
                Step::Free { object } => if let Some(handle) = tester.nth(object) {
                    if !tester.is_held(handle) {
                        tester.free(handle);
                    }
                },
                Step::Check { object } => if let Some(handle) = tester.nth(object) {
                    tester.check(handle);
                },
                // One mapping is left to the steps that map for a moment, as a CPU has one at a
                // time.
                Step::Hold { object } => if let Some(handle) = tester.nth(object) {
                    if tester.mapped.len() < CPUS - 1 {
                        tester.hold(handle);
                    }
                },
                Step::Release { mapping } => if !tester.mapped.is_empty() {
                    tester.release(mapping % tester.mapped.len());
                },
                Step::Memory(memory) => machine.set_memory(memory),
                Step::Isolate { page } => {
                    let pages = machine.movable_pages();
                    if !pages.is_empty() {
                        let pfn = pages[page % pages.len()];
                        machine.isolate(pfn);
                        tester.isolated.push((pfn, false));
                    }
                }
                Step::StartMigration { page } => if !tester.isolated.is_empty() {
                    let index = page % tester.isolated.len();
                    let (pfn, locked) = &mut tester.isolated[index];
                    if !*locked {
                        machine.start_migration(*pfn);
                        *locked = true;
                    }
                },
                Step::FinishMigration { page } => if !tester.isolated.is_empty() {
                    tester.finish_migration(&machine, page % tester.isolated.len());
                },
                Step::Compact { across, objects } => {
                    tester.compact(if across { Scope::LargerClasses } else { Scope::Class }, objects);
                }
                Step::Tick => {
                    machine.tick();
                    tester.compacted = true;
                    tester.isolated.retain(|(pfn, locked)| !locked || machine.is_migrating(*pfn));
                }
                // The work waits for all pages that somebody moves.
                Step::RunWork => {
                    machine.run_work();
                    tester.isolated.retain(|(pfn, locked)| !locked || machine.is_migrating(*pfn));
                }
            }
            tester.validate(&machine);
        }
        while !tester.mapped.is_empty() {
            tester.release(0);
        }
        tester.free_all();
        tester.validate(&machine);
        while !tester.isolated.is_empty() {
            tester.finish_migration(&machine, 0);
        }
        machine.run_work();
        machine.tick_to_the_end();
        machine.run_work();
        tester.validate(&machine);
        assert_eq!((machine.pages(), machine.objects()), before);
    }
}
