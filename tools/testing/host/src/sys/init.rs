// SPDX-License-Identifier: GPL-2.0

pub(crate) use pinned_init::{
    pin_data, pin_init, pin_init_array_from_fn, pinned_drop, try_pin_init, PinInit,
};
