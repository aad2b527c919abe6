// SPDX-License-Identifier: GPL-2.0

//! The arithmetic of the allocator: no kernel call, no allocation, no `unsafe`.
//!
//! Everything here depends on its arguments alone, so that the host tests compile these very files
//! and check them exhaustively, for page sizes other than the running kernel's as well.

pub(crate) mod compaction;
pub(crate) mod fullness;
pub(crate) mod handle;
pub(crate) mod pfn;
pub(crate) mod size_class;
pub(crate) mod slots;
