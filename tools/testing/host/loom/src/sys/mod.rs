// SPDX-License-Identifier: GPL-2.0

//! What the lock needs of the kernel.

pub(crate) mod atomic;
pub(crate) mod lockdep;
pub(crate) mod preempt;
