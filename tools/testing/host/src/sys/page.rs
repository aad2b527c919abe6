// SPDX-License-Identifier: GPL-2.0

use super::{
    gfp::Gfp,
    machine::{self, FIRST_PFN},
};

pub(crate) const PAGE_SIZE: usize = 4096;

/// CPUs of the machine, and so the bounce buffers that a pool keeps in reserve.
pub(crate) const CPUS: usize = 3;

#[derive(Clone, Copy)]
pub(crate) struct DirectMap {
    arena: *mut u8,
}

// SAFETY: It is only an address.
unsafe impl Send for DirectMap {}
// SAFETY: It is only an address.
unsafe impl Sync for DirectMap {}

impl DirectMap {
    pub(crate) fn new() -> Option<Self> {
        Some(Self {
            arena: machine::arena(),
        })
    }

    pub(crate) fn address(self, pfn: usize) -> *mut u8 {
        self.arena.wrapping_add((pfn - FIRST_PFN) * PAGE_SIZE)
    }
}

pub(crate) fn alloc(gfp: Gfp) -> Option<usize> {
    assert!(
        gfp == Gfp::KERNEL || !gfp.direct_reclaim,
        "reclaim in malloc"
    );
    machine::alloc_pages(1)
}

pub(crate) fn alloc_adjacent(count: usize, gfp: Gfp) -> Option<usize> {
    assert!(!gfp.direct_reclaim && !gfp.tries_hard);
    machine::alloc_pages(count)
}

/// # Safety
///
/// As for the kernel's.
pub(crate) unsafe fn get(pfn: usize) {
    machine::get_page(pfn);
}

/// # Safety
///
/// As for the kernel's.
pub(crate) unsafe fn copy(from: usize, to: usize) {
    let map = DirectMap::new().unwrap();
    // SAFETY: Both are pages of the arena.
    unsafe {
        map.address(to)
            .copy_from_nonoverlapping(map.address(from), PAGE_SIZE)
    };
}

/// # Safety
///
/// As for the kernel's.
pub(crate) unsafe fn free(pfn: usize) {
    machine::free_page(pfn);
}

/// # Safety
///
/// As for the kernel's.
pub(crate) unsafe fn count_in_zone(pfn: usize, delta: isize) {
    machine::count_in_zone(pfn, delta);
}

pub(crate) fn possible_cpus() -> usize {
    CPUS
}
