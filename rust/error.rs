// SPDX-License-Identifier: GPL-2.0

//! What can go wrong in a pool.

use core::convert::Infallible;

/// Why a pool did not give what it was asked for. Nothing is left behind by a request that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Error {
    /// An object of 0 bytes was to be stored (`EINVAL`).
    EmptyObject,
    /// An object larger than a page was to be stored (`ENOSPC`, which zswap counts as "compress
    /// poor").
    ObjectTooLarge,
    /// There was no memory, and none could be reclaimed in this context (`ENOMEM`).
    NoMemory,
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
