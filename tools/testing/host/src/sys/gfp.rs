// SPDX-License-Identifier: GPL-2.0

/// Allocation flags: whether they allow what the module must never ask for in `malloc`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gfp {
    pub(crate) direct_reclaim: bool,
    pub(crate) movable: bool,
    pub(crate) tries_hard: bool,
}

impl Gfp {
    pub(crate) const KERNEL: Self = Self {
        direct_reclaim: true,
        movable: false,
        tries_hard: true,
    };

    pub(crate) const NOWAIT: Self = Self {
        direct_reclaim: false,
        movable: false,
        tries_hard: true,
    };

    pub(crate) const SPARE: Self = Self::NOWAIT;

    /// The worst that a caller can pass.
    pub(crate) const EVERYTHING: Self = Self {
        direct_reclaim: true,
        movable: true,
        tries_hard: true,
    };

    pub(crate) fn for_page(self) -> Self {
        Self {
            direct_reclaim: false,
            ..self
        }
    }

    pub(crate) fn for_adjacent_pages(self) -> Self {
        Self {
            direct_reclaim: false,
            tries_hard: false,
            ..self
        }
    }

    pub(crate) fn for_metadata(self) -> Self {
        Self {
            direct_reclaim: false,
            movable: false,
            ..self
        }
    }
}
