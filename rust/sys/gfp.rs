// SPDX-License-Identifier: GPL-2.0

//! Allocation flags.

use super::bindings;

/// The flags of an allocation, as C callers give them (`gfp_t`).
#[derive(Clone, Copy)]
pub(crate) struct Gfp(bindings::gfp_t);

impl Gfp {
    /// May sleep and reclaim: for set-up.
    pub(crate) const KERNEL: Self = Self(bindings::RSMALLOC_GFP_KERNEL);

    /// Neither sleeps nor reclaims, and is silent when it fails.
    pub(crate) const NOWAIT: Self =
        Self(bindings::RSMALLOC_GFP_NOWAIT | bindings::RSMALLOC_GFP_NOWARN);

    /// For what can be done without, perhaps while memory is reclaimed: leaves the reserves alone.
    pub(crate) const SPARE: Self = Self(
        bindings::RSMALLOC_GFP_NOWAIT
            | bindings::RSMALLOC_GFP_NOWARN
            | bindings::RSMALLOC_GFP_NORETRY
            | bindings::RSMALLOC_GFP_NOMEMALLOC,
    );

    /// Flags that C code passed.
    pub(crate) fn from_raw(flags: bindings::gfp_t) -> Self {
        Self(flags)
    }

    /// The flags for C code.
    pub(crate) fn as_raw(self) -> bindings::gfp_t {
        self.0
    }

    /// For a single page of a zspage.
    ///
    /// Direct reclaim could swap out, and so come back into the pool from below zswap's own locks.
    pub(crate) fn for_page(self) -> Self {
        Self(self.0 & !bindings::RSMALLOC_GFP_DIRECT_RECLAIM)
    }

    /// For pages next to each other, which are worth a look at the free lists but no work.
    ///
    /// They are split up afterwards, which a compound page could not be.
    pub(crate) fn for_adjacent_pages(self) -> Self {
        Self(
            self.0 & !(bindings::RSMALLOC_GFP_RECLAIM | bindings::RSMALLOC_GFP_COMP)
                | bindings::RSMALLOC_GFP_NORETRY
                | bindings::RSMALLOC_GFP_NOWARN,
        )
    }

    /// For the module's own data, which the kernel can neither move nor map on demand.
    pub(crate) fn for_metadata(self) -> Self {
        Self(
            self.0
                & !(bindings::RSMALLOC_GFP_DIRECT_RECLAIM
                    | bindings::RSMALLOC_GFP_HIGHMEM
                    | bindings::RSMALLOC_GFP_MOVABLE),
        )
    }
}
