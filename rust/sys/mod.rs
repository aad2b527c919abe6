// SPDX-License-Identifier: GPL-2.0

//! The kernel, as the rest of the module sees it: safe wrappers over its C interfaces.
//!
//! Only this directory calls C. The host tests put their own in its place.

pub(crate) mod atomic;
mod bindings;
pub(crate) mod debugfs;
pub(crate) mod gfp;
pub(crate) mod init;
pub(crate) mod list;
pub(crate) mod lockdep;
pub(crate) mod memory;
pub(crate) mod movable;
pub(crate) mod page;
pub(crate) mod parameters;
pub(crate) mod preempt;
pub(crate) mod report;
pub(crate) mod shrinker;
pub(crate) mod spinlock;
pub(crate) mod work;
pub(crate) mod zpool;

pub(crate) use kernel::{c_str, str::CStr};
