// SPDX-License-Identifier: GPL-2.0

//! A machine's memory, and its complaints.

use super::page::PAGE_SIZE;
use std::{
    alloc::{alloc_zeroed, dealloc, Layout},
    cell::RefCell,
    collections::BTreeMap,
};

/// How the machine's memory is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Memory {
    /// Pages next to each other can be had.
    Plenty,
    /// Only single pages can be had, of which no two are next to each other.
    Fragmented,
    /// Only single pages can be had, and each second one is next to the one before.
    PartlyFragmented,
    /// So many more allocations succeed, of pages or of other memory.
    Left(usize),
}

/// What the machine has handed out.
struct State {
    memory: Memory,
    arena: *mut u8,
    /// For each page of the arena, whether it is allocated.
    allocated: Vec<bool>,
    /// The page after the last that was looked at.
    next: usize,
    pages: usize,
    counted_in_zone: isize,
    objects: BTreeMap<usize, Layout>,
    complaints: Vec<(String, usize)>,
}

const ARENA_PAGES: usize = 4096;

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// The number of the arena's first page: one that needs all bits that a descriptor has for it.
pub(crate) const FIRST_PFN: usize = (1 << crate::core::pfn::PFN_BITS) - 2 * ARENA_PAGES;

fn arena_layout() -> Layout {
    Layout::from_size_align(ARENA_PAGES * PAGE_SIZE, PAGE_SIZE).unwrap()
}

fn with<R>(work: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(|state| work(state.as_mut().expect("no machine in this thread")))
}

/// A machine, for this thread.
pub(crate) struct Machine(());

impl Machine {
    pub(crate) fn new(memory: Memory) -> Self {
        STATE.with_borrow_mut(|state| {
            assert!(state.is_none());
            *state = Some(State {
                memory,
                // SAFETY: The size is not 0.
                arena: unsafe { alloc_zeroed(arena_layout()) },
                allocated: vec![false; ARENA_PAGES],
                next: 0,
                pages: 0,
                counted_in_zone: 0,
                objects: BTreeMap::new(),
                complaints: Vec::new(),
            })
        });
        Self(())
    }

    pub(crate) fn set_memory(&self, memory: Memory) {
        with(|state| state.memory = memory);
    }

    /// Pages handed out and not given back.
    pub(crate) fn pages(&self) -> usize {
        with(|state| state.pages)
    }

    /// What the zone's counter of compressed-memory pages stands at.
    pub(crate) fn counted_in_zone(&self) -> isize {
        with(|state| state.counted_in_zone)
    }

    /// Other memory handed out and not given back, in pieces.
    pub(crate) fn objects(&self) -> usize {
        with(|state| state.objects.len())
    }

    /// Ends the test without looking for what was not given back.
    pub(crate) fn forget(self) {
        STATE.take();
        std::mem::forget(self);
    }

    /// Warnings printed since the last call.
    pub(crate) fn complaints(&self) -> Vec<(String, usize)> {
        with(|state| std::mem::take(&mut state.complaints))
    }
}

impl Drop for Machine {
    /// Fails the test if anything was not given back, or if there is a warning that it did not ask
    /// about.
    fn drop(&mut self) {
        let state = STATE.take().unwrap();
        // SAFETY: It was allocated with this layout.
        unsafe { dealloc(state.arena, arena_layout()) };
        if !std::thread::panicking() {
            assert_eq!(state.pages, 0, "pages left");
            assert_eq!(state.counted_in_zone, 0, "pages still counted in the zone");
            assert!(state.objects.is_empty(), "objects left");
            assert_eq!(state.complaints, []);
        }
    }
}

/// Takes one from the allocations that still succeed.
fn may_allocate(state: &mut State) -> bool {
    match &mut state.memory {
        Memory::Left(0) => false,
        Memory::Left(left) => {
            *left -= 1;
            true
        }
        _ => true,
    }
}

pub(super) fn arena() -> *mut u8 {
    with(|state| state.arena)
}

/// Allocates `count` consecutive pages.
pub(super) fn alloc_pages(count: usize) -> Option<usize> {
    with(|state| {
        if !may_allocate(state) {
            return None;
        }
        let stride = match state.memory {
            Memory::Fragmented => 2,
            Memory::PartlyFragmented => 1 + state.pages % 2,
            _ => 1,
        };
        if count > 1 && matches!(state.memory, Memory::Fragmented | Memory::PartlyFragmented) {
            return None;
        }
        for _ in 0..2 {
            let start = state.next + stride - 1;
            for first in start..ARENA_PAGES - count {
                let range = first..first + count;
                if state.allocated[range.clone()].iter().all(|taken| !taken) {
                    state.allocated[range].fill(true);
                    state.next = first + count;
                    state.pages += count;
                    return Some(FIRST_PFN + first);
                }
            }
            state.next = 0;
        }
        panic!("the arena is too small for this test");
    })
}

pub(super) fn free_page(pfn: usize) {
    with(|state| {
        let taken = &mut state.allocated[pfn - FIRST_PFN];
        assert!(*taken, "page {pfn} freed twice");
        *taken = false;
        state.pages -= 1;
        // What reads a page after its free finds this.
        // SAFETY: The page is in the arena, and nobody may use it now.
        unsafe {
            state
                .arena
                .add((pfn - FIRST_PFN) * PAGE_SIZE)
                .write_bytes(0xa5, PAGE_SIZE)
        };
    });
}

pub(super) fn count_in_zone(pfn: usize, delta: isize) {
    with(|state| {
        assert!(
            state.allocated[pfn - FIRST_PFN],
            "page {pfn} counted, but not allocated"
        );
        state.counted_in_zone += delta;
    });
}

pub(super) fn alloc_object(layout: Layout) -> Option<*mut u8> {
    with(|state| {
        if !may_allocate(state) {
            return None;
        }
        // SAFETY: The module asks for no empty objects.
        let object = unsafe { alloc_zeroed(layout) };
        // What reads before it writes finds this.
        // SAFETY: It was just allocated with this size.
        unsafe { object.write_bytes(0x5a, layout.size()) };
        state.objects.insert(object as usize, layout);
        Some(object)
    })
}

pub(super) fn free_object(object: *mut u8) {
    with(|state| {
        let layout = state
            .objects
            .remove(&(object as usize))
            .expect("object freed twice");
        // SAFETY: It was allocated with this layout, and is not used any more.
        unsafe { dealloc(object, layout) };
    });
}

pub(super) fn complain(what: &str, handle: usize) {
    with(|state| state.complaints.push((what.to_owned(), handle)));
}
