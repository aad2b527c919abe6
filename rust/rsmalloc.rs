// SPDX-License-Identifier: GPL-2.0

//! rsmalloc: a zpool backend for zswap whose mappings may sleep.
//!
//! zswap asks a pool for room for a compressed page, gets a handle, and maps the handle to get at
//! the bytes. A pool ([`pool`]) does what zswap asks of it ([`backend`]). It has size classes
//! ([`class`]); a class has zspages ([`zspage`]), each a few pages cut into equal slots. The lock
//! of a zspage ([`lock`]) keeps its pages in place while an object in it is mapped. An object whose
//! two pages are not next to each other is mapped through a bounce buffer ([`bounce`]). When
//! zspages are sparsely filled, objects are moved together ([`compaction`]), and found where they
//! went ([`relocation`]).
//!
//! [`sys`] is the kernel as seen from here, [`core`](self::core) the arithmetic. The host tests
//! compile everything but this file and [`sys`].

mod backend;
mod bounce;
mod class;
mod compaction;
mod core;
mod error;
mod lock;
mod pool;
mod relocation;
mod sys;
mod zspage;

use kernel::prelude::*;
use pool::Pool;
use sys::{debugfs, zpool::Registration};

module! {
    type: RsMalloc,
    name: "rsmalloc",
    author: "The rsmalloc developers",
    description: "Allocator for zswap with sleepable mappings",
    license: "GPL",
    alias: ["zpool-rsmalloc"],
}

/// The module, while it is loaded.
struct RsMalloc {
    // Unregistered first, and registered last: pools have directories in the other.
    _registration: Pin<KBox<Registration<Pool>>>,
    _debugfs: debugfs::Directory,
}

impl kernel::Module for RsMalloc {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let directory = debugfs::Directory::new();
        let registration = KBox::pin_init(Registration::new(module), GFP_KERNEL)?;
        pr_info!("{}\n", env!("RSMALLOC_BUILD"));
        Ok(Self {
            _debugfs: directory,
            _registration: registration,
        })
    }
}
