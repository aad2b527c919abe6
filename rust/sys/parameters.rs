// SPDX-License-Identifier: GPL-2.0

//! The module's parameters, in `/sys/module/rsmalloc/parameters/`. `helpers.c` declares them.

use super::bindings;

/// The share of a pool, in per cent, that may be wasted before it is compacted in the background; 0
/// if it never is.
pub(crate) fn wasted_share() -> u32 {
    // SAFETY: It only reads a number.
    unsafe { bindings::rsmalloc_wasted_share() }
}

/// The number of pages of a class from which on its objects are stored in finer classes.
pub(crate) fn populous_pages() -> usize {
    // SAFETY: It only reads a number.
    unsafe { bindings::rsmalloc_populous_pages() as usize }
}
