// SPDX-License-Identifier: GPL-2.0

//! Initialisation in place: the `kernel` crate's pin-init.

pub(crate) use kernel::{
    init::{pin_init_array_from_fn, PinInit},
    macros::{pin_data, pinned_drop},
    pin_init, try_pin_init,
};
