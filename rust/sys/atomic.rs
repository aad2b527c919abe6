// SPDX-License-Identifier: GPL-2.0

//! Atomic operations: the one place that names them, so that the host's model checker can put its
//! own here.

pub(crate) use core::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU16, AtomicU32, AtomicU64, AtomicU8, Ordering},
};
