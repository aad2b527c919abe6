// SPDX-License-Identifier: GPL-2.0

use super::{machine, CStr};

pub(crate) fn warn(what: &'static CStr, handle: usize) {
    machine::complain(what.to_str().unwrap(), handle);
}
