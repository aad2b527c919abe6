// SPDX-License-Identifier: GPL-2.0

//! Telling the administrator of a caller's mistake.

use super::{bindings, CStr};

/// Prints a kernel warning with the stack: a caller broke the contract.
#[cold]
pub(crate) fn warn(what: &'static CStr, handle: usize) {
    // SAFETY: The text is a C string.
    unsafe { bindings::rsmalloc_warn(what.as_char_ptr(), handle) };
}
