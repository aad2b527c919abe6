// SPDX-License-Identifier: GPL-2.0

//! The sources of the kernel module, compiled on the host.
//!
//! Everything in `rust/` is here as it is, but for the crate root and `rust/sys/`, which calls the
//! kernel. The [`sys`] of this crate has the same interface, over pages that it keeps account of:
//! it is the one seam.

#![cfg(test)]

#[path = "../../../../rust/backend.rs"]
mod backend;
#[path = "../../../../rust/bounce.rs"]
mod bounce;
#[path = "../../../../rust/class.rs"]
mod class;
#[path = "../../../../rust/compaction.rs"]
mod compaction;
#[path = "../../../../rust/core/mod.rs"]
mod core;
#[path = "../../../../rust/error.rs"]
mod error;
#[path = "../../../../rust/lock.rs"]
mod lock;
#[path = "../../../../rust/pool.rs"]
mod pool;
#[path = "../../../../rust/relocation.rs"]
mod relocation;
mod sys;
mod tests;
#[path = "../../../../rust/zspage.rs"]
mod zspage;
