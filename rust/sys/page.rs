// SPDX-License-Identifier: GPL-2.0

//! Pages, named by their page frame numbers.

use super::{bindings, gfp::Gfp};
use crate::core::pfn::PFN_BITS;
use core::ptr::NonNull;
use kernel::page::PAGE_SHIFT;
pub(crate) use kernel::page::PAGE_SIZE;

const _: () = assert!(
    bindings::RSMALLOC_PFN_BITS <= PFN_BITS,
    "a page frame number of this machine does not fit into a descriptor"
);

/// Where the kernel maps physical memory, all of it and linearly: what to add to a physical
/// address.
#[derive(Clone, Copy)]
pub(crate) struct DirectMap {
    base: usize,
}

impl DirectMap {
    /// Finds out. [`None`] if there is not even one page to look at. May sleep.
    pub(crate) fn new() -> Option<Self> {
        let page = alloc_block(0, Gfp::KERNEL)?;
        // SAFETY: The page was just allocated, and is freed once.
        let base = unsafe {
            let base = bindings::rsmalloc_direct_map_base(page.as_ptr());
            bindings::__free_pages(page.as_ptr(), 0);
            base
        };
        Some(Self { base })
    }

    /// The address of a page. It is valid, in the sense of `virt_addr_valid()`, while the page is
    /// allocated.
    #[inline]
    pub(crate) fn address(self, pfn: usize) -> *mut u8 {
        self.base.wrapping_add(pfn << PAGE_SHIFT) as *mut u8
    }
}

fn alloc_block(order: u32, gfp: Gfp) -> Option<NonNull<bindings::page>> {
    // SAFETY: Any flags and order are allowed.
    NonNull::new(unsafe { bindings::alloc_pages(gfp.as_raw(), order) })
}

/// The number of a page.
pub(super) fn pfn_of(page: NonNull<bindings::page>) -> usize {
    // SAFETY: The page is a valid one.
    unsafe { bindings::rsmalloc_page_to_pfn(page.as_ptr()) }
}

/// The page with number `pfn`, which is one that the kernel has given out.
pub(super) fn from_pfn(pfn: usize) -> NonNull<bindings::page> {
    // SAFETY: It only calculates the place of the page's `struct page`, which is not at address 0.
    unsafe { NonNull::new_unchecked(bindings::rsmalloc_pfn_to_page(pfn)) }
}

/// Allocates one page, and returns its number.
pub(crate) fn alloc(gfp: Gfp) -> Option<usize> {
    alloc_block(0, gfp).map(pfn_of)
}

/// Allocates `count` pages with consecutive numbers, and returns the first.
///
/// Each is a page of its own, to be freed by itself.
pub(crate) fn alloc_adjacent(count: usize, gfp: Gfp) -> Option<usize> {
    let order = count.next_power_of_two().trailing_zeros();
    let block = alloc_block(order, gfp)?;
    if order > 0 {
        // SAFETY: The block was just allocated with this order, and not as a compound page.
        unsafe { bindings::split_page(block.as_ptr(), order) };
    }
    let first = pfn_of(block);
    for surplus in first + count..first + (1 << order) {
        // SAFETY: The page is part of the block, which was split into pages, and nobody knows of
        // it.
        unsafe { free(surplus) };
    }
    Some(first)
}

/// Takes another reference to a page, to be dropped with [`free`].
///
/// # Safety
///
/// The page is allocated.
pub(crate) unsafe fn get(pfn: usize) {
    // SAFETY: The page is allocated.
    unsafe { bindings::rsmalloc_get_page(from_pfn(pfn).as_ptr()) };
}

/// Copies a whole page, and what the kernel keeps beside it.
///
/// # Safety
///
/// Both pages are allocated, and nobody writes to `from` or uses `to`.
pub(crate) unsafe fn copy(from: usize, to: usize) {
    // SAFETY: The pages are allocated.
    unsafe { bindings::rsmalloc_copy_page(from_pfn(to).as_ptr(), from_pfn(from).as_ptr()) };
}

/// Drops a reference to a page, which frees it unless the kernel has another. Does not sleep.
///
/// # Safety
///
/// The page came from this module's functions, and is not used any more.
pub(crate) unsafe fn free(pfn: usize) {
    // SAFETY: The caller answers for the page.
    unsafe { bindings::__free_pages(from_pfn(pfn).as_ptr(), 0) };
}

/// Adds `delta` to the counter of compressed-memory pages (`nr_zspages`) of the zone that page
/// `pfn` is in.
///
/// # Safety
///
/// The page is allocated.
pub(crate) unsafe fn count_in_zone(pfn: usize, delta: isize) {
    // SAFETY: The page is a valid one.
    unsafe { bindings::rsmalloc_mod_nr_zspages(from_pfn(pfn).as_ptr(), delta) };
}

/// The number of CPUs that the machine can have.
pub(crate) fn possible_cpus() -> usize {
    // SAFETY: It only counts.
    unsafe { bindings::rsmalloc_num_possible_cpus() as usize }
}
