// SPDX-License-Identifier: GPL-2.0

//! C declarations: those of the `kernel` crate, and those that it lacks.
//!
//! The generated part holds only what the `kernel` crate does not have (see `Kbuild`), so there is
//! one Rust type for each C type.

#![allow(
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]

pub(crate) use kernel::{bindings::*, ffi};

include!(env!("RSMALLOC_BINDINGS"));
