// SPDX-License-Identifier: GPL-2.0

pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicU8, Ordering},
};
