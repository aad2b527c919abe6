// SPDX-License-Identifier: GPL-2.0

pub(crate) use super::machine::{populous_pages, wasted_share};
