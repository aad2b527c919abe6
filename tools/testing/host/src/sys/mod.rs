// SPDX-License-Identifier: GPL-2.0

//! The kernel, as far as the module needs one.
//!
//! All state is the calling thread's own, so that tests run side by side; [`machine::Machine`] sets
//! it up for a test, and at the end of the test finds what was not given back.

pub(crate) mod atomic;
pub(crate) mod debugfs;
pub(crate) mod gfp;
pub(crate) mod init;
#[path = "../../../../../rust/sys/list.rs"]
pub(crate) mod list;
#[path = "../../../../../rust/sys/lockdep/disabled.rs"]
pub(crate) mod lockdep;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod movable;
pub(crate) mod page;
pub(crate) mod parameters;
pub(crate) mod preempt;
pub(crate) mod report;
pub(crate) mod shrinker;
pub(crate) mod spinlock;
pub(crate) mod work;

pub(crate) use std::ffi::CStr;

/// A C string literal, as the `kernel` crate spells it.
macro_rules! c_str {
    ($text:literal) => {
        const {
            match std::ffi::CStr::from_bytes_with_nul(concat!($text, "\0").as_bytes()) {
                Ok(text) => text,
                Err(_) => panic!("a zero byte in a C string"),
            }
        }
    };
}
pub(crate) use c_str;
